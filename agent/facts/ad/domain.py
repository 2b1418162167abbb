"""The domain and its forest: settings, switches, trusts and fine-grained password policies."""

from __future__ import annotations

from typing import Any

from agent import dn
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.places import LINK, links
from agent.facts.ad.row import NotSeen, Row, Shape, Take
from agent.facttypes import BOOL, FLOAT, INT, STR, TIME, Enum, ListOf
from agent.model import Reason, Unknown

_DN = Take(STR, "distinguished name", (), lambda r: r.entry.dn)
_PARENT = Take(STR, "distinguished name of the container", (), lambda r: dn.parent(r.entry.dn))
_GUID = Take(STR, "object identifier", ("objectGUID",), lambda r: v.guid(r.must("objectGUID")))


def _int(name: str, doc: str) -> Take:
    return Take(INT, doc, (name,), lambda r: v.number(r.must(name)))


def _property(bit: int, doc: str) -> Take:
    return Take(BOOL, doc, ("pwdProperties",), lambda r: bool(v.number(r.must("pwdProperties")) & bit))


def _well_known(guid: str, doc: str) -> Take:
    """Where `wellKnownObjects` says that new objects go: `B:32:GUID:DN` (MS-ADTS 6.1.1.4)."""

    def read(row: Row) -> str:
        row.must("wellKnownObjects")
        for raw in row.all("wellKnownObjects", "wellKnownObjects"):
            parts = v.text(raw).split(":", 3)
            if len(parts) == 4 and parts[2].upper() == guid:
                return parts[3]
        raise NotSeen(Unknown(Reason.UNREADABLE, "wellKnownObjects"))

    return Take(STR, doc, ("wellKnownObjects",), read)


def _window(row: Row) -> float | None:
    """Unlike the other spans, a window of 0 is no "for ever": every wrong password starts the count anew."""
    raw = row.must("lockOutObservationWindow")
    return 0 if v.number(raw) == 0 else v.minutes(raw)


DSA_SIGNATURE = 0x2004A
"""attributeID of dSASignature, which every backup writes anew: 1.2.840.113556.1.2.74 by MS-DRSR 5.16.4."""


def _backup(row: Row) -> str | None:
    return v.changed(row.must("replPropertyMetaData"), DSA_SIGNATURE)


# Password and lockout settings live in the domain object itself (MS-SAMR 2.2.3, MS-ADTS 6.1.1.4).
DOMAIN = Shape(
    {
        "sid": Take(STR, "security identifier of the domain", ("objectSid",), lambda r: v.sid(r.must("objectSid"))),
        "dn": _DN,
        "functional_level": _int("msDS-Behavior-Version", "4 is Windows Server 2008 R2, 6 is 2012 R2, 7 is 2016"),
        "min_password_length": _int("minPwdLength", "characters"),
        "password_history": _int("pwdHistoryLength", "passwords remembered"),
        "password_complexity": _property(1, "passwords need several kinds of characters"),
        "reversible_encryption": _property(16, "passwords are stored so that they can be read back"),
        "lockout_threshold": _int("lockoutThreshold", "wrong passwords before an account locks; 0: never"),
        "lockout_minutes": Take(
            FLOAT,
            "how long a lock lasts; absent: until an administrator ends it",
            ("lockoutDuration",),
            lambda r: v.minutes(r.must("lockoutDuration")),
            True,
        ),
        "lockout_window_minutes": Take(
            FLOAT,
            "how long wrong passwords are remembered; 0: not at all; absent: for ever",
            ("lockOutObservationWindow",),
            _window,
            True,
        ),
        "max_password_age_days": Take(
            FLOAT,
            "when a password must be changed; absent: never",
            ("maxPwdAge",),
            lambda r: v.days(r.must("maxPwdAge")),
            True,
        ),
        "machine_account_quota": _int("ms-DS-MachineAccountQuota", "computers that an ordinary account may join"),
        "gpo_links": Take(ListOf(LINK), "policies linked to the whole domain, in order", ("gPLink",), links),
        "backup": Take(
            TIME,
            "when a backup last signed the directory; absent: never",
            ("replPropertyMetaData",),
            _backup,
            True,
        ),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators and domain controllers may copy all passwords",
            ("nTSecurityDescriptor",),
            lambda r: security.grants(r.must("nTSecurityDescriptor"), (security.REPLICATE,)),
        ),
        "new_users_in": _well_known("A9D1CA15768811D1ADED00C04FD8D5CD", "container for new users"),
        "new_computers_in": _well_known("AA312825768811D1ADED00C04FD8D5CD", "container for new computers"),
    },
    "sid",
    "dn",
)

FOREST = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "functional_level": _int("msDS-Behavior-Version", "4 is Windows Server 2008 R2, 6 is 2012 R2, 7 is 2016"),
    },
    "guid",
    "dn",
)

LAPS = ("msLAPS-PasswordExpirationTime", "ms-Mcs-AdmPwdExpirationTime")
KEY_CREDENTIALS = "msDS-KeyCredentialLink"


def _laps(row: Row) -> str:
    known = [word for word, name in zip(("windows", "legacy"), LAPS, strict=True) if name.lower() not in row.lacks]
    return known[0] if known else "(none)"


SCHEMA = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "version": _int("objectVersion", "87 is 2016, 88 is 2019 and 2022"),
        "key_credentials": Take(
            BOOL,
            f"the schema has {KEY_CREDENTIALS} (Windows Server 2016 and later)",
            (),
            lambda r: KEY_CREDENTIALS.lower() not in r.lacks,
        ),
    },
    "guid",
    "dn",
)

LAPS_SCHEMA = Shape(
    {
        "guid": _GUID,
        "generation": Take(
            Enum(("windows", "legacy", "(none)")), "the newest LAPS that the directory has room for", (), _laps
        ),
    },
    "guid",
    "generation",
)


def _lifetime(row: Row) -> int | None:
    raw = row.may("tombstoneLifetime", "objectGUID")
    return None if raw is None else v.number(raw)


def _anonymous(row: Row) -> bool:
    raw = row.may("dSHeuristics", "objectGUID")
    return raw is not None and v.text(raw)[6:7] == "2"  # fLDAPBlockAnonOps, MS-ADTS 6.1.1.2.4.1.2


# Places in dSHeuristics (from 1), the characters that are not safe there, and what they do: MS-ADTS 6.1.1.2.4.1.2.
_SWITCHES = (
    (8, "1", "people who have not signed in may look up the address book (fAllowAnonNSPI)"),
    (16, "123456789abcdefABCDEF", "operator groups are left out of the hourly protection (dwAdminSDExMask)"),
    (21, "123", "sign-in and service names may be given twice (fDoNotVerifyUPNAndOrSPNUniqueness)"),
    (28, "2", "rights are not checked when objects are added (LDAPAddAuthZVerifications)"),
    (29, "2", "an object's owner keeps rights over it (LDAPOwnerModify)"),
)


def _unsafe(row: Row) -> list[str]:
    raw = row.may("dSHeuristics", "objectGUID")
    switches = "" if raw is None else v.text(raw)
    return [words for place, bad, words in _SWITCHES if switches[place - 1 : place] and switches[place - 1] in bad]


def _holder(role: str) -> Shape:
    return Shape(
        {
            "role": Take(STR, "name of the role", (), lambda r: role),
            "dn": _DN,
            "gone": Take(
                BOOL,
                "its holder was deleted from the directory",
                ("fSMORoleOwner",),
                lambda r: "\\0adel:" in v.text(r.must("fSMORoleOwner")).lower(),
            ),
        },
        "role",
        "dn",
    )


# The five roles (MS-ADTS 3.1.1.1.11): where each is kept.
ROLES = {
    "primary domain controller": _holder("primary domain controller"),
    "identifiers": _holder("identifiers"),
    "infrastructure": _holder("infrastructure"),
    "domain naming": _holder("domain naming"),
    "schema": _holder("schema"),
}

DIRECTORY_SERVICE = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "tombstone_days": Take(
            INT, "how long deleted objects are kept; absent: 60 days", ("tombstoneLifetime",), _lifetime, True
        ),
        "anonymous_reading": Take(
            BOOL, "people who have not signed in may read (dSHeuristics)", ("dSHeuristics",), _anonymous
        ),
        "unsafe_switches": Take(
            ListOf(STR), "what dSHeuristics leaves open beside that, in words", ("dSHeuristics",), _unsafe
        ),
    },
    "guid",
    "dn",
)

RECYCLE_BIN = "CN=Recycle Bin Feature,"


def _recycle_bin(row: Row) -> bool:
    row.must("objectGUID")
    features = row.all("msDS-EnabledFeature", "objectGUID")
    return any(v.text(raw).lower().startswith(RECYCLE_BIN.lower()) for raw in features)


RECYCLE = Shape(
    {
        "guid": _GUID,
        "enabled": Take(BOOL, "deleted objects can be brought back whole", ("msDS-EnabledFeature",), _recycle_bin),
        "where": Take(
            STR,
            "the object that switches it on, or (none)",
            ("msDS-EnabledFeature",),
            lambda r: r.entry.dn if _recycle_bin(r) else "(none)",
        ),
    },
    "guid",
    "where",
)


def suffixes(row: Row) -> Any:
    """The forest's additional sign-in suffixes, or why they are unknown."""
    try:
        return [v.text(raw) for raw in row.all("uPNSuffixes", "objectGUID")]
    except NotSeen as unseen:
        return unseen.why
    except ValueError:
        return Unknown(Reason.UNREADABLE, "uPNSuffixes")


def _attributes_bit(bit: int, doc: str) -> Take:
    return Take(BOOL, doc, ("trustAttributes",), lambda r: bool(v.number(r.must("trustAttributes")) & bit))


_DIRECTIONS = ("disabled", "inbound", "outbound", "both")


def _direction(row: Row) -> str:
    value = v.number(row.must("trustDirection"))
    if not 0 <= value < len(_DIRECTIONS):
        raise ValueError("no direction")
    return _DIRECTIONS[value]


# Bits of trustAttributes: MS-ADTS 6.1.6.7.9.
TRUSTS = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "name": Take(STR, "DNS name of the other domain", ("trustPartner",), lambda r: v.text(r.must("trustPartner"))),
        "direction": Take(Enum(_DIRECTIONS), "who trusts whom", ("trustDirection",), _direction),
        "quarantined": _attributes_bit(4, "foreign identities are filtered (quarantine)"),
        "forest_transitive": _attributes_bit(8, "a trust between forests, which filters by itself"),
        "within_forest": _attributes_bit(32, "a trust inside the forest"),
        "tgt_delegation": _attributes_bit(2048, "forwards people's identity to the other side"),
        "aes": Take(
            BOOL,
            "AES is named for tickets across it",
            ("msDS-SupportedEncryptionTypes",),
            lambda r: (
                (raw := r.may("msDS-SupportedEncryptionTypes", "trustPartner")) is not None and bool(v.number(raw) & 24)
            ),
        ),
    },
    "guid",
    "name",
)

PASSWORD_POLICIES = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "name": Take(STR, "name of the policy", ("cn",), lambda r: v.text(r.must("cn"))),
        "precedence": _int("msDS-PasswordSettingsPrecedence", "the lowest number wins"),
        "min_password_length": _int("msDS-MinimumPasswordLength", "characters"),
        "password_history": _int("msDS-PasswordHistoryLength", "passwords remembered"),
        "lockout_threshold": _int("msDS-LockoutThreshold", "wrong passwords before an account locks; 0: never"),
        "reversible_encryption": Take(
            BOOL,
            "passwords are stored so that they can be read back",
            ("msDS-PasswordReversibleEncryptionEnabled",),
            lambda r: v.truth(r.must("msDS-PasswordReversibleEncryptionEnabled")),
        ),
        "applies_to": Take(
            ListOf(STR),
            "distinguished names of the groups and people it applies to",
            ("msDS-PSOAppliesTo",),
            lambda r: [v.text(raw) for raw in r.all("msDS-PSOAppliesTo", "msDS-MinimumPasswordLength")],
        ),
    },
    "guid",
    "name",
    ("objectClass",),
)
