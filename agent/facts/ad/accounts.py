"""People, computers, service accounts and groups of a directory: which attributes, and what they mean.

Nothing that could be a secret is kept: free text is read only for *whether* it looks like a password was written
there. Bits of userAccountControl are those of MS-ADTS 2.2.16.
"""

from __future__ import annotations

import re

from agent import dn
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.row import Row, Shape, Take
from agent.facttypes import BOOL, INT, STR, TIME, Enum, ListOf
from agent.model import Partial, Reason, Unknown

UAC = "userAccountControl"
TRUST_ACCOUNT = 0x800
# What people type when they put a password into a note. Wide on purpose: somebody has to look.
_PASSWORD = re.compile(r"passw[o0]rd|pwd", re.IGNORECASE)
_BUILD = re.compile(r"\((\d+)\)")
AES = 24
"""AES128 and AES256 of msDS-SupportedEncryptionTypes (MS-KILE 2.2.7)."""
DES = 3

_SID = Take(STR, "security identifier", ("objectSid",), lambda r: v.sid(r.must("objectSid")))
_RID = Take(
    INT,
    "last part of the SID: 500 is the built-in administrator in every language",
    ("objectSid",),
    lambda r: v.rid(r.must("objectSid")),
)
_GUID = Take(STR, "objectGUID, its id in Entra too", ("objectGUID",), lambda r: v.guid(r.must("objectGUID")))
_DN = Take(STR, "distinguished name", (), lambda r: r.entry.dn)
_PARENT = Take(STR, "distinguished name of the container", (), lambda r: dn.parent(r.entry.dn))
_CREATED = Take(TIME, "when the object was made", ("whenCreated",), lambda r: v.generalized(r.must("whenCreated")))
_NAME = Take(STR, "login name (sAMAccountName)", ("sAMAccountName",), lambda r: v.text(r.must("sAMAccountName")))
_PRIMARY = Take(
    INT,
    "RID of the primary group, which no member list shows",
    ("primaryGroupID",),
    lambda r: v.number(r.must("primaryGroupID")),
)
_SYSTEM = Take(
    BOOL,
    "made by Windows itself",
    ("isCriticalSystemObject",),
    lambda r: (raw := r.may("isCriticalSystemObject", "objectSid")) is not None and v.truth(raw),
)


def _bit(bit: int, doc: str, on: bool = True) -> Take:
    return Take(BOOL, doc, (UAC,), lambda r: bool(r.number(UAC) & bit) is on)


def _logon(row: Row) -> str | None:
    raw = row.entry.attributes.get("lastlogontimestamp")
    if raw:
        return v.filetime(raw[0])
    if "lastlogontimestamp" in row.lacks or not row.logons_shown:
        row.must("lastLogonTimestamp")
    return None


def _changed(row: Row) -> str | None:
    return v.filetime(row.must("pwdLastSet"))


def _expires(row: Row) -> str | None:
    raw = row.may("accountExpires", UAC)
    return None if raw is None or v.CALENDAR < v.number(raw) <= v.NEVER else v.filetime(raw)


def _types(row: Row) -> int:
    raw = row.may("msDS-SupportedEncryptionTypes", UAC)
    return 0 if raw is None else v.number(raw)


def _upn(row: Row) -> str | None:
    raw = row.may("userPrincipalName", "sAMAccountName")
    return None if raw is None else v.text(raw)


def _mail_is_login(row: Row) -> bool | None:
    mail, upn = row.may("mail", "sAMAccountName"), _upn(row)
    return None if mail is None or upn is None else v.text(mail).casefold() == upn.casefold()


def _note(row: Row) -> bool:
    texts = [t for name in ("description", "info", "comment") for t in row.all(name, UAC)]
    return any(_PASSWORD.search(t.decode("utf-8", "replace")) for t in texts)


# One object for every empty list: nobody changes a reading, and 50,000 people have three such lists each.
_EMPTY: list[str] = []


def _strings(row: Row, name: str, guard: str = UAC) -> list[str]:
    return [v.text(raw) for raw in row.all(name, guard)] or _EMPTY


_LOGON = Take(
    TIME,
    "last sign-in as replicated (lastLogonTimestamp, which may lag 14 days); absent: never",
    ("lastLogonTimestamp",),
    _logon,
    True,
)
_CHANGED = Take(
    TIME,
    "when the password was set; absent: never, it must be changed at the next sign-in",
    ("pwdLastSet",),
    _changed,
    True,
)
_SPNS = Take(
    ListOf(STR),
    "service principal names",
    ("servicePrincipalName",),
    lambda r: _strings(r, "servicePrincipalName", "sAMAccountName"),
)
_DELEGATES = Take(
    ListOf(STR),
    "services it may act towards as somebody else",
    ("msDS-AllowedToDelegateTo",),
    lambda r: _strings(r, "msDS-AllowedToDelegateTo"),
)
_SID_HISTORY = Take(
    ListOf(STR),
    "identities carried along from another domain",
    ("sIDHistory",),
    lambda r: [v.sid(bytes(raw)) for raw in r.all("sIDHistory", UAC)] or _EMPTY,
)
_ENABLED = _bit(0x2, "may sign in", on=False)
_NO_PASSWORD = _bit(0x20, "may have an empty password whatever the policy says")
_UNCONSTRAINED = _bit(0x80000, "trusted for unconstrained delegation")
_TRANSITION = _bit(0x1000000, "may take on anybody's identity without their sign-in (protocol transition)")


def _weak_mapping(row: Row) -> bool:
    """A mapping by names alone can be matched by somebody else's certificate (Microsoft KB5014754)."""
    mappings = [v.text(raw).upper() for raw in row.all("altSecurityIdentities", UAC)]
    return any(m.startswith("X509:") and not m.startswith(_STRONG_MAPPINGS) and "<SR>" not in m for m in mappings)


_STRONG_MAPPINGS = ("X509:<SKI>", "X509:<SHA1-PUKEY>")
_WEAK_MAPPING = Take(
    BOOL, "a certificate opens it that is only matched by names", ("altSecurityIdentities",), _weak_mapping
)
_KEY_CREDENTIALS = Take(
    BOOL,
    "a key (Windows Hello, a device, or an intruder's) opens it beside the password",
    ("msDS-KeyCredentialLink",),
    lambda r: bool(r.hidden("msDS-KeyCredentialLink")),
)
_DES_ONLY = Take(
    BOOL,
    "limited to the broken cipher DES",
    (UAC, "msDS-SupportedEncryptionTypes"),
    lambda r: bool(r.number(UAC) & 0x200000) or bool((t := _types(r)) & DES and not t & ~DES),
)
_AES = Take(
    BOOL,
    "the AES ciphers are named for its tickets",
    ("msDS-SupportedEncryptionTypes",),
    lambda r: bool(_types(r) & AES),
)

USERS = Shape(
    {
        "sid": _SID,
        "rid": _RID,
        "dn": _DN,
        "parent": _PARENT,
        "name": _NAME,
        "upn": Take(STR, "sign-in name (userPrincipalName)", ("userPrincipalName",), _upn, True),
        "enabled": _ENABLED,
        "created": _CREATED,
        "expires": Take(TIME, "when the account expires; absent: never", ("accountExpires",), _expires, True),
        "last_logon": _LOGON,
        "password_last_set": _CHANGED,
        "password_never_expires": _bit(0x10000, "password never expires"),
        "password_not_required": _NO_PASSWORD,
        "reversible_encryption": _bit(0x80, "password is stored so that it can be read back"),
        "preauth_not_required": _bit(0x400000, "skips Kerberos pre-authentication"),
        "des_only": _DES_ONLY,
        "aes": _AES,
        "smartcard_required": _bit(0x40000, "signs in with a smart card only"),
        "not_delegated": _bit(0x100000, "sensitive and cannot be delegated"),
        "unconstrained_delegation": _UNCONSTRAINED,
        "protocol_transition": _TRANSITION,
        "delegates_to": _DELEGATES,
        "spns": _SPNS,
        "primary_group": _PRIMARY,
        "admin_count": Take(
            BOOL,
            "marked as an administrator (adminCount 1), now or once",
            ("adminCount",),
            lambda r: (raw := r.may("adminCount", UAC)) is not None and v.number(raw) == 1,
        ),
        "sid_history": _SID_HISTORY,
        "weak_mapping": _WEAK_MAPPING,
        "key_credentials": _KEY_CREDENTIALS,
        "has_mail": Take(
            BOOL, "has an e-mail address", ("mail",), lambda r: r.may("mail", "sAMAccountName") is not None
        ),
        "mail_is_login": Take(
            BOOL,
            "e-mail address and sign-in name are the same; absent: one of them is missing",
            ("mail", "userPrincipalName"),
            _mail_is_login,
            True,
        ),
        "password_in_text": Take(
            BOOL,
            "a note in the open seems to hold a password (the note itself is not kept)",
            ("description", "info", "comment"),
            _note,
        ),
        "system": _SYSTEM,
    },
    "sid",
    "name",
    ("logonCount", "badPwdCount"),
)


def _host(row: Row) -> str:
    name = v.text(row.must("sAMAccountName"))
    return name.removesuffix("$")


def _optional(name: str) -> Take:
    def read(row: Row) -> str | None:
        raw = row.may(name, UAC)
        return None if raw is None else v.text(raw)

    return Take(STR, name, (name,), read, True)


def _build(row: Row) -> int | None:
    raw = row.may("operatingSystemVersion", UAC)
    match = _BUILD.search(v.text(raw)) if raw is not None else None
    return int(match[1]) if match else None


LAPS = ("msLAPS-PasswordExpirationTime", "ms-Mcs-AdmPwdExpirationTime")


def _laps_managed(row: Row) -> bool:
    known = [name for name in LAPS if name.lower() not in row.lacks]
    if not known:
        row.all(LAPS[0], UAC)  # says that the schema has neither
    return any(row.may(name, UAC) is not None for name in known)


def _laps_expires(row: Row) -> str | None:
    known = [name for name in LAPS if name.lower() not in row.lacks]
    if not known:
        row.all(LAPS[0], UAC)  # says that the schema has neither
    found = (v.filetime(raw) for name in known if (raw := row.may(name, UAC)) is not None)
    return next(found, None)


COMPUTERS = Shape(
    {
        "sid": _SID,
        "guid": _GUID,
        "dn": _DN,
        "parent": _PARENT,
        "name": Take(STR, "name of the computer", ("sAMAccountName",), _host),
        "dns_name": _optional("dNSHostName"),
        "enabled": _ENABLED,
        "created": _CREATED,
        "last_logon": _LOGON,
        "password_last_set": _CHANGED,
        "os": _optional("operatingSystem"),
        "os_version": _optional("operatingSystemVersion"),
        "os_build": Take(INT, "build number of Windows", ("operatingSystemVersion",), _build, True),
        "domain_controller": Take(
            BOOL,
            "is a domain controller, read-only ones too",
            (UAC, "primaryGroupID"),
            lambda r: bool(r.number(UAC) & 0x2000) or v.number(r.must("primaryGroupID")) in (516, 521),
        ),
        "password_not_required": _NO_PASSWORD,
        "unconstrained_delegation": _UNCONSTRAINED,
        "protocol_transition": _TRANSITION,
        "delegates_to": _DELEGATES,
        "acted_for": Take(
            BOOL,
            "other accounts may pretend to be anybody on it (resource-based delegation)",
            ("msDS-AllowedToActOnBehalfOfOtherIdentity",),
            lambda r: bool(r.all("msDS-AllowedToActOnBehalfOfOtherIdentity", UAC)),
        ),
        "des_only": _DES_ONLY,
        "primary_group": _PRIMARY,
        "joined_by": Take(
            STR,
            "SID of the ordinary account that joined it; absent: an administrator did",
            ("ms-DS-CreatorSID",),
            lambda r: None if (raw := r.may("ms-DS-CreatorSID", UAC)) is None else v.sid(bytes(raw)),
            True,
        ),
        "laps_managed": Take(
            BOOL, "its local administrator password is kept by LAPS of either generation", LAPS, _laps_managed
        ),
        "laps_expires": Take(
            TIME,
            "when LAPS (Windows' own where it is in use, else the old one) renews the password; absent: not managed",
            LAPS,
            _laps_expires,
            True,
        ),
        "spns": _SPNS,
        "sid_history": _SID_HISTORY,
        "weak_mapping": _WEAK_MAPPING,
        "key_credentials": _KEY_CREDENTIALS,
    },
    "sid",
    "name",
    ("logonCount", "badPwdCount"),
)

# What the first part of objectCategory says of a managed service account.
_KINDS = {
    "ms-ds-group-managed-service-account": "group",
    "ms-ds-managed-service-account": "standalone",
    "ms-ds-delegated-managed-service-account": "delegated",
}


def _kind(row: Row) -> str:
    return _KINDS.get(dn.first(v.text(row.must("objectCategory"))).lower(), "other")


def _broad_readers(row: Row) -> bool:
    return any(security.broad(s) for raw in row.hidden("msDS-GroupMSAMembership") for s in security.allowed(raw))


SERVICE_ACCOUNTS = Shape(
    {
        "sid": _SID,
        "dn": _DN,
        "name": Take(STR, "name, without the $", ("sAMAccountName",), _host),
        "enabled": _ENABLED,
        "primary_group": _PRIMARY,
        "kind": Take(
            Enum(("group", "standalone", "delegated", "other")), "which kind it is", ("objectCategory",), _kind
        ),
        "broad_readers": Take(
            BOOL,
            "more or less everybody may fetch its password (a managed account of a group of servers)",
            ("msDS-GroupMSAMembership",),
            _broad_readers,
        ),
        "succeeds": Take(
            BOOL,
            "takes over the rights of another account (a delegated account)",
            ("msDS-ManagedAccountPrecededByLink",),
            lambda r: bool(r.all("msDS-ManagedAccountPrecededByLink", UAC)),
        ),
        "spns": _SPNS,
    },
    "sid",
    "name",
)


def _members(row: Row) -> list[str] | Partial:
    names = _strings(row, "member", "groupType")
    if "member" in row.entry.cut:
        return Partial(tuple(names), Unknown(Reason.TRUNCATED, "members of a large group"))
    return names


GROUPS = Shape(
    {
        "sid": _SID,
        "rid": _RID,
        "dn": _DN,
        "parent": _PARENT,
        "name": _NAME,
        "security": Take(
            BOOL,
            "grants rights (a security group, not only for mail)",
            ("groupType",),
            lambda r: bool(v.number(r.must("groupType")) & 0x80000000),
        ),
        "members": Take(
            ListOf(STR), "distinguished names of direct members, without those by primary group", ("member",), _members
        ),
        "system": _SYSTEM,
    },
    "sid",
    "name",
    ("groupType",),
)
