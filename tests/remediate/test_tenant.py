"""Fixes of a tenant under Ansible, against the stand-in: seen first, made, true by a new scan, and taken back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.connect.ansible import tool
from agent.demo import graph_rules
from agent.demo.certs import make_app_certificate
from agent.demo.graph_writes import change
from agent.facts.protocol import Limits
from agent.model import Finding, Verdict
from agent.plan import Selection
from agent.remediate import BundleInfo, bundle
from agent.remediate.run import Seen, apply
from agent.render.bundle_content import Step
from agent.scan import Options, scan
from agent.store import Store
from tests.remediate import tenant_world
from tests.remediate.tenant_world import FIXER, GROUPS, HOSTILE, World
from tests.remediate.test_ansible import ENVIRONMENT

pytestmark = pytest.mark.slow

OPTIONS = Options(limits=Limits())
SAMPLE = ("admins-self-reset", "device-quota", "group-creation", "mfa-admins", "hard-match-blocked")
"""One for each way in which something is changed."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with tenant_world.serve(tmp_path / "t") as out:
        for name, value in out.environment.items():
            monkeypatch.setenv(name, value)
        yield out
    assert out.server.errors == []


def look(world: World, store: Store) -> dict[tuple[str, str | None], Finding]:
    """Scan; findings by control (without its platform) and school."""
    scan(world.planner, store, Selection(), OPTIONS)
    return {(k.finding.control.removeprefix("m365."), k.finding.school): k.finding for k in store.findings()}


def bundles(world: World, store: Store, out: Path) -> dict[str | None, BundleInfo]:
    look(world, store)
    return {i.school: i for i in bundle(world.planner, store, Selection(), out)}


def playbook(world: World, folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Plain ansible-playbook in a bundle."""
    return subprocess.run(
        [tool("ansible-playbook"), "-i", "inventory.yml", *words],
        cwd=folder,
        env={**ENVIRONMENT, **world.environment, **more},
        capture_output=True,
        text=True,
        timeout=1700,
    )


def tags(*controls: str) -> tuple[str, str]:
    return "--tags", ",".join(f"m365.{c}" for c in controls)


def changed(done: subprocess.CompletedProcess[str]) -> int:
    return sum(int(n) for n in re.findall(r"changed=(\d+)", done.stdout))


def state(world: World) -> str:
    return json.dumps(world.server.tenant.collections, sort_keys=True)


def merged(now: Any, want: Any) -> Any:
    """`want` laid over `now`, as Ansible's `combine(recursive=true)` does it."""
    if not isinstance(now, dict) or not isinstance(want, dict):
        return want
    return {**now, **{k: merged(now.get(k), v) for k, v in want.items()}}


def carried_out(world: World, step: Step, rights: Sequence[str]) -> None:
    """What a task file does, with nothing but the permissions that its control names. See each file for its ways."""
    held: dict[str, Any] = world.server.tenant.collections
    values = step.variables["cloud"]

    def send(method: str, path: str, body: Any) -> None:
        change(world.server.tenant, method, path, body, rights)

    def readable(path: str) -> None:
        graph_rules.check_permission(graph_rules.route(path, beta=False), rights, ())

    match step.playbook:
        case "m365/settings.yml":
            path, want = values["sl_path"], values["sl_want"]
            readable(path)
            if "authenticationMethodConfigurations" in path:
                methods = held["/policies/authenticationMethodsPolicy"]["authenticationMethodConfigurations"]
                now = next(m for m in methods if path.endswith(m["id"]))
            else:
                now = held[path]
            if isinstance(now, list):
                (now,) = now
                path = f"{path}/{now['id']}"
            keys = want if values.get("sl_method") != "PUT" else [k for k in now if k[0] != "@" and k != "id"]
            send(values.get("sl_method", "PATCH"), path, {k: merged(now, want)[k] for k in keys})
        case "m365/group_settings.yml":
            readable("/groupSettings")
            own = [s for s in held["/groupSettings"] if s["templateId"] == values["sl_template"]]
            texts = {v["name"]: v["value"] for s in own for v in s["values"]} | values["sl_want"]
            body: dict[str, Any] = {"values": [{"name": n, "value": str(v)} for n, v in texts.items()]}
            if own:
                send("PATCH", f"/groupSettings/{own[0]['id']}", body)
            else:
                send("POST", "/groupSettings", {"templateId": values["sl_template"], **body})
        case "m365/items.yml":
            readable(f"{values['sl_collection']}/x")
            for key in step.offenders["cloud"]:
                item = next(i for i in held[values["sl_collection"]] if i["id"] == key)
                assert merged(item, values["sl_still"]) == item
                if not (values.get("sl_cloud_only") and item.get("onPremisesSyncEnabled")):
                    send("PATCH", f"{values['sl_collection']}/{key}", values["sl_want"])
        case "m365/conditional_access.yml":
            for path in ("/identity/conditionalAccess/policies", "/users/x", "/groups/x"):
                readable(path)
            users = {**values["sl_users"], "excludeUsers": [], "excludeGroups": values["sl_emergency"]}
            body = {
                "displayName": values["sl_name"],
                "state": "enabled",
                "conditions": {**values["sl_conditions"], "users": users},
                "grantControls": values["sl_grant"],
            }
            send("POST", "/identity/conditionalAccess/policies", body)
        case other:
            raise AssertionError(f"{other} is not known here")


def test_what_every_fix_sets_makes_its_control_pass(world: World, tmp_path: Path) -> None:
    with Store.open(world.planner.trust.hidden) as store:
        found = bundles(world, store, tmp_path / "out")
        steps = {(s.control.removeprefix("m365."), i.school): s for i in found.values() for s in i.content.steps}
        controls = world.planner.policy.controls
        fixed = {
            c.id.removeprefix("m365.")
            for c in controls.values()
            if c.platform == "m365" and c.file.fix and c.file.fix.playbook
        }
        # Security defaults exclude policies, and the risk policies take a licence that this tenant lacks.
        assert fixed - {c for c, _ in steps} <= {"security-defaults", "sign-in-risk", "user-risk"}
        for step in steps.values():
            carried_out(world, step, step.rights)
        now = look(world, store)
        left = {key: now[key] for key in steps if now[key].verdict is not Verdict.PASS}
        # What comes from the local directory is changed there.
        assert {c for c, _ in left} <= {"users-stale", "pupils-not-listed"}, left


def test_seen_first_made_once_and_taken_back(world: World, tmp_path: Path) -> None:
    before = state(world)
    with Store.open(world.planner.trust.hidden) as store:
        found = bundles(world, store, tmp_path / "out")
        folder = found[None].folder
        seen = playbook(world, folder, "site.yml", "--check", "--diff", *tags(*SAMPLE))
        assert seen.returncode == 0, seen.stdout[-4000:]
        assert state(world) == before, "check mode changed something"
        assert '+                "allowedToUseSSPR": false' in seen.stdout
        assert '+                "allowedToUseSSPR": true' in seen.stdout
        assert changed(seen) == len(SAMPLE)
        assert not (folder.parent / "_undo").exists()

        done = playbook(world, folder, "site.yml", *tags(*SAMPLE), "-vvvv")
        assert done.returncode == 0, done.stdout[-4000:]
        for secret in (*world.environment.values(), *re.findall(r"Bearer (\S+)", done.stdout)):
            assert secret == "fix" or secret not in done.stdout, "a secret is shown"
        assert "eyJ" not in done.stdout, "a token is shown"
        now = look(world, store)
        assert {c for c in SAMPLE if now[c, None].verdict is not Verdict.PASS} == {"mfa-admins"}
        made = next(s for s in world.held("/groupSettings") if s["templateId"] == GROUPS)
        assert {"name": "UsageGuidelinesUrl", "value": ""} in made["values"], "the template's other values came along"

        again = playbook(world, folder, "site.yml", *tags(*SAMPLE))
        assert (again.returncode, changed(again)) == (0, 0), again.stdout[-4000:]

        enforced = playbook(world, folder, "site.yml", *tags("mfa-admins"), "-e", "sl_enforce=true")
        assert enforced.returncode == 0, enforced.stdout[-4000:]
        assert look(world, store)["mfa-admins", None].verdict is Verdict.PASS

        notes = sorted((folder.parent / "_undo/_trust").rglob("*.json"))
        assert {n.name for n in notes} == {f"cloud-m365.{c}.json" for c in SAMPLE}
        assert {n.stat().st_mode & 0o777 for n in notes} == {0o600}
        for note in reversed(notes):  # the newest first
            back = playbook(world, folder, "undo.yml", "-e", f"sl_undo={note}")
            assert back.returncode == 0, back.stdout[-4000:]
        assert json.loads(state(world)) == json.loads(before)


def test_items_are_looked_at_again_and_their_names_stay_data(world: World, tmp_path: Path) -> None:
    with Store.open(world.planner.trust.hidden) as store:
        info = bundles(world, store, tmp_path / "out")["all"]
    unified = [g for g in world.held("/groups") if "Unified" in g["groupTypes"]]
    unified[0]["visibility"] = "HiddenMembership"  # somebody has mended it since, in another way
    path = info.folder / "host_vars/cloud.yml"
    assert HOSTILE not in path.read_text()
    text = path.read_text().replace(f'!unsafe "{unified[1]["id"]}"', '!unsafe "../users/x?y={{ 7*7 }}; rm -rf /"')
    assert "7*7" in text
    path.write_text(text)
    done = playbook(world, info.folder, "site.yml", *tags("groups-private"))
    assert done.returncode == 0, done.stdout[-4000:]
    assert [g["visibility"] for g in unified] == ["HiddenMembership", "Public", "Private", "Private"][: len(unified)]
    assert {g["displayName"] for g in unified} == {HOSTILE}
    assert not [e for e in world.server.log if "rm" in e.path or "49" in e.path.rpartition("/")[2][:3]]


def test_a_right_that_is_missing_is_said(world: World, tmp_path: Path) -> None:
    world.server.tenant.clients[FIXER].roles.remove("Policy.ReadWrite.Authorization")
    with Store.open(world.planner.trust.hidden) as store:
        info = bundles(world, store, tmp_path / "out")[None]
        before = state(world)
        done = playbook(world, info.folder, "site.yml", *tags("admins-self-reset"))
        assert done.returncode == 2
        assert "Graph says 403 to PATCH /policies/authorizationPolicy - Insufficient privileges" in done.stdout
        assert "These fixes failed here - m365.admins-self-reset" in done.stdout
        assert state(world) == before
        wrong = playbook(world, info.folder, "site.yml", *tags("admins-self-reset"), TEST_GRAPH_FIX="not it")
        assert "The sign-in service gives no token - AADSTS7000215" in wrong.stdout
        none = playbook(world, info.folder, "site.yml", *tags("admins-self-reset"), TEST_GRAPH_FIX="")
        assert "There is no login for this tenant" in none.stdout


def test_a_certificate_signs_in_without_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tenant_world.serve(tmp_path / "t", "certificate: file:fix.pem") as world:
        certificate, key = make_app_certificate(tmp_path, "fixes")
        (tmp_path / "t/fix.pem").write_bytes(key.read_bytes() + certificate.read_bytes())
        world.server.tenant.clients[FIXER].certificate = certificate.read_text()
        world.server.tenant.clients[FIXER].secret = ""
        monkeypatch.setenv("TEST_GRAPH_READ", world.environment["TEST_GRAPH_READ"])
        with Store.open(world.planner.trust.hidden) as store:
            info = bundles(world, store, tmp_path / "out")[None]
            assert b"PRIVATE" not in b"".join(p.read_bytes() for p in info.folder.rglob("*") if p.is_file())
            done = playbook(world, info.folder, "site.yml", *tags("admins-self-reset"))
            assert done.returncode == 0, done.stdout[-4000:]
            assert world.held("/policies/authorizationPolicy")["allowedToUseSSPR"] is False


def test_apply_fetches_the_token_and_looks_again(world: World, tmp_path: Path) -> None:
    with Store.open(world.planner.trust.hidden) as store:
        look(world, store)
        wanted = Selection(controls=("m365.admins-self-reset", "m365.groups-private"))
        infos = bundle(world.planner, store, wanted, tmp_path / "out")
        outcome = apply(world.planner, store, infos, lambda _: True, options=OPTIONS)
        by = {(a.control, a.target): a for a in outcome.applied}
        assert {(c, a.did, a.now) for (c, _), a in by.items()} == {
            ("m365.admins-self-reset", Seen.CHANGED, Verdict.PASS),
            ("m365.groups-private", Seen.CHANGED, Verdict.PASS),
        }
        assert outcome.good
        (noted,) = [a for a in store.actions() if a["verb"] == "remediate"]
        assert noted["target"] == "cloud"
