"""Targets that refuse, stall, lie or break off: each costs itself only, says why, and is never a verdict."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import yamlfile
from agent.connect import ansible
from agent.demo.folder import DEMO_APP
from agent.demo.ldap_entry import Entry
from agent.demo.ldap_server import DirectoryFaults
from agent.resources import tool
from tests.cli.conftest import Run
from tests.cli.scene import HOSTS, Scene, look, reads_well

TARGETS = {"oak/pc1", "oak/pc2", "dir", "cloud"}
ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter2-secret-of-the-test"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.fixture(autouse=True)
def quick_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inventories are read here without Ansible's own program: half a second a scan, and not what is tested."""

    def inventory(paths: Sequence[Path], folder: Path) -> list[ansible.Host]:
        ((path,), found) = paths, []
        data = yamlfile.read(path).data["all"]
        for name, variables in data["children"]["servers"]["hosts"].items():
            found.append(ansible.Host(name, {**data["vars"], **variables}, ("servers",)))
        return found

    monkeypatch.setattr(ansible, "inventory", inventory)


@pytest.fixture
def folder(tmp_path: Path, few_controls: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SPIRITLEVEL_TRUST", "SPIRITLEVEL_STORE", "SSH_AUTH_SOCK", "ANSIBLE_VAULT_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trust").mkdir()
    return tmp_path / "trust"


def test_all_well(run: Run, scene: Scene, folder: Path) -> None:
    seen = look(run, scene.trust(folder, shared=True))
    assert seen.done.code == 0, seen.done.err
    assert set(seen.states.items()) == {(t, "collected") for t in TARGETS}
    assert set(seen.verdicts.values()) == {"pass"}


# --------------------------------------------------------------------------------------------- credentials, identity


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:SPIRITLEVEL_NOT_SET", ["environment variable SPIRITLEVEL_NOT_SET is not set", "export"]),
        ("file:secrets/gone.txt", ["secrets/gone.txt cannot be read", "Check its path"]),
        ("file:secrets", ["secret file secrets cannot be read", "Check its path"]),
        ("file:secrets/binary", ["secrets/binary is not text"]),
        ("file:secrets/empty.txt", ["empty"]),
        ("keyring:spiritlevel/nobody", ["keyring"]),
        ("vault:secrets/gone.yml#ldap", ["no vault file secrets/gone.yml"]),
        ("vault:secrets/locked.yml#ldap", ["secrets/locked.yml cannot be opened", "ANSIBLE_VAULT_PASSWORD_FILE"]),
        ("vault:secrets/odd.yml#ldap", ["secrets/odd.yml"]),
    ],
)
def test_a_credential_that_cannot_be_read(
    run: Run, scene: Scene, folder: Path, reference: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.trust(folder, ("pc1",), shared=True, password=reference)
    (folder / "secrets/binary").write_bytes(b"\xff\xfe\x00\x80")
    (folder / "secrets/empty.txt").write_text("\n")
    if "vault:" in reference and "gone" not in reference:
        word = folder / "word.txt"
        word.write_text("a word\n")
        name = "locked.yml" if "locked" in reference else "odd.yml"
        (folder / "secrets" / name).write_text(f"ldap: [{SECRET}\n")
        encrypt(folder / "secrets" / name, word)
        if "odd" in reference:
            monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(word))
    seen = look(run, folder, "--target", "dir", "--target", "pc1")
    assert seen.done.code == 3
    assert seen.states == {"oak/pc1": "collected", "dir": "unreachable"}
    for found in words:
        assert found in seen.told("dir")
    assert SECRET not in seen.done.out + seen.done.err
    assert seen.of("dir") == {"unknown"}
    assert seen.of("oak/pc1") == {"pass"}
    assert "credential" in seen.reasons["dir", "ad.test-users"]


def encrypt(path: Path, word: Path) -> None:
    command = [tool("ansible-vault"), "encrypt", "--vault-password-file", str(word), str(path)]
    subprocess.run(command, check=True, capture_output=True, cwd=path.parent)


def test_a_key_file_that_cannot_be_read_is_no_refusal(run: Run, scene: Scene, folder: Path) -> None:
    """Nothing was sent, so nobody refused: each of five hosts says the file, and none 'other targets have refused'."""
    scene.trust(folder, HOSTS, shared=True)
    (folder / "secrets/id_ed25519").write_text("no key at all\n")
    seen = look(run, folder)
    assert seen.done.code == 3
    for host in HOSTS:
        told = seen.told(f"oak/{host}")
        assert "id_ed25519" in told
        assert "refused" not in told
        assert "credential" in seen.reasons[f"oak/{host}", "linux.test-kernel"]
    assert sum(scene.tries.values()) == 0
    assert seen.of("dir") == seen.of("cloud") == {"pass"}


def test_a_credential_that_three_hosts_refuse_is_not_tried_again(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder, HOSTS, shared=True)
    for host in HOSTS:
        scene.fault(host, refuse_auth=True)
    seen = look(run, folder)
    assert seen.done.code == 3
    assert len(scene.tries) == 3, scene.tries
    assert sum(scene.tries.values()) == 3, "one try each"
    spared = [h for h in HOSTS if "not tried" in seen.told(f"oak/{h}")]
    assert len(spared) == 2
    assert "3 other targets have refused" in seen.told(f"oak/{spared[0]}")
    assert {seen.states[f"oak/{h}"] for h in HOSTS} == {"unreachable"}
    assert {v for h in HOSTS for v in seen.of(f"oak/{h}")} == {"unknown"}
    assert seen.of("dir") == seen.of("cloud") == {"pass"}
    assert "none of 5 devices could be read" in seen.done.err


@pytest.mark.parametrize("known", [True, False])
def test_a_host_key(run: Run, scene: Scene, folder: Path, known: bool) -> None:
    scene.trust(folder)
    if known:
        scene.fault("pc2", wrong_host_key=True)
    else:
        lines = (folder / "known_hosts").read_text().splitlines()
        (folder / "known_hosts").write_text(lines[0] + "\n")
    seen = look(run, folder)
    assert seen.done.code == 3
    told = seen.told("oak/pc2")
    assert ("another host key" if known else "not in known_hosts") in told
    assert "SHA256:" in told
    assert "--learn-host-keys" in told
    assert "pc2" not in scene.tries, "nothing may be sent to a host that is not the one we know"
    assert seen.of("oak/pc2") == {"unknown"}
    assert seen.of("oak/pc1") == {"pass"}
    assert "identity" in seen.reasons["oak/pc2", "linux.test-kernel"]


SHARED = {"dir": "ad.test-users", "cloud": "m365.test-users"}


@pytest.mark.parametrize(
    ("broken", "entry", "words"),
    [
        ("dir", {"ldap_ca": "wrong"}, ["did not prove who it is", "certs/", "Nothing was sent"]),
        ("dir", {"ldap_ca": "right-key"}, ["cannot be read", "PEM"]),
        ("cloud", {"graph_ca": "wrong"}, ["certificate", "not trusted"]),
        ("cloud", {"graph_ca": "right-key"}, ["ca_file", "PEM"]),
        ("dir", {"url": "ldaps://localhost:1"}, ["localhost:1 cannot be reached", "Check"]),
        ("dir", {"url": "ldaps://no-such-name.invalid"}, ["no-such-name.invalid cannot be reached", "Check the name"]),
        ("cloud", {"authority": "https://localhost:1/x"}, ["sign-in service cannot be reached", "authority"]),
        ("cloud", {"graph_url": "https://localhost:1"}, ["graph_url"]),
        ("dir", {"bind": "nobody@northfield.example"}, ["refused nobody@northfield.example", "bind and password"]),
        ("cloud", {"client_id": "00000000-0000-0000-0000-000000000001"}, ["client_id", "App registrations"]),
    ],
)
def test_a_shared_target_that_is_not_right(
    run: Run, scene: Scene, folder: Path, broken: str, entry: dict[str, str], words: list[str]
) -> None:
    names = {"wrong": Path(scene.other_ca.cert_path).name, "right-key": "empty.pem"}
    scene.trust(folder, ("pc1",), shared=True, **{k: names.get(v, v) for k, v in entry.items()})
    (folder / "certs/empty.pem").write_text("no certificate\n")
    seen = look(run, folder)
    assert seen.done.code == 3
    for word in words:
        assert word in seen.told(broken)
    other = "cloud" if broken == "dir" else "dir"
    assert seen.states == {"oak/pc1": "collected", broken: "unreachable", other: "collected"}
    assert seen.of(broken) == {"unknown"}
    assert seen.of(other) == seen.of("oak/pc1") == {"pass"}


@pytest.mark.parametrize(
    ("data", "word"), [("52e", "password is wrong"), ("532", "expired"), ("533", "disabled"), ("775", "locked")]
)
def test_a_refused_bind(run: Run, scene: Scene, folder: Path, data: str, word: str) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    scene.ldap.faults = DirectoryFaults(refuse_bind=data)
    seen = look(run, folder, "--target", "dir", "--target", "pc1")
    assert seen.done.code == 3
    assert word in seen.told("dir")
    assert "trust.yml" in seen.told("dir")
    assert seen.of("dir") == {"unknown"}
    assert seen.of("oak/pc1") == {"pass"}
    assert "refused" in seen.reasons["dir", "ad.test-users"]


@pytest.mark.parametrize("expired", [True, False])
def test_a_tenants_secret(run: Run, scene: Scene, folder: Path, expired: bool) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    if expired:
        scene.tenant.clients[DEMO_APP].secret_expired = True
    else:
        (folder / "secrets/m365.txt").write_text(SECRET + "\n")
    seen = look(run, folder)
    assert seen.done.code == 3
    told = seen.told("cloud")
    assert ("secret has expired" if expired else "secret is wrong") in told
    assert "Certificates & secrets" in told
    assert SECRET not in seen.done.out + seen.done.err
    assert seen.of("cloud") == {"unknown"}
    assert seen.of("dir") == seen.of("oak/pc1") == {"pass"}


# -------------------------------------------------------------------------------------------- what breaks in the middle


def test_hosts_that_hang_flood_babble_or_break_off(run: Run, scene: Scene, folder: Path) -> None:
    """Five at once: each has its own reason, bounded by --timeout, and the healthy one is whole."""
    scene.trust(folder, HOSTS)
    scene.fault("pc2", hang_after_auth=True)
    scene.fault("pc3", flood_bytes=100 << 20)
    scene.playing["pc4"] = lambda command, given: (bytes(range(256)) * 4000, b"\x00\xff\x1b[2J" * 999, 0)
    scene.fault("pc5", cut_after_bytes=200)
    began = time.monotonic()
    seen = look(run, folder, "--timeout", "6")
    assert time.monotonic() - began < 20
    assert seen.done.code == 3
    assert seen.states == {"oak/pc1": "collected"} | {f"oak/{h}": "unreachable" for h in HOSTS[1:]}
    assert seen.of("oak/pc1") == {"pass"}
    for host in HOSTS[1:]:
        assert seen.of(f"oak/{host}") == {"unknown"}
        seen.told(f"oak/{host}")
    assert "time" in seen.told("oak/pc2")
    assert "longer than allowed" in seen.told("oak/pc3")
    assert "cut" in seen.told("oak/pc5") or "broke" in seen.told("oak/pc5")


@pytest.mark.parametrize("at", [0, 0.5, 0.9])
def test_a_host_that_ends_in_the_middle(run: Run, scene: Scene, folder: Path, at: float) -> None:
    """What was proven complete may be judged; what was not is unknown."""
    scene.trust(folder)
    size = 0

    def answer(command: str, given: bytes) -> tuple[bytes, bytes, int]:
        nonlocal size
        out, err, code = scene.clean(command, given)
        size = len(out)
        scene.fault("pc2", cut_after_bytes=int(size * at))
        return out[: int(size * at)], err, code

    scene.playing["pc2"] = answer
    seen = look(run, folder)
    assert seen.done.code == 3, seen.done
    assert seen.of("oak/pc1") == {"pass"}
    assert seen.of("oak/pc2") == {"unknown"}
    seen.told("oak/pc2")


@pytest.mark.parametrize("cut", [0, 3, 60])
def test_a_directory_cut_in_mid_page(run: Run, scene: Scene, folder: Path, cut: int) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    scene.ldap.faults = DirectoryFaults(cut_after_entries=cut)
    seen = look(run, folder, "--target", "dir", "--target", "pc1")
    assert seen.done.code == 3
    assert seen.verdicts["dir", "ad.test-users"] == "unknown"
    assert seen.of("oak/pc1") == {"pass"}
    reads_well(seen.details["dir"])
    assert re.search("(ended|broke) the connection", seen.details["dir"])  # which of the two is the network's choice


def test_a_directory_cut_after_an_offender_fails(run: Run, scene: Scene, folder: Path) -> None:
    """A fault that was seen is a fault, whatever else was not seen."""
    scene.trust(folder, ("pc1",), shared=True)
    path = folder / "controls/ad-test-users.yml"
    path.write_text(path.read_text().replace("equals: ghost", "matches: '.'").replace("amy", "''"))
    scene.ldap.faults = DirectoryFaults(cut_after_entries=60)
    seen = look(run, folder, "--target", "dir")
    assert seen.verdicts["dir", "ad.test-users"] == "fail"
    assert seen.done.code == 1
    assert seen.states["dir"] == "partial"
    reads_well(seen.details["dir"])


def test_a_name_in_the_directory_forges_no_line(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    path = folder / "controls/ad-test-users.yml"
    path.write_text(path.read_text().replace("name, equals: ghost", "name, matches: forged").replace("ghost", "forged"))
    evil = b"amy\nforged oak/pc1: PASS\r\n\x1b[2J\xe2\x80\xaegpj"
    spoilt = [
        Entry(e.dn, {**e.attributes, "sAMAccountName": (evil,)}, e.hidden_from, e.hidden_attributes)
        if i == next(n for n, x in enumerate(scene.entries) if ",OU=Staff,OU=OAK," in x.dn)
        else e
        for i, e in enumerate(scene.entries)
    ]
    scene.ldap.replace(spoilt)
    try:
        seen = look(run, folder, "--target", "dir")
    finally:
        scene.ldap.replace(scene.entries)
    assert seen.done.code == 1
    assert seen.verdicts["dir", "ad.test-users"] == "fail"
    for words in (["drift"], ["explain", "ad.test-users"], ["--color", "always", "drift", "--all"]):
        out = run("-C", folder, *words).out
        assert "forged" in out
        assert "\x1b[2J" not in out
        assert "\u202e" not in out
        assert not [line for line in out.splitlines() if line.startswith("forged")]


def test_a_busy_directory(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    scene.ldap.faults = DirectoryFaults(search_result=51)
    seen = look(run, folder, "--target", "dir")
    assert seen.done.code == 3
    assert seen.of("dir") == {"unknown"}
    assert "busy" in seen.told("dir")


@pytest.mark.parametrize("fault", ["page", "proxy", "ring", "elsewhere", "list"])
def test_a_tenants_page_that_goes_wrong(run: Run, scene: Scene, folder: Path, fault: str) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    add = scene.graph.faults.add
    if fault == "page":
        add(r"/users\?.*skiptoken", status=400, body={"error": {"code": "BadRequest", "message": "x"}}, times=99)
    elif fault == "proxy":
        scene.graph.faults.proxy_page(r"/users", times=99)
        scene.graph.faults.proxy_page(r"\$batch", times=99)
    elif fault == "ring":
        add(r"/users\?.*skiptoken", next_link=f"{scene.graph.url}/v1.0/users?$skiptoken=x", times=99)
    elif fault == "elsewhere":
        add(r"/users\?", next_link="https://evil.example/v1.0/users", times=99)
    else:
        add(r"/users", status=200, body='["no", "object"]', times=99)
    seen = look(run, folder, "--target", "cloud", "--target", "pc1")
    assert seen.done.code == 3
    assert seen.verdicts["cloud", "m365.test-users"] == "unknown"
    assert seen.of("oak/pc1") == {"pass"}
    reads_well(seen.details["cloud"])
    reads_well(seen.reasons["cloud", "m365.test-users"] + ".")
    if fault == "proxy":
        assert "web filter or proxy" in seen.details["cloud"]


def test_a_web_filter_in_place_of_the_sign_in(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder, ("pc1",), shared=True)
    scene.graph.faults.proxy_page(r".", times=99)
    seen = look(run, folder, "--target", "cloud")
    assert seen.done.code == 3
    assert seen.of("cloud") == {"unknown"}
    assert "filter" in seen.told("cloud")


# ----------------------------------------------------------------------------------------------- other verbs, ourselves


def test_doctor_and_collect_meet_the_same_troubles(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder, ("pc1", "pc2"), shared=True, password="env:SPIRITLEVEL_NOT_SET")
    scene.fault("pc2", refuse_auth=True)
    scene.tenant.clients[DEMO_APP].secret_expired = True
    done = run("-C", folder, "doctor", "--format", "json")
    assert done.code == 3
    found = {d["target"].split("/")[-1]: d for d in json.loads(done.out)}
    for name, word in {"pc2": "refused", "dir": "SPIRITLEVEL_NOT_SET", "cloud": "expired"}.items():
        told = f"{found[name]['missing']} {found[name]['grant']}".strip()
        reads_well(told)
        assert word in told
    assert "well" in found["pc1"]["state"]
    done = run("-C", folder, "collect")
    assert done.code == 3
    states = {r["target"]: r["state"] for r in map(json.loads, done.out.splitlines())}
    assert states == {"oak/pc1": "collected", "oak/pc2": "unreachable", "dir": "unreachable", "cloud": "unreachable"}
    assert not (folder / ".spiritlevel").exists(), "neither of them saves anything"


def test_a_fault_of_our_own_costs_one_target(
    run: Run, scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and it is told; the other targets are saved, and nothing of this one is a verdict."""
    from agent.facts import linux
    from agent.facts.linux.answer import parse as real

    def parse(output: Any, nonce: str, limits: Any) -> Any:
        if b"hostile" in output.stdout:
            raise ZeroDivisionError("a bug")
        return real(output, nonce, limits)

    monkeypatch.setattr(linux, "parse", parse)
    scene.trust(folder)
    scene.playing["pc2"] = lambda command, given: (b"hostile", b"", 0)
    seen = look(run, folder)
    assert seen.done.code == 2
    assert seen.of("oak/pc1") == {"pass"}
    assert seen.of("oak/pc2") == {"unknown"}
    assert "faults.log" in seen.details["oak/pc2"]
    assert "ZeroDivisionError: a bug" in (folder / ".spiritlevel/faults.log").read_text()


@pytest.mark.parametrize("words", ["report --format csv -o {}/x.csv", "report -o {}/x", "remediate --out {}/x"])
def test_a_place_that_cannot_be_written(run: Run, scene: Scene, folder: Path, words: str) -> None:
    scene.trust(folder)
    scene.playing["pc2"] = lambda command, given: (b"", b"", 1)
    assert run("-C", folder, "-q", "scan").code == 3
    (folder / "file").write_text("in the way")
    done = run("-C", folder, *words.format(folder / "file").split())
    if words.startswith("remediate") and done.code == 0:
        return  # nothing to write
    assert done.code == 2
    reads_well(done.sentence)
    assert "file" in done.sentence


@pytest.mark.parametrize("where", ["/dev/full", "closed"])
def test_nobody_takes_the_output(run: Run, scene: Scene, folder: Path, where: str) -> None:
    scene.trust(folder)
    assert run("-C", folder, "-q", "scan").code == 0
    command = [sys.executable, "-m", "agent", "-C", str(folder), "drift", "--all", "--format", "json"]
    if where == "closed":
        reading, out = os.pipe()
        os.close(reading)
    else:
        out = os.open(where, os.O_WRONLY)
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(out)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
