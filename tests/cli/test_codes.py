"""Bad input gives one line and the right exit code; good input the other codes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.store.lock import hold
from tests.cli.conftest import CONTROL, TRUST, Hosts, Run

ROOT = Path(__file__).resolve().parents[2]


def control(folder: Path, old: str, new: str) -> None:
    path = folder / "controls/test-kernel.yml"
    assert old in CONTROL
    path.write_text(CONTROL.replace(old, new))


# ------------------------------------------------------------------------------------------------------- bad input: 2


def test_no_trust(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPIRITLEVEL_TRUST", raising=False)
    done = run("scan")
    assert done.code == 2
    assert "no trust.yml" in done.sentence
    assert "spiritlevel init" in done.sentence
    assert run("-C", tmp_path / "nowhere", "drift").code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [unclosed\n", ["trust.yml:", "not valid YAML"]),
        (TRUST + "shools: {}\n", ["trust.yml:7:", "no such key", "'schools'"]),
        (TRUST.replace("    name: Oak School", "    name: Oak School\n    pfase: primary"), ["pfase", "'phase'"]),
        (TRUST.replace("profile: test", "profile: tests"), ["no profile 'tests'", "'test'"]),
        (TRUST + "name: twice\n", ["trust.yml:7:", "twice"]),
        (TRUST.replace("inventories/oak.yml", "inventories/elm.yml"), ["no inventory"]),
        ("name: X\nschools: {}\n", ["at least one school"]),
        (TRUST + "timezone: Europe/Lundon\n", ["time zone"]),
        (TRUST + "workers: many\n", ["trust.yml:7:", "workers"]),
        (
            TRUST + "tenants: {m: {tenant_id: a, client_id: b, secret: 'env:S', dns_servers: [ns1.example]}}\n",
            ["'ns1.example'", "192.0.2.53"],
        ),
    ],
)
def test_a_broken_trust(run: Run, trust: Path, text: str, words: list[str]) -> None:
    (trust / "trust.yml").write_text(text)
    done = run("-C", trust, "plan")
    assert done.code == 2
    for word in words:
        assert word in done.sentence


@pytest.mark.parametrize("where", ["password", "webhook"])
def test_a_literal_secret_is_refused_and_not_repeated(run: Run, trust: Path, where: str) -> None:
    text = {
        "password": "directories: {ad: {url: 'ldaps://dc.example', bind: me, password: hunter2hunter2}}\n",
        "webhook": "notify: {teams_webhook: 'https://example.org/hunter2hunter2'}\n",
    }[where]
    (trust / "trust.yml").write_text(TRUST + text)
    done = run("-C", trust, "validate")
    assert done.code == 2
    assert "env:NAME" in done.sentence
    assert "hunter2" not in done.out + done.err


def test_an_unknown_control_in_a_profile(run: Run, trust: Path) -> None:
    (trust / "profiles/test.yml").write_text("id: test\ncontrols: [linux.test-kernal]\n")
    done = run("-C", trust, "validate")
    assert done.code == 2
    assert "profiles/test.yml:2" in done.sentence
    assert "'linux.test-kernel'" in done.sentence


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("os.id", "os.idd", "'id'"),
        ("equals: debian", "equal: debian", "'equals'"),
        ("platform: linux", "platform: linus", "linus"),
        ("{name: another, expect: fail", "{name: another, expect: pass", "another"),
        ("theme: devices", "theme: gadgets", "theme"),
        ("version: 1", "version: 1\nseverety: low", "'severity'"),
    ],
)
def test_a_broken_control(run: Run, trust: Path, old: str, new: str, word: str) -> None:
    control(trust, old, new)
    done = run("-C", trust, "validate")
    assert done.code == 2
    assert word in done.err
    assert "Traceback" not in done.err


def test_a_value_that_is_not_set_is_named(run: Run, trust: Path) -> None:
    (trust / "controls/test-kernel.yml").write_text(
        CONTROL.replace("check: {fact: os.id, equals: debian}", "check: {fact: os.id, one_of: {param: dns_servers}}")
        .replace("facts: {os: {id: debian}}", "parameters: {dns_servers: [debian]}, facts: {os: {id: debian}}")
        .replace("facts: {os: {id: ubuntu}}", "parameters: {dns_servers: [debian]}, facts: {os: {id: ubuntu}}")
        .replace("facts: {}}", "parameters: {dns_servers: [debian]}, facts: {}}")
    )
    done = run("-C", trust, "plan")
    assert done.code == 2, "nothing else is in this baseline"
    assert "no control is left" in done.sentence
    (trust / "profiles/test.yml").write_text("id: test\ncontrols: [linux.test-kernel, linux.ssh-root-login]\n")
    done = run("-C", trust, "plan")
    assert done.code == 0
    assert "linux.test-kernel\tdns_servers" in done.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--limit", "nosuch*"], "matches nothing"),
        (["--target", "pc2"], "no target 'pc2'"),
        (["--school", "elm"], "no school 'elm'"),
        (["--control", "linux.nothing"], "no control"),
        (["--theme", "backup"], "no control is left"),
    ],
)
def test_a_selection_that_matches_nothing(run: Run, trust: Path, arguments: list[str], word: str) -> None:
    done = run("-C", trust, "scan", *arguments)
    assert done.code == 2
    assert word in done.sentence


def test_no_controls_and_no_targets(run: Run, trust: Path) -> None:
    (trust / "profiles/test.yml").write_text("id: test\ncontrols: []\n")
    assert "no control is left" in run("-C", trust, "scan").sentence
    (trust / "inventories/oak.yml").write_text("all: {hosts: {}}\n")
    done = run("-C", trust, "scan")
    assert done.code == 2
    assert "no targets at all" in done.sentence


def test_an_inventory_that_ansible_cannot_read(run: Run, trust: Path) -> None:
    (trust / "inventories/oak.yml").write_text("all: [no, inventory\n")
    done = run("-C", trust, "scan")
    assert done.code == 2
    assert "inventories/oak.yml" in done.sentence


@pytest.mark.parametrize(
    "verb", ["drift", "report", "explain linux.test-kernel", "evaluate", "list runs", "store info"]
)
def test_before_the_first_scan(run: Run, trust: Path, verb: str) -> None:
    done = run("-C", trust, *verb.split())
    assert done.code == 2
    assert "spiritlevel scan" in done.sentence


def test_usage_errors_come_from_the_command_line_itself(run: Run, trust: Path) -> None:
    for arguments in (
        ["scann"],
        ["scan", "--nonsense"],
        ["scan", "--timeout", "soon"],
        ["-C", str(trust), "list", "x"],
    ):
        done = run(*arguments)
        assert done.code == 2
        assert "Traceback" not in done.err


def test_a_store_that_cannot_be_made(run: Run, trust: Path) -> None:
    (trust / ".spiritlevel").write_text("in the way")
    done = run("-C", trust, "scan")
    assert done.code == 2
    assert "store" in done.sentence


def test_a_read_only_folder(trust: Path) -> None:
    """Nothing can be written: not even by root, whose right to write anywhere is dropped for it."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root writes anywhere, and there is no setpriv to stop it")
        drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    trust.chmod(0o555)
    command = [*drop, sys.executable, "-m", "agent", "-C", str(trust), "scan", "--timeout", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    trust.chmod(0o755)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "store's folder" in done.stderr


def test_two_scans_at_once(run: Run, trust: Path) -> None:
    (trust / ".spiritlevel").mkdir(mode=0o700)
    with hold(trust / ".spiritlevel"):
        done = run("-C", trust, "-q", "scan")
    assert done.code == 2
    assert "another scan is running" in done.sentence
    assert "started" in done.sentence


def test_a_store_of_a_newer_version(run: Run, trust: Path) -> None:
    assert run("-C", trust, "-q", "scan").code == 3
    with sqlite3.connect(trust / ".spiritlevel/store.sqlite") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999_future'")
    db.close()
    for verb in ("scan", "drift"):
        done = run("-C", trust, "-q", verb)
        assert done.code == 2
        assert "newer version" in done.sentence


def test_a_damaged_store(run: Run, trust: Path) -> None:
    (trust / ".spiritlevel").mkdir()
    (trust / ".spiritlevel/store.sqlite").write_bytes(b"this is no database, and it is long enough to tell" * 50)
    done = run("-C", trust, "drift")
    assert done.code == 2
    assert "damaged" in done.sentence


# ----------------------------------------------------------------------------------------------------- codes 0, 1, 3


def test_codes_of_a_scan(run: Run, hosts: Hosts) -> None:
    folder = hosts.folder
    done = run("-C", folder, "scan")
    assert (done.code, "Oak School" in done.out) == (0, True), done.err
    assert run("-C", folder, "drift").code == 0
    control(folder, "equals: debian", "equals: hal")
    for name in ("debian", "ubuntu"):
        text = (folder / "controls/test-kernel.yml").read_text()
        (folder / "controls/test-kernel.yml").write_text(
            text.replace(f"id: {name}", "id: hal" if name == "debian" else "id: x")
        )
    assert run("-C", folder, "scan").code == 1
    assert run("-C", folder, "scan", "--fail-on", "critical").code == 0
    assert run("-C", folder, "drift").code == 1
    hosts.fault("plain", refuse_auth=True)
    done = run("-C", folder, "scan")
    assert done.code == 3, "incomplete comes before drift"
    assert "refused" in done.err


def test_an_accepted_departure_is_no_drift(run: Run, hosts: Hosts) -> None:
    folder = hosts.folder
    control(folder, "fact: os.id, equals: debian", "fact: os.id, not_equals: debian")
    text = (folder / "controls/test-kernel.yml").read_text()
    text = (
        text.replace("expect: pass", "expect: x")
        .replace("expect: fail", "expect: pass")
        .replace("expect: x", "expect: fail")
    )
    (folder / "controls/test-kernel.yml").write_text(text)
    assert run("-C", folder, "scan").code == 1
    end = "2999-01-01"
    arguments = ["--reason", "New machines come in spring", "--owner", "Head of IT", "--expires", end]
    assert run("-C", folder, "except", "add", "linux.test-kernel", *arguments).code == 0
    assert run("-C", folder, "drift").code == 0
    assert run("-C", folder, "except", "end", "1").code == 0
    assert run("-C", folder, "drift").code == 1


def test_an_unreadable_credential(run: Run, hosts: Hosts) -> None:
    (hosts.folder / "secrets/id_ed25519").unlink()
    done = run("-C", hosts.folder, "scan")
    assert done.code == 3
    assert "id_ed25519" in done.err
    done = run("-C", hosts.folder, "drift", "--format", "json")
    assert done.code == 3
    assert {f["verdict"] for f in json.loads(done.out)} == {"unknown"}


def test_a_changed_host_key_is_not_talked_to(run: Run, hosts: Hosts) -> None:
    hosts.fault("good", wrong_host_key=True)
    done = run("-C", hosts.folder, "scan", "--target", "good")
    assert done.code == 3
    assert "another host key" in done.err


def test_ctrl_c(hosts: Hosts) -> None:
    """A scan that hangs stops at once, exits 3, and can be resumed."""
    hosts.fault("plain", hang_after_auth=True)
    command = [sys.executable, "-m", "agent", "-C", str(hosts.folder), "scan", "--timeout", "120"]
    scan = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert scan.stderr is not None
    started = scan.stderr.readline()
    assert "Scanning" in started
    time.sleep(2.0)
    scan.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = scan.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert scan.returncode == 3
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "spiritlevel: stopped."
    hosts.fault("plain")
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Scanning 1 target" in done.stderr


# ------------------------------------------------------------------------------------------------------------- speed


def test_help_is_instant(capsys: pytest.CaptureFixture[str]) -> None:
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "agent", "--help"], cwd=ROOT, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    with capsys.disabled():
        print(f"\n--help: {min(spent) * 1000:.0f} ms of CPU")
    assert min(spent) < 0.3, "150 ms is the aim; twice that is certainly wrong"


def test_every_verb_has_help(run: Run) -> None:
    from agent.cli import VERBS

    for verb in VERBS:
        done = run(verb, "--help")
        assert done.code == 0, verb
        assert "Usage: spiritlevel" in done.out
