"""Facts of services beside the directory: SharePoint, registration of devices, other tenants, sync with a local AD."""

from __future__ import annotations

from typing import Any

from agent.facts.m365.protocol import Request
from agent.facts.m365.source import SOURCES, Source
from agent.facts.m365.tenant import PLATFORM, POLICY, simple
from agent.facts.m365.values import Json, at, guid, maybe, moment, need, single, words
from agent.facttypes import BOOL, INT, STR, TIME, Enum, Field, ListOf, Record, fact

simple(
    "sharepoint",
    Record(
        {
            "sharing": Field(
                Enum(
                    (
                        "disabled",
                        "existingExternalUserSharingOnly",
                        "externalUserSharingOnly",
                        "externalUserAndGuestSharing",
                    ),
                    closed=False,
                ),
                "with whom files may be shared; the last: anybody who has the link",
            ),
            "domain_restriction": Field(Enum(("none", "allowList", "blockList"), closed=False)),
            "allowed_domains": Field(ListOf(STR)),
            "legacy_auth": Field(BOOL, "old sign-in protocols work"),
            "guests_may_reshare": Field(BOOL),
            "guest_must_match": Field(BOOL, "an invitation works only for the address that it went to"),
            "idle_sign_out": Field(BOOL),
            "idle_seconds": Field(INT, "after which an idle browser is signed out", may_be_absent=True),
            "users_may_create_sites": Field(BOOL),
            "leaver_retention_days": Field(INT, "days for which a leaver's files are kept"),
            "sync_restricted": Field(BOOL, "OneDrive syncs only on computers of the domains listed"),
            "sync_domains": Field(ListOf(STR), "ids (objectGUID) of those domains"),
        }
    ),
    Request("/admin/sharepoint/settings", "SharePointTenantSettings.Read.All"),
    lambda b: {
        "sharing": need(b, "sharingCapability"),
        "domain_restriction": need(b, "sharingDomainRestrictionMode"),
        "allowed_domains": words(b, "sharingAllowedDomainList"),
        "legacy_auth": need(b, "isLegacyAuthProtocolsEnabled", kind=bool),
        "guests_may_reshare": need(b, "isResharingByExternalUsersEnabled", kind=bool),
        "guest_must_match": need(b, "isRequireAcceptingUserToMatchInvitedUserEnabled", kind=bool),
        "idle_sign_out": need(b, "idleSessionSignOut", "isEnabled", kind=bool),
        "idle_seconds": maybe(b, "idleSessionSignOut", "signOutAfterInSeconds", kind=int),
        "users_may_create_sites": need(b, "isSiteCreationEnabled", kind=bool),
        "leaver_retention_days": need(b, "deletedUserPersonalSiteRetentionPeriodInDays", kind=int),
        "sync_restricted": need(b, "isUnmanagedSyncAppForTenantRestricted", kind=bool),
        "sync_domains": words(b, "allowedDomainGuidsForSyncApp"),
    },
)

_MEMBERS = Enum(("all", "some", "nobody", "other"))


def _membership(body: Any) -> str:
    """Who is meant by one of Entra's "who may" blocks, which differ by type only."""
    kind = str(at(body, "@odata.type") or "").rpartition(".")[2]
    return {
        "allDeviceRegistrationMembership": "all",
        "enumeratedDeviceRegistrationMembership": "some",
        "noDeviceRegistrationMembership": "nobody",
    }.get(kind, "other")


simple(
    "device_registration",
    Record(
        {
            "quota": Field(INT, "devices that one person may register"),
            "who_may_join": Field(_MEMBERS),
            "joiner_is_local_admin": Field(_MEMBERS, "who becomes administrator of the device that they join"),
            "global_admins_are_local_admins": Field(BOOL),
            "laps": Field(BOOL, "local administrator passwords are kept in Entra and changed by it"),
            "mfa": Field(BOOL, "joining or registering a device takes MFA, for everybody", may_be_absent=True),
        }
    ),
    Request("/policies/deviceRegistrationPolicy", "Policy.Read.DeviceConfiguration"),
    lambda b: {
        "quota": need(b, "userDeviceQuota", kind=int),
        "who_may_join": _membership(at(b, "azureADJoin", "allowedToJoin")),
        "joiner_is_local_admin": _membership(at(b, "azureADJoin", "localAdmins", "registeringUsers")),
        "global_admins_are_local_admins": need(b, "azureADJoin", "localAdmins", "enableGlobalAdmins", kind=bool),
        "laps": need(b, "localAdminPassword", "isEnabled", kind=bool),
        "mfa": mfa == "required" if isinstance(mfa := maybe(b, "multiFactorAuthConfiguration"), str) else mfa,
    },
)

simple(
    "other_tenants",
    Record(
        {
            "direct_connect_inbound": Field(Enum(("allowed", "blocked"), closed=False), "shared channels of strangers"),
            "mfa_accepted": Field(BOOL, "MFA that another tenant asked for counts here"),
            "compliant_device_accepted": Field(BOOL),
        }
    ),
    Request("/policies/crossTenantAccessPolicy/default", POLICY),
    lambda b: {
        "direct_connect_inbound": need(b, "b2bDirectConnectInbound", "usersAndGroups", "accessType"),
        "mfa_accepted": need(b, "inboundTrust", "isMfaAccepted", kind=bool),
        "compliant_device_accepted": need(b, "inboundTrust", "isCompliantDeviceAccepted", kind=bool),
    },
)

simple(
    "partner_tenants",
    ListOf(Record({"id": Field(STR, "tenant id")}, key="id", label="id")),
    Request("/policies/crossTenantAccessPolicy/partners", POLICY),
    lambda b: {"id": guid(need(b, "tenantId"))},
)


def _sync(body: Json) -> dict[str, Any]:
    return {
        "password_hashes": need(body, "features", "passwordSyncEnabled", kind=bool),
        "hard_match_blocked": need(body, "features", "blockCloudObjectTakeoverThroughHardMatchEnabled", kind=bool),
        "soft_match_blocked": need(body, "features", "blockSoftMatchEnabled", kind=bool),
    }


simple(
    "directory_sync",
    Record(
        {
            "password_hashes": Field(BOOL, "hashes of passwords are synchronised, so that leaked ones are noticed"),
            "hard_match_blocked": Field(BOOL, "the local AD cannot take over a cloud account by its anchor"),
            "soft_match_blocked": Field(BOOL, "nor by its address"),
        }
    ),
    Request("/directory/onPremisesSynchronization", "OnPremDirectorySynchronization.Read.All"),
    _sync,
)

simple(
    "report_settings",
    Record({"names_concealed": Field(BOOL, "usage reports hide names")}),
    Request("/admin/reportSettings", "ReportSettings.Read.All"),
    lambda b: {"names_concealed": need(b, "displayConcealedNames", kind=bool)},
)

_PUSH = Request(
    "/deviceManagement/applePushNotificationCertificate",
    "DeviceManagementConfiguration.Read.All",
    absent_ok=True,
)


def _push(body: Json) -> dict[str, Any]:
    return {"apple_id": maybe(body, "appleIdentifier"), "expires": moment(body, "expirationDateTime")}


fact(
    "push_certificate",
    Record(
        {
            "apple_id": Field(STR, "the account that renews it", may_be_absent=True),
            "expires": Field(TIME, may_be_absent=True),
        },
        key="apple_id",
        label="apple_id",
    ),
    PLATFORM,
    source=str(_PUSH),
    rights=(_PUSH.permission,),
    may_be_absent=True,
    doc="Apple's certificate for managing iPads; absent where no Apple device is managed.",
)
SOURCES["push_certificate"] = Source((_PUSH,), lambda a, _: None if a[_PUSH].value is None else single(a[_PUSH], _push))
