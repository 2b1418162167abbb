"""A tenant that is wrong wherever a fix could mend it, on the stand-in for Microsoft Graph, and a trust over it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import agent.demo
from agent import trust as trusts
from agent.baseline import load_policy
from agent.demo.certs import issue, make_ca
from agent.demo.graph_data import Client, TenantData
from agent.demo.graph_server import GraphServer
from agent.demo.graph_writes import PERMISSIONS
from agent.plan import Planner

FIXER = "0f1e2d3c-0000-4000-8000-000000000001"
EMERGENCY = "eb610b71-6d66-592d-ba33-892caa1200c8"
"""A group of the demo's tenant that all its policies leave out."""
PASSWORDS, GROUPS = "5cf42378-d67d-4f36-ba46-e8b86229381d", "62375ab9-6b52-47ed-826b-58e47e0e304b"
HOSTILE = '{{ 7*7 }} "; rm -rf / #'
TRUST = """\
name: Northfield Trust
profile: own
schools:
  all: {{name: All of it, code: OAK, tenant: {{use: cloud}}}}
tenants:
  cloud:
    tenant_id: {tenant}
    client_id: {reader}
    secret: env:TEST_GRAPH_READ
    authority: {authority}
    graph_url: {url}
    ca_file: ca.pem
    fix: {{client_id: {fixer}, {login}}}
"""


@dataclass
class World:
    """The server, the trust over its tenant, and what the environment must hold."""

    server: GraphServer
    planner: Planner
    environment: Mapping[str, str] = field(default_factory=dict)

    def held(self, path: str) -> Any:
        """What the tenant holds at a path."""
        return self.server.tenant.collections[path]


def worst(tenant: TenantData) -> None:
    """Turn every setting that a fix mends to its bad side; everything else stays as the demo has it."""
    held: dict[str, Any] = tenant.collections
    held["/policies/authorizationPolicy"].update(
        allowInvitesFrom="everyone",
        allowedToSignUpEmailBasedSubscriptions=True,
        allowedToUseSSPR=True,
        allowEmailVerifiedUsersToJoinOrganization=True,
        allowUserConsentForRiskyApps=True,
        blockMsolPowerShell=False,
        guestUserRoleId="a0b1b346-4d3e-4e8b-98f8-753987be4970",
        defaultUserRolePermissions={
            "allowedToCreateApps": True,
            "allowedToCreateSecurityGroups": True,
            "allowedToCreateTenants": True,
            "allowedToReadBitlockerKeysForOwnedDevice": True,
            "allowedToReadOtherUsers": True,
            "permissionGrantPoliciesAssigned": ["ManagePermissionGrantsForSelf.microsoft-user-default-legacy"],
        },
    )
    held["/admin/sharepoint/settings"].update(
        sharingCapability="externalUserAndGuestSharing",
        isLegacyAuthProtocolsEnabled=True,
        isResharingByExternalUsersEnabled=True,
        isRequireAcceptingUserToMatchInvitedUserEnabled=False,
        idleSessionSignOut={"isEnabled": False, "warnAfterInSeconds": 0, "signOutAfterInSeconds": 0},
        isSiteCreationEnabled=True,
        deletedUserPersonalSiteRetentionPeriodInDays=30,
    )
    for method in held["/policies/authenticationMethodsPolicy"]["authenticationMethodConfigurations"]:
        if method["id"] in ("Sms", "Voice", "Email"):
            method["state"] = "enabled"
        if method["id"] == "Fido2":
            method["state"] = "disabled"
        if method["id"] == "TemporaryAccessPass":
            method.update(state="enabled", isUsableOnce=False, maximumLifetimeInMinutes=10080)
    campaign = held["/policies/authenticationMethodsPolicy"]["registrationEnforcement"]
    campaign["authenticationMethodsRegistrationCampaign"]["state"] = "disabled"
    held["/teamwork/teamsAppSettings"]["isUserPersonalScopeResourceSpecificConsentEnabled"] = True
    allowed = {
        "usersAndGroups": {"accessType": "allowed", "targets": [{"target": "AllUsers", "targetType": "user"}]},
        "applications": {
            "accessType": "allowed",
            "targets": [{"target": "AllApplications", "targetType": "application"}],
        },
    }
    held["/policies/crossTenantAccessPolicy/default"].update(
        b2bDirectConnectInbound=allowed,
        inboundTrust={
            "isMfaAccepted": True,
            "isCompliantDeviceAccepted": True,
            "isHybridAzureADJoinedDeviceAccepted": True,
        },
    )
    held["/deviceManagement"]["settings"].update(secureByDefault=False, deviceComplianceCheckinThresholdDays=90)
    held["/directory/onPremisesSynchronization"][0]["features"].update(
        blockCloudObjectTakeoverThroughHardMatchEnabled=False, blockSoftMatchEnabled=False
    )
    held["/admin/reportSettings"]["displayConcealedNames"] = False
    registration = held["/policies/deviceRegistrationPolicy"]
    registration["userDeviceQuota"] = 50
    registration["localAdminPassword"] = {"isEnabled": False}
    registration["azureADJoin"]["localAdmins"] = {
        "enableGlobalAdmins": True,
        "registeringUsers": {"@odata.type": "#microsoft.graph.allDeviceRegistrationMembership"},
    }
    for value in held["/groupSettings"][0]["values"]:
        value["value"] = {"LockoutThreshold": "50", "LockoutDurationInSeconds": "5"}.get(value["name"], value["value"])
    held["/groupSettingTemplates"] = [
        {
            "id": GROUPS,
            "displayName": "Group.Unified",
            "values": [
                {"name": "EnableGroupCreation", "type": "System.Boolean", "defaultValue": "true"},
                {"name": "AllowGuestsToBeGroupOwner", "type": "System.Boolean", "defaultValue": "true"},
                {"name": "AllowToAddGuests", "type": "System.Boolean", "defaultValue": "true"},
                {"name": "UsageGuidelinesUrl", "type": "System.String", "defaultValue": ""},
            ],
        }
    ]
    held["/identity/conditionalAccess/policies"].clear()
    _people(held)


def _people(held: dict[str, Any]) -> None:
    """Objects that offend, some of them with names that mean something elsewhere."""
    cloud = [u for u in held["/users"] if not u.get("onPremisesSyncEnabled") and u["accountEnabled"]]
    cloud[0].update(displayName=HOSTILE, passwordPolicies="DisableStrongPassword")
    for group in held["/groups"]:
        if "Unified" in group.get("groupTypes", []):
            group.update(visibility="Public", displayName=HOSTILE)
    for device in held["/deviceManagement/managedDevices"]:
        device["managedDeviceOwnerType"] = "personal"
    for app in held["/applications"]:
        app["signInAudience"] = "AzureADMultipleOrgs"
    for domain in held["/domains"]:
        domain["passwordValidityPeriodInDays"] = 90


@contextmanager
def serve(folder: Path, login: str = "secret: env:TEST_GRAPH_FIX") -> Iterator[World]:
    """The stand-in with the worst tenant, and a trust in `folder` whose fixes log in as `login` says."""
    tenant = TenantData.load(Path(agent.demo.__file__).with_name("tenant.json"))
    worst(tenant)
    reader = next(k for k, c in tenant.clients.items() if "all permissions" in c.name)
    roles = {choice for wanted in PERMISSIONS.values() for entry in wanted for choice in entry.split("|")[:1]}
    reads = set(tenant.clients[reader].roles)
    tenant.clients[FIXER] = Client(secret="fix", roles=sorted(roles | reads), name="Fixes")
    (folder / "profiles").mkdir(parents=True)
    (folder / "tls").mkdir()
    ca = make_ca(folder / "tls", "Stand-in authority")
    with GraphServer(tenant, issue(folder / "tls", ca, ["localhost"], ["127.0.0.1"]), page_size=50) as server:
        (folder / "ca.pem").write_bytes(ca.cert_path.read_bytes())
        (folder / "profiles/own.yml").write_text(
            f"id: own\nextends: [core]\ncontrols: ['m365.*']\nparameters: {{break_glass_accounts: [{EMERGENCY}]}}\n"
        )
        words = {"tenant": tenant.tenant_id, "reader": reader, "fixer": FIXER, "login": login}
        (folder / "trust.yml").write_text(TRUST.format(authority=server.authority, url=server.url, **words))
        environment = {"TEST_GRAPH_READ": tenant.clients[reader].secret, "TEST_GRAPH_FIX": "fix"}
        yield World(server, Planner(trusts.load(folder), load_policy(folder)), environment)
