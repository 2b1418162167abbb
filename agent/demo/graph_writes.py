"""What the stand-in for Microsoft Graph lets an app change: which requests, which permission each takes, what it does.

Only what the shipped fixes use. Permissions are those of Microsoft's permission map of 2026-08-07; each entry of a
tuple must be held, and a `|` in it separates equivalents. The tenant is changed in place.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from agent.demo import graph_rules
from agent.demo.graph_data import Json, TenantData
from agent.demo.graph_rules import GraphRefused

_AUTHORIZATION = ("Policy.ReadWrite.Authorization",)
_METHODS = ("Policy.ReadWrite.AuthenticationMethod",)
_ACCESS = ("Policy.Read.All", "Policy.ReadWrite.ConditionalAccess", "Application.Read.All|Application.ReadWrite.All")
_CROSS = ("Policy.ReadWrite.CrossTenantAccess",)
_SETTINGS = ("GroupSettings.ReadWrite.All|Directory.ReadWrite.All",)
_INTUNE = ("DeviceManagementConfiguration.ReadWrite.All",)
_MANAGED = ("DeviceManagementManagedDevices.ReadWrite.All",)
_APPS = ("Application.ReadWrite.All",)
_USERS = ("User.ReadWrite.All|Directory.ReadWrite.All",)
_ROLES = ("RoleManagement.ReadWrite.Directory",)

PERMISSIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("PATCH", "/policies/authorizationPolicy"): _AUTHORIZATION,
    ("PATCH", "/policies/identitySecurityDefaultsEnforcementPolicy"): (
        "Policy.Read.All",
        "Policy.ReadWrite.SecurityDefaults|Policy.ReadWrite.ConditionalAccess",
    ),
    ("PATCH", "/policies/defaultAppManagementPolicy"): (
        "Policy.Read.All",
        "Policy.ReadWrite.ApplicationConfiguration",
    ),
    ("PUT", "/policies/adminConsentRequestPolicy"): ("Policy.ReadWrite.ConsentRequest",),
    ("PUT", "/policies/deviceRegistrationPolicy"): ("Policy.ReadWrite.DeviceConfiguration",),
    ("PATCH", "/policies/authenticationMethodsPolicy"): _METHODS,
    ("PATCH", "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations/{id}"): _METHODS,
    ("PATCH", "/policies/crossTenantAccessPolicy/default"): _CROSS,
    ("POST", "/policies/crossTenantAccessPolicy/partners"): _CROSS,
    ("DELETE", "/policies/crossTenantAccessPolicy/partners/{id}"): _CROSS,
    ("POST", "/policies/activityBasedTimeoutPolicies"): (
        "Policy.Read.All",
        "Policy.ReadWrite.ApplicationConfiguration",
    ),
    ("DELETE", "/policies/activityBasedTimeoutPolicies/{id}"): (
        "Policy.Read.All",
        "Policy.ReadWrite.ApplicationConfiguration",
    ),
    ("POST", "/identity/conditionalAccess/policies"): _ACCESS,
    ("PATCH", "/identity/conditionalAccess/policies/{id}"): _ACCESS,
    ("DELETE", "/identity/conditionalAccess/policies/{id}"): _ACCESS,
    ("POST", "/groupSettings"): _SETTINGS,
    ("PATCH", "/groupSettings/{id}"): _SETTINGS,
    ("DELETE", "/groupSettings/{id}"): _SETTINGS,
    ("PATCH", "/admin/sharepoint/settings"): ("SharePointTenantSettings.ReadWrite.All",),
    ("PATCH", "/admin/reportSettings"): ("ReportSettings.ReadWrite.All",),
    ("PATCH", "/teamwork/teamsAppSettings"): ("TeamworkAppSettings.ReadWrite.All",),
    ("PATCH", "/organization/{id}"): ("Organization.ReadWrite.All",),
    ("PATCH", "/directory/onPremisesSynchronization/{id}"): ("OnPremDirectorySynchronization.ReadWrite.All",),
    ("PATCH", "/domains/{id}"): ("Domain.ReadWrite.All",),
    ("PATCH", "/deviceManagement"): _INTUNE,
    ("PATCH", "/deviceManagement/deviceEnrollmentConfigurations/{id}"): (
        "DeviceManagementServiceConfig.ReadWrite.All",
    ),
    ("POST", "/deviceManagement/deviceCompliancePolicies/{id}/assign"): _INTUNE,
    ("PATCH", "/deviceManagement/managedDevices/{id}"): _MANAGED,
    ("PATCH", "/users/{id}"): _USERS,
    ("DELETE", "/users/{id}"): ("User.DeleteRestore.All|User.ReadWrite.All|Directory.ReadWrite.All",),
    ("POST", "/users/{id}/assignLicense"): (
        "LicenseAssignment.ReadWrite.All|User.ReadWrite.All|Directory.ReadWrite.All",
    ),
    ("PATCH", "/groups/{id}"): ("Group.ReadWrite.All|Directory.ReadWrite.All",),
    ("PATCH", "/devices/{id}"): ("Device.ReadWrite.All|Directory.ReadWrite.All",),
    ("PATCH", "/applications/{id}"): _APPS,
    ("POST", "/applications/{id}/removePassword"): _APPS,
    ("POST", "/applications/{id}/removeKey"): _APPS,
    ("DELETE", "/oauth2PermissionGrants/{id}"): ("DelegatedPermissionGrant.ReadWrite.All|Directory.ReadWrite.All",),
    ("POST", "/roleManagement/directory/roleAssignments"): _ROLES,
    ("DELETE", "/roleManagement/directory/roleAssignments/{id}"): _ROLES,
}
_CONFIGURATIONS = "/policies/authenticationMethodsPolicy/authenticationMethodConfigurations"
# Of an account that comes from a local directory Graph changes none of these.
_MASTERED = frozenset({"accountEnabled", "displayName", "userPrincipalName", "mail", "jobTitle", "department"})


@dataclass(frozen=True, slots=True)
class _Write:
    template: str
    ids: tuple[str, ...]
    wanted: tuple[str, ...]


def _write(method: str, path: str) -> _Write:
    for (verb, template), wanted in PERMISSIONS.items():
        match = re.fullmatch(re.escape(template).replace(r"\{id\}", "([^/]+)"), path)
        if match and verb == method:
            return _Write(template, match.groups(), wanted)
    raise GraphRefused(405, "Request_BadRequest", "The method is not allowed for this request target.")


def change(tenant: TenantData, method: str, path: str, body: Any, roles: Iterable[str]) -> tuple[int, Json | None]:
    """Carry out one request that changes something → (status, body). Raises `GraphRefused`; then nothing is changed."""
    held, write = set(roles), _write(method, path)
    if any(not held & set(entry.split("|")) for entry in write.wanted):
        raise GraphRefused(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    sent = body if isinstance(body, dict) else {}
    if method in ("PATCH", "PUT", "POST") and not isinstance(body, dict) and body is not None:
        raise GraphRefused(400, "BadRequest", "Unable to read JSON request payload.")
    head, _, action = write.template.rpartition("/")
    if action in _ACTIONS:
        _ACTIONS[action](_item(tenant, head.removesuffix("/{id}"), write.ids[0]), sent)
        return (200, {}) if action != "removePassword" else (204, None)
    if method == "POST":
        return 201, _add(tenant, path, sent)
    if method == "DELETE":
        collection = write.template.removesuffix("/{id}")
        _items(tenant, collection).remove(_item(tenant, collection, write.ids[0]))
        return 204, None
    target = _target(tenant, write)
    _check(tenant, write.template, target, sent)
    if method == "PUT":
        sent = {**{k: target[k] for k in ("id",) if k in target}, **sent}
        target.clear()
    target.update(copy.deepcopy(sent))
    return 204, None


def _target(tenant: TenantData, write: _Write) -> Json:
    if write.template.startswith(_CONFIGURATIONS):
        policy = tenant.collections["/policies/authenticationMethodsPolicy"]
        held = policy["authenticationMethodConfigurations"] if isinstance(policy, dict) else []
        return _named(held, write.ids[0])
    if write.ids:
        return _item(tenant, write.template.removesuffix("/{id}"), write.ids[0])
    target = tenant.collections.get(write.template)
    if not isinstance(target, dict):
        raise GraphRefused(404, "Request_ResourceNotFound", "The resource does not exist.")
    return target


def _check(tenant: TenantData, template: str, target: Json, sent: Json) -> None:
    """Refuse what Graph refuses: properties that there are not, mastered accounts, two kinds of protection at once."""
    kind = next(
        (e["type"] for s in ("paths", "added") for t, e in graph_rules.catalogue()[s].items() if t == template), ""
    )
    if kind:
        graph_rules.check_names(kind, (n for n in sent if not n.startswith("@") and n not in target))
    if template == "/users/{id}" and target.get("onPremisesSyncEnabled") and _MASTERED & set(sent):
        raise GraphRefused(
            400,
            "Request_BadRequest",
            "Unable to update the specified properties for on-premises mastered Directory Sync objects.",
        )
    enforced = any(p["state"] == "enabled" for p in tenant.objects("/identity/conditionalAccess/policies"))
    defaults = tenant.collections.get("/policies/identitySecurityDefaultsEnforcementPolicy", {})
    guarded = isinstance(defaults, dict) and bool(defaults.get("isEnabled"))
    if template.endswith("/identitySecurityDefaultsEnforcementPolicy") and sent.get("isEnabled") is True and enforced:
        raise GraphRefused(
            400, "BadRequest", "Security defaults can't be on beside enabled conditional access policies."
        )
    if template.startswith("/identity/conditionalAccess/policies") and sent.get("state") == "enabled" and guarded:
        raise GraphRefused(400, "BadRequest", "Security Defaults is enabled in the tenant.")


def _add(tenant: TenantData, path: str, sent: Json) -> Json:
    if path == "/identity/conditionalAccess/policies":
        conditions = sent.get("conditions") or {}
        if not sent.get("displayName") or sent.get("state") not in (
            "enabled",
            "disabled",
            "enabledForReportingButNotEnforced",
        ):
            raise GraphRefused(400, "BadRequest", "1007: A policy needs a displayName and a state.")
        if not conditions.get("users") or not conditions.get("applications") or not conditions.get("clientAppTypes"):
            raise GraphRefused(400, "BadRequest", "1011: Policy contains no users, applications or client app types.")
        _check(tenant, path, {}, {"state": sent["state"]})
    if path == "/groupSettings" and any(i.get("templateId") == sent.get("templateId") for i in tenant.objects(path)):
        raise GraphRefused(400, "Request_BadRequest", "A conflicting object with this templateId exists already.")
    made = {"id": str(uuid.uuid4()), **copy.deepcopy(sent)}
    _items(tenant, path).append(made)
    return made


def _remove_key(name: str) -> Callable[[Json, Json], None]:
    def remove(item: Json, sent: Json) -> None:
        keys = item.get(name, [])
        left = [k for k in keys if k.get("keyId") != sent.get("keyId")]
        if len(left) == len(keys):
            raise GraphRefused(400, "Request_BadRequest", "No credentials found to be removed.")
        item[name] = left

    return remove


def _assign(item: Json, sent: Json) -> None:
    item["assignments"] = [{"id": str(uuid.uuid4()), **a} for a in sent.get("assignments", [])]


def _licences(item: Json, sent: Json) -> None:
    gone = set(sent.get("removeLicenses", []))
    held = [licence for licence in item.get("assignedLicenses", []) if licence["skuId"] not in gone]
    item["assignedLicenses"] = [*held, *sent.get("addLicenses", [])]


_ACTIONS: dict[str, Callable[[Json, Json], None]] = {
    "assign": _assign,
    "assignLicense": _licences,
    "removePassword": _remove_key("passwordCredentials"),
    "removeKey": _remove_key("keyCredentials"),
}


def _items(tenant: TenantData, path: str) -> list[Json]:
    held = tenant.collections.setdefault(path, [])
    if not isinstance(held, list):
        raise GraphRefused(400, "Request_BadRequest", "This is no collection.")
    return held


def _item(tenant: TenantData, path: str, identifier: str) -> Json:
    return _named(_items(tenant, path), identifier)


def _named(items: Iterable[Json], identifier: str) -> Json:
    wanted = identifier.casefold()
    for item in items:
        if any(str(item.get(key, "")).casefold() == wanted for key in ("id", "tenantId", "userPrincipalName")):
            return item
    raise GraphRefused(404, "Request_ResourceNotFound", f"Resource '{identifier}' does not exist.")
