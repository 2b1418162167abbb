"""The collector's protocol: the script for one plan, and its answer taken apart. Pure.

A part counts only when it is as long as its mark says; what is cut off is unknown, never empty. The marks carry a
nonce made for the run. A part that failed says how, in the types of .NET and HRESULTs, never in a language's words.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.facts.protocol import Output
from agent.model import Reason, Unknown

MAX_ITEMS = 5000
"""Items kept of one list; the script stops there too."""
RESERVE = 10.0
"""Seconds of a target's time that are the network's, not the script's."""

_DENIED = {"SecurityException", "UnauthorizedAccessException", "PrivilegeNotHeldException"}
_DENIED_CODES = {0x80041003, 0x80070005, 0x800702E4, 0x80070522, 0x8007001F}
"""WBEM_E_ACCESS_DENIED, E_ACCESSDENIED, elevation required, privilege not held (winerror.h, wbemcli.h)."""
_NO_CLASS = {0x80041010: "class", 0x8004100E: "namespace", 0x80041002: "object"}
"""WBEM_E_INVALID_CLASS, WBEM_E_INVALID_NAMESPACE, WBEM_E_NOT_FOUND (wbemcli.h)."""
_LATE_CODES = {0x80131505, 0x80041069, 0x80040004}
"""COR_E_TIMEOUT, WBEM_E_TIMED_OUT, and what MI says of an operation that was cancelled for its time."""
_NOT_HERE = {"PlatformNotSupportedException", "NotSupportedException", "NotImplementedException"}
_DEFENDER_OFF = {0x800106BA}
"""MpClient: the service of Microsoft Defender Antivirus is not running."""


@lru_cache(maxsize=1)
def parts() -> dict[str, str]:
    """The collector as it ships, by part: `head`, then what stands under each `#: name`, without its comments."""
    text = (Path(__file__).parent / "collect.ps1").read_text(encoding="ascii")
    pieces = re.split(r"^#: (\w+)\n", text, flags=re.MULTILINE)
    found = {"head": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}
    return {name: _bare(body) for name, body in found.items()}


def _bare(body: str) -> str:
    lines = (line.strip() for line in body.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))


def new_nonce() -> str:
    """A mark that nothing on a host can know beforehand."""
    return secrets.token_hex(12)


def program(sections: Iterable[str], asked: Mapping[str, Any], nonce: str, seconds: float) -> str:
    """The script for one plan: the parts of it in the collector's own order, with what they are asked for.

    Text is ASCII throughout. What is asked for goes in as JSON in a quoted string: it is data there, never code.
    """
    wanted = {"meta", *sections}
    body = parts()
    if unknown := wanted - set(body):
        raise ValueError(f"no such part of the collector: {', '.join(sorted(unknown))}")
    data = json.dumps(asked, ensure_ascii=True, sort_keys=True).replace("'", "''")
    begin = f"$K = '{nonce}'\n$B = {max(5, int(seconds - RESERVE))}\n$A = ConvertFrom-Json '{data}'\n"
    chosen = [text for name, text in body.items() if name in wanted]
    return begin + body["head"] + "".join(chosen) + body["end"]


class Missing(Exception):
    """What a reader needs is not there; `why` becomes the fact's value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.why = Unknown(reason, detail)


@dataclass(frozen=True, slots=True)
class Value:
    """One registry value. `state`: `value`, `no value` or `no key`; `type` is empty unless there is a value."""

    state: str
    type: str = ""
    number: int | None = None
    text: str | None = None
    list: tuple[str, ...] | None = None


@dataclass(slots=True)
class Answer:
    """Everything that came back: parts by name, as the decoded `v`, or as the reason why there is none."""

    parts: dict[str, Any] = field(default_factory=dict)
    lost: Unknown | None = None
    """Why parts may be missing; None when the END mark came."""
    keys: dict[str, int] = field(default_factory=dict)
    """Places of registry keys in the part `registry`, by path in lower case."""
    names: dict[str, Sequence[str]] = field(default_factory=dict)

    def need(self, name: str) -> dict[str, Any]:
        """A part that was answered. Raises `Missing` with the reason otherwise."""
        if name not in self.parts:
            why = self.lost or Unknown(Reason.UNREADABLE, f"no answer about {name}")
            raise Missing(why.reason, why.detail)
        value = self.parts[name]
        if isinstance(value, Unknown):
            raise Missing(value.reason, value.detail)
        if not isinstance(value, dict):
            raise Missing(Reason.UNREADABLE, name)
        return value

    @property
    def admin(self) -> bool | None:
        """Whether the account had an administrator's full rights; None where nobody could tell."""
        meta = self.parts.get("meta")
        if not isinstance(meta, dict) or meta.get("asked") is not True:
            return None
        return meta.get("admin") is True

    def value(self, path: str, name: str) -> Value:
        """A registry value that the plan asked for. Raises `Missing` when it could not be looked at."""
        entry = self._key(path)
        if entry is None:
            return Value("no key")
        wanted = [n.lower() for n in self.names[path.lower()]]
        raw = entry["v"][wanted.index(name.lower())]
        return _value(raw)

    def key(self, path: str) -> int | None:
        """Number of values of a registry key, None when there is no such key. Raises `Missing`."""
        entry = self._key(path)
        return None if entry is None else int(entry["c"])

    def _key(self, path: str) -> dict[str, Any] | None:
        keys = self.need("registry").get("keys")
        if self.parts.get("meta", {}).get("narrow") is True:
            raise Missing(Reason.NOT_SUPPORTED, "a 32-bit PowerShell sees another registry")
        place = self.keys.get(path.lower())
        if place is None or not isinstance(keys, list) or place >= len(keys) or not isinstance(keys[place], dict):
            raise Missing(Reason.UNREADABLE, "the registry")
        entry: dict[str, Any] = keys[place]
        if "e" in entry:
            why = failure(entry["e"], path)
            raise Missing(why.reason, why.detail)
        return None if entry.get("m") == 1 else entry


def _value(raw: Mapping[str, Any]) -> Value:
    kind = str(raw["t"])
    if kind == "":
        return Value("no value")
    if kind in ("dword", "qword"):
        # 5.1 shows 0xffffffff as -1: the registry has no sign
        return Value("value", kind, number=int(raw["n"]) & (0xFFFFFFFF if kind == "dword" else 0xFFFFFFFFFFFFFFFF))
    if kind == "text":
        return Value("value", kind, text=clean(str(raw["s"]), 2000))
    if kind == "list":
        return Value("value", kind, list=tuple(clean(str(x), 400) for x in raw["l"]))
    return Value("value", kind)


def failure(raw: Any, what: str) -> Unknown:
    """How a command failed → why the fact is unknown. `what` names it in the platform's own words."""
    if not isinstance(raw, dict):
        return Unknown(Reason.UNREADABLE, what)
    kind, category, identity = (str(raw.get(k, "")) for k in "tci")
    code = _code(str(raw.get("h", "0")), identity)
    if kind == "TooLong":
        return Unknown(Reason.TRUNCATED, f"{what}: longer than allowed")
    if kind == "CommandNotFoundException":
        return Unknown(Reason.COMMAND_MISSING, clean(str(raw.get("w", "")), 60) or what)
    if category == "OperationTimeout" or code in _LATE_CODES or kind == "TimeoutException":
        return Unknown(Reason.TIMED_OUT, what)
    if category == "PermissionDenied" or kind in _DENIED or code in _DENIED_CODES:
        return Unknown(Reason.PERMISSION, "administrator")
    if code in _DEFENDER_OFF:
        return Unknown(Reason.NOT_SUPPORTED, "Microsoft Defender Antivirus is not running")
    if code in _NO_CLASS:
        return Unknown(Reason.NOT_SUPPORTED, f"{what}: no such {_NO_CLASS[code]} on this edition of Windows")
    if category == "NotImplemented" or kind in _NOT_HERE:
        return Unknown(Reason.NOT_SUPPORTED, what)
    return Unknown(Reason.UNREADABLE, f"{what} failed ({clean(kind, 60) or 'no reason given'})")


def _code(number: str, identity: str) -> int:
    """The HRESULT, unsigned: in an error's id where CIM puts it, else the exception's own."""
    if found := re.match(r"HRESULT 0x([0-9a-fA-F]{8})\b", identity):
        return int(found[1], 16)
    return int(number) & 0xFFFFFFFF if re.fullmatch(r"-?\d{1,11}", number) else 0


def parse(output: Output, nonce: str, asked: Mapping[str, Any]) -> Answer:
    """Take an answer apart. Never raises; what is not proven complete is not in `parts`."""
    queries = asked.get("registry") or []
    answer = Answer(
        keys={str(q["p"]).lower(): n for n, q in enumerate(queries)},
        names={str(q["p"]).lower(): q["n"] for q in queries},
    )
    start = f"#{nonce} "
    text = output.stdout.decode("utf-8", "replace")
    _, found, rest = text.partition(start)
    if output.timed_out:
        answer.lost = Unknown(Reason.TIMED_OUT, "the machine took too long")
    elif output.truncated:
        answer.lost = Unknown(Reason.TRUNCATED, "the answer was longer than allowed")
    elif not found:
        answer.lost = Unknown(Reason.UNREADABLE, "the machine did not run the collector")
    else:
        answer.lost = Unknown(Reason.TRUNCATED, "the answer ended early")
    for piece in rest.split(start) if found else ():
        line, newline, body = piece.partition("\n")
        words = line.split()
        if words == ["END"]:
            answer.lost = None
            break
        if not newline or len(words) != 2 or not words[1].isdecimal() or words[0] in answer.parts:
            continue
        packed = body.replace("\r", "").replace("\n", "")
        if len(packed) == int(words[1]):
            answer.parts[words[0]] = _decoded(words[0], packed)
    return answer


def _decoded(name: str, text: str) -> Any:
    try:
        data = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return Unknown(Reason.UNREADABLE, name)
    if not isinstance(data, dict):
        return Unknown(Reason.UNREADABLE, name)
    if "e" in data:
        return failure(data["e"], WORDS.get(name, name))
    return _plain(data.get("v"))


def _plain(value: Any) -> Any:
    """5.1 writes an array that was wrapped in an object as {"value": [...], "Count": n}: the array is meant."""
    if isinstance(value, dict):
        if set(value) == {"value", "Count"} and isinstance(value["value"], list):
            return [_plain(v) for v in value["value"]]
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


WORDS: dict[str, str] = {}
"""What a part is called in a reason; filled by the readers."""


def clean(value: str, limit: int = 300) -> str:
    """A host's word, fit to be kept: no control characters, nothing that turns text round, not endless."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+", "\ufffd", value)[:limit]
