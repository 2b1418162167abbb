"""The stand-in for Microsoft Graph, asked by the client libraries that the scanner uses."""

from __future__ import annotations

import email.utils
import itertools
import socket
import ssl
import stat
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import msal
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from agent.demo import certs, graph_data, graph_rules
from agent.demo.graph_data import TenantData
from agent.demo.graph_server import GraphServer
from agent.demo.graph_service import Settings

TENANT = Path(graph_data.__file__).with_name("tenant.json")
SCOPE = ["https://graph.microsoft.com/.default"]
CA_POLICIES = "/identity/conditionalAccess/policies"


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """(authority, (certificate, key)) for localhost."""
    folder = tmp_path_factory.mktemp("certs")
    ca = certs.make_ca(folder, "Stand-in authority")
    return ca, certs.issue(folder, ca, ["localhost"], ["127.0.0.1"])


@pytest.fixture
def server(tls):
    with GraphServer(TenantData.load(TENANT), tls[1]) as running:
        yield running
    assert running.errors == []


@pytest.fixture
def client(server, tls):
    """An HTTP client with the token of the app that has every permission."""
    with connect(server, tls, permitted=True) as http:
        yield http


@pytest.fixture
def demo_client(server, tls):
    """An HTTP client with the token of the demo's own app, which lacks AuditLog.Read.All."""
    with connect(server, tls, permitted=False) as http:
        yield http


def app_ids(server: GraphServer) -> tuple[str, str]:
    """(the demo's app, the app with every permission)."""
    demo, full = server.tenant.clients
    return demo, full


def fetch_token(server: GraphServer, tls: Any, client_id: str) -> str:
    form = {
        "client_id": client_id,
        "grant_type": "client_credentials",
        "scope": SCOPE[0],
        "client_secret": server.tenant.clients[client_id].secret,
    }
    context = ssl.create_default_context(cafile=tls[0].cert_path)
    answer = httpx.post(f"{server.authority}/oauth2/v2.0/token", data=form, verify=context)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


def connect(server: GraphServer, tls: Any, *, permitted: bool) -> httpx.Client:
    token = fetch_token(server, tls, app_ids(server)[permitted])
    return httpx.Client(
        base_url=f"{server.url}/v1.0",
        verify=ssl.create_default_context(cafile=tls[0].cert_path),
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )


def msal_app(server: GraphServer, tls: Any, session: requests.Session, client_id: str, credential: Any) -> Any:
    session.verify = str(tls[0].cert_path)
    session.trust_env = False
    return msal.ConfidentialClientApplication(
        client_id,
        client_credential=credential,
        authority=server.authority,
        instance_discovery=False,
        http_client=session,
    )


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def everything(client: httpx.Client, url: str, **params: str) -> list[dict[str, Any]]:
    """All items of a list, following the next links."""
    found: list[dict[str, Any]] = []
    answer = client.get(url, params=params or None)
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["value"]
        if "@odata.nextLink" not in page:
            return found
        answer = client.get(page["@odata.nextLink"])


# --- certificates


def test_certificates_are_private_and_trusted_only_through_their_authority(tls, server):
    for path in (tls[0].cert_path, tls[0].key_path, *tls[1]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(httpx.ConnectError), httpx.Client() as stranger:
        stranger.get(f"{server.url}/v1.0/users")


def test_a_certificate_needs_a_name_and_keeps_to_its_folder(tmp_path):
    ca = certs.make_ca(tmp_path, "../../escape")
    assert ca.cert_path.parent == tmp_path
    with pytest.raises(ValueError, match="at least one name"):
        certs.issue(tmp_path, ca, [])
    certificate, _ = certs.issue(tmp_path, ca, [], ["127.0.0.1"])
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    loaded.verify_directly_issued_by(ca.certificate)


# --- tokens


def test_msal_gets_a_token_with_a_secret_and_caches_it(server, tls):
    client_id = app_ids(server)[0]
    with requests.Session() as session:
        app = msal_app(server, tls, session, client_id, server.tenant.clients[client_id].secret)
        first = app.acquire_token_for_client(scopes=SCOPE)
        again = app.acquire_token_for_client(scopes=SCOPE)
    assert first["token_source"] == "identity_provider"
    assert again["token_source"] == "cache"
    assert first["token_type"] == "Bearer"
    asked = [entry.path.rpartition("/")[2] for entry in server.log]
    assert asked == ["openid-configuration", "token"]


@pytest.mark.parametrize("thumbprint", [False, True], ids=["PS256", "RS256"])
def test_msal_gets_a_token_with_a_certificate(server, tls, tmp_path, thumbprint):
    client_id = app_ids(server)[0]
    public, private = certs.make_app_certificate(tmp_path, "app")
    server.tenant.clients[client_id].certificate = public.read_text()
    credential = {"private_key": private.read_text(), "public_certificate": public.read_text()}
    if thumbprint:
        certificate = x509.load_pem_x509_certificate(public.read_bytes())
        credential = {
            "private_key": private.read_text(),
            "thumbprint": certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - what MSAL takes
        }
    with requests.Session() as session:
        answer = msal_app(server, tls, session, client_id, credential).acquire_token_for_client(scopes=SCOPE)
    assert "access_token" in answer, answer["error_description"]


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
def test_a_certificate_that_is_not_registered_or_too_weak_is_refused(server, tls, tmp_path):
    client_id = app_ids(server)[0]
    public, private = certs.make_app_certificate(tmp_path, "registered")
    other_public, other_private = certs.make_app_certificate(tmp_path, "other")
    weak_public, weak_private = certs.make_app_certificate(tmp_path, "weak", bits=1024)
    cases = [
        (public, other_public, other_private, "thumbprint"),
        (public, public, other_private, "signature"),
        (weak_public, weak_public, weak_private, "2048"),
    ]
    for registered, shown, key, says in cases:
        server.tenant.clients[client_id].certificate = registered.read_text()
        credential = {"private_key": key.read_text(), "public_certificate": shown.read_text()}
        with requests.Session() as session:
            answer = msal_app(server, tls, session, client_id, credential).acquire_token_for_client(scopes=SCOPE)
        assert answer["error"] == "invalid_client"
        assert answer["error_codes"] == [700027]
        assert says in answer["error_description"]
    assert private.read_bytes() != other_private.read_bytes()


@pytest.mark.parametrize(("expired", "number"), [(False, 7000215), (True, 7000222)])
def test_a_wrong_or_expired_secret_is_named(server, tls, expired, number):
    client_id = app_ids(server)[0]
    registered = server.tenant.clients[client_id]
    registered.secret_expired = expired
    with requests.Session() as session:
        app = msal_app(server, tls, session, client_id, registered.secret if expired else "wrong")
        answer = app.acquire_token_for_client(scopes=SCOPE)
    assert answer["error"] == "invalid_client"
    assert answer["error_codes"] == [number]
    assert f"AADSTS{number}" in answer["error_description"]


def test_an_unknown_app_and_an_unknown_tenant_are_refused(server, tls):
    with requests.Session() as session:
        answer = msal_app(server, tls, session, "no-such-app", "x").acquire_token_for_client(scopes=SCOPE)
    assert answer["error_codes"] == [700016]
    wrong = f"{server.url}/{app_ids(server)[0]}"
    with requests.Session() as session:
        session.verify = str(tls[0].cert_path)
        session.trust_env = False
        with pytest.raises(ValueError, match="Unable to get authority configuration"):
            msal.ConfidentialClientApplication("x", "y", authority=wrong, instance_discovery=False, http_client=session)


def test_the_token_endpoint_throttles_and_breaks(server, tls):
    client_id = app_ids(server)[0]
    secret = server.tenant.clients[client_id].secret
    server.faults.throttle(r"/oauth2/v2\.0/token", retry_after="7")
    with requests.Session() as session:
        app = msal_app(server, tls, session, client_id, secret)
        assert "access_token" not in app.acquire_token_for_client(scopes=SCOPE)
    server.faults.add(r"/oauth2/v2\.0/token", status=503, body="unavailable")
    with requests.Session() as session:
        app = msal_app(server, tls, session, client_id, secret)
        with pytest.raises(msal.exceptions.MsalServiceError):
            app.acquire_token_for_client(scopes=SCOPE)
    assert [entry.status for entry in server.log if entry.path.endswith("/token")] == [429, 503]


def test_without_a_good_token_everything_is_401(server, tls, client):
    assert client.get("/users").status_code == 200
    for header in ("", "Bearer", "Bearer a.b.c", "Basic eDp5"):
        answer = client.get("/users", headers={"Authorization": header})
        assert answer.status_code == 401
        assert code(answer) == "InvalidAuthenticationToken"
    server.tokens.revoke()
    assert client.get("/users").status_code == 401
    server.tokens.lifetime = -1
    token = fetch_token(server, tls, app_ids(server)[1])
    assert client.get("/users", headers={"Authorization": f"Bearer {token}"}).status_code == 401


# --- permissions and licences


@pytest.mark.parametrize(
    ("path", "error", "names"),
    [
        ("/users?$select=id", "Authorization_RequestDenied", ""),
        ("/deviceManagement/managedDevices", "Forbidden", "DeviceManagementManagedDevices.Read.All"),
        (
            "/reports/authenticationMethods/userRegistrationDetails",
            "Authentication_MSGraphPermissionMissing",
            "AuditLog",
        ),
        (CA_POLICIES, "AccessDenied", ""),
        ("/admin/sharepoint/settings", "accessDenied", ""),
        ("/security/secureScores", "", ""),
        ("/identityProtection/riskyUsers", "UnknownError", ""),
        ("/policies/roleManagementPolicyAssignments", "PermissionScopeNotGranted", "RoleManagement.Read.All"),
    ],
)
def test_a_missing_permission_is_403_in_the_service_s_own_shape(server, tls, path, error, names):
    client_id = app_ids(server)[0]
    server.tenant.clients[client_id].roles = []
    with connect(server, tls, permitted=False) as http:
        answer = http.get(path)
    assert answer.status_code == 403
    assert code(answer) == error
    assert names in answer.json()["error"]["message"]
    assert set(answer.json()["error"]["innerError"]) == {"date", "request-id", "client-request-id"}


def test_each_path_opens_with_each_permission_of_the_schema_and_no_other(server):
    for template, entry in graph_rules.catalogue()["paths"].items():
        found = graph_rules.route(template.replace("{id}", "x"), beta=False)
        for permission in entry["any"]:
            graph_rules.check_permission(found, [permission], [])
        with pytest.raises(graph_rules.GraphRefused, match=r"^") as caught:
            graph_rules.check_permission(found, ["Mail.Send"], ["x"])
        assert caught.value.status == 403


def test_the_demo_app_sees_all_but_sign_ins(demo_client):
    assert demo_client.get("/users", params={"$select": "id,accountEnabled"}).status_code == 200
    for url in ("/users?$select=id,signInActivity", "/reports/authenticationMethods/userRegistrationDetails"):
        answer = demo_client.get(url)
        assert answer.status_code == 403
        assert "AuditLog.Read.All" in answer.json()["error"]["message"]


def test_a_new_permission_needs_a_new_token(server, tls, demo_client):
    url = "/users?$select=id,signInActivity"
    server.tenant.clients[app_ids(server)[0]].roles.append("AuditLog.Read.All")
    assert demo_client.get(url).status_code == 403
    with connect(server, tls, permitted=False) as renewed:
        assert renewed.get(url).status_code == 200


def test_what_the_licences_lack_says_so(server, client):
    pim = client.get("/roleManagement/directory/roleEligibilityScheduleInstances")
    assert (pim.status_code, code(pim)) == (400, "AadPremiumLicenseRequired")
    assert client.get("/identityProtection/riskyUsers").status_code == 403
    for sku in server.tenant.licences:
        for plan in sku["servicePlans"]:
            plan["provisioningStatus"] = "Disabled"
    intune = client.get("/deviceManagement/managedDevices")
    assert (intune.status_code, intune.json()["error"]["message"]) == (400, "Request not applicable to target tenant.")
    sharepoint = client.get("/admin/sharepoint/settings")
    assert (sharepoint.status_code, code(sharepoint)) == (400, "BadRequest")
    for url in ("/users?$select=signInActivity", "/reports/authenticationMethods/userRegistrationDetails"):
        premium = client.get(url)
        assert premium.status_code == 403
        assert code(premium) == "Authentication_RequestFromNonPremiumTenantOrB2CTenant"


# --- lists, pages, options


def test_lists_come_in_pages_and_lose_nothing(server, client):
    users = everything(client, "/users", **{"$select": "id,accountEnabled"})
    assert len(users) == len(server.tenant.objects("/users"))
    assert len({user["id"] for user in users}) == len(users)
    assert set(users[0]) == {"id", "accountEnabled"}
    pages = [entry for entry in server.log if entry.path == "/v1.0/users"]
    assert len(pages) == -(-len(users) // 2)
    assert all("$select=id,accountEnabled" in page.query for page in pages)
    assert server.log[-1].client_id == app_ids(server)[1]
    assert "authorization" not in server.log[-1].headers


def test_the_page_size_is_a_setting_and_top_is_honoured_and_bounded(server, client):
    server.settings.page_size = 999
    assert "@odata.nextLink" not in client.get("/users").json()
    assert len(client.get("/users?$top=3").json()["value"]) == 3
    for url in (
        "/users?$top=1000",
        "/users?$select=id,signInActivity&$top=999",
        "/identityProtection/riskyUsers?$top=501",
        "/users?$top=0",
    ):
        server.tenant.licences[0]["servicePlans"].append(
            {"servicePlanName": "AAD_PREMIUM_P2", "provisioningStatus": "Success"}
        )
        assert client.get(url).status_code == 400, url
    assert client.get("/users?$select=id,signInActivity&$top=500").status_code == 200


def test_an_empty_page_may_have_a_next_link(server, client):
    server.settings.empty_first = "^/groups$"
    first = client.get("/groups").json()
    assert first["value"] == []
    assert "@odata.nextLink" in first
    assert len(everything(client, "/groups")) == len(server.tenant.objects("/groups"))


def test_a_damaged_page_token_is_refused(client):
    assert client.get("/users?$skiptoken=rubbish").status_code == 400


def test_users_have_eleven_default_properties(client):
    user = client.get("/users").json()["value"][0]
    assert set(user) == graph_rules.DEFAULT_PROPERTIES["user"]
    assert len(user) == 11
    assert client.get("/users?$select=aboutMe").status_code == 501


def test_an_unknown_property_or_path_is_a_bad_query(client):
    for url in ("/users?$select=nickName", "/users?$filter=nickName eq 'x'", "/groups?$expand=friends", "/nonesuch"):
        answer = client.get(url)
        assert (answer.status_code, code(answer)) == (400, "BadRequest"), url
    beta = str(client.base_url).replace("/v1.0", "/beta")
    assert client.get("/deviceManagement/configurationPolicies").status_code == 400
    assert client.get(f"{beta}deviceManagement/configurationPolicies").status_code == 200


@pytest.mark.parametrize(
    ("url", "text", "test"),
    [
        ("/users", "userType eq 'Guest'", lambda item: item["userType"] == "Guest"),
        ("/users", "accountEnabled eq false", lambda item: not item["accountEnabled"]),
        ("/users", "accountEnabled eq false and userType eq 'Member'",
         lambda item: not item["accountEnabled"] and item["userType"] == "Member"),
        ("/users", "(userType eq 'Guest' or startsWith(displayName,'Emerg'))",
         lambda item: item["userType"] == "Guest" or item["displayName"].startswith("Emerg")),
        ("/groups", "groupTypes/any(c:c eq 'Unified')", lambda item: "Unified" in item["groupTypes"]),
        ("/groups", "isAssignableToRole eq true", lambda item: item["isAssignableToRole"]),
        ("/roleManagement/directory/roleAssignments", "roleDefinitionId eq '62e90394-69f5-4237-9190-012177145e10'",
         lambda item: item["roleDefinitionId"].startswith("62e90394")),
        ("/reports/authenticationMethods/userRegistrationDetails", "isAdmin eq true", lambda item: item["isAdmin"]),
        ("/devices", "approximateLastSignInDateTime le 2026-01-01T00:00:00Z", lambda item: False),
        ("/domains", "id in ('oakfield.example','ashdown.example')", lambda item: item["id"][:3] in ("oak", "ash")),
    ],
)  # fmt: skip
def test_filters_give_exactly_what_they_say(server, client, url, text, test):
    if "Date" in text:
        for item in server.tenant.objects(url):
            item["approximateLastSignInDateTime"] = "2026-06-01T00:00:00Z"
    wanted = [item["id"] for item in server.tenant.objects(url) if test(item)]
    found = everything(client, url, **{"$filter": text, "$select": "id"})
    assert [item["id"] for item in found] == wanted
    assert len(wanted) < len(server.tenant.objects(url))


def test_the_pim_filter_and_nested_expansion(server, client):
    server.tenant.licences[0]["servicePlans"].append(
        {"servicePlanName": "AAD_PREMIUM_P2", "provisioningStatus": "Success"}
    )
    role = "62e90394-69f5-4237-9190-012177145e10"
    rule = {
        "@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyExpirationRule",
        "id": "Expiration_Admin_Assignment",
    }
    server.tenant.collections["/policies/roleManagementPolicyAssignments"] = [
        {"id": n, "scopeId": "/", "scopeType": "DirectoryRole", "roleDefinitionId": n,
         "policy": {"id": n, "rules": [rule]}}
        for n in (role, "other")
    ]  # fmt: skip
    text = f"scopeId eq '/' and scopeType eq 'DirectoryRole' and roleDefinitionId eq '{role}'"
    params = {"$filter": text, "$expand": "policy($expand=rules)"}
    [found] = client.get("/policies/roleManagementPolicyAssignments", params=params).json()["value"]
    assert found["policy"]["rules"] == [rule]
    [plain] = client.get("/policies/roleManagementPolicyAssignments", params={"$filter": text}).json()["value"]
    assert "policy" not in plain


@pytest.mark.parametrize(
    "text", ["userType ~ 'x'", "userType eq", "userType", "eq eq eq", "(userType eq 'x'", "userType eq Guest", "'"]
)
def test_a_filter_that_is_not_understood_is_refused(client, text):
    assert client.get("/users", params={"$filter": text}).status_code == 400


def test_advanced_queries_need_their_header_on_each_page(server, client):
    params = {"$filter": "userType ne 'Guest'", "$select": "id"}
    refused = client.get("/users", params=params)
    assert (refused.status_code, code(refused)) == (400, "Request_UnsupportedQuery")
    eventual = {"ConsistencyLevel": "eventual"}
    first = client.get("/users", params={**params, "$count": "true"}, headers=eventual).json()
    members = [user for user in server.tenant.objects("/users") if user["userType"] != "Guest"]
    assert first["@odata.count"] == len(members)
    assert client.get(first["@odata.nextLink"]).status_code == 400
    second = client.get(first["@odata.nextLink"], headers=eventual).json()
    assert "@odata.count" not in second


def test_expansion(server, client):
    holders = everything(client, "/roleManagement/directory/roleAssignments", **{"$expand": "principal"})
    kinds = {holder["principal"]["@odata.type"] for holder in holders}
    assert kinds == {"#microsoft.graph.user", "#microsoft.graph.group"}
    policies = everything(client, "/deviceManagement/deviceCompliancePolicies", **{"$expand": "assignments"})
    assert [bool(policy["assignments"]) for policy in policies] == [True, True, False]
    assert all(
        "assignments" not in policy for policy in everything(client, "/deviceManagement/deviceCompliancePolicies")
    )
    params = {"$expand": "schools($select=id,displayName)", "$select": "id"}
    users = everything(client, "/education/users", **params)
    assert {"id", "displayName"} == {key for user in users for school in user["schools"] for key in school} - {
        "@odata.type"
    }
    groups = everything(client, "/groups", **{"$expand": "members($select=id)", "$select": "id"})
    assert any(group["members"] for group in groups)


def test_expanded_members_stop_at_twenty_without_a_word(server, client):
    group = server.tenant.objects("/groups")[0]
    group["members"] = [user["id"] for user in server.tenant.objects("/users")][:30]
    shown = client.get(f"/groups/{group['id']}", params={"$expand": "members"}).json()
    assert len(shown["members"]) == 20
    assert len(everything(client, f"/groups/{group['id']}/members")) == 30


def test_an_app_that_may_not_read_people_sees_only_their_ids(server, tls):
    client_id = app_ids(server)[0]
    server.tenant.clients[client_id].roles = ["RoleManagement.Read.Directory"]
    with connect(server, tls, permitted=False) as http:
        [holder, *_] = everything(http, "/roleManagement/directory/roleAssignments", **{"$expand": "principal"})
    principal = holder["principal"]
    assert principal["id"] == holder["principalId"]
    assert {value for key, value in principal.items() if key not in ("id", "@odata.type")} == {None}


def test_members_through_groups_and_rings(server, client):
    groups = {group["displayName"]: group for group in server.tenant.objects("/groups")}
    everyone, inner = groups["GRP-NLT-All-Staff"], groups["GRP-OAK-Staff"]
    inner["members"].append(everyone["id"])
    direct = everything(client, f"/groups/{everyone['id']}/members")
    assert {item["@odata.type"] for item in direct} == {"#microsoft.graph.group"}
    through = everything(client, f"/groups/{everyone['id']}/transitiveMembers", **{"$select": "id"})
    people = [item for item in through if item["@odata.type"] == "#microsoft.graph.user"]
    assert (
        len(people)
        == sum(len(groups[name]["members"]) for name in groups if name.endswith("-Staff") and "All" not in name) - 1
    )


def test_paths_below_an_object(server, client):
    user = next(user for user in server.tenant.objects("/users") if user["assignedLicenses"])
    [details] = everything(client, f"/users/{user['id']}/licenseDetails")
    assert details["skuPartNumber"] == "M365EDU_A3_FACULTY"
    assert client.get(f"/users/{user['userPrincipalName']}").json()["id"] == user["id"]
    assert client.get(f"/users/{user['userPrincipalName']}?$select=signInActivity").status_code == 400
    assert client.get(f"/users/{user['id']}?$select=signInActivity").status_code == 200
    device = next(
        item
        for item in server.tenant.objects("/deviceManagement/managedDevices")
        if item["operatingSystem"] == "Windows"
    )
    state = client.get(f"/deviceManagement/managedDevices/{device['id']}/windowsProtectionState").json()
    assert state["realTimeProtectionEnabled"] is True
    schools = everything(client, "/education/schools")
    answers = [client.get(f"/education/schools/{school['id']}/administrativeUnit").status_code for school in schools]
    assert answers == [200, 404, 200]
    assert len(everything(client, f"/education/schools/{schools[0]['id']}/users")) > 5
    assert everything(client, "/domains/oakfield.example/serviceConfigurationRecords")[0]["recordType"] == "Txt"
    assert everything(client, "/domains/oakfield.example/federationConfiguration") == []
    assert client.get("/domains/nowhere.example/serviceConfigurationRecords").status_code == 404
    gone = client.get("/groups/00000000-0000-0000-0000-000000000001")
    assert (gone.status_code, code(gone)) == (404, "Request_ResourceNotFound")
    grants = "/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')/appRoleAssignedTo"
    assert len(everything(client, grants)) == 4


def test_directory_roles_do_not_page_and_show_groups_as_members(server, client):
    roles = client.get("/directoryRoles").json()
    assert "@odata.nextLink" not in roles
    assert len(roles["value"]) > 2
    intune = next(role for role in roles["value"] if role["displayName"] == "Intune Administrator")
    [member] = client.get(f"/directoryRoles/{intune['id']}/members").json()["value"]
    assert member["@odata.type"] == "#microsoft.graph.group"


def test_get_by_ids_leaves_out_what_is_gone(server, client):
    user = server.tenant.objects("/users")[0]["id"]
    body = {"ids": [user, "00000000-0000-0000-0000-000000000001"], "types": ["user", "group"]}
    answer = client.post("/directoryObjects/getByIds", json=body)
    assert [item["id"] for item in answer.json()["value"]] == [user]


def test_singletons_and_newer_enumeration_members(server, client):
    assert client.get("/policies/identitySecurityDefaultsEnforcementPolicy").json()["isEnabled"] is False
    assert set(client.get("/deviceManagement?$select=settings").json()) == {"@odata.context", "settings"}
    assert client.get("/policies/authenticationMethodsPolicy").json()["authenticationMethodConfigurations"]

    def platforms(**headers: str) -> list[str]:
        server.settings.page_size = 99
        policies = client.get(CA_POLICIES, headers=headers).json()["value"]
        return [
            name for item in policies for name in (item["conditions"]["platforms"] or {}).get("excludePlatforms", [])
        ]

    assert "unknownFutureValue" in platforms()
    assert "linux" not in platforms()
    assert "linux" in platforms(Prefer="include-unknown-enum-members")


def test_the_scanner_can_write_nothing(server, client):
    user = server.tenant.objects("/users")[0]["id"]
    for method, status in (("PATCH", 403), ("DELETE", 403), ("PUT", 405)):
        assert client.request(method, f"/users/{user}", json={}).status_code == status


# --- batches


def batch(client: httpx.Client, *urls: str) -> dict[str, dict[str, Any]]:
    items = [{"id": str(n), "method": "GET", "url": url} for n, url in enumerate(urls)]
    answer = client.post("/$batch", json={"requests": items})
    assert answer.status_code == 200, answer.text
    return {item["id"]: item for item in answer.json()["responses"]}


def test_a_batch_answers_each_item_in_another_order(server, client):
    items = [{"id": str(n), "method": "GET", "url": "/organization"} for n in range(20)]
    responses = client.post("/$batch", json={"requests": items}).json()["responses"]
    order = [response["id"] for response in responses]
    assert sorted(order, key=int) == [item["id"] for item in items]
    assert order != [item["id"] for item in items]
    assert sum(entry.in_batch for entry in server.log) == 20
    answers = batch(client, "/users?$select=id", "/nonesuch", "/groups/x", "subscribedSkus")
    assert [answers[str(n)]["status"] for n in range(4)] == [200, 400, 404, 200]
    assert "@odata.nextLink" in answers["0"]["body"]
    assert client.get(answers["0"]["body"]["@odata.nextLink"]).status_code == 200


def test_malformed_batches_are_refused(client):
    item = {"id": "1", "method": "GET", "url": "/organization"}
    many = [{**item, "id": str(n)} for n in range(21)]
    for requests_ in (many, [item, item], [], [{"id": "1"}], "x"):
        assert client.post("/$batch", json={"requests": requests_}).status_code == 400
    assert client.post("/$batch", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400


def test_a_failed_dependency_is_424(client):
    items = [
        {"id": "a", "method": "GET", "url": "/nonesuch"},
        {"id": "b", "method": "GET", "url": "/organization", "dependsOn": ["a"]},
    ]
    responses = client.post("/$batch", json={"requests": items}).json()["responses"]
    assert {item["id"]: item["status"] for item in responses} == {"a": 400, "b": 424}


def test_one_item_of_a_batch_may_be_throttled(server, client):
    server.faults.throttle(r"^/v1\.0/domains", retry_after="0.249")
    answers = batch(client, "/domains", "/organization")
    assert [answers[key]["status"] for key in ("0", "1")] == [429, 200]
    assert answers["0"]["headers"]["Retry-After"] == "0.249"
    assert batch(client, "/domains", "/organization")["0"]["status"] == 200


# --- throttling and faults


def test_conditional_access_takes_one_request_a_second_and_names_no_time(server, client):
    assert client.get(CA_POLICIES).status_code == 200
    assert client.get(CA_POLICIES).status_code == 200
    server.settings.slow_bucket, server.settings.slow_interval = True, 0.3
    assert client.get(CA_POLICIES).status_code == 200
    second = client.get("/identity/conditionalAccess/namedLocations")
    assert second.status_code == 429
    assert "retry-after" not in second.headers
    answers = batch(client, CA_POLICIES, "/organization")
    assert [answers[key]["status"] for key in ("0", "1")] == [429, 200]
    time.sleep(0.35)
    assert client.get(CA_POLICIES).status_code == 200


def test_retry_after_comes_in_every_spelling(server, client):
    date = email.utils.formatdate(time.time() + 3, usegmt=True)
    for spelling in ("2", "0.249", date):
        server.faults.throttle("^/v1.0/domains", retry_after=spelling)
        answer = client.get("/domains")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, spelling)
    server.faults.throttle("^/v1.0/domains")
    assert "retry-after" not in client.get("/domains").headers
    assert client.get("/domains").status_code == 200


def test_faults_wait_their_turn_and_are_used_up(server, client):
    server.faults.add("^/v1.0/domains", status=503, times=2, after=1)
    assert [client.get("/domains").status_code for _ in range(4)] == [200, 503, 503, 200]
    server.faults.add(r"\$top=500", status=504)
    assert client.get("/users?$top=250").status_code == 200
    assert client.get("/users?$top=500").status_code == 504
    server.faults.add("^/v1.0/domains", status=500)
    server.faults.clear()
    assert client.get("/domains").status_code == 200


def test_a_body_may_be_cut_short(server, client):
    server.faults.add("^/v1.0/domains", cut=20)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/domains")
    assert client.get("/domains").status_code == 200


def test_a_next_link_may_lead_to_a_stranger(server, client):
    server.faults.add("^/v1.0/users", next_link="https://elsewhere.example/v1.0/users?$skiptoken=x")
    assert client.get("/users").json()["@odata.nextLink"].startswith("https://elsewhere.example/")


def test_a_web_filter_may_answer_in_graph_s_place(server, client):
    server.faults.proxy_page("^/v1.0/domains")
    answer = client.get("/domains")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_intune_wraps_an_error_twice(server, client):
    server.faults.intune_error("^/v1.0/deviceManagement")
    error = client.get("/deviceManagement/managedDevices").json()["error"]
    inner = httpx.Response(200, text=error["message"]).json()
    assert httpx.Response(200, text=inner["Message"]).json()["ErrorCode"] == "Forbidden"


def test_an_answer_may_be_slow_and_stalls_nobody_else(server, tls, client):
    server.faults.add("^/v1.0/domains", delay=1.0)
    slow = threading.Thread(target=client.get, args=("/domains",))
    slow.start()
    start = time.monotonic()
    with connect(server, tls, permitted=True) as other:
        assert other.get("/organization").status_code == 200
    assert time.monotonic() - start < 0.9
    slow.join()


def test_a_client_that_speaks_no_tls_stalls_nobody(server, client):
    with socket.create_connection(("127.0.0.1", server.port)) as idle:
        assert client.get("/organization").status_code == 200
        idle.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert client.get("/organization").status_code == 200


def test_every_path_of_the_catalogue_answers(server, client):
    """No path of the catalogue breaks the server: each gives data, 404, or a licence error."""
    for template in itertools.chain(graph_rules.catalogue()["paths"], graph_rules.catalogue()["added"]):
        held = server.tenant.objects(template.partition("/{id}")[0])
        identifier = str(held[0].get("id", held[0].get("tenantId"))) if held else "x"
        answer = client.get(template.replace("{id}", identifier))
        assert answer.status_code in (200, 404, 400, 403), template
        if answer.status_code in (400, 403):
            licence = ("AadPremiumLicenseRequired", "Forbidden")
            assert code(answer) in licence, (template, answer.text)
    assert server.errors == []


def test_settings_may_be_given_whole(tls):
    with GraphServer(TenantData.load(TENANT), tls[1], settings=Settings(page_size=5)) as running:
        with connect(running, tls, permitted=True) as http:
            assert len(http.get("/users").json()["value"]) == 5
        assert running.url.startswith("https://localhost:")


def test_the_app_certificate_is_rsa(tmp_path):
    _, key = certs.make_app_certificate(tmp_path, "app")
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    assert getattr(loaded, "key_size", 0) == 2048
