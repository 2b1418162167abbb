"""Registry values, one or several places at a time: the first place that holds a value is the one in force."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.windows.answer import Answer
from agent.facts.windows.readers import Places, reads_keys
from agent.facttypes import BOOL, INT, STR, Enum, Field, ListOf, Record

REGISTRY = Record(
    {
        "state": Field(Enum(("value", "no value", "no key")), "whether there is a value, or not even its key"),
        "type": Field(
            Enum(("dword", "qword", "text", "list", "binary", "none", "other")), "of the value", may_be_absent=True
        ),
        "number": Field(INT, "a DWORD or QWORD, without sign; absent for every other type", may_be_absent=True),
        "text": Field(STR, "a string; absent for every other type", may_be_absent=True),
        "digits": Field(INT, "the number that a string of digits alone spells", may_be_absent=True),
        "list": Field(ListOf(STR), "a multi-string", may_be_absent=True),
        "place": Field(STR, "the key in which it was found", may_be_absent=True),
        "source": Field(Enum(("policy", "local")), "whether a policy sets it", may_be_absent=True),
    }
)

_PLACE = re.compile(r"(HKLM:\\[^:\x00-\x1f*?\[\]]*[^:\\\x00-\x1f*?\[\]]):([^\x00-\x1f]+)")
_POLICY = re.compile(r"\\(policies|policymanager)(\\|$)", re.IGNORECASE)


def places(key: str) -> Places | None:
    """`HKLM:\\A:Name > HKLM:\\B:Name` → the places in order of precedence; None when it is no such key."""
    found = [_PLACE.fullmatch(part.strip()) for part in key.split(" > ")]
    return tuple((m[1], m[2]) for m in found if m) if all(found) and len(found) <= 6 else None


@reads_keys(
    "registry",
    REGISTRY,
    key="HKLM:\\KEY:VALUE",
    asks=("registry",),
    what="registry values",
    doc="several places, parted by ` > `, stand for the first of them that holds a value: a policy's place beats the "
    "local one. A value of another type than Windows expects has no number, or no text: it does not count there",
    places=places,
)
def read_registry(answer: Answer, key: str) -> Any:
    """One value in force. A place that may not be read stops the search: it may hold the value that counts."""
    state = "no key"
    for path, name in places(key) or ():
        found = answer.value(path, name)
        if found.state == "value":
            digits = re.fullmatch(r"\s*(\d{1,18})\s*", found.text, re.ASCII) if found.text is not None else None
            return {
                "state": "value",
                "type": found.type,
                "number": found.number,
                "text": found.text,
                "digits": int(digits[1]) if digits else None,
                "list": None if found.list is None else list(found.list),
                "place": path,
                "source": "policy" if _POLICY.search(path) else "local",
            }
        state = found.state if found.state == "no value" else state
    nothing = dict.fromkeys(("type", "number", "text", "digits", "list", "place", "source"))
    return {"state": state, **nothing}


def _key_place(key: str) -> Places | None:
    return ((key, ""),) if re.fullmatch(r"HKLM:\\[^:\x00-\x1f*?\[\]]*[^:\\\x00-\x1f*?\[\]]", key) else None


@reads_keys(
    "registry_key",
    Record({"exists": Field(BOOL), "values": Field(INT, "values in it, keys below not counted")}),
    key="HKLM:\\KEY",
    asks=("registry",),
    what="registry keys",
    places=_key_place,
)
def read_key(answer: Answer, key: str) -> Any:
    """Whether a key is there, and how many values it has."""
    count = answer.key(key)
    return {"exists": count is not None, "values": count or 0}
