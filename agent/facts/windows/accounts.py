"""Local accounts, the group of administrators, and what wrong passwords lead to. By SID: names are translated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agent.facts.windows.answer import Answer, Missing, clean, failure
from agent.facts.windows.readers import listing, moment, reads, truth
from agent.facts.windows.system import OPTIONS, PRODUCTS
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record
from agent.model import Partial, Reason, Unknown

_KIND = ((OPTIONS, "ProductType"),)
_ON_DC = "absent on a domain controller, which has no local accounts: see the directory's own controls"
_SID = re.compile(r"S-1-[0-9]+(-[0-9]+)+")

ACCOUNT = Record(
    {
        "name": Field(STR),
        "sid": Field(STR),
        "guest": Field(BOOL, "the built-in guest account, whatever it is called"),
        "enabled": Field(BOOL),
        "password_required": Field(BOOL),
        "password_set": Field(TIME, "absent when no password was ever set", may_be_absent=True),
    },
    key="sid",
    label="name",
)


def _on_dc(answer: Answer) -> bool:
    return PRODUCTS.get((answer.value(*_KIND[0]).text or "").lower()) == "domain controller"


@reads(
    "local_accounts",
    ListOf(ACCOUNT),
    asks=("registry", "accounts"),
    registry=_KIND,
    what="Get-LocalUser, or Win32_UserAccount",
    doc=_ON_DC,
    may_be_absent=True,
)
def read_accounts(answer: Answer) -> Any:
    """Accounts of the machine itself. None at all is no answer: two are built in."""
    if _on_dc(answer):
        return None

    def one(raw: Any) -> dict[str, Any]:
        sid = str(raw["sid"])
        if not _SID.fullmatch(sid):
            raise ValueError("no SID")
        return {
            "name": clean(str(raw["name"]), 100),
            "sid": sid,
            "guest": sid.endswith("-501"),
            "enabled": truth(raw["on"]),
            "password_required": truth(raw["needs"]),
            "password_set": moment(raw["set"])
            if raw["dated"] is True
            else Unknown(Reason.COMMAND_MISSING, "Get-LocalUser"),
        }

    found = listing(answer.need("accounts"), one)
    if not (found.items if isinstance(found, Partial) else found):
        return Unknown(Reason.UNREADABLE, "the local accounts")
    return found


MEMBER = Record(
    {
        "name": Field(STR, "as Windows shows it: DOMAIN\\name, or a SID where the account is gone"),
        "sid": Field(STR, may_be_absent=True),
        "from": Field(Enum(("machine", "elsewhere")), "whether it is an account of the machine itself"),
    },
    key="name",
    label="name",
)


@reads(
    "administrators_group",
    ListOf(MEMBER),
    asks=("registry", "admins", "accounts"),
    registry=_KIND,
    what="Get-LocalGroupMember -SID S-1-5-32-544, or net localgroup",
    doc=f"members of the local group of administrators; {_ON_DC}",
    may_be_absent=True,
)
def read_administrators(answer: Answer) -> Any:
    """Members by the cmdlet; by net.exe where it fails, which it does for an account that no longer exists."""
    if _on_dc(answer):
        return None
    part = answer.need("admins")
    if "items" in part:
        own = {sid.rpartition("-")[0] for sid in _local_sids(answer).values()}

        def one(raw: Any) -> dict[str, Any]:
            sid = str(raw["sid"])
            # the source is empty where Windows is too old to tell; the machine's own accounts share its SID
            local = str(raw["source"]).lower() == "local" or (not raw["source"] and sid.rpartition("-")[0] in own)
            return {
                "name": clean(str(raw["name"]) or sid, 300),
                "sid": sid if _SID.fullmatch(sid) else None,
                "from": "machine" if local else "elsewhere",
            }

        return listing(part, one)
    names = _members([str(x) for x in part["lines"]])
    if part.get("code") != 0 or names is None:
        why = failure(part["why"], "Get-LocalGroupMember")
        raise Missing(why.reason, why.detail)
    return [_by_name(name, _local_sids(answer)) for name in names]


def _local_sids(answer: Answer) -> dict[str, str]:
    try:
        items = answer.need("accounts")["items"]
        return {str(x["name"]).lower(): str(x["sid"]) for x in items}
    except (Missing, KeyError, TypeError):
        return {}


def _by_name(name: str, sids: dict[str, str]) -> dict[str, Any]:
    """net.exe shows the machine's own accounts without a domain, and one that is gone as its SID."""
    gone = _SID.fullmatch(name) is not None
    local = not gone and "\\" not in name
    return {
        "name": clean(name, 300),
        "sid": name if gone else sids.get(name.lower()) if local else None,
        "from": "machine" if local else "elsewhere",
    }


def _members(lines: Sequence[str]) -> list[str] | None:
    """Between the rule of dashes and the sentence that ends every answer of net.exe; None when it is no such answer."""
    rules = [n for n, line in enumerate(lines) if re.fullmatch(r"-{20,}\s*", line)]
    told = [line.strip() for line in lines[rules[0] + 1 :] if line.strip()] if rules else []
    return told[:-1] if told else None


@reads(
    "lockout",
    Record({"threshold": Field(INT, "wrong passwords after which an account locks; 0 means never")}),
    asks=("registry", "lockout"),
    registry=_KIND,
    what="net accounts",
    doc=f"for local accounts; {_ON_DC}",
    may_be_absent=True,
)
def read_lockout(answer: Answer) -> Any:
    """The sixth of the nine lines of `net accounts`, whose order no language changes. secedit would write a file."""
    if _on_dc(answer):
        return None
    part = answer.need("lockout")
    rows = [m for line in part["lines"] if (m := re.fullmatch(r"(\S.*?)\s{2,}(\S.*?)\s*", str(line)))]
    if part.get("code") != 0 or len(rows) != 9:
        raise Missing(Reason.UNREADABLE, "net accounts")
    values = [m[2] for m in rows]
    # maximum age of a password and the two durations are numbers or a word; what tells lines apart is their place
    if not all(re.fullmatch(r"\d+", values[n]) for n in (1, 3)):
        raise Missing(Reason.UNREADABLE, "net accounts")
    if re.fullmatch(r"\d{1,3}", values[5]):
        return {"threshold": int(values[5])}
    if re.fullmatch(r"\w+\.?", values[5]):
        return {"threshold": 0}  # "Never", in whatever language
    raise Missing(Reason.UNREADABLE, "net accounts")
