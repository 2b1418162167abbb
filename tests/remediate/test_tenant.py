"""Fixes of a tenant under Ansible, against the stand-in: seen first, made, true by a new scan, and taken back."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.connect.ansible import tool
from agent.demo.certs import make_app_certificate
from agent.facts.protocol import Limits
from agent.model import Finding, Verdict
from agent.plan import Selection
from agent.remediate import BundleInfo, bundle
from agent.remediate.run import Seen, apply
from agent.scan import Options, scan
from agent.store import Store
from tests.remediate import tenant_world
from tests.remediate.tenant_world import EMERGENCY, FIXER, GROUPS, HOSTILE, World
from tests.remediate.test_ansible import ENVIRONMENT

pytestmark = pytest.mark.slow

OPTIONS = Options(limits=Limits())
STAGED = {
    "auth-transfer-blocked",
    "device-code-blocked",
    "device-registration-mfa",
    "legacy-auth-blocked",
    "mfa-admins",
    "mfa-azure-management",
    "mfa-guests",
    "phishing-resistant-admins",
    "phishing-resistant-everyone",
    "registration-guarded",
    "sign-in-risk",
    "unknown-platforms-blocked",
    "user-risk",
}
"""Policies that are made in report-only state: their controls fail until somebody switches them on."""
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


@pytest.mark.timeout(1800)
def test_everything_is_mended_and_a_new_scan_says_so(world: World, tmp_path: Path) -> None:
    with Store.open(world.planner.trust.hidden) as store:
        found = bundles(world, store, tmp_path / "out")
        due = {(s.control.removeprefix("m365."), i.school) for i in found.values() for s in i.content.steps}
        controls = world.planner.policy.controls.values()
        fixed = {
            c.id.removeprefix("m365.") for c in controls if c.platform == "m365" and c.file.fix and c.file.fix.playbook
        }
        assert {c for c, _ in due} >= fixed - {
            "security-defaults",
            "sign-in-risk",
            "user-risk",
            "device-registration-mfa",
        }
        for info in found.values():
            done = playbook(world, info.folder, "site.yml")
            assert done.returncode == 0, done.stdout[-4000:]
            assert "49" not in done.stdout.replace("149", ""), "a name was taken for a template"
        now = look(world, store)
        left = {key for key in due if now[key].verdict is not Verdict.PASS}
        assert {c for c, _ in left} == {c for c, _ in due} & STAGED | {"users-stale", "pupils-not-listed"}
        # Its owner is an emergency account by way of a group, and two come from the local directory.
        stale = {o.label for o in now["users-stale", "all"].offenders}
        assert "emergency1@northfield.onmicrosoft.example" in stale
        assert all(u["accountEnabled"] for u in world.held("/users") if u["userPrincipalName"] in stale)
        policies = world.held("/identity/conditionalAccess/policies")
        assert {p["state"] for p in policies} == {"enabledForReportingButNotEnforced"}
        assert all(p["conditions"]["users"]["excludeGroups"] == [EMERGENCY] for p in policies)

        enforced = playbook(world, found[None].folder, "site.yml", *tags(*STAGED), "-e", "sl_enforce=true")
        assert enforced.returncode == 0, enforced.stdout[-4000:]
        now = look(world, store)
        assert {c for c, s in due if c in STAGED and now[c, s].verdict is not Verdict.PASS} == set()


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

        notes = sorted((folder.parent / "_undo/_trust").rglob("*.json"))
        assert [n.name for n in notes] == sorted(f"cloud-m365.{c}.json" for c in SAMPLE)
        assert {n.stat().st_mode & 0o777 for n in notes} == {0o600}
        for note in notes:
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
