"""How the answers to searches become facts. A list that always has members somewhere is unknown when it shows none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agent import dn as names
from agent.facts.ad import accounts, domain, places
from agent.facts.ad.reader import Reader
from agent.facts.ad.row import Row, Shape
from agent.model import Partial, Reason, Unknown

# Objects of CN=System that Windows hides from ordinary accounts: neither containers for accounts nor trusts.
_HIDDEN = ("password settings container",)
_HIDDEN_CONTAINERS = ("microsoftdns",)
_SECRETS = "bckupkey_"


def single(name: str, shape: Shape) -> Callable[[Reader], Any]:
    """A fact that is one object."""

    def read(reader: Reader) -> Any:
        row = reader.one(name)
        return row if isinstance(row, Unknown) else shape.fill(row)

    return read


def suffixes(reader: Reader) -> Any:
    """Sign-in suffixes registered in the forest."""
    row = reader.one("partitions")
    return row if isinstance(row, Unknown) else domain.suffixes(row)


def known(items: Sequence[Any], why: Unknown | None) -> Any:
    """A list, and why it may lack some."""
    return Partial(tuple(items), why) if why is not None else list(items)


def _list(items: list[dict[str, Any]], why: Unknown | None, what: str) -> Any:
    """A list that always has members somewhere: none at all means that none may be seen."""
    if not items:
        return why or Unknown(Reason.PERMISSION, f"list {what}")
    return known(items, why)


def _with(items: list[dict[str, Any]], why: Unknown | None, what: str, rids: Sequence[int]) -> Any:
    """A list in which some members exist in every domain: where they are not shown, others may not be either."""
    shown = {i["rid"] for i in items if not isinstance(i["rid"], Unknown)}
    if why is None and items and not shown.issuperset(rids):
        why = Unknown(Reason.PERMISSION, f"see all {what}: even built-in ones are hidden")
    return _list(items, why, what)


def users(reader: Reader) -> Any:
    """Accounts of people and services."""
    items, why = reader.records("users", accounts.USERS)
    return _with(items, why, "users", (500, 502))  # administrator and krbtgt


def groups(reader: Reader) -> Any:
    """Groups."""
    items, why = reader.records("groups", accounts.GROUPS)
    return _with(items, why, "groups", (512, 513))  # domain admins and users


def computers(reader: Reader) -> Any:
    """Computer accounts."""
    items, why = reader.records("computers", accounts.COMPUTERS)
    if why is None and items and not any(i["domain_controller"] is True for i in items):
        why = Unknown(Reason.PERMISSION, "see all computers: no domain controller is shown")
    return _list(items, why, "computers")


def service_accounts(reader: Reader) -> Any:
    """Managed service accounts, which are computers to the schema."""
    items, why = reader.records("computers", accounts.SERVICE_ACCOUNTS)
    if why is None and not reader.ask("computers").entries:
        why = Unknown(Reason.PERMISSION, "list computers and service accounts")
    return known(items, why)


def _is_unit(row: Row) -> bool:
    return row.entry.dn[:3].lower() == "ou="


def ous(reader: Reader) -> Any:
    """Organisational units."""
    rows, why = reader.rows("places", _is_unit)
    return _list([places.OUS.fill(r) for r in rows], why, "organisational units")


def containers(reader: Reader) -> Any:
    """Containers; one of CN=System that hides what it is may be one of them."""
    infrastructure = f"CN=Infrastructure,{reader.contexts['domain']}".lower()
    rows, why = reader.rows("places", lambda r: not _is_unit(r) and r.entry.dn.lower() != infrastructure)
    return _list([places.CONTAINERS.fill(r) for r in rows], why or _hidden(reader, _HIDDEN), "containers")


def admin_sd_holder(reader: Reader) -> Any:
    """The pattern of administrators' permissions."""
    place = f"CN=AdminSDHolder,CN=System,{reader.contexts['domain']}".lower()
    rows, why = reader.rows("places", lambda r: r.entry.dn.lower() == place)
    return places.ADMIN_SD_HOLDER.fill(rows[0]) if rows else why or Unknown(Reason.PERMISSION, f"read {place}")


def _hidden(reader: Reader, expected: Sequence[str]) -> Unknown | None:
    """Why not everything in CN=System is seen, beside what Windows always hides."""
    rows, why = reader.rows("system")
    for row in rows:
        name = names.first(row.entry.dn).lower()
        if "objectclass" not in row.entry.attributes and name not in expected and not name.startswith(_SECRETS):
            why = why or Unknown(Reason.PERMISSION, f"read {row.entry.dn}")
    return why


def classed(
    reader: Reader,
    name: str,
    shape: Shape,
    wanted: bytes,
    what: str,
) -> tuple[list[dict[str, Any]], Unknown | None]:
    """Objects of one class among all that a container shows; one that hides its class may be one of them."""
    rows, why = reader.rows(name)
    items = []
    for row in rows:
        classes = row.entry.attributes.get("objectclass")
        if classes is None:
            why = why or Unknown(Reason.PERMISSION, f"read {what}")
        elif wanted.lower() in (c.lower() for c in classes):
            items.append(shape.fill(row))
    return items, why


def gpos(reader: Reader) -> Any:
    """Group policy objects."""
    items, why = classed(reader, "gpos", places.GPOS, b"groupPolicyContainer", "every group policy object")
    return _list(items, why, "group policy objects")  # the two default policies are always there


def trusts(reader: Reader) -> Any:
    """Trusts with other domains."""
    rows, _ = reader.rows("system", lambda r: has_class(r, b"trustedDomain"))
    if reader.ask("system").absent or not reader.ask("system").entries:
        return reader.ask("system").why or Unknown(Reason.PERMISSION, f"read {reader.base('system')}")
    return known([domain.TRUSTS.fill(r) for r in rows], _hidden(reader, (*_HIDDEN, *_HIDDEN_CONTAINERS)))


def has_class(row: Row, wanted: bytes) -> bool:
    return wanted.lower() in (c.lower() for c in row.entry.attributes.get("objectclass", ()))


def role_holders(reader: Reader) -> Any:
    """The five roles, each kept in an object of its own."""
    base, schema = reader.contexts["domain"], reader.contexts["schema"]
    kept = {
        "primary domain controller": ("domain", base),
        "identifiers": ("system", f"CN=RID Manager$,CN=System,{base}"),
        "infrastructure": ("places", f"CN=Infrastructure,{base}"),
        "domain naming": ("partitions", f"CN=Partitions,{reader.contexts['config']}"),
        "schema": ("schema", schema),
    }
    out, why = [], None
    for role, (search, place) in kept.items():
        rows, unseen = reader.rows(search, lambda r, place=place: r.entry.dn.lower() == place.lower())  # type: ignore[misc]
        why = why or unseen
        if rows:
            out.append(domain.ROLES[role].fill(rows[0]))
        else:
            why = why or Unknown(Reason.PERMISSION, f"read {place}")
    return known(out, why)


def password_policies(reader: Reader) -> Any:
    """Fine-grained password policies."""
    if "msds-minimumpasswordlength" in reader.lacks:
        return Unknown(Reason.NOT_SUPPORTED, "the directory's schema has no password settings objects")
    base = reader.base("password_policies")
    found = reader.ask("password_policies")
    if not any(e.dn.lower() == base.lower() and "objectclass" in e.attributes for e in found.entries):
        return found.why or Unknown(Reason.PERMISSION, f"read {base}")
    items, why = classed(
        reader, "password_policies", domain.PASSWORD_POLICIES, b"msDS-PasswordSettings", f"every object in {base}"
    )
    return known(items, why)
