"""The tenant that the stand-in for Microsoft Graph serves: its apps, licences and objects.

A tenant is a JSON file: `tenant_id`, `clients`, `licences` and `collections` (Graph path without the version -> list
of objects, or one object for a singleton). Two kinds of strings are filled in at load:

* `{{now}}`, `{{now-93d}}`, `{{now+12d}}`, `{{now-3h}}`, `{{now-20m}}`: a moment, in Graph's spelling (UTC, `Z`), so
  that the data never grows old;
* `{{secret}}`: a random client secret, so that no secret is ever written in a file.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_MOMENT = re.compile(r"\{\{now(?:(?P<sign>[+-])(?P<count>\d{1,5})(?P<unit>[dhm]))?\}\}")
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}

# Properties that lead to other objects: stored beside the object's own, and shown only when asked for. Where an
# item is a string it is the id of an object kept elsewhere. One table, because a name means the same everywhere.
NAVIGATION = frozenset(
    {
        "administrativeUnit",
        "apps",
        "assignments",
        "members",
        "owners",
        "policy",
        "principal",
        "rules",
        "scheduledActionsForRule",
        "schools",
        "windowsProtectionState",
    }
)
# Kinds of directory objects, by the path that holds them.
OBJECT_TYPES = {
    "/users": "user",
    "/groups": "group",
    "/servicePrincipals": "servicePrincipal",
    "/devices": "device",
    "/applications": "application",
    "/directory/administrativeUnits": "administrativeUnit",
    "/education/schools": "educationSchool",
}


@dataclass(slots=True)
class Client:
    """One app registration. `certificate` is the public certificate (PEM); `roles` are application permissions."""

    secret: str = ""
    certificate: str = ""
    roles: list[str] = field(default_factory=list)
    secret_expired: bool = False
    name: str = ""


@dataclass(slots=True)
class TenantData:
    """Everything that one stand-in tenant knows. `licences` are subscribedSku objects with `servicePlans`."""

    tenant_id: str
    clients: dict[str, Client]
    licences: list[Json]
    collections: dict[str, list[Json] | Json]
    _index: dict[str, tuple[int, int, dict[str, Json]]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], now: datetime.datetime | None = None) -> TenantData:
        """Build a tenant from parsed JSON; `now` (aware) is what `{{now}}` means.

        Raises ValueError on a placeholder that it does not know, and TypeError on a client with an unknown field.
        """
        moment = now or datetime.datetime.now(datetime.UTC)
        filled = fill(dict(raw), moment)
        return cls(
            tenant_id=filled["tenant_id"],
            clients={client_id: Client(**client) for client_id, client in filled["clients"].items()},
            licences=filled["licences"],
            collections=filled["collections"],
        )

    @classmethod
    def load(cls, path: Path, now: datetime.datetime | None = None) -> TenantData:
        """Read a tenant file (JSON, UTF-8). Raises OSError, ValueError."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")), now)

    def plans(self) -> set[str]:
        """Names of the service plans that are in force (provisioningStatus Success)."""
        return {
            plan["servicePlanName"]
            for sku in self.licences
            if sku.get("capabilityStatus", "Enabled") in ("Enabled", "Warning")
            for plan in sku["servicePlans"]
            if plan["provisioningStatus"] == "Success"
        }

    def has_p1(self) -> bool:
        """Whether Entra ID P1 or better is licensed; AAD_BASIC_EDU and AAD_EDU are not P1."""
        return bool(self.plans() & {"AAD_PREMIUM", "AAD_PREMIUM_P2"})

    def has_p2(self) -> bool:
        """Whether Entra ID P2 is licensed."""
        return "AAD_PREMIUM_P2" in self.plans()

    def has_intune(self) -> bool:
        """Whether Intune is licensed; INTUNE_O365 and INTUNE_EDU alone are not counted, as the scanner counts."""
        return "INTUNE_A" in self.plans()

    def has_sharepoint(self) -> bool:
        """Whether any SharePoint plan is licensed."""
        return any(plan.startswith("SHAREPOINT") for plan in self.plans())

    def objects(self, path: str) -> list[Json]:
        """The objects of a collection; none when the tenant has no such collection."""
        held = self.licences if path == "/subscribedSkus" else self.collections.get(path, [])
        return held if isinstance(held, list) else [held]

    def find(self, identifier: str, paths: Iterable[str] = tuple(OBJECT_TYPES)) -> tuple[str, Json] | None:
        """The object with this id among `paths`, as (type name with `#`, object); None when there is none."""
        for path in paths:
            if item := self.by_id(path).get(identifier):
                return f"#microsoft.graph.{OBJECT_TYPES[path]}", item
        return None

    def by_id(self, path: str) -> dict[str, Json]:
        """The objects of a collection by their id; looked up anew when the list is another or has grown or shrunk."""
        items = self.objects(path)
        kept = self._index.get(path)
        if kept is None or kept[:2] != (id(items), len(items)):
            kept = id(items), len(items), {item["id"]: item for item in reversed(items) if "id" in item}
            self._index[path] = kept
        return kept[2]

    def members(self, group: Json, *, transitive: bool, seen: set[str] | None = None) -> Iterator[tuple[str, Json]]:
        """Members of a group as (type, object), each once; `transitive` follows groups in groups, and their rings."""
        known = seen if seen is not None else {group["id"]}
        for identifier in group.get("members", []):
            found = self.find(identifier)
            if found is None or identifier in known:
                continue
            known.add(identifier)
            yield found
            if transitive and found[0] == "#microsoft.graph.group":
                yield from self.members(found[1], transitive=True, seen=known)


def fill(value: Any, now: datetime.datetime) -> Any:
    """Replace the placeholders in parsed JSON, at any depth. Raises ValueError on one that is not known."""
    if isinstance(value, dict):
        return {key: fill(item, now) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, now) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    if value == "{{secret}}":
        return secrets.token_urlsafe(24)
    match = _MOMENT.fullmatch(value)
    if match is None:
        raise ValueError(f"Unknown placeholder in the tenant's data: {value}. Known: {{{{now-93d}}}}, {{{{secret}}}}.")
    moment = now.astimezone(datetime.UTC)
    if match["unit"]:
        step = datetime.timedelta(**{_UNITS[match["unit"]]: int(match["count"])})
        moment = moment + step if match["sign"] == "+" else moment - step
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
