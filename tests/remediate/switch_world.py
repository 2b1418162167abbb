"""Stand-in switches with planted drift, and what mends them typed into them over real SSH."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import paramiko

from agent.demo.switch_server import Switches
from agent.evaluate import Case, judge
from agent.model import Evidence, Kind, School, Target, TargetState, Verdict
from agent.remediate import switches
from agent.remediate.switch_parts import Part
from tests.truth import switches as paper
from tests.truth.switches import Sheet

PROMPT = re.compile(r"[>#] ?$")


@dataclass(frozen=True)
class Seen:
    """A switch as a scan saw it and judged it."""

    evidence: Evidence
    failing: list[switches.Failing]
    verdicts: dict[str, str]

    @property
    def facts(self) -> dict[str, Any]:
        """Fact → value."""
        return {n: r.value for n, r in self.evidence.facts.items()}

    @property
    def parts(self) -> dict[str, Part]:
        """What mends it, by control."""
        return switches.parts(self.evidence, self.failing, {})


def seen(sheet: Sheet, parameters: Mapping[str, Any] | None = None) -> Seen:
    """Read and judge it, as a scan does."""
    target, school = Target("sw", Kind.DEVICE, sheet.platform, "oak"), School("oak", "Oakfield", "OAK")
    evidence = Evidence(target, TargetState.COLLECTED, datetime(2026, 11, 1, tzinfo=UTC), paper.facts(sheet))
    rules = {r.control.id: r for r in paper._rules(repr({**paper.PARAMETERS, **(parameters or {})}))}
    found = judge(Case(evidence, (school,)), tuple(rules.values()), school)
    bad = [(rules[f.control], f, f.offenders) for f in found if f.verdict is Verdict.FAIL]
    return Seen(evidence, bad, {f.control.removeprefix("switch."): f.verdict.value for f in found})


class Typist:
    """A person at a terminal: types lines one after another and reads what comes."""

    def __init__(self, hosts: Switches, name: str, password: str = "scan") -> None:
        place = hosts.inventory_vars(name)
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        self.client.connect(
            str(place["ansible_host"]),
            int(place["ansible_port"]),
            str(place["ansible_user"]),
            password,
            look_for_keys=False,
            allow_agent=False,
        )
        self.channel = self.client.invoke_shell()
        self.channel.settimeout(30)
        if place["ansible_network_os"] == "procurve":
            self._until(re.compile("any key"))
            self.channel.sendall(b" ")
        self._until(PROMPT)

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def _until(self, end: re.Pattern[str]) -> str:
        text, late = "", time.monotonic() + 30
        while not end.search(text):
            assert time.monotonic() < late, text
            text += self.channel.recv(65536).decode()
        return text

    def type(self, text: str) -> str:
        """Type a text line by line, comments left out; gives all that came. A refused line fails the test."""
        said, quoting = "", False
        for line in text.splitlines():
            word = line.strip()
            if word.startswith(("!", ";")):
                continue
            self.channel.sendall(f"{word}\r".encode())
            quoting = word == "banner motd #" or (quoting and word != "#")
            if quoting:
                continue
            answer = self._until(re.compile(r"[>#] ?$|\[confirm\]$|\[yes/no\]: $"))
            if answer.endswith("[yes/no]: "):
                self.channel.sendall(b"no\r")
                answer += self._until(re.compile(r"\[confirm\]$"))
            if answer.endswith("[confirm]"):
                self.channel.sendall(b"\r")
                answer += self._until(PROMPT)
            assert "nvalid input" not in answer, f"{word}: {answer}"
            said += answer
        return said
