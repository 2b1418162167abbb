"""The collector's protocol: the payload that goes to a host, and its answer taken apart. Pure.

A section counts only when its closing mark came; what is cut off is unknown, never empty. The marks carry a nonce
made for the run, so that no file on the host can hold one.
"""

from __future__ import annotations

import re
import secrets
import shlex
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from agent.facts.protocol import Limits, Output
from agent.model import Reason, Unknown

COMMAND = (
    'exec /bin/sh -c \'if [ "$(id -u)" = 0 ]; then exec /bin/sh -s; fi; '
    "sudo -n /bin/sh -s 2>/dev/null || exec /bin/sh -s'"
)
"""One sudo for all. `sudo -n` reads nothing when it refuses, so the plain shell after it gets the whole script."""

RS = b"\x1e"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
MAX_ITEMS = 5000
"""Items kept of one list: a host that invents more costs itself the completeness of that list."""


@cache
def script() -> str:
    """The collector as it ships."""
    return (Path(__file__).parent / "collect.sh").read_text(encoding="utf-8")


def new_nonce() -> str:
    """A mark that nothing on a host can know beforehand."""
    return secrets.token_hex(8)


def payload(sections: Mapping[str, Sequence[str]], nonce: str, *, plain: bool = False) -> bytes:
    """The script with its last lines: which sections, with which keys. Every key is quoted."""
    calls = ["meta", *(s for s in sections if s != "meta")]
    lines = [f"sec {s} s_{s} {' '.join(shlex.quote(k) for k in sections.get(s, ()))}".rstrip() for s in calls]
    body = "\n".join(lines)
    pack = (
        "main"
        if plain
        else ('if have gzip; then printf \'\\n%s%s gz\\n\' "$RS" "$K"; main </dev/null | gzip -1 -c; else main; fi')
    )
    return (
        f'K={nonce}\n{script()}\nmain() {{\n{body}\nprintf \'\\n%s%s END %s\\n\' "$RS" "$K" "$COUNT"\n}}\n'
        f"{pack} </dev/null\nexit 0\n"
    ).encode()


class Missing(Exception):
    """What a reader needs is not there; `why` becomes the fact's value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.why = Unknown(reason, detail)


@dataclass(frozen=True, slots=True)
class FileText:
    """One file inside a section. `state`: ok (with details after a colon), absent, denied, masked."""

    path: str
    state: str
    text: str

    @property
    def ok(self) -> bool:
        """Whether the text is the file's."""
        return self.state.partition(":")[0] == "ok"


@dataclass(frozen=True, slots=True)
class Section:
    """One section as answered: text before the first file, and the files."""

    name: str
    rc: int
    note: str
    text: str
    files: tuple[FileText, ...] = ()

    @property
    def lines(self) -> list[str]:
        """Lines of the text that hold something."""
        return [line for line in self.text.splitlines() if line.strip()]

    def problem(self) -> Unknown | None:
        """Why the section is no answer, if it is none. rc 3 (not there) is an answer."""
        note = self.note or self.name
        if self.rc == 126:
            return Unknown(Reason.PERMISSION, "sudo")
        if self.rc == 127:
            return Unknown(Reason.COMMAND_MISSING, note)
        if self.rc in (124, 137, 143):
            return Unknown(Reason.TIMED_OUT, self.name.replace("_", " "))
        if self.rc not in (0, 3):
            return Unknown(Reason.UNREADABLE, f"{self.name.replace('_', ' ')} ended with code {self.rc}")
        return None

    def file(self, path: str) -> FileText | None:
        """The file of that path, if it was shown."""
        return next((f for f in self.files if f.path == path), None)


@dataclass(slots=True)
class Answer:
    """Everything that came back. `lost` says why sections may be missing; None when the END line came."""

    sections: dict[str, Section] = field(default_factory=dict)
    lost: Unknown | None = None

    def need(self, name: str, *, rc: Iterable[int] = (0,)) -> Section:
        """A section that answered with one of `rc`. Raises `Missing` with the reason otherwise."""
        section = self.sections.get(name)
        if section is None:
            why = self.lost or Unknown(Reason.UNREADABLE, f"no answer about {name.replace('_', ' ')}")
            raise Missing(why.reason, why.detail)
        problem = section.problem()
        if section.rc in rc:
            return section
        if problem is None:
            raise Missing(Reason.NOT_SUPPORTED, f"no {section.note}" if section.note else section.name)
        raise Missing(problem.reason, problem.detail)

    @property
    def meta(self) -> dict[str, str]:
        """What the script said of itself: uid, systemd ("1" or ""), packages (dpkg, rpm or "")."""
        section = self.sections.get("meta")
        if section is None or section.rc != 0:
            return {}
        return dict(line.partition("=")[::2] for line in section.lines)

    @property
    def root(self) -> bool:
        """Whether the script ran as root."""
        return self.meta.get("uid") == "0"


def parse(output: Output, nonce: str, limits: Limits) -> Answer:
    """Take an answer apart. Never raises; what is not proven complete is not in `sections`."""
    lost = (
        Unknown(Reason.TIMED_OUT, "the host took too long")
        if output.timed_out
        else Unknown(
            Reason.TRUNCATED, "the answer was longer than allowed" if output.truncated else "the answer ended early"
        )
    )
    start = b"\n" + RS + nonce.encode() + b" "
    data = b"\n" + output.stdout
    head, packed, rest = data.partition(start + b"gz\n")
    if packed:
        unpacked, damage = _inflate(rest, limits.bytes)
        if damage is not None:
            return Answer({}, damage) if unpacked is None else _sections(b"\n" + unpacked, start, damage)
        data = b"\n" + (unpacked or b"")
    elif start not in head:
        if not (output.timed_out or output.truncated):
            lost = Unknown(Reason.UNREADABLE, "the host did not run the collector")
        return Answer({}, lost)
    return _sections(data, start, lost)


def _inflate(data: bytes, limit: int) -> tuple[bytes | None, Unknown | None]:
    """gzip → (bytes, why they are not all). A stream that contradicts its checksum gives nothing at all."""
    engine = zlib.decompressobj(31)
    try:
        out = engine.decompress(data, limit)
    except zlib.error:
        return None, Unknown(Reason.UNREADABLE, "the answer was damaged on its way")
    if engine.unconsumed_tail:
        return out, Unknown(Reason.TRUNCATED, "the answer was longer than allowed")
    return out, None


def _sections(data: bytes, start: bytes, lost: Unknown) -> Answer:
    answer = Answer({}, lost)
    name: str | None = None
    files: list[tuple[str, bytes]] = []
    body = b""
    seen: set[str] = set()
    for part in data.split(start)[1:]:
        head_bytes, newline, rest = part.partition(b"\n")
        if not newline:
            break  # the mark itself is cut off
        head = head_bytes.decode("utf-8", "replace").strip()
        if match := re.fullmatch(r"END (\d+)", head):
            if int(match[1]) == len(answer.sections):
                answer.lost = None
            break
        if head.startswith("+ "):
            files.append((head[2:], rest))
        elif match := re.fullmatch(r"rc=(\d{1,3}) ?(.*)", head):
            if name is not None and name not in seen:
                answer.sections[name] = _section(name, int(match[1]), match[2], body, files)
                seen.add(name)
            name = None
        else:
            name, body, files = head, rest, []
    return answer


def _section(name: str, rc: int, note: str, body: bytes, files: Sequence[tuple[str, bytes]]) -> Section:
    shown = []
    for head, text in files:
        state, _, path = head.partition(" ")
        shown.append(FileText(path, state, _text(text)))
    return Section(name, rc, clean(note), _text(body), tuple(shown))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\n")


def clean(value: str, limit: int = 300) -> str:
    """A host's word, fit to be kept: no control characters, not endless."""
    return (value if value.isprintable() else _CONTROL.sub("\ufffd", value))[:limit]
