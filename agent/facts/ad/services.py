"""What the directory holds for other services: certificate templates and authorities, DNS zones, keys, leftovers."""

from __future__ import annotations

from agent import dn
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.places import DN, GUID
from agent.facts.ad.row import Row, Shape, Take
from agent.facttypes import BOOL, INT, STR, TIME, Enum, ListOf

_SD = "nTSecurityDescriptor"
_CN = Take(STR, "name", ("cn",), lambda r: v.text(r.must("cn")))

# MS-CRTD 2.26, 2.28: the applicant names the certificate; a manager approves it; no security extension.
NAME_FLAG, ENROL_FLAG, SIGNATURES, USAGES = (
    "msPKI-Certificate-Name-Flag",
    "msPKI-Enrollment-Flag",
    "msPKI-RA-Signature",
    "pKIExtendedKeyUsage",
)
SUPPLIED, APPROVAL, UNSTAMPED = 0x10001, 0x2, 0x80000
# Usages (RFC 5280 4.2.1.12, RFC 4556, MS-CRTD 4.4.5): those that open a login, everything, enrolling for others.
_LOGIN = frozenset({"1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.311.20.2.2", "1.3.6.1.5.2.3.4"})
_ANY, _AGENT = "2.5.29.37.0", "1.3.6.1.4.1.311.20.2.1"


def _flag(name: str, bits: int, doc: str) -> Take:
    return Take(
        BOOL, doc, (name,), lambda r: bool(v.number(raw) & bits) if (raw := r.may(name, "objectGUID")) else False
    )


def _usages(row: Row) -> set[str]:
    return {v.text(raw) for raw in row.all(USAGES, "objectGUID")}


def _any_purpose(row: Row) -> bool:
    usages = _usages(row)
    return not usages or _ANY in usages


TEMPLATES = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "name": _CN,
        "name_supplied": _flag(NAME_FLAG, SUPPLIED, "whoever asks chooses the name in the certificate"),
        "approved": _flag(ENROL_FLAG, APPROVAL, "a manager approves each request"),
        "unstamped": _flag(ENROL_FLAG, UNSTAMPED, "certificates do not say whose account they are for"),
        "signatures": Take(
            INT,
            "signatures of others that a request needs",
            (SIGNATURES,),
            lambda r: v.number(raw) if (raw := r.may(SIGNATURES, "objectGUID")) else 0,
        ),
        "any_purpose": Take(BOOL, "good for everything", (USAGES,), _any_purpose),
        "login": Take(BOOL, "good for signing in", (USAGES,), lambda r: _any_purpose(r) or bool(_usages(r) & _LOGIN)),
        "agent": Take(BOOL, "lets its holder enrol for others", (USAGES,), lambda r: _AGENT in _usages(r)),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may enrol or change the template",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.ENROLS, security.WRITE)),
        ),
    },
    "guid",
    "name",
    ("objectClass",),
)

AUTHORITIES = Shape({"guid": GUID, "dn": DN, "name": _CN}, "guid", "name", ("objectClass",))

_UPDATES = ("none", "anybody", "secure")
# Numbers of zone properties: MS-DNSP 2.3.2.1.1.
ALLOW_UPDATE, AGEING = 0x02, 0x40


def _property(row: Row, number: int) -> int:
    data = v.zone_properties([bytes(raw) for raw in row.all("dNSProperty", "objectGUID")]).get(number, b"")
    return int.from_bytes(data, "little")


def _updates(row: Row) -> str:
    value = _property(row, ALLOW_UPDATE)
    if value >= len(_UPDATES):
        raise ValueError("no way of updating")
    return _UPDATES[value]


def _partition(row: Row) -> str:
    low = row.entry.dn.lower()
    return "domain" if ",dc=domaindnszones," in low else "forest" if ",dc=forestdnszones," in low else "system"


_DC = Take(STR, "name", ("dc",), lambda r: v.text(r.must("dc")))

ZONES = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "name": _DC,
        "partition": Take(Enum(("domain", "forest", "system")), "where the zone is kept", (), _partition),
        "updates": Take(Enum(_UPDATES), "who may change records by the protocol", ("dNSProperty",), _updates),
        "ageing": Take(BOOL, "old records are cleaned up", ("dNSProperty",), lambda r: bool(_property(r, AGEING))),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may add records",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.CREATE_ANY_KIND,)),
        ),
    },
    "guid",
    "name",
    ("objectClass",),
)

NODES = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "name": _DC,
        "dead": Take(
            BOOL,
            "deleted, and kept only for replication",
            ("dNSTombstoned",),
            lambda r: (raw := r.may("dNSTombstoned", "objectGUID")) is not None and v.truth(raw),
        ),
    },
    "guid",
    "name",
    ("objectClass",),
)


def _label(row: Row) -> str:
    raw = row.entry.attributes.get("samaccountname")
    return v.text(raw[0]).removesuffix("$") if raw else row.entry.dn


CONFLICTS = Shape(
    {"guid": GUID, "dn": DN, "name": Take(STR, "login name, or distinguished name", ("sAMAccountName",), _label)},
    "guid",
    "name",
)

_SID = Take(STR, "security identifier", ("objectSid",), lambda r: v.sid(r.must("objectSid")))

PASSWORD_HOLDERS = Shape(
    {"sid": _SID, "dn": DN, "name": Take(STR, "login name", ("sAMAccountName",), _label)}, "sid", "name"
)

DELETED = Shape(
    {
        "sid": _SID,
        "name": Take(STR, "login name that it had", ("sAMAccountName",), _label),
        "changed": Take(TIME, "when it was deleted", ("whenChanged",), lambda r: v.generalized(r.must("whenChanged"))),
    },
    "sid",
    "name",
    ("objectClass",),
)

CONTROLLERS = Shape(
    {
        "sid": _SID,
        "dn": DN,
        "name": Take(STR, "name of the computer", ("sAMAccountName",), _label),
        "owner": Take(STR, "security identifier of the owner of its account", (_SD,), lambda r: _owner(r.must(_SD))),
    },
    "sid",
    "name",
)


def _owner(raw: bytes) -> str:
    owner = security.parse(raw).owner
    if not owner:
        raise ValueError("a descriptor without an owner")
    return owner


WELL_KNOWN = Shape(
    {"sid": _SID, "dn": DN, "name": Take(STR, "its English name", (), lambda r: dn.first(r.entry.dn))}, "sid", "name"
)


def addresses(row: Row, guard: str) -> set[str]:
    """Every e-mail address of an object, lower case: `mail` and the smtp ones of `proxyAddresses`. Raises `NotSeen`
    or `ValueError`."""
    found = [v.text(raw) for raw in row.all("mail", guard)]
    for raw in row.all("proxyAddresses", guard):
        kind, _, address = v.text(raw).partition(":")
        if kind.lower() == "smtp" and address:
            found.append(address)
    return {a.strip().lower() for a in found if a.strip()}
