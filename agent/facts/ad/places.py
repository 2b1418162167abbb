"""Where things stand in a directory: OUs, containers, sites and subnets, and the policies linked to them."""

from __future__ import annotations

from agent import dn
from agent.facts.ad import security
from agent.facts.ad import values as v
from agent.facts.ad.row import NotSeen, Row, Shape, Take
from agent.facttypes import BOOL, INT, STR, Field, ListOf, Record
from agent.model import Reason, Unknown

DN = Take(STR, "distinguished name", (), lambda r: r.entry.dn)
PARENT = Take(STR, "distinguished name of the container", (), lambda r: dn.parent(r.entry.dn))
GUID = Take(STR, "object identifier", ("objectGUID",), lambda r: v.guid(r.must("objectGUID")))
_SD = "nTSecurityDescriptor"

LINK = Record(
    {
        "gpo": Field(STR, "distinguished name of the policy"),
        "enabled": Field(BOOL, "the link is on"),
        "enforced": Field(BOOL, "the link cannot be blocked below"),
    }
)


def links(row: Row) -> list[dict[str, object]]:
    """Policies linked to an object, in order; raises `NotSeen` where they may not be read."""
    raw = row.may("gPLink", "objectGUID")
    return [] if raw is None else v.gpo_links(raw)


_LAPS_PASSWORDS = ("msLAPS-Password", "ms-Mcs-AdmPwd")
SCHEMA_NAMES = (*_LAPS_PASSWORDS, "msLAPS-EncryptedPassword", "computer", "msDS-DelegatedManagedServiceAccount")
"""Attributes and classes of which the identifiers are needed to read the permissions of places, never the values."""


def _password_readers(row: Row) -> list[dict[str, object]]:
    """Where the schema has no LAPS there is nothing to read, and where its identifiers are hidden nobody can tell."""
    raw, known = row.must(_SD), [n for n in _LAPS_PASSWORDS if n.lower() not in row.lacks]
    if not known:
        row.all(_LAPS_PASSWORDS[0], "objectGUID")  # says that the schema has neither
    if not any(n.lower() in row.guids for n in known):
        raise NotSeen(Unknown(Reason.PERMISSION, f"read schemaIDGUID of {known[0]}"))
    return security.grants(raw, (security.local_passwords(row.guids),))


OUS = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "parent": PARENT,
        "name": Take(STR, "name of the OU", ("ou",), lambda r: v.text(r.must("ou"))),
        "protected": Take(
            BOOL,
            "protected against accidental deletion (everyone is denied Delete and Delete Tree)",
            (_SD,),
            lambda r: security.deletion_denied(r.must(_SD)),
        ),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may write here or below, or make accounts of any kind here",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.WRITE_TREE, security.create_managed(r.guids))),
        ),
        "password_readers": Take(
            ListOf(security.GRANT),
            "who beyond administrators may read local administrator passwords (LAPS) of computers below",
            (_SD,),
            _password_readers,
        ),
        "gpo_links": Take(ListOf(LINK), "policies linked here, in order", ("gPLink",), links),
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

CONTAINERS = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may make accounts here",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.create_managed(r.guids),)),
        ),
    },
    "guid",
    "dn",
)

ADMIN_SD_HOLDER = Shape(
    {
        "guid": GUID,
        "name": Take(STR, "AdminSDHolder", (), lambda r: dn.first(r.entry.dn)),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may write in every administrator's account",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.WRITE_TREE,)),
        ),
    },
    "guid",
    "name",
)

GPOS = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "name": Take(STR, "display name of the policy", ("displayName",), lambda r: v.text(r.must("displayName"))),
        "version": Take(
            INT, "0: nothing was ever set in it", ("versionNumber",), lambda r: v.number(r.must("versionNumber"))
        ),
        "grants": Take(
            ListOf(security.GRANT),
            "who beyond administrators may change it",
            (_SD,),
            lambda r: security.grants(r.must(_SD), (security.WRITE_TREE,)),
        ),
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


def _site(row: Row) -> str | None:
    raw = row.may("siteObject", "objectGUID")
    return None if raw is None else v.text(raw)


SUBNETS = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "name": Take(STR, "the range, such as 10.20.0.0/16", ("cn",), lambda r: v.text(r.must("cn"))),
        "site": Take(STR, "the site that it belongs to", ("siteObject",), _site, True),
    },
    "guid",
    "name",
)

SITES = Shape(
    {
        "guid": GUID,
        "dn": DN,
        "gpo_links": Take(ListOf(LINK), "policies linked to the site, in order", ("gPLink",), links),
    },
    "guid",
    "dn",
)
