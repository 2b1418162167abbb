"""What Microsoft Graph demands: which path exists, which permission and licence it takes, and how it says no.

Paths, properties and permissions are in graph_paths.json (see its `about`). The shapes of refusals differ from service
to service, and that is the point: a client must go by status and code, not by one message.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.demo.graph_data import TenantData

PREMIUM_MESSAGE = "Neither tenant is B2C or tenant doesn't have premium license"
_INTUNE = ("/deviceManagement", "/deviceAppManagement")
_PIM = (
    "/policies/roleManagementPolicyAssignments",
    "/policies/roleManagementPolicies",
    "/roleManagement/directory/roleAssignmentScheduleInstances",
    "/roleManagement/directory/roleEligibilityScheduleInstances",
    "/identityGovernance/accessReviews",
)
_REPORTS = ("/reports", "/auditLogs")
_ACCESS_DENIED = ("/identity/", "/policies/", "/admin/", "/education/", "/teamwork/")
# Largest `$top`; Microsoft's pages, and for the Intune, audit and risk lists general knowledge.
_LARGEST_TOP = {
    "/users": 999,
    "/groups": 999,
    "/devices": 999,
    "/applications": 999,
    "/servicePrincipals": 999,
    "/deviceManagement/managedDevices": 1000,
    "/auditLogs/directoryAudits": 1000,
    "/identityProtection/riskyUsers": 500,
}
LARGEST_TOP_WITH_SIGN_INS = 500
# What a list gives without `$select`; other paths give everything that is stored.
DEFAULT_PROPERTIES = {
    "user": frozenset(
        [
            "businessPhones",
            "displayName",
            "givenName",
            "id",
            "jobTitle",
            "mail",
            "mobilePhone",
            "officeLocation",
            "preferredLanguage",
            "surname",
            "userPrincipalName",
        ]
    ),
}
# Left out of everything but an explicit `$select`.
ONLY_SELECTED = {
    "group": frozenset(["allowExternalSenders", "assignedLicenses", "autoSubscribeNewMembers", "hideFromAddressLists"]),
    "deviceLocalCredentialInfo": frozenset({"credentials"}),
}
# A `$select` of these on a list of users is answered 501 (Microsoft's page on listing users).
NOT_ON_LISTS = frozenset({"aboutMe", "birthday", "hireDate", "interests", "mySite", "skills", "mailboxSettings"})
# Paths that answer whole, whatever their length.
UNPAGED = frozenset({"/directoryRoles", "/directoryRoles/{id}/members", "/subscribedSkus", "/organization"})
# Kinds of objects whose advanced queries need `ConsistencyLevel: eventual`.
DIRECTORY_TYPES = frozenset(
    ["administrativeUnit", "application", "device", "directoryObject", "group", "servicePrincipal", "user"]
)
# Which permissions let an app see more of a directory object than its id.
READABLE_WITH = {
    "#microsoft.graph.user": {"User.Read.All", "User.ReadWrite.All", "User.ReadBasic.All", "Directory.Read.All"},
    "#microsoft.graph.group": {"Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All", "Directory.Read.All"},
    "#microsoft.graph.servicePrincipal": {"Application.Read.All", "Application.ReadWrite.All", "Directory.Read.All"},
    "#microsoft.graph.device": {"Device.Read.All", "Device.ReadWrite.All", "Directory.Read.All"},
}


class GraphRefused(Exception):
    """Graph's answer is an error: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self, client_request_id: str) -> dict[str, Any]:
        """The answer's JSON, in Graph's shape."""
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
        request_id = str(uuid.uuid4())
        inner = {"date": stamp, "request-id": request_id, "client-request-id": client_request_id or request_id}
        return {"error": {"code": self.code, "message": self.message, "innerError": inner}}


@dataclass(frozen=True, slots=True)
class Route:
    """A path that exists: its template, the type of what it gives, and the permissions that a GET takes."""

    template: str
    type: str
    collection: bool
    least: tuple[str, ...]
    any: frozenset[str]
    ids: tuple[str, ...] = ()


@functools.cache
def catalogue() -> dict[str, Any]:
    """The contents of graph_paths.json."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("graph_paths.json").read_text(encoding="utf-8"))
    return loaded


@functools.cache
def _patterns(beta: bool) -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    sections = ["paths", "added", *(["beta"] if beta else [])]
    return [
        (re.compile(re.escape(template).replace(r"\{id\}", "([^/]+)")), template, entry)
        for section in sections
        for template, entry in catalogue()[section].items()
    ]


def route(path: str, *, beta: bool) -> Route:
    """The route of a path (without version). Raises GraphRefused 400 when there is no such path."""
    for pattern, template, entry in _patterns(beta):
        match = pattern.fullmatch(path)
        if match:
            return Route(
                template,
                entry["type"],
                entry["collection"],
                tuple(entry["least"]),
                frozenset(entry["any"]),
                match.groups(),
            )
    segment = path.rstrip("/").rpartition("/")[2]
    raise GraphRefused(400, "BadRequest", f"Resource not found for the segment '{segment}'.")


def check_permission(found: Route, roles: Iterable[str], select: Iterable[str]) -> None:
    """Raise the 403 that this path's service gives to an app without one of its permissions."""
    held = set(roles)
    if not held & found.any:
        raise _permission_refused(found)
    if "signInActivity" in select and "AuditLog.Read.All" not in held:
        raise GraphRefused(
            403,
            "Authentication_MSGraphPermissionMissing",
            "Calling principal does not have required MSGraph permissions AuditLog.Read.All",
        )


def _permission_refused(found: Route) -> GraphRefused:
    path, wanted = found.template, ", ".join(found.least)
    if path.startswith(_INTUNE):
        # One JSON text in the message; some Intune paths wrap it twice (Faults.intune_error).
        text = (
            "Application is not authorized to perform this operation. Application must have one of the following "
            f"scopes: {wanted} - Operation ID (for customer support): {uuid.UUID(int=0)} - Activity ID: {uuid.uuid4()}"
        )
        return GraphRefused(403, "Forbidden", json.dumps({"_version": 3, "Message": text}))
    if path.startswith(_REPORTS):
        return GraphRefused(
            403,
            "Authentication_MSGraphPermissionMissing",
            f"Calling principal does not have required MSGraph permissions {found.least[0]}",
        )
    if path.startswith(_PIM):
        return GraphRefused(
            403, "PermissionScopeNotGranted", f"Authorization failed due to missing permission scope {wanted}."
        )
    if path.startswith("/security/"):
        return GraphRefused(403, "", "Auth token does not contain valid permissions or user does not have valid roles.")
    if path.startswith("/identityProtection/"):
        return GraphRefused(403, "UnknownError", "")
    if path.startswith("/admin/sharepoint"):
        return GraphRefused(403, "accessDenied", "Caller does not have required permissions for this API")
    if path.startswith(_ACCESS_DENIED):
        return GraphRefused(
            403,
            "AccessDenied",
            "You cannot perform the requested operation, required scopes are missing in the token.",
        )
    return GraphRefused(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def check_licence(found: Route, tenant: TenantData, select: Iterable[str]) -> None:
    """Raise the error that this path gives in a tenant without the licence that it needs."""
    path = found.template
    if path.startswith(_INTUNE) and not tenant.has_intune():
        raise GraphRefused(400, "BadRequest", "Request not applicable to target tenant.")
    if path.startswith("/admin/sharepoint") and not tenant.has_sharepoint():
        raise GraphRefused(400, "BadRequest", "Tenant does not have a SPO license.")
    if path.startswith(_PIM) and not tenant.has_p2():
        raise GraphRefused(
            400,
            "AadPremiumLicenseRequired",
            "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license.",
        )
    if path.startswith("/identityProtection/") and not tenant.has_p2():
        # From administrators' reports, not from Microsoft's pages: it looks like a missing permission and is not.
        raise GraphRefused(403, "Forbidden", "Your tenant is not licensed for this feature.")
    wants_sign_ins = path.startswith("/reports/authenticationMethods") or "signInActivity" in select
    if wants_sign_ins and not tenant.has_p1():
        raise GraphRefused(403, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", PREMIUM_MESSAGE)


def check_top(found: Route, top: int | None, select: Iterable[str]) -> None:
    """Raise 400 when `$top` is more than the path allows."""
    if top is None:
        return
    if "signInActivity" in select and top > LARGEST_TOP_WITH_SIGN_INS:
        raise GraphRefused(
            400,
            "BadRequest",
            f"Cannot query data for more than {LARGEST_TOP_WITH_SIGN_INS} users at a time. "
            f"Set the $top to {LARGEST_TOP_WITH_SIGN_INS} or less.",
        )
    largest = _LARGEST_TOP.get(found.template)
    if top < 1 or (largest is not None and top > largest):
        raise GraphRefused(
            400,
            "Request_UnsupportedQuery",
            f"Invalid page size specified: '{top}'. Must be between 1 and {largest or 999} inclusive.",
        )


def check_names(type_name: str, names: Iterable[str]) -> None:
    """Raise 400 when a property is not one of the type's own or its bases' (subtypes need the cast form)."""
    known = catalogue()["properties"].get(type_name)
    for name in names:
        if known is not None and name not in known:
            raise GraphRefused(
                400,
                "BadRequest",
                "Parsing OData Select and Expand failed: Could not find a property named "
                f"'{name}' on type 'microsoft.graph.{type_name}'.",
            )


def conceal_newer(value: Any, name: str = "") -> Any:
    """Replace members of evolvable enumerations that came later, as Graph does without the Prefer header."""
    if isinstance(value, dict):
        return {key: conceal_newer(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [conceal_newer(item, name) for item in value]
    newer = catalogue()["newer"].get(name)
    if newer is None or not isinstance(value, str):
        return value
    parts = ["unknownFutureValue" if part in newer else part for part in value.split(",")]
    return ",".join(dict.fromkeys(parts))
