"""Bad files, bad stores, bad ends: a clear sentence, nothing lost, and what a hostile host says acts nowhere."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from agent.demo.replay_linux import replay
from agent.demo.stage import HERE
from agent.resources import tool
from tests.cli.conftest import Run
from tests.cli.scene import HOSTS, Scene, look, reads_well

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene")) as made:
        yield made


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for a trust, with the whole shipped baseline."""
    for name in ("SPIRITLEVEL_TRUST", "SPIRITLEVEL_STORE", "SSH_AUTH_SOCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trust").mkdir()
    return tmp_path / "trust"


@pytest.fixture
def folder(bare: Path, few_controls: Path) -> Path:
    """The same, with one shipped control."""
    return bare


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "agent", "-C", str(folder), *arguments]


def sentence(done: Any) -> str:
    """The one line of an error."""
    text: str = done.sentence.removeprefix("spiritlevel: ")
    reads_well(text)
    return text


# ------------------------------------------------------------------------------------------------- trust, inventories


def test_two_schools_of_one_code(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder)
    text = (folder / "trust.yml").read_text()
    text = text.replace("  oak:\n", "  oak:\n    code: OAK\n") + "  elm: {name: Elm School, code: OAK}\n"
    (folder / "trust.yml").write_text(text)
    done = run("-C", folder, "scan")
    assert done.code == 2
    told = sentence(done)
    assert "trust.yml" in told
    assert "'OAK'" in told


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ("all: [no, inventory\n", 0o644, ["Ansible cannot read"]),
        ("#!/bin/sh\nexit 7\n", 0o755, ["Ansible cannot read"]),
        ("#!/bin/sh\necho '<html>'\n", 0o755, ["Ansible cannot read"]),
    ],
)
def test_an_inventory_that_cannot_be_read(
    run: Run, scene: Scene, folder: Path, text: str, mode: int, words: list[str]
) -> None:
    """The one school's inventory stops the scan: a school left out silently would look clean."""
    scene.trust(folder)
    with (folder / "trust.yml").open("a") as f:
        f.write("  elm: {name: Elm School, inventory: inventories/elm.yml}\n")
    path = folder / "inventories/elm.yml"
    path.write_text(text)
    path.chmod(mode)
    done = run("-C", folder, "scan")
    assert done.code == 2
    told = sentence(done)
    assert "inventories/elm.yml" in told
    for word in words:
        assert word in told


def test_one_of_two_inventories_that_cannot_be_read(run: Run, scene: Scene, folder: Path) -> None:
    """Its hosts would be left out, look clean, and be retired."""
    scene.trust(folder)
    assert run("-C", folder, "-q", "scan").code == 0
    text = (folder / "trust.yml").read_text()
    (folder / "trust.yml").write_text(
        text.replace("inventories/oak.yml", "[inventories/oak.yml, inventories/more.yml]")
    )
    (folder / "inventories/more.yml").write_text("all: [no, inventory\n")
    done = run("-C", folder, "scan")
    assert done.code == 2
    assert "inventories/more.yml" in sentence(done)


def test_an_inventory_with_no_hosts_beside_one_that_has(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder)
    with (folder / "trust.yml").open("a") as f:
        f.write("  elm: {name: Elm School, inventory: inventories/elm.yml}\n")
    (folder / "inventories/elm.yml").write_text("all: {hosts: {}}\n")
    seen = look(run, folder)
    assert seen.done.code == 0
    assert "Elm School: its inventory holds no hosts" in seen.done.err
    assert set(seen.states) == {"oak/pc1", "oak/pc2"}
    done = run("-C", folder, "scan", "--school", "elm")
    assert done.code == 2
    assert "matches no target" in sentence(done)


def test_one_name_in_two_schools(run: Run, scene: Scene, folder: Path) -> None:
    """They are two targets: one may fail while the other is well, and a name alone picks both."""
    scene.trust(folder, ("pc1", "pc2"))
    with (folder / "trust.yml").open("a") as f:
        f.write("  elm: {name: Elm School, inventory: inventories/elm.yml}\n")
    scene.inventory(folder, ("pc1", "pc3"), "elm")
    text = (folder / "inventories/elm.yml").read_text()
    pc1, pc3 = (str(scene.ssh.inventory_vars(h)["ansible_port"]) for h in ("pc1", "pc3"))
    (folder / "inventories/elm.yml").write_text(text.replace(pc1, "x").replace(pc3, pc1).replace("x", pc3, 1))
    scene.fault("pc3", wrong_host_key=True)
    seen = look(run, folder, "--target", "pc1")
    assert seen.done.code == 3
    assert seen.states == {"oak/pc1": "collected", "elm/pc1": "unreachable"}
    assert seen.of("oak/pc1") == {"pass"}
    assert seen.of("elm/pc1") == {"unknown"}
    done = run("-C", folder, "drift", "--school", "oak")
    assert done.code == 0


def test_a_target_that_leaves_the_trust(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder)
    scene.playing["pc2"] = changed(os=("ID=debian", "ID=arch"))
    seen = look(run, folder)
    assert (seen.done.code, seen.verdicts["oak/pc2", "linux.test-kernel"]) == (1, "fail")
    scene.inventory(folder, ("pc1",))
    narrow = run("-C", folder, "-q", "scan", "--target", "pc1")
    assert narrow.code == 0
    assert run("-C", folder, "drift").code == 1, "a narrowed scan retires nothing"
    done = run("-C", folder, "scan")
    assert done.code == 0, done.err
    assert "oak/pc2 is no longer in the trust" in done.err
    since = run("-C", folder, "drift", "--since", "previous", "--format", "json")
    assert [(r["target"], r["change"]) for r in json.loads(since.out)] == [("pc2", "retired")]
    assert since.code == 0
    done = run("-C", folder, "drift", "--target", "pc2")
    assert done.code == 2
    sentence(done)


# -------------------------------------------------------------------------------------------------- the store, its disk


def test_two_scans_at_once(scene: Scene, folder: Path) -> None:
    scene.trust(folder)
    scene.fault("pc2", hang_after_auth=True)
    first = subprocess.Popen(
        command(folder, "scan", "--timeout", "60"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(folder, {"oak/pc1"})
        second = subprocess.run(command(folder, "-q", "scan"), cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert second.returncode == 2
        assert second.stderr.count("\n") == 1
        told = second.stderr.strip().removeprefix("spiritlevel: ")
        reads_well(told)
        assert f"process {first.pid}" in told
        assert "Wait for it to end" in told
        reader = subprocess.run(command(folder, "drift"), cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert reader.returncode == 0, reader.stderr
        scene.fault("pc2")
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=20)
    assert first.returncode == 3


def wait_for(folder: Path, targets: set[str]) -> None:
    """Until these targets are saved."""
    for _ in range(400):
        if saved(folder) >= targets:
            return
        time.sleep(0.1)
    pytest.fail(f"{targets} were never saved")


def saved(folder: Path) -> set[str]:
    """Targets that the last run has saved, read from the side."""
    try:
        db = sqlite3.connect(f"file:{folder / '.spiritlevel/store.sqlite'}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return set()
    try:
        return {t for (t,) in db.execute("SELECT target FROM results WHERE run = (SELECT max(id) FROM runs)")}
    except sqlite3.OperationalError:
        return set()
    finally:
        db.close()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_scan_that_is_ended_resumes(run: Run, scene: Scene, folder: Path, end: signal.Signals) -> None:
    """What was finished is saved, and `--resume` reads only the rest; then the run is complete, as if never stopped."""
    scene.trust(folder, HOSTS[:3])
    scene.fault("pc3", hang_after_auth=True)
    scan = subprocess.Popen(
        command(folder, "scan", "--timeout", "120"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(folder, {"oak/pc1", "oak/pc2"})
    scan.send_signal(end)
    began = time.monotonic()
    _, err = scan.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert "Traceback" not in err
    if end is signal.SIGINT:
        assert scan.returncode == 3
        assert "spiritlevel: stopped." in err.splitlines()[-1]
    assert saved(folder) == {"oak/pc1", "oak/pc2"}
    scene.heal()
    tell = run("-C", folder, "scan", "--resume", "--format", "json")
    assert tell.code == 0, tell.err
    assert "Scanning 1 target" in tell.err
    assert set(scene.tries) == {"pc3"}, "those that were done are not asked again"
    states = {k: v["state"] for k, v in json.loads(tell.out)["targets"].items()}
    assert states == {f"oak/{h}": "collected" for h in HOSTS[:3]}
    runs = json.loads(run("-C", folder, "list", "runs", "--format", "json").out)
    assert [r["status"] for r in runs] == ["complete"]
    again = run("-C", folder, "scan", "--resume")
    assert again.code == 2
    assert "nothing to resume" in sentence(again)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk(run: Run, scene: Scene, bare: Path) -> None:
    """One sentence; what was saved is whole; with space again, --resume finishes."""
    scene.trust(bare, HOSTS)
    hidden = bare / ".spiritlevel"
    hidden.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", hidden], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()[:100]}")
    try:
        assert run("-C", bare, "-q", "scan", "--target", "pc1").code == 0
        ballast = hidden / "ballast"
        room = os.statvfs(hidden)
        ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize))
        done = run("-C", bare, "-q", "scan")
        assert done.code == 2
        told = sentence(done)
        assert "disk is full" in told
        assert "free some space" in told.lower()
        ballast.unlink()
        standing = run("-C", bare, "drift", "--all", "--format", "json")
        assert {r["target"] for r in json.loads(standing.out)} >= {"pc1"}
        finish = run("-C", bare, "-q", "scan", *resumable(bare))
        assert finish.code == 0, finish.err
        standing = run("-C", bare, "drift", "--all", "--format", "json")
        assert {r["target"] for r in json.loads(standing.out)} == set(HOSTS)
    finally:
        subprocess.run(["umount", "-l", hidden], check=True)


def resumable(folder: Path) -> list[str]:
    """`--resume` when the run had begun before the disk was full."""
    with sqlite3.connect(folder / ".spiritlevel/store.sqlite") as db:
        ((status,),) = db.execute("SELECT status FROM runs ORDER BY id DESC LIMIT 1")
    db.close()
    return [] if status == "complete" else ["--resume"]


def test_a_read_only_store(run: Run, scene: Scene, folder: Path) -> None:
    """Scanning needs to write, and says so before any host is asked; looking does not."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root writes anywhere, and there is no setpriv to stop it")
        drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    scene.trust(folder)
    assert run("-C", folder, "-q", "scan").code == 0
    hidden, was = folder / ".spiritlevel", scene.tries.copy()
    modes = {p: p.stat().st_mode for p in [*hidden.iterdir(), hidden]}
    for p in modes:
        p.chmod(0o555 if p.is_dir() else 0o444)
    try:
        scan = subprocess.run([*drop, *command(folder, "scan")], cwd=ROOT, capture_output=True, text=True, timeout=60)
        drift = subprocess.run([*drop, *command(folder, "drift")], cwd=ROOT, capture_output=True, text=True, timeout=60)
    finally:
        for p, mode in reversed(list(modes.items())):
            p.chmod(mode)
    assert scan.returncode == 2
    told = scan.stderr.strip().removeprefix("spiritlevel: ")
    reads_well(told)
    assert "store" in told
    assert "Check who owns" in told
    assert scene.tries == was
    assert drift.returncode in (0, 2)
    reads_well(drift.stderr.strip())


def test_a_newer_store_is_left_as_it_is(run: Run, scene: Scene, folder: Path) -> None:
    scene.trust(folder)
    assert run("-C", folder, "-q", "scan").code == 0
    path = folder / ".spiritlevel/store.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    was = path.read_bytes()
    for words in (["scan"], ["scan", "--resume"], ["drift"], ["report"], ["evaluate"], ["remediate"], ["list", "runs"]):
        done = run("-C", folder, "-q", *words)
        assert done.code == 2, words
        assert "newer version" in sentence(done)
        assert "nothing was changed" in done.err
    assert path.read_bytes() == was


# --------------------------------------------------------------------------------------------------- a hostile host

EVIL = [
    "<script>alert(1)</script>",
    "{{lookup('pipe','touch${IFS}PWNED')}}",
    "=cmd|'/C calc'!A0",
    "\x1b]0;pwned\x07\x1b[2J",
    "\u202etxt.exe",
    "\x9b31mred",
    "+1+1",
    "\u2028forged line",
    "%}{{7*7}}",
    "$(touch PWNED)`touch PWNED`",
    "]]><!--",
    "!!python/object:x",
]
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def changed(**bodies: tuple[str, str]) -> Any:
    """The healthy host with a piece of a section's text replaced: `os=(old, new)`; an empty old text appends."""
    capture = json.loads((HERE / "captures/clean.json").read_text(encoding="utf-8"))
    for name, (old, new) in bodies.items():
        body = capture[name]["body"]
        assert old in body
        capture[name]["body"] = body.replace(old, new, 1) if old else body + new
    return replay(capture)


def hostile() -> Any:
    names = "".join(f"2755|root|root|/usr/bin/{e}\n" for e in EVIL)
    return changed(
        os=('PRETTY_NAME="', f'PRETTY_NAME="{"".join(EVIL[:5])} '),
        group=("sudo:27:", "sudo:27:" + ",".join(e for e in EVIL if not set(e) & set(":,")) + ","),
        setuid=("2755|", names + "2755|"),
        world_writable=("", "".join(f"666|{e[:20]}|root|/etc/{e}\n" for e in EVIL)),
        sudoers=(
            "root\tALL=",
            "".join(f"{e.replace(' ', '_')} ALL=(ALL) NOPASSWD: ALL\n" for e in EVIL) + "root\tALL=",
        ),
        dns=("nameserver ", "nameserver {{7*7}}\nnameserver <script>x</script>\nnameserver "),
        sshd=("permitrootlogin ", "permitrootlogin <script>{{7*7}}</script>\nx"),
    )


PROFILE = """\
id: test
extends: [core]
controls: [linux.test-kernel, linux.sudo-members, linux.sudo-passwordless]
parameters:
  linux_admins: [tech1]
  passwordless_sudo_accounts: [scan]
  dns_servers: [10.77.0.53]
"""


class Page(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(k, v or "") for k, v in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_what_a_hostile_host_says_acts_nowhere(run: Run, scene: Scene, bare: Path) -> None:
    scene.trust(bare)
    (bare / "profiles/test.yml").write_text(PROFILE)
    scene.playing["pc2"] = hostile()
    seen = look(run, bare)
    assert seen.states["oak/pc1"] == "collected"
    fails = {c for (t, c), v in seen.verdicts.items() if t == "oak/pc2" and v == "fail"}
    assert {"linux.sudo-members", "linux.no-world-writable", "linux.no-odd-setuid"} <= fails
    told = [o for r in seen.records for o in r["offenders"]]
    assert any("<script>" in o for o in told), "what was seen is told, not dropped"
    _terminal(run, bare, seen)
    _reports(run, bare)
    _bundle(run, bare)
    assert not list(bare.parent.rglob("PWNED"))


def _terminal(run: Run, folder: Path, seen: Any) -> None:
    """Nothing that acts on a terminal, nothing that forges a line."""
    outputs = [run("-C", folder, "--color", colour, "drift", "--all") for colour in ("never", "always")]
    outputs += [run("-C", folder, "drift", "--format", "json"), run("-C", folder, "scan", "--resume"), seen.done]
    outputs += [run("-C", folder, "explain", c, "--target", "pc2") for c in ("linux.sudo-members", "linux.test-kernel")]
    outputs.append(run("-C", folder, "explain", "linux.no-world-writable", "--format", "json"))
    for done in outputs:
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.out + done.err)  # our own colours
        assert not (found := ACTS.search(text)), repr(text[max(0, found.start() - 80) : found.end() + 20])
        assert "pwned" not in re.findall(r"\x1b\][^\x07]*", done.out)
        assert not [line for line in text.splitlines() if line.startswith("forged")]


def _reports(run: Run, folder: Path) -> None:
    done = run("-C", folder, "report", "--format", "html", "--format", "csv", "--format", "ndjson", "--format", "junit")
    assert done.code == 0, done.err
    for path in (folder / "out/report").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        page = Page()
        page.feed(text)
        assert "script" not in page.tags
        assert not [a for a in page.attributes if a[0].startswith("on") or a[1].lower().startswith("javascript:")]
        assert not ACTS.search(text), path
    assert any("<script>alert(1)" in text_of(p) for p in (folder / "out/report").rglob("*.html"))
    rows = list(csv.reader(io.StringIO((folder / "out/findings.csv").read_text(encoding="utf-8"), newline="")))
    assert len({len(r) for r in rows}) == 1
    for cell in (c for r in rows for c in r):
        assert not re.match(r"\s*[=+\-@]", cell), cell
        assert not ACTS.search(cell), cell
    lines = (folder / "out/findings.ndjson").read_text(encoding="ascii").splitlines()
    records = [json.loads(line) for line in lines]
    assert any("\u202etxt.exe" in o for r in records for o in r["offenders"]), "the exchange format is exact"
    suites = ET.parse(folder / "out/findings.junit.xml").getroot()  # noqa: S314 - our own file
    assert not [
        e.tag
        for e in suites.iter()
        if e.tag not in ("testsuites", "testsuite", "testcase", "failure", "error", "skipped")
    ]
    assert not ACTS.search("".join((e.text or "") + "".join(e.attrib.values()) for e in suites.iter()))


def text_of(path: Path) -> str:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page.text


def _bundle(run: Run, folder: Path) -> None:
    done = run("-C", folder, "remediate")
    assert done.code == 0, done.err
    assert not ACTS.search(done.out + done.err)
    made = folder / "out/remediation/oak"
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

    def scalars(node: Node | None) -> Iterator[ScalarNode]:
        if isinstance(node, ScalarNode):
            yield node
        elif isinstance(node, SequenceNode):
            for n in node.value:
                yield from scalars(n)
        elif isinstance(node, MappingNode):
            for k, v in node.value:
                yield from scalars(k)
                yield from scalars(v)

    for path in made.rglob("*"):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        assert not ACTS.search(text), path
        if path.suffix == ".yml":
            for scalar in scalars(YAML().compose(text)):
                if any(e[:6] in scalar.value for e in ("{{lookup", "{{7*7", "<script", "$(touch", "=cmd|")):
                    assert scalar.tag == "!unsafe", f"{path.name}: {scalar.value!r}"
    checked = subprocess.run(
        [tool("ansible-playbook"), "--syntax-check", "-i", "inventory.yml", "site.yml"],
        cwd=made,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert checked.returncode == 0, checked.stderr
