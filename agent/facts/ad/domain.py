"""The domain, its forest and what stands around people and computers: OUs, policies, trusts, password policies."""

from __future__ import annotations

from typing import Any

from agent import dn
from agent.facts.ad import values as v
from agent.facts.ad.row import NotSeen, Row, Shape, Take
from agent.facttypes import BOOL, FLOAT, INT, STR, Enum, Field, ListOf, Record
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

SCHEMA = Shape(
    {"guid": _GUID, "dn": _DN, "version": _int("objectVersion", "87 is 2016, 88 is 2019 and 2022")}, "guid", "dn"
)


def _lifetime(row: Row) -> int | None:
    raw = row.may("tombstoneLifetime", "objectGUID")
    return None if raw is None else v.number(raw)


def _anonymous(row: Row) -> bool:
    raw = row.may("dSHeuristics", "objectGUID")
    return raw is not None and v.text(raw)[6:7] == "2"  # fLDAPBlockAnonOps, MS-ADTS 6.1.1.2.4.1.2


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


LINK = Record(
    {
        "gpo": Field(STR, "distinguished name of the policy"),
        "enabled": Field(BOOL, "the link is on"),
        "enforced": Field(BOOL, "the link cannot be blocked below"),
    }
)


def _links(row: Row) -> list[dict[str, object]]:
    raw = row.may("gPLink", "objectGUID")
    return [] if raw is None else v.gpo_links(raw)


OUS = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "parent": _PARENT,
        "name": Take(STR, "name of the OU", ("ou",), lambda r: v.text(r.must("ou"))),
        "protected": Take(
            BOOL,
            "protected against accidental deletion (everyone is denied Delete and Delete Tree)",
            ("nTSecurityDescriptor",),
            lambda r: v.deletion_denied(r.must("nTSecurityDescriptor")),
        ),
        "gpo_links": Take(ListOf(LINK), "policies linked here, in order", ("gPLink",), _links),
        "blocks_inheritance": Take(
            BOOL,
            "policies from above are blocked",
            ("gPOptions",),
            lambda r: (raw := r.may("gPOptions", "objectGUID")) is not None and bool(v.number(raw) & 1),
        ),
    },
    "guid",
    "dn",
)

GPOS = Shape(
    {
        "guid": _GUID,
        "dn": _DN,
        "name": Take(STR, "display name of the policy", ("displayName",), lambda r: v.text(r.must("displayName"))),
        "version": _int("versionNumber", "0: nothing was ever set in it"),
        "off": Take(
            BOOL,
            "both halves are switched off",
            ("flags",),
            lambda r: (raw := r.may("flags", "objectGUID")) is not None and v.number(raw) == 3,
        ),
    },
    "guid",
    "name",
    ("objectClass",),
)


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
