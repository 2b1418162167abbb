"""The stand-in tenant, and what the server demands, against the extract of Microsoft's schema."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from agent.demo import graph_data, graph_rules
from agent.demo.graph_data import TenantData
from tests.demo import graph_schema

TENANT = Path(graph_data.__file__).with_name("tenant.json")
CATALOGUE = graph_rules.catalogue()


@pytest.fixture(scope="module")
def tenant() -> TenantData:
    return TenantData.load(TENANT)


def test_every_object_of_the_tenant_fits_the_schema(tenant):
    found = [
        fault
        for n, sku in enumerate(tenant.licences)
        for fault in graph_schema.faults(sku, "microsoft.graph.subscribedSku", f"/subscribedSkus[{n}]")
    ]
    for path, held in tenant.collections.items():
        route = graph_rules.route(path, beta=True)
        declared = f"microsoft.graph.{route.type}"
        assert isinstance(held, list) == route.collection, path
        for n, item in enumerate(held if isinstance(held, list) else [held]):
            found += graph_schema.faults(item, declared, f"{path}[{n}]")
    assert found == []


@pytest.mark.parametrize(
    ("value", "declared", "says"),
    [
        ({"displayNam": "x"}, "microsoft.graph.user", "no property displayNam"),
        ({"state": "on"}, "microsoft.graph.conditionalAccessPolicy", "not a member"),
        ({"accountEnabled": "yes"}, "microsoft.graph.user", "not Edm.Boolean"),
        ({"createdDateTime": "yesterday"}, "microsoft.graph.user", None),
        ({"@odata.type": "#microsoft.graph.user"}, "microsoft.graph.namedLocation", "is not a"),
        ({"@odata.type": "#microsoft.graph.nonesuch"}, "microsoft.graph.namedLocation", "no type"),
        ({"servicePlans": [{"servicePlanName": 1}]}, "microsoft.graph.subscribedSku", "not Edm.String"),
    ],
)
def test_the_validator_sees_what_is_wrong(value, declared, says):
    found = graph_schema.faults(value, declared, "x")
    assert found
    assert says is None or says in found[0]


def test_paths_and_permissions_are_those_of_the_schema():
    # The permission map is silent on these; their permissions come from the permissions' own descriptions.
    silent = {
        "/directory/onPremisesSynchronization",
        "/directory/onPremisesSynchronization/{id}",
        "/teamwork/teamsAppSettings",
        "/deviceManagement/managedDevices/{id}/windowsProtectionState",
    }
    for section, version in (("paths", "v1.0"), ("beta", "beta")):
        for path, entry in CATALOGUE[section].items():
            known = graph_schema.schema()[version]["paths"][path]
            assert known["type"] == f"microsoft.graph.{entry['type']}", path
            assert bool(known.get("collection")) == entry["collection"], path
            assert entry["any"], path
            assert set(entry["least"]) <= set(entry["any"]), path
            granted = (known.get("app_permissions") or {}).get("GET") or {}
            if path in silent:
                assert not granted.get("any")
                continue
            assert set(entry["any"]) == set(granted["any"]), path
            if granted["least"]:
                assert entry["least"] == granted["least"], path


def test_every_get_path_of_the_schema_is_served():
    for version, beta in (("v1.0", False), ("beta", True)):
        for path, known in graph_schema.schema()[version]["paths"].items():
            if not known.get("operation") and "appRoleAssignedTo/{id}" not in path:
                assert graph_rules.route(path.replace("{id}", "x"), beta=beta)


def test_properties_and_newer_members_are_those_of_the_schema():
    for name, known in CATALOGUE["properties"].items():
        assert set(known) <= set(graph_schema.properties(f"microsoft.graph.{name}")), name
    members = {member for each in graph_schema.types().values() for member in each.get("enum", [])}
    for name, newer in CATALOGUE["newer"].items():
        assert set(newer) <= members, name


def test_the_demo_app_lacks_exactly_one_permission(tenant):
    demo, full = tenant.clients.values()
    assert set(full.roles) - set(demo.roles) == {"AuditLog.Read.All"}
    assert set(full.roles) <= set(graph_schema.schema()["app_role_ids"])


def test_references_inside_the_tenant_lead_somewhere(tenant):
    ids = {item["id"] for path in graph_data.OBJECT_TYPES for item in tenant.objects(path)}
    for group in tenant.objects("/groups"):
        assert set(group["members"]) | set(group["owners"]) <= ids
    for assignment in tenant.objects("/roleManagement/directory/roleAssignments"):
        assert assignment["principalId"] in ids
    for user in tenant.objects("/education/users"):
        assert {user["id"], *user["schools"]} <= ids
    upns = [user["userPrincipalName"] for user in tenant.objects("/users")]
    assert len(upns) == len(set(upns)) >= 50


def test_licences_and_names_are_a3_and_fictitious(tenant):
    assert (tenant.has_p1(), tenant.has_p2(), tenant.has_intune(), tenant.has_sharepoint()) == (True, False, True, True)
    for user in tenant.objects("/users"):
        assert user["userPrincipalName"].endswith(".example")
    for domain in tenant.objects("/domains"):
        assert domain["id"].endswith(".example")


def test_placeholders_are_filled():
    now = datetime.datetime(2026, 9, 1, 12, 0, tzinfo=datetime.UTC)
    filled = graph_data.fill(
        {"a": ["{{now}}", "{{now-1d}}", "{{now+2h}}", "{{now-30m}}", "plain"], "b": "{{secret}}"}, now
    )
    expected = ["2026-09-01T12:00:00Z", "2026-08-31T12:00:00Z", "2026-09-01T14:00:00Z", "2026-09-01T11:30:00Z", "plain"]
    assert filled["a"] == expected
    assert len(filled["b"]) > 20
    with pytest.raises(ValueError, match="Unknown placeholder"):
        graph_data.fill("{{tomorrow}}", now)


def test_no_secret_is_written_in_the_file():
    raw = json.loads(TENANT.read_text(encoding="utf-8"))
    assert {client["secret"] for client in raw["clients"].values()} == {"{{secret}}"}
