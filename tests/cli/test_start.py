"""init, doctor and its kit, against stand-ins of every kind."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import agent.facts
from agent import kit
from agent.demo.folder import DEMO_APP
from agent.demo.stage import Stage
from agent.facts.linux.answer import COMMAND
from agent.facts.m365 import plan
from agent.facts.m365.source import KEYED, SOURCES
from tests.cli.conftest import Hosts, Run


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stand-in trust: three schools, hosts, a directory, a tenant."""
    with Stage(tmp_path_factory.mktemp("stage")) as running:
        yield running


# ---------------------------------------------------------------------------------------------------------------- init


def test_init_makes_a_trust_that_validates(run: Run, tmp_path: Path, few_controls: Path) -> None:
    folder = tmp_path / "my trust"
    assert run("init", folder).code == 0
    done = run("-C", folder, "validate")
    assert done.code == 0, done.err
    assert "trust.yml: all well" in done.err
    done = run("-C", folder, "list", "targets")
    assert "example/server1" in done.out
    assert "/out/" in (folder / ".gitignore").read_text()
    assert (folder / "controls/.gitkeep").exists()


def test_init_never_overwrites(run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine\n")
    done = run("init", tmp_path)
    assert done.code == 0
    assert "Left as they were: README.md" in done.err
    assert (tmp_path / "README.md").read_text() == "mine\n"
    (tmp_path / "exceptions.yml").write_text("# mine\n")
    done = run("init", tmp_path)
    assert done.code == 2
    assert "nothing was changed" in done.sentence
    assert (tmp_path / "exceptions.yml").read_text() == "# mine\n"


def test_what_is_commented_out_in_the_starter_is_right_too(run: Run, tmp_path: Path, few_controls: Path) -> None:
    """Taking the # away from an example must give a file that loads."""
    folder = tmp_path / "t"
    run("init", folder)
    lines = []
    for line in (folder / "trust.yml").read_text().splitlines():
        bare = line.lstrip()
        if (
            bare.startswith("# ")
            and (":" in bare or bare.startswith("#   -"))
            and not line.startswith(("# What", "# Val"))
        ):
            inside = line.startswith("    # ")
            line = ("    " + line[6:]) if inside else line.removeprefix("# ")
            if any(line.strip().startswith(w) for w in ("env:NAME", "file:PATH", "keyring:", "vault:")):
                continue
        lines.append(line)
    (folder / "certs").mkdir()
    (folder / "certs/ad-ca.pem").write_text("x")
    text = "\n".join(line for line in lines if not line.startswith("#"))
    for word in ("directories:", "tenants:", "notify:", "change_windows:", "workers:", "    directory:", "    tenant:"):
        assert f"\n{word}" in text
    (folder / "trust.yml").write_text(text)
    done = run("-C", folder, "validate")
    assert done.code == 0, done.err


# -------------------------------------------------------------------------------------------------------------- doctor


def test_doctor_on_a_whole_trust(run: Run, stage: Stage) -> None:
    """One line each: what is missing, and how to grant it."""
    roles = stage._graph.tenant.clients[DEMO_APP].roles
    roles.remove("IdentityRiskyUser.Read.All")
    try:
        done = run("-C", stage.folder, "doctor", "--format", "json", "--timeout", "60")
    finally:
        roles.append("IdentityRiskyUser.Read.All")
    assert done.code == 3
    found = {c["target"]: c for c in json.loads(done.out)}
    assert found["oakfield/oak-files"]["state"] == "well"
    assert found["oakfield/oak-backup"]["state"] == "missing"
    assert "sudo -n is refused" in found["oakfield/oak-backup"]["missing"]
    assert "sshd" in found["oakfield/oak-backup"]["missing"]
    assert found["elmgrove/elm-old"]["state"] == "not reached"
    assert "IdentityRiskyUser.Read.All" in found["trust-m365"]["missing"]
    assert "admin consent" in found["trust-m365"]["grant"]
    assert found["trust-ad"]["state"] == "missing"
    assert "Password Settings Container" in found["trust-ad"]["missing"]
    assert found["trust-ad"]["serves"] == ["oakfield", "elmgrove", "ashdown"]


def test_doctor_when_all_is_well(run: Run, hosts: Hosts) -> None:
    done = run("-C", hosts.folder, "doctor")
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines() == ["Oak School\tgood\twell\t", "Oak School\tplain\twell\t"]
    assert "All well" in done.err


def test_doctor_names_what_is_wrong(run: Run, hosts: Hosts) -> None:
    hosts.fault("good", refuse_auth=True)
    hosts.fault("plain", cut_after_bytes=20)
    done = run("-C", hosts.folder, "doctor", "--timeout", "10")
    assert done.code == 3
    good, plain = done.out.splitlines()
    assert "refused to let scan in" in good
    assert "no proper answer" in plain


def test_doctor_with_wrong_files(run: Run, trust: Path) -> None:
    (trust / "trust.yml").write_text("name: [\n")
    assert run("-C", trust, "doctor").code == 2
    assert run("-C", trust, "doctor", "--yes").code == 2


# ----------------------------------------------------------------------------------------------------------- host keys


def test_host_keys_are_learnt_after_asking(run: Run, hosts: Hosts) -> None:
    hosts.write(known=False)
    known = hosts.folder / "known_hosts"
    assert run("-C", hosts.folder, "scan").code == 3
    done = run("-C", hosts.folder, "doctor", "--learn-host-keys", given="y\nn\n")
    assert done.code == 3, "one is left"
    assert done.out.count("SHA256:") == 2
    assert len(known.read_text().splitlines()) == 1
    known.write_text(known.read_text().rstrip("\n"))  # a person's editor left no last line end
    done = run("-C", hosts.folder, "doctor", "--learn-host-keys", "--yes")
    assert done.code == 0
    assert "1 hosts were learnt, 1 were known" in done.err
    assert sorted(known.read_text().splitlines()) == sorted(hosts.servers.known_hosts_lines())
    assert run("-C", hosts.folder, "scan").code == 0


def test_nobody_to_ask_learns_nothing(run: Run, hosts: Hosts) -> None:
    hosts.write(known=False)
    done = run("-C", hosts.folder, "doctor", "--learn-host-keys")
    assert done.code == 2
    assert "--yes" in done.err
    assert not (hosts.folder / "known_hosts").exists()


def test_a_changed_key_is_never_replaced(run: Run, hosts: Hosts) -> None:
    before = (hosts.folder / "known_hosts").read_text()
    hosts.fault("good", wrong_host_key=True)
    done = run("-C", hosts.folder, "doctor", "--learn-host-keys", "--yes")
    assert done.code == 3
    assert "nothing was replaced" in done.err
    assert (hosts.folder / "known_hosts").read_text() == before


def test_keys_go_where_the_inventory_says(run: Run, hosts: Hosts, tmp_path: Path) -> None:
    hosts.write(known=False, options="-o UserKnownHostsFile=keys/hosts")
    assert run("-C", hosts.folder, "doctor", "--learn-host-keys", "--yes").code == 0
    assert len((hosts.folder / "keys/hosts").read_text().splitlines()) == 2
    assert run("-C", hosts.folder, "scan").code == 0
    hosts.write(known=False, options="-o UserKnownHostsFile=/dev/null")
    done = run("-C", hosts.folder, "doctor", "--learn-host-keys", "--yes")
    assert done.code == 3
    assert "turns known_hosts off" in done.err


# ----------------------------------------------------------------------------------------------------------------- kit


@pytest.fixture(scope="module")
def written(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from agent.baseline import load_policy
    from agent.plan import Planner, Selection
    from agent.trust import load

    planner = Planner(load(stage.folder), load_policy(stage.folder))
    folder = tmp_path_factory.mktemp("kit")
    kit.write_kit(planner, planner.jobs(Selection()), folder)
    return folder


def test_the_sudoers_file_allows_what_the_collector_runs(written: Path) -> None:
    assert f"sudo -n {kit.SUDO_COMMAND} " in COMMAND
    text = (written / "linux-sudoers").read_text()
    assert f"scan ALL=(root) NOPASSWD: {kit.SUDO_COMMAND}\n" in text
    visudo = shutil.which("visudo") or "/usr/sbin/visudo"
    if Path(visudo).exists():
        done = subprocess.run([visudo, "-cf", str(written / "linux-sudoers")], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_app_gets_exactly_the_planned_permissions(written: Path, stage: Stage) -> None:
    data: dict[str, Any] = json.loads((written / "tenant-trust-m365-manifest.json").read_text())
    (access,) = data["requiredResourceAccess"]
    graph, roles = kit.app_roles()
    assert access["resourceAppId"] == graph == "00000003-0000-0000-c000-000000000000"
    names = {v: k for k, v in roles.items()}
    granted = {names[a["id"]] for a in access["resourceAccess"]}
    assert {a["type"] for a in access["resourceAccess"]} == {"Role"}
    assert "User.Read.All" in granted
    assert not [name for name in granted if "Write" in name]
    script = (written / "tenant-trust-m365.ps1").read_text()
    for name in granted:
        assert f"'{name}' = '{roles[name]}'" in script


def test_every_permission_that_a_fact_names_has_an_id() -> None:
    assert agent.facts
    _, roles = kit.app_roles()
    steps = [s for name in SOURCES for s in plan([name])] + [s for name in KEYED for s in plan([f"{name}[x]"])]
    assert {r for s in steps for r in s.rights} <= set(roles)
    assert len(set(roles.values())) == len(roles)


def test_the_directory_script_grants_reading_only(written: Path) -> None:
    text = (written / "directory-trust-ad.ps1").read_text()
    grants = [line for line in text.splitlines() if line.strip().startswith("Grant ")]
    assert len(grants) > 20
    for line in grants:
        rights = line.split("${account}:")[1].split('"')[0].split(";")[0]
        assert {rights[i : i + 2] for i in range(0, len(rights), 2)} <= {"RP", "LC", "RC", "LO"}, line
    assert "LAPS" not in text or "AdmPwd;" not in text, "a password is never asked for"


def test_names_from_trust_yml_stay_text(run: Run, trust: Path, tmp_path: Path) -> None:
    """A quote in a name must not end a string of the scripts."""
    for given, wanted in [
        ("svc-o'neil", "'svc-o''neil'"),
        ("a\u2019; Remove-Item x", "'a\u2019\u2019; Remove-Item x'"),
        ("a\nb", "'a b'"),
    ]:
        assert kit._quoted(given) == wanted


def test_a_kit_for_nothing(run: Run, hosts: Hosts, tmp_path: Path) -> None:
    """The one control here reads a fact that takes no right at all."""
    done = run("-C", hosts.folder, "doctor", "--kit", tmp_path / "kit")
    assert done.code == 2
    assert "nothing that is planned takes any right" in done.sentence
    assert not (tmp_path / "kit").exists()
