"""What protects the machine: Defender, BitLocker, the TPM, virtualisation-based security, approved programs."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.windows.answer import Answer, Missing, clean
from agent.facts.windows.readers import ADMIN, moment, reads, truth, whole
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record
from agent.model import Partial, Reason, Unknown

DEFENDER = Record(
    {
        "mode": Field(STR, "AMRunningMode: Normal, Passive Mode, EDR Block Mode, …"),
        "real_time": Field(BOOL, "whether files are looked at as they are opened, in effect"),
        "signature_age": Field(INT, "days since the last update of signatures; 65535 means never", volatile=True),
        "signatures": Field(TIME, "when signatures were last updated", may_be_absent=True, volatile=True),
        "tamper_protection": Field(BOOL),
    }
)


def _need(answer: Answer, name: str) -> dict[str, Any]:
    """A part about Defender. Where it does not run, the reason names what has registered as on in its place
    (bits 12 to 15 of `productState` are 1 then, wscapi.h)."""
    try:
        return answer.need(name)
    except Missing as error:
        if error.why.reason is not Reason.NOT_SUPPORTED:
            raise
        others = []
        if isinstance(told := answer.parts.get("antivirus"), dict):
            for raw in told["items"]:
                state, product = raw["state"], clean(str(raw["name"]), 60)
                if isinstance(state, int) and (state >> 12) & 0xF == 1 and "Defender" not in product:
                    others.append(product)
        words = f"{error.why.detail}; registered as on: {', '.join(others[:3])}" if others else error.why.detail
        raise Missing(error.why.reason, words) from None


@reads("defender", DEFENDER, asks=("antivirus", "defender"), what="MSFT_MpComputerStatus")
def read_defender(answer: Answer) -> Any:
    """What Defender does. One that only stands by for another product has nothing to say of protection."""
    part = _need(answer, "defender")
    mode = clean(str(part["mode"] or ""), 40)
    if mode.lower().startswith(("passive", "sxs", "not running")):
        return Unknown(Reason.NOT_SUPPORTED, f"Defender only stands by ({mode}): another product protects this machine")
    return {
        "mode": mode,
        "real_time": truth(part["real"]),
        "signature_age": whole(part["age"]),
        "signatures": moment(part["updated"]),
        "tamper_protection": truth(part["tamper"]),
    }


PREFERENCES = Record(
    {
        "pua": Field(INT, "PUAProtection: 0 off, 1 blocks, 2 only logs"),
        "maps": Field(INT, "MAPSReporting: 0 off, 1 basic, 2 advanced"),
        "exclusions": Field(
            ListOf(
                Record(
                    {"value": Field(STR), "kind": Field(Enum(("path", "process", "extension")))},
                    key="value",
                    label="value",
                )
            ),
            "what is not scanned",
        ),
        "asr": Field(
            ListOf(Record({"rule": Field(STR, "GUID in lower case"), "action": Field(INT)}, key="rule", label="rule")),
            "attack surface reduction rules: 0 off, 1 blocks, 2 only logs, 6 warns",
        ),
    }
)


@reads("defender_settings", PREFERENCES, asks=("antivirus", "preferences"), what="MSFT_MpPreference", rights=ADMIN)
def read_preferences(answer: Answer) -> Any:
    """Settings in force, policy and local together. Who may not see exclusions is told so in their place."""
    part = _need(answer, "preferences")
    rules, actions = part["rules"], part["actions"]
    if len(rules) != len(actions):
        asr: Any = Unknown(Reason.UNREADABLE, "rules and their actions")
    else:
        asr = [{"rule": clean(str(r), 60).lower(), "action": a} for r, a in zip(rules, actions, strict=True)]
    return {"pua": whole(part["pua"]), "maps": whole(part["maps"]), "exclusions": _exclusions(answer, part), "asr": asr}


def _exclusions(answer: Answer, part: dict[str, Any]) -> Any:
    kinds = {"paths": "path", "processes": "process", "extensions": "extension"}
    found = [(kind, str(value)) for name, kind in kinds.items() for value in part[name]]
    # "N/A: Must be an administrator to view exclusions"; administrators may be kept from seeing them as well
    if answer.admin is False or any(re.match(r"N/A\b", value) for _, value in found):
        return Unknown(Reason.PERMISSION, "administrator, to see exclusions")
    items = [{"value": clean(value, 300), "kind": kind} for kind, value in found]
    if any(len(part[n]) >= 500 for n in ("paths", "processes", "extensions")):
        return Partial(tuple(items), Unknown(Reason.TRUNCATED, "more than 500 exclusions"))
    return items


METHODS = {
    0: "none",
    1: "aes-128-diffuser",
    2: "aes-256-diffuser",
    3: "aes-128",
    4: "aes-256",
    5: "hardware",
    6: "xts-aes-128",
    7: "xts-aes-256",
}
"""EncryptionMethod of Win32_EncryptableVolume.GetEncryptionMethod."""
DRIVE = Record(
    {
        "protection": Field(Enum(("on", "off")), "on only when encrypted and not suspended"),
        "method": Field(Enum(tuple(METHODS.values()))),
        "encrypted": Field(BOOL, "whether encryption is complete"),
        "recovery_password": Field(BOOL, "whether there is one: it is never read itself"),
    }
)


@reads(
    "system_drive",
    DRIVE,
    asks=("bitlocker",),
    what="Win32_EncryptableVolume",
    rights=ADMIN,
    doc="BitLocker on the drive that Windows starts from",
)
def read_system_drive(answer: Answer) -> Any:
    """The system drive. Where BitLocker is not installed there is nothing to ask."""
    part = answer.need("bitlocker")
    if part["found"] is not True:
        return Unknown(Reason.NOT_SUPPORTED, "BitLocker does not know the system drive")
    protection, method, conversion = part["protection"], METHODS.get(part["method"]), part["conversion"]
    return {
        "protection": {0: "off", 1: "on"}.get(protection) or Unknown(Reason.UNREADABLE, "the drive is locked"),
        "method": method or Unknown(Reason.UNREADABLE, "method of encryption"),
        "encrypted": conversion == 1 if isinstance(conversion, int) else Unknown(Reason.UNREADABLE),
        "recovery_password": part["recovery"] > 0
        if part["code"] == 0
        else Unknown(Reason.UNREADABLE, "the kinds of key protectors"),
    }


@reads(
    "tpm",
    Record({"present": Field(BOOL), "ready": Field(BOOL)}),
    asks=("tpm",),
    what="Get-Tpm, or Win32_Tpm",
    rights=ADMIN,
)
def read_tpm(answer: Answer) -> Any:
    """Whether there is a TPM that Windows can use."""
    part = answer.need("tpm")
    return {"present": truth(part["present"]), "ready": truth(part["ready"])}


@reads(
    "tpm_attestation",
    Record({"ready": Field(BOOL, "whether the TPM can vouch for how the machine started")}),
    asks=("attestation",),
    what="tpmtool getdeviceinformation",
)
def read_attestation(answer: Answer) -> Any:
    """tpmtool's own words, which are English in every language that was seen; others are no answer."""
    for line in answer.need("attestation")["lines"]:
        if found := re.fullmatch(r"\s*-\s*Ready For Attestation\s*:\s*(True|False)\s*", str(line)):
            return {"ready": found[1] == "True"}
        if re.fullmatch(r"\s*-\s*TPM Present\s*:\s*False\s*", str(line)):
            return {"ready": False}
    return Unknown(Reason.NOT_SUPPORTED, "tpmtool says nothing of attestation")


GUARD = Record(
    {
        "running": Field(ListOf(INT), "services that run: 1 Credential Guard, 2 memory integrity, …"),
        "configured": Field(ListOf(INT), "services that are configured"),
        "program_policy": Field(
            Enum(("off", "audit", "enforced")), "App Control (WDAC) for programs, not for drivers alone"
        ),
    }
)


@reads("device_guard", GUARD, asks=("guard",), what="Win32_DeviceGuard")
def read_guard(answer: Answer) -> Any:
    """Virtualisation-based security and App Control, as they run."""
    part = answer.need("guard")
    for name in ("running", "configured"):
        if not all(isinstance(x, int) for x in part[name]):
            raise ValueError(name)
    return {
        "running": part["running"],
        "configured": part["configured"],
        "program_policy": {0: "off", 1: "audit", 2: "enforced"}.get(part["user"])
        or Unknown(Reason.NOT_SUPPORTED, "App Control"),
    }


_COLLECTION = re.compile(
    r'<RuleCollection\b(?=[^>]*\bType="(\w+)")(?=[^>]*\bEnforcementMode="(\w+)")[^>]*?(/>|>(.*?)</RuleCollection>)',
    re.DOTALL,
)
_RULE = re.compile(r"<File(?:Path|Publisher|Hash)Rule\b([^>]*)>(.*?)</File(?:Path|Publisher|Hash)Rule>", re.DOTALL)
_EVERYBODY = ("S-1-1-0", "S-1-5-11", "S-1-5-32-545")


@reads(
    "applocker",
    Record(
        {
            "programs": Field(Enum(("enforced", "audit", "open", "none")), "rules for programs (Exe) in force"),
            "scripts": Field(Enum(("enforced", "audit", "open", "none")), "rules for scripts in force"),
        }
    ),
    asks=("applocker",),
    what="Get-AppLockerPolicy -Effective",
    doc="`open`: a rule lets everybody run everything; nothing is enforced unless the service AppIDSvc runs",
)
def read_applocker(answer: Answer) -> Any:
    """The effective policy. A collection without rules restricts nothing; one that is not configured, with rules, does
    (Microsoft: AppLocker, "Enforcement modes")."""
    text = answer.need("applocker")["policy"]
    if not isinstance(text, str) or not re.search(r"</AppLockerPolicy>|<AppLockerPolicy[^>]*/>", text):
        raise Missing(Reason.UNREADABLE, "the AppLocker policy")
    state = {"Exe": "none", "Script": "none"}
    for kind, mode, _, body in _COLLECTION.findall(text):
        rules = _RULE.findall(body)
        if kind in state and rules:
            state[kind] = "audit" if mode == "AuditOnly" else "open" if any(map(_open, rules)) else "enforced"
    return {"programs": state["Exe"], "scripts": state["Script"]}


def _open(rule: tuple[str, str]) -> bool:
    """Whether a rule lets everybody run everything."""
    attributes, body = rule
    who = re.search(r'\bUserOrGroupSid="([^"]*)"', attributes)
    return (
        'Action="Allow"' in attributes
        and who is not None
        and who[1] in _EVERYBODY
        and re.search(r'<FilePathCondition Path="\*"', body.partition("<Exceptions>")[0]) is not None
        and "<Exceptions>" not in body
    )
