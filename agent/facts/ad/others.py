"""Facts that stand beside people and computers: certificates, DNS, keys, leftovers, addresses, what was deleted."""

from __future__ import annotations

from typing import Any

from agent import dn as names
from agent.facts.ad import places, services
from agent.facts.ad.lists import has_class, known
from agent.facts.ad.reader import Reader
from agent.facts.ad.row import Row
from agent.model import Partial, Reason, Unknown

Lists = tuple[list[Any], Unknown | None]


def domain_controllers(reader: Reader) -> Any:
    """Domain controllers, read-only ones too, with the owner of each."""
    rows, why = reader.rows("domain_controllers")
    if not rows:
        return why or Unknown(Reason.PERMISSION, "see any domain controller")
    return known([services.CONTROLLERS.fill(r) for r in rows], why)


def unix_passwords(reader: Reader) -> Any:
    """Accounts that hold a password in an attribute made for Unix; who may see that varies."""
    rows, why = reader.rows("unix_passwords")
    if not reader.whole:
        why = why or Unknown(Reason.PERMISSION, "control access to unixUserPassword and userPassword")
    return known([services.PASSWORD_HOLDERS.fill(r) for r in rows], why)


def conflict_objects(reader: Reader) -> Any:
    """What two domain controllers made at once, and replication set aside."""
    rows, why = reader.rows("conflicts")
    return known([services.CONFLICTS.fill(r) for r in rows], why)


def shared_addresses(reader: Reader) -> Any:
    """E-mail addresses that more than one object carries; only those are kept."""
    holders: dict[str, list[str]] = {}
    doubt: Unknown | None = None
    for search in ("users", "groups", "addressed"):
        notes, why = reader.notes(search)
        doubt = doubt or why
        for noted in notes:
            if isinstance(noted, Unknown):
                doubt = doubt or noted
                continue
            place, addresses = noted
            for address in addresses:
                holders.setdefault(address, []).append(place)
    if not reader.ask("users").entries:
        doubt = doubt or Unknown(Reason.PERMISSION, "list users")
    shared = [{"address": a, "holders": sorted(h)} for a, h in sorted(holders.items()) if len(h) > 1]
    return known(shared, doubt)


def recovery_keys(reader: Reader) -> Any:
    """Which computers have a BitLocker key in the directory, and whether all keys would be shown."""
    found = reader.ask("recovery_keys")
    places_ = sorted({names.parent(e.dn) for e in found.entries})
    if found.why is not None:
        return found.why
    return {"whole": reader.whole, "computers": places_}


def subnets(reader: Reader) -> Any:
    """Network ranges of the sites."""
    rows, why = reader.rows("configuration", lambda r: has_class(r, b"subnet"))
    if why is None and not reader.rows("configuration", lambda r: has_class(r, b"subnetContainer"))[0]:
        why = Unknown(Reason.PERMISSION, f"read CN=Subnets,CN=Sites,{reader.contexts['config']}")
    return known([places.SUBNETS.fill(r) for r in rows], why)


def sites(reader: Reader) -> Any:
    """Sites, of which every forest has one."""
    rows, why = reader.rows("configuration", lambda r: has_class(r, b"site"))
    if not rows:
        return why or Unknown(Reason.PERMISSION, "see any site")
    return known([places.SITES.fill(r) for r in rows], why)


def well_known(reader: Reader) -> Any:
    """Identities that Windows itself knows, such as Everyone, as the directory names them."""
    rows, why = reader.rows("configuration", lambda r: has_class(r, b"foreignSecurityPrincipal"))
    return known([services.WELL_KNOWN.fill(r) for r in rows], why)


def root_key(reader: Reader) -> Any:
    """The key from which passwords of group managed service accounts are made: only administrators see it."""
    rows, why = reader.rows("configuration", lambda r: has_class(r, b"msKds-ProvRootKey"))
    if rows:
        return {"exists": True, "where": rows[0].entry.dn}
    if why is not None:
        return why
    unseen = False if reader.whole else Unknown(Reason.PERMISSION, "read CN=Master Root Keys")
    return {"exists": unseen, "where": "(none)"}


def _certificate_objects(reader: Reader, folder: str, wanted: bytes) -> tuple[list[Row], Unknown | None]:
    """Objects of one class under Public Key Services; what hides its class in `folder` may be one of them."""
    top = f"CN={folder},{reader.base('pki')}".lower()
    rows, why = reader.rows("pki")
    if reader.ask("pki").absent and reader.whole:
        return [], None
    shown = False
    found = []
    for row in rows:
        place = row.entry.dn.lower()
        if has_class(row, wanted):
            found.append(row)
        elif "objectclass" not in row.entry.attributes and place.endswith(top):
            why = why or Unknown(Reason.PERMISSION, f"read {row.entry.dn}")
        shown = shown or place == top
    if not shown and not reader.whole:
        why = why or Unknown(Reason.PERMISSION, f"read {top}")
    return found, why


def certificate_templates(reader: Reader) -> Any:
    """Templates by which certificate authorities issue."""
    rows, why = _certificate_objects(reader, "Certificate Templates", b"pKICertificateTemplate")
    return known([services.TEMPLATES.fill(r) for r in rows], why)


def certificate_authorities(reader: Reader) -> Any:
    """Certificate authorities that the forest lets issue."""
    rows, why = _certificate_objects(reader, "Enrollment Services", b"pKIEnrollmentService")
    return known([services.AUTHORITIES.fill(r) for r in rows], why)


def _dns(reader: Reader, searches: tuple[str, ...], wanted: bytes) -> Lists:
    """Objects of one class in the parts of DNS; a part that shows nothing may hold more."""
    found: list[Row] = []
    doubt: Unknown | None = None
    for search in searches:
        rows, why = reader.rows(search)
        found += [r for r in rows if has_class(r, wanted)]
        if reader.whole and reader.ask(search).absent:
            continue
        # Every part holds a zone, if only that of the root servers: who is shown none may not list what is there.
        if not any(has_class(r, b"container") or has_class(r, b"dnsZone") for r in rows):
            why = why or Unknown(Reason.PERMISSION, f"list DNS zones in {reader.base(search)}")
        doubt = doubt or why
    return found, doubt


_PARTITIONS = ("dns_domain", "dns_forest")


def _zones(reader: Reader, searches: tuple[str, ...]) -> Any:
    rows, why = _dns(reader, searches, b"dnsZone")
    # The root servers' addresses, and what Windows keeps for itself, are no zones that anybody serves.
    kept = [r for r in rows if not names.first(r.entry.dn).startswith("..")]
    kept = [r for r in kept if names.first(r.entry.dn).lower() != "rootdnsservers"]
    return known([services.ZONES.fill(r) for r in kept], why)


def dns_zones(reader: Reader) -> Any:
    """DNS zones that replicate with the domain or the forest."""
    return _zones(reader, _PARTITIONS)


def old_dns_zones(reader: Reader) -> Any:
    """DNS zones kept where Windows 2000 kept them."""
    return _zones(reader, ("dns_system",))


def dns_names(reader: Reader) -> Any:
    """DNS records with a name that other machines ask for by themselves: wpad, isatap, and the star for every name."""
    rows, why = _dns(reader, _PARTITIONS, b"dnsNode")
    return known([services.NODES.fill(r) for r in rows], why)


def deleted_accounts(reader: Reader) -> Any:
    """Accounts of people and computers that were deleted and can still be brought back."""
    rows, why = reader.rows("deleted", lambda r: has_class(r, b"user"))
    top = reader.base("deleted").lower()
    if not reader.rows("deleted", lambda r: r.entry.dn.lower() == top and has_class(r, b"container"))[0]:
        why = why or Unknown(Reason.PERMISSION, f"read {reader.base('deleted')}")
        return Partial(tuple(services.DELETED.fill(r) for r in rows), why) if rows else why
    return known([services.DELETED.fill(r) for r in rows], why)


def _behaviour(reader: Reader) -> Any:
    return reader.directory.behaviour(reader.contexts["domain"])


def transport(reader: Reader) -> Any:
    """How the server behaves towards strangers, by trying; no credentials of anybody are sent."""
    seen = _behaviour(reader)
    return {
        "server": reader.directory.server,
        "ldaps": seen.ldaps,
        "old_tls": seen.old_tls,
        "certificate_ends": seen.certificate_ends,
        "plain_login": seen.plain_login,
        "channel_binding": seen.channel_binding,
    }


def anonymous_search(reader: Reader) -> Any:
    """Whether somebody who has not signed in can list accounts."""
    readable = _behaviour(reader).anonymous
    shown = readable if isinstance(readable, Unknown) else "readable" if readable else "refused"
    return {"server": reader.directory.server, "readable": readable, "shown": shown}
