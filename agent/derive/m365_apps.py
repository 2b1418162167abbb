"""Derived facts of applications: which may do dangerous things in the tenant, and under which ids they are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.derive import View
from agent.facttypes import STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

# Application permissions of Microsoft Graph with which an app can make itself administrator, sign in as others, switch
# protection off, or take everybody's mail and files. Ids from Microsoft's permission map of 2026-08-07.
STRONG = {
    "06b708a9-e830-4db3-a914-8e69da51d44f": "AppRoleAssignment.ReadWrite.All",
    "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9": "Application.ReadWrite.All",
    "8e8e4742-1d95-4f68-9d56-6ee75648c72a": "DelegatedPermissionGrant.ReadWrite.All",
    "78145de6-330d-4800-a6ce-494ff2d33d07": "DeviceManagementApps.ReadWrite.All",
    "9241abd9-d0e6-425a-bd4f-47ba86e767a4": "DeviceManagementConfiguration.ReadWrite.All",
    "243333ab-4d21-40cb-a475-36241daa0842": "DeviceManagementManagedDevices.ReadWrite.All",
    "19dbc75e-c2e2-444c-a770-ec69d8559fc7": "Directory.ReadWrite.All",
    "7e05723c-0bb0-42da-be95-ae9f08a6e53c": "Domain.ReadWrite.All",
    "75359482-378d-4052-8f01-80520e7db3cd": "Files.ReadWrite.All",
    "62a82d76-70ea-41e2-9197-370581804d09": "Group.ReadWrite.All",
    "e2a3a72e-5f79-4c64-b1b1-878b674786c9": "Mail.ReadWrite",
    "b633e1c5-b582-4048-a93e-9f11b44c7e96": "Mail.Send",
    "29c18626-4985-4dcd-85c0-193eef327366": "Policy.ReadWrite.AuthenticationMethod",
    "01c0a623-fc9b-48e9-b794-0756f8e8f067": "Policy.ReadWrite.ConditionalAccess",
    "1c6e93a6-28e2-4cbb-9f64-1a46a821124d": "Policy.ReadWrite.SecurityDefaults",
    "854d9ab1-6657-4ec8-be45-823027bcd009": "PrivilegedAccess.ReadWrite.AzureAD",
    "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8": "RoleManagement.ReadWrite.Directory",
    "31e08e0a-d3f7-4ca2-ac39-7343fb83e8ad": "RoleManagementPolicy.ReadWrite.Directory",
    "a82116e5-55eb-4c41-a434-62fe8a61c773": "Sites.FullControl.All",
    "741f803b-c850-494e-b5df-cde7c675a1ca": "User.ReadWrite.All",
    "50483e42-d915-4231-9639-7fdb7fd190e5": "UserAuthenticationMethod.ReadWrite.All",
}
_RECORD = Record(
    {
        "id": Field(STR, "of its service principal"),
        "name": Field(STR),
        "ids": Field(ListOf(STR), "of the application and of its service principal: either may be on a list"),
        "permissions": Field(ListOf(STR)),
    },
    key="id",
    label="name",
)


def _apps(view: View) -> tuple[dict[str, Mapping[str, Any]], Unknown | None]:
    items, why = view.items("service_principals")
    return {a["id"]: a for a in items if isinstance(a, Mapping) and isinstance(a.get("id"), str)}, why


def _known_as(principal: str, apps: Mapping[str, Mapping[str, Any]], why: Unknown | None) -> Any:
    """Ids under which an app may be approved. An app that is not in a whole list goes by its principal alone."""
    app = apps.get(principal)
    if app is not None:
        app_id = app.get("app_id")
        return [principal, app_id] if isinstance(app_id, str) else Partial((principal,), _reason(app_id))
    return [principal] if why is None else Partial((principal,), why)


def _reason(value: Any) -> Unknown:
    return value if isinstance(value, Unknown) else Unknown(Reason.NOT_COLLECTED)


@derived(
    "strong_apps",
    ListOf(_RECORD),
    "m365",
    reads=("app_permissions", "service_principals"),
    optional=("service_principals",),
)
def strong_apps(view: View) -> Any:
    """Apps that may do dangerous things with nobody signed in, each once, with those permissions."""
    items, why = view.items("app_permissions")
    apps, apps_why = _apps(view)
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        role, principal = (item.get(k) for k in ("role", "principal")) if isinstance(item, Mapping) else (item, item)
        if isinstance(role, Unknown) or not isinstance(principal, str):
            why = why or _reason(role if isinstance(role, Unknown) else principal)
        elif role in STRONG:
            ids = _known_as(principal, apps, apps_why)
            entry = {"id": principal, "name": item["app"], "ids": ids, "permissions": []}
            found.setdefault(principal, entry)["permissions"].append(STRONG[role])
    out = [{**found[k], "permissions": sorted(found[k]["permissions"])} for k in sorted(found)]
    return Partial(tuple(out), why) if why else out


@derived(
    "apps_for_everyone",
    ListOf(_RECORD),
    "m365",
    reads=("delegated_grants", "service_principals"),
    optional=("service_principals",),
)
def apps_for_everyone(view: View) -> Any:
    """Apps that may act in the name of everybody who signs in, each once, with all that was granted to them so."""
    items, why = view.items("delegated_grants")
    apps, apps_why = _apps(view)
    found: dict[str, dict[str, Any]] = {}
    for item in items:
        everyone, client = (item.get(k) for k in ("everyone", "client")) if isinstance(item, Mapping) else (item, item)
        if isinstance(everyone, Unknown) or not isinstance(client, str):
            why = why or _reason(everyone if isinstance(everyone, Unknown) else client)
        elif everyone:
            name = apps.get(client, {}).get("name", client)
            entry = {"id": client, "name": name, "ids": _known_as(client, apps, apps_why), "permissions": []}
            scopes = item.get("scopes")
            if isinstance(scopes, (list, tuple)):
                found.setdefault(client, entry)["permissions"] += scopes
            else:
                why = why or _reason(scopes)
    out = [{**found[k], "permissions": sorted(set(found[k]["permissions"]))} for k in sorted(found)]
    return Partial(tuple(out), why) if why else out
