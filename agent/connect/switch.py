"""Switches by netmiko, over a login that `ssh.py` makes: strict host keys, one clock. The only home of netmiko.

netmiko brings the sessions of each make (line ends, escape codes, how paging is switched off); what is read is bounded
here in time and bytes, and an answer counts only when the prompt came back by itself and stayed.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from agent.connect import ssh_legacy
from agent.connect.become import PASSWORDS
from agent.connect.ssh import open_link, open_terminal
from agent.connect.ssh_keys import Secret
from agent.connect.ssh_options import login
from agent.connect.switch_text import ENDS, MORE, PRESS_KEY, PROMPT, may_end, settle, tail, unpaged
from agent.errors import Broken, CredentialRefused, SecretError, TargetError, Unreachable
from agent.facts.protocol import Limits
from agent.facts.switch.protocol import Reply, Terminal
from agent.model import Target

if TYPE_CHECKING:
    from netmiko.base_connection import BaseConnection

    from agent.connect.ssh_link import Link

DEVICE_TYPES = {"ios": "cisco_ios", "aoscx": "aruba_aoscx", "procurve": "hp_procurve"}
"""netmiko's names; current ProVision (AOS-S) is a hp_procurve to it."""
PAGING = {"ios": ("terminal length 0", "terminal width 511"), "aoscx": ("no page",), "procurve": ("no page",)}
SILENCE = 30.0
"""Seconds without a byte after which a command is given up; a large configuration takes a switch some seconds."""
QUIET = 0.15
"""Seconds of silence after which what looks like a prompt is asked whether it is one."""
WIDTH, HEIGHT = 511, 1000
PAGES = 5000
"""Pages of one answer; 2,000 lines of 24 are 84."""


@contextlib.contextmanager
def open_switch(
    target: Target, secret: Secret, limits: Limits, accepted: Callable[[], None] = lambda: None
) -> Iterator[Terminal]:
    """Log in to a switch → a terminal; everything ends `limits.seconds` after this call.

    Raises as `open_ssh` does; `CredentialRefused` too for an enable password that is not taken. Where the inventory
    gives a password and no key, only the password is tried: switches count each key as a wrong login. `accepted` is
    called once every password that there is has been taken.
    """
    want = login(target.name, target.settings)
    enables = _enables(target.settings) and any(target.settings.get(n) for n in PASSWORDS)
    with open_link(want, secret, limits, keys=bool(want.key_files) or not want.password) as link:
        channel = open_terminal(link, WIDTH, HEIGHT)
        session = Session(link, channel, target.platform, limits.bytes)
        try:
            if not enables:
                accepted()
            session.begin(target.settings, want.user, secret)
            accepted()
            yield session
        finally:
            session.end()


class Dead(Exception):
    """The session gives nothing any more; `reply` is what that makes of the command under way."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class Session:
    """A terminal over one channel (`agent.facts.switch.protocol.Terminal`)."""

    def __init__(self, link: Link, channel: Any, platform: str, limit: int) -> None:
        self.platform = platform
        self.privileged = False
        self.weak = ssh_legacy.used(link.transport)
        self._link, self._channel, self._left = link, channel, limit
        self._prompt = ""
        self._dead: Reply | None = None
        self._netmiko = _netmiko(platform, channel)

    # ------------------------------------------------------------------------------------------------------ login

    def begin(self, settings: Mapping[str, Any], user: str, secret: Secret) -> None:
        """Get past banners to the prompt, become privileged where the inventory says so, switch paging off."""
        try:
            self._find_prompt()
            if not self.privileged and _enables(settings):
                self._enable(settings, user, secret)
        except Dead as dead:
            # Not raised: the login worked, and what follows is unknown for a reason of its own.
            self._dead = dead.reply
            return
        for command in PAGING[self.platform]:
            self.ask(command)  # refused or not: pages are turned where they come

    def _find_prompt(self) -> None:
        """Wait for silence after something like a prompt, then press return: a prompt shows itself again alone."""
        text = ""
        for _ in range(10):
            text = self._read_until(text, lambda t: bool(PROMPT.search(t) or PRESS_KEY.search(t)), QUIET)
            if PRESS_KEY.search(text):
                self._write("\r" if self.platform == "procurve" else " ")
                text = ""
                continue
            found = PROMPT.search(text)
            if found is None:
                continue
            if EXPIRED.search(text):
                raise CredentialRefused(
                    f"{self._link.place} wants a new password before it lets anybody in.",
                    "Log in by hand once and set it.",
                )
            self._write(self._netmiko.RETURN)
            again = self._read_until("", lambda t: bool(PROMPT.search(t)), QUIET)
            second = PROMPT.search(again)
            if second and second[1] == found[1]:
                self._prompt, self.privileged = found[1], found[2] == "#"
                return
            text = again
        raise Dead(Reply("", timed_out=True))

    def _enable(self, settings: Mapping[str, Any], user: str, secret: Secret) -> None:
        """`enable`, with the password by reference. Where there is none and one is asked for, it is called off."""
        reference = next((str(settings[n]) for n in PASSWORDS if settings.get(n) not in (None, "")), "")
        word = secret(reference) if reference else ""
        if "\n" in word or "\r" in word:
            raise SecretError("the enable password is more than one line.", "Look at ansible_become_password.")
        self._write(f"enable{self._netmiko.RETURN}")
        text, asked = "", False
        for _ in range(6):
            text = self._read_until("", lambda t: bool(ENDS.search(t)), 0.05)
            if re.search(r"(?i)(user ?name|login)\s*:\s*$", text):
                self._write(f"{user}{self._netmiko.RETURN}")
            elif re.search(r"(?i)password\s*:\s*$", text):
                if asked or not word:
                    self._write(f"\x03{self._netmiko.RETURN}")  # called off: nothing wrong is ever tried
                else:
                    self._write(f"{word}{self._netmiko.RETURN}")
                asked = asked or bool(word)
            elif found := PROMPT.search(text):
                self.privileged = found[2] == "#"
                break
        if asked and not self.privileged:
            raise CredentialRefused(
                f"{self._link.place} did not take the enable password.", "Check ansible_become_password."
            )

    def end(self) -> None:
        """Leave politely; never waits and never raises."""
        with contextlib.suppress(Exception):
            if self._dead is None:
                self._channel.sendall(f"exit{self._netmiko.RETURN}".encode())
        with contextlib.suppress(Exception):
            self._channel.close()

    # ---------------------------------------------------------------------------------------------------- commands

    def ask(self, command: str) -> Reply:
        """Run one command. Once a session is lost every later reply is lost for the same reason."""
        if self._dead is not None:
            return self._dead
        try:
            self._write(f"{command}{self._netmiko.RETURN}")
            text = self._answer()
            while not text.strip():  # a prompt that was still on its way: an answer begins with the command's echo
                text = self._answer()
            # A line of the answer may look like the prompt. Return shows whether more was on its way.
            while True:
                self._write(self._netmiko.RETURN)
                rest = self._answer()
                if not rest.strip():
                    break
                text += rest
        except Dead as dead:
            self._dead = dead.reply
            return dead.reply
        return Reply(_without_echo(text, command))

    def _answer(self) -> str:
        """What comes until the prompt stands alone at the end, without it; pages are turned."""
        # An answer without a line end leaves the prompt behind its last word; whether it is one, return will tell.
        end = re.compile(rf"[ \t]*{re.escape(self._prompt)}[>#][ \t]*$")
        text = ""
        for _ in range(PAGES):
            text = self._read_until(text, lambda t: bool(end.search(t) or MORE.search(t)), 0.0)
            if MORE.search(tail(text)):
                text = unpaged(text)
                self._write(" ")
                continue
            plain = settle(self._netmiko.strip_ansi_escape_codes(text))
            return end.sub("\n", plain)
        raise Dead(Reply("", cut_off=True))

    # -------------------------------------------------------------------------------------------------------- bytes

    def _write(self, text: str) -> None:
        try:
            self._channel.settimeout(self._link.left())
            self._channel.sendall(text.encode())
        except (OSError, EOFError) as error:
            raise Dead(self._lost()) from error

    def _lost(self) -> Reply:
        """The connection is gone: by our own clock, or by the other side."""
        late = self._link.expired or self._link.left() < 0.05
        return Reply("", timed_out=late, cut_off=not late)

    def _read_until(self, text: str, done: Any, quiet: float) -> str:
        """Read on until `done` of the last lines holds and `quiet` seconds of silence have followed."""
        silent_since = time.monotonic()
        while True:
            ready = may_end(text) and done(tail(text))
            patience = quiet if ready else SILENCE
            if ready and time.monotonic() - silent_since >= quiet:
                return text
            data = self._receive(min(max(patience - (time.monotonic() - silent_since), 0.001), self._link.left()))
            if data:
                text += data.decode("utf-8", "replace")
                silent_since = time.monotonic()
            elif self._link.left() < 0.05 or (not ready and time.monotonic() - silent_since >= SILENCE):
                raise Dead(Reply("", timed_out=True))

    def _receive(self, seconds: float) -> bytes:
        """Bytes as they come; nothing when none came in time. Raises `Dead` for an end, and past the byte limit."""
        try:
            self._channel.settimeout(seconds)
            data: bytes = self._channel.recv(1 << 16)
        except TimeoutError:
            return b""
        except (OSError, EOFError) as error:
            raise Dead(self._lost()) from error
        if not data:
            raise Dead(self._lost())
        self._left -= len(data)
        if self._left < 0:
            raise Dead(Reply("", cut_off=True))
        return data


EXPIRED = re.compile(r"(?i)(new password|password (has )?expired|must (change|set) (the|your) password)[^\n]*$")


def _enables(settings: Mapping[str, Any]) -> bool:
    """Whether `enable` may be tried: unless the inventory says `ansible_become: false`."""
    return str(settings.get("ansible_become", "true")).lower() not in ("false", "no", "off", "0")


def _without_echo(text: str, command: str) -> str:
    """An answer without its first line where that is the command as the terminal echoed it."""
    first, newline, rest = text.lstrip("\n").partition("\n")
    return (rest if newline else "") if first.strip().endswith(command) else text


def _netmiko(platform: str, channel: Any) -> BaseConnection:
    """netmiko's session of a make over a channel of ours. It opens nothing itself."""
    log = logging.getLogger("netmiko")
    if not log.handlers:  # it would log what is written, passwords too
        log.addHandler(logging.NullHandler())
        log.propagate = False
        log.setLevel(logging.CRITICAL)
    from netmiko import ConnectHandler
    from netmiko.channel import SSHChannel

    session: BaseConnection = ConnectHandler(
        device_type=DEVICE_TYPES[platform], host="switch", auto_connect=False, allow_auto_change=False
    )
    session.channel = SSHChannel(conn=channel, encoding="utf-8")
    return session


__all__ = ["Broken", "Session", "TargetError", "Unreachable", "open_switch"]
