"""A stand-in switch: its configuration, what it says to commands, and one session's conversation with it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.demo.switch_config import Configuration, Line
from agent.demo.switch_words import WORDS

PAGE = 23


@dataclass(slots=True)
class SwitchFaults:
    """What a switch does wrong. All off by default.

    `denies` and `lacks` are patterns of commands that it refuses to the account, or does not know; `hangs` is one that
    it never answers; `cut_after` ends the connection after that many characters of an answer; `delay` is seconds before
    each answer; `silent`: no prompt ever comes.
    """

    denies: str = r"$^"
    lacks: str = r"$^"
    hangs: str = r"$^"
    cut_after: int | None = None
    delay: float = 0.0
    silent: bool = False


@dataclass(slots=True)
class SwitchScript:
    """How one switch is set up. `answers` maps show commands to text; the configuration is printed from `config`.

    `privileged`: the account comes in at `#`; else `enable` asks for `enable` (empty: it asks for nothing; None: it is
    never let further).
    """

    platform: str
    config: str
    answers: Mapping[str, str] = field(default_factory=dict)
    startup: str | None = None
    user: str = "scan"
    password: str = "scan"
    privileged: bool = True
    enable: str | None = None
    greeting: str = ""
    pause: float = 0.0
    """Seconds between the greeting and what follows it."""
    faults: SwitchFaults = field(default_factory=SwitchFaults)
    down: bool = False


class Switch:
    """One switch's state; sessions share it."""

    def __init__(self, script: SwitchScript) -> None:
        self.script, self.words = script, WORDS[script.platform]
        self.lock = threading.RLock()
        self.enable_tries = 0
        self.back: str | None = None
        self.running = Configuration(script.config, self.words)
        self.startup = self.running.show() if script.startup is None else script.startup

    @property
    def platform(self) -> str:
        """`ios`, `aoscx` or `procurve`."""
        return self.script.platform

    @property
    def name(self) -> str:
        """What the prompt shows."""
        return self.running.value("hostname ") or "switch"

    def show(self, command: str) -> str | None:
        """The answer to a show command, or None where there is no such command."""
        with self.lock:
            if command == "show running-config":
                return _HEAD[self.platform] + self.running.show()
            if command in ("show startup-config", "show config") and command in _STARTUP[self.platform]:
                return ("Using 9000 out of 524288 bytes\n" if self.platform == "ios" else "") + self.startup
            if command == "show config status" and self.platform == "procurve":
                same = self.startup == self.running.show()
                return (
                    "Running configuration is the same as the startup configuration.\n"
                    if same
                    else "Running configuration has been changed and needs to be saved.\n"
                )
        if command in self.script.answers:
            return self.script.answers[command]
        wild = next((v for k, v in self.script.answers.items() if k.endswith("*") and command.startswith(k[:-1])), None)
        return wild

    def save(self) -> None:
        """What runs is what it starts with from now on."""
        with self.lock:
            self.startup = self.running.show()

    def due(self, back: str | None) -> None:
        """Set to what the switch goes back when nobody calls that off; None calls it off."""
        with self.lock:
            self.back = back

    def fall_back(self) -> bool:
        """The time is up (there is no clock here): go back, where that is set. Says whether it was."""
        with self.lock:
            if self.back is None:
                return False
            self.running, self.back = Configuration(self.back, self.words), None
            return True


_HEAD = {
    "ios": "Building configuration...\n\nCurrent configuration : 9999 bytes\n",
    "aoscx": "Current configuration:\n",
    "procurve": "\nRunning configuration:\n\n",
}
_STARTUP = {"ios": ("show startup-config",), "aoscx": ("show startup-config",), "procurve": ("show config",)}


class Hangup(Exception):
    """The session ends."""


class Conversation:
    """One session: reads characters, writes text, as a terminal shows it."""

    def __init__(self, switch: Switch, read: Callable[[], str], write: Callable[[str], None]) -> None:
        self.switch, self._read, self._write = switch, read, write
        self.privileged = switch.script.privileged or switch.platform == "aoscx"
        self.paging, self.where = True, list[Line]()
        self.targets: list[Line] = []
        self.configuring = False

    def run(self) -> None:
        """Until the client leaves. Raises `Hangup` at the end."""
        s = self.switch.script
        if s.faults.silent:
            while True:
                self._read()
        self._say(s.greeting)
        self._pause(s.pause)
        if s.platform == "procurve":
            self._say("\x1b[?25h\x1b[24;27HPress any key to continue\x1b[?25h")
            self._read()
            self._say("\x1b[2J\x1b[1;24r\x1b[24;1H\n")
        while True:
            self._say(self.prompt())
            self.command((self._line(True) or "").strip())

    def prompt(self) -> str:
        """As it stands before what is typed."""
        mode = ""
        if self.configuring:
            text = self.where[-1].text if self.where else ""
            mode = "(config)" if not text else f"(config-{_MODE.get(text.split()[0], 'sub')})"
            if self.switch.platform != "ios" and text:
                mode = f"({text.split()[0]}-{text.split()[-1]})" if self.switch.platform == "procurve" else mode
        return f"{self.switch.name}{mode}{'#' if self.privileged else '>'}{self.switch.words.gap}"

    def _say(self, text: str) -> None:
        self._write(text.replace("\n", "\r\n"))

    def _pause(self, seconds: float) -> None:
        if seconds:
            threading.Event().wait(seconds)

    def _line(self, echo: bool) -> str | None:
        """One line as typed; None when it was called off."""
        out = ""
        while True:
            c = self._read()
            if c in "\r\n":
                self._say("\n")
                return out
            if c == "\x03":
                self._say("\n")
                return None
            out += c
            if echo:
                self._write(c)

    # ---------------------------------------------------------------------------------------------------- commands

    def command(self, text: str) -> None:
        """Run one line as typed."""
        if not text:
            return
        faults = self.switch.script.faults
        self._pause(faults.delay)
        if re.fullmatch(faults.hangs, text):
            while True:
                self._read()
        if re.fullmatch(faults.lacks, text):
            self._refuse(text)
        elif re.fullmatch(faults.denies, text):
            self._say(self.switch.words.denied)
        elif self.configuring:
            self._configure(text)
        else:
            self._exec(text)

    def _refuse(self, text: str) -> None:
        self._say(self.switch.words.invalid.format(word=text.split()[0]))

    def _exec(self, text: str) -> None:
        words = self.switch.words
        if text in ("exit", "logout", "quit"):
            raise Hangup
        if text == "enable":
            self._enable()
        elif words.paging_off.fullmatch(text):
            self.paging = False
        elif re.match(r"terminal (width|length|monitor)", text) and self.switch.platform != "aoscx":
            return
        elif not self.privileged and re.match(r"show (running|startup|config|snmp user)|configure|write|copy", text):
            self._refuse(text)
        elif text in ("configure terminal", "configure", "config", "configure t"):
            self.configuring, self.where = True, []
            if self.switch.platform == "ios":
                self._say("Enter configuration commands, one per line.  End with CNTL/Z.\n")
        elif text in ("write memory", "wr", "write mem", "copy running-config startup-config", "save"):
            self.switch.save()
            self._say("Building configuration...\n[OK]\n" if self.switch.platform == "ios" else "Success\n")
        elif text == "show privilege" and self.switch.platform == "ios":
            self._say(f"Current privilege level is {15 if self.privileged else 1}\n")
        elif self._way_back(text):
            return
        elif (answer := self.switch.show(text)) is not None:
            self._page(answer if answer.endswith("\n") else f"{answer}\n")
        else:
            self._refuse(text)

    def _way_back(self, text: str) -> bool:
        """The make's own timed return: a reload from what is saved, or a checkpoint of what runs."""
        switch, make = self.switch, self.switch.platform
        if make == "ios" and re.fullmatch(r"reload in \d+", text):
            if switch.startup != switch.running.show():
                self._say("\nSystem configuration has been modified. Save? [yes/no]: ")
                if (self._line(True) or "").startswith("y"):
                    switch.save()
            self._say("Reload scheduled in 15 minutes by scan on vty0\nProceed with reload? [confirm]")
            if self._read() in "\r\ny":
                switch.due(switch.startup)
            self._say("\n")
        elif make == "procurve" and re.fullmatch(r"reload after \d+", text):
            switch.due(switch.startup)
        elif make == "aoscx" and re.fullmatch(r"checkpoint auto \d+", text):
            switch.due(switch.running.show())
        elif text == {"ios": "reload cancel", "procurve": "no reload", "aoscx": "checkpoint auto confirm"}[make]:
            switch.due(None)
            self._say("\n\n***\n*** --- SHUTDOWN ABORTED ---\n***\n\n" if make == "ios" else "")
        else:
            return False
        return True

    def _enable(self) -> None:
        wanted = self.switch.script.enable
        if self.privileged:
            return
        if wanted == "":
            self.privileged = True
            return
        if wanted is None:
            self._say("% Error in authentication.\n")
            return
        for _ in range(3 if self.switch.platform == "ios" else 1):
            self._say("Password: ")
            word = self._line(False)
            if word is None:
                return
            self.switch.enable_tries += 1
            if word == wanted:
                self.privileged = True
                return
        self._say("% Bad secrets\n" if self.switch.platform == "ios" else "Invalid password\n")

    def _page(self, text: str) -> None:
        cut = self.switch.script.faults.cut_after
        if cut is not None and len(text) > cut:
            self._say(text[:cut])
            raise Hangup
        if not self.paging:
            self._say(text)
            return
        lines = text.split("\n")
        for start in range(0, len(lines), PAGE):
            page = lines[start : start + PAGE]
            last = start + PAGE >= len(lines)
            self._say("\n".join(page) + ("" if last else "\n"))
            if not last:
                self._write(self.switch.words.pager)
                key = self._read()
                self._write(self.switch.words.wipe)
                if key in "qQ\x03":
                    return

    # -------------------------------------------------------------------------------------------- configuration mode

    def _configure(self, text: str) -> None:
        words, running = self.switch.words, self.switch.running
        if text == "end" or text == "\x1a":
            self.configuring, self.where = False, []
            return
        if text in ("exit", "quit"):
            if self.where:
                self.where.pop()
                self.targets = []
            else:
                self.configuring = False
            return
        if not words.known.match(text):
            self._refuse(text)
            return
        with self.switch.lock:
            if text.startswith("banner "):
                self._banner(text)
                return
            inside = self.where[-1] if self.where else None
            if inside is not None and words.nested.fullmatch(text):
                self.where.append(running.section(inside, text))
            elif not text.startswith("no ") and words.opens.fullmatch(text) and not _belongs(text, inside):
                names = _range(text) if self.switch.platform == "ios" else [text]
                self.targets = [running.section(running.top, n) for n in names]
                self.where = [self.targets[0]]
            else:
                for line in self.targets if len(self.where) == 1 and self.targets else [inside or running.top]:
                    running.apply(line, text)

    def _banner(self, text: str) -> None:
        match = re.match(r"banner (\S+) (\^C|.)(.*)", text)
        if match is None:
            self._refuse(text)
            return
        rest: list[str] = []
        done = match[2] in match[3] or (match[2] == '"' and text.endswith('"'))
        while not done:
            rest.append(self._line(True) or "")
            done = match[2] in rest[-1]
        self.switch.running.banner(text, rest)


_MODE = {"interface": "if", "vlan": "vlan", "line": "line", "ip": "std-nacl", "router": "router"}


def _belongs(text: str, inside: Line | None) -> bool:
    """`vlan access 20` inside an interface is no section, and neither is a server inside its group."""
    if inside is None:
        return False
    return bool(re.match(r"vlan (access|trunk)|aaa authentication port-access|port-access", text)) or (
        inside.text.startswith("interface") and text.startswith("vlan ") and not re.match(r"vlan \d", text)
    )


def _range(text: str) -> list[str]:
    """`interface range GigabitEthernet1/0/1 - 4` → the sections that it means."""
    match = re.fullmatch(r"interface range (\S+?)(\d+) ?- ?(\d+)", text)
    if match is None:
        return [text]
    return [f"interface {match[1]}{n}" for n in range(int(match[2]), int(match[3]) + 1)]
