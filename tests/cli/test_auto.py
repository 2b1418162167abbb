"""nightly, schedule, store."""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent import schedule
from agent.errors import UsageError
from agent.schedule import Notice, clock, cron, systemd
from agent.store import Store, upkeep
from agent.trust import load
from tests.cli.conftest import TRUST, Hosts, Run


class Hook(http.server.BaseHTTPRequestHandler):
    """A webhook that keeps what it gets; a path decides its answer."""

    got: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = {"/away": 302, "/no": 410}.get(self.path, 202)
        if code == 202:
            Hook.got.append(json.loads(body))
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def hook() -> Iterator[str]:
    Hook.got = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Mail(socketserver.StreamRequestHandler):
    """The least of SMTP."""

    got: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    text += part
                Mail.got.append(text.decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


@pytest.fixture
def mail() -> Iterator[str]:
    Mail.got = []
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_night(run: Run, hosts: Hosts, hook: str, mail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hosts.folder
    (folder / "trust.yml").write_text(TRUST + "notify: {email: it@oak.example, teams_webhook: env:HOOK}\n")
    monkeypatch.setenv("HOOK", f"{hook}/one")
    monkeypatch.setenv("SPIRITLEVEL_SMTP", mail)
    hosts.fault("plain", refuse_auth=True)
    done = run("-C", folder, "nightly")
    assert done.code == 0, "it ran and reported, whatever it found"
    assert "1 are unknown" in done.out
    assert "1 of 2 targets were not reached" in done.out
    for name in ("out/report/index.html", "out/findings.csv", "out/findings.ndjson"):
        assert (folder / name).is_file()
    (card,) = Hook.got
    assert "1 of 2 targets" in json.dumps(card)
    (letter,) = Mail.got
    assert "Subject: Test Trust: unknown" in letter
    assert "Oak School: 0 drifted, 1 unknown, 1 met" in letter


@pytest.mark.parametrize("path", ["/no", "/away"])
def test_a_notice_that_fails_is_told_and_not_fatal(
    run: Run, trust: Path, hook: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trust / "trust.yml").write_text(TRUST + "notify: {email: it@oak.example, teams_webhook: env:HOOK}\n")
    monkeypatch.setenv("HOOK", hook + path)
    monkeypatch.setenv("SPIRITLEVEL_SMTP", "127.0.0.1:1")
    done = run("-C", trust, "-q", "nightly")
    assert done.code == 0
    assert "The email to it@oak.example was not sent: connection refused." in done.err
    assert "The Teams message was not sent: the webhook answered" in done.err
    assert hook not in done.err, "the address is a secret"
    assert Hook.got == []


def test_a_webhook_without_tls_or_without_a_secret(run: Run, trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trust / "trust.yml").write_text(TRUST + "notify: {teams_webhook: env:HOOK}\n")
    monkeypatch.delenv("HOOK", raising=False)
    assert "HOOK is not set" in " ".join(schedule.notify(load(trust), Notice("s", "t")))
    monkeypatch.setenv("HOOK", "http://example.org/hook")
    (problem,) = schedule.notify(load(trust), Notice("s", "t"))
    assert "not https" in problem
    assert "example.org" not in problem


def test_a_card_shows_text_as_it_is(hook: str) -> None:
    schedule.send_teams(hook, Notice("A [link](https://example.org)", "*bold*"))
    blocks = Hook.got[0]["attachments"][0]["content"]["body"]
    assert [b["text"] for b in blocks] == [r"A \[link\]\(https://example.org\)", r"\*bold\*"]


@pytest.mark.parametrize("bad", ["2:3", "24:00", "noon", "02:30:00", ""])
def test_times_of_day(bad: str) -> None:
    assert clock("2:30") == (2, 30)
    with pytest.raises(UsageError, match=r"02:30"):
        clock(bad)


def test_a_systemd_timer(run: Run, trust: Path, tmp_path: Path) -> None:
    done = run("-C", trust, "schedule", "--time", "02:30", "--systemd", "--print")
    assert done.code == 0
    assert "OnCalendar=*-*-* 02:30:00 Europe/London" in done.out
    assert f"-C {trust} nightly" in done.out
    odd = tmp_path / "a b%c$d"
    shutil.copytree(trust, odd)
    plan = systemd(load(odd), (2, 30), root=False, home=tmp_path)
    files = {p.name: text for p, text in plan.files.items()}
    service = files["spiritlevel-a-b-c-d.service"]
    assert f'"{tmp_path}/a b%%c$$d"' in service
    assert all(p.is_relative_to(tmp_path / ".config/systemd/user") for p in plan.files)
    if shutil.which("systemd-analyze"):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        checked = subprocess.run(
            ["systemd-analyze", "verify", *(str(tmp_path / n) for n in files)], capture_output=True, text=True
        )
        assert "spiritlevel" not in checked.stderr, checked.stderr


def test_a_cron_line(run: Run, trust: Path, tmp_path: Path) -> None:
    done = run("-C", trust, "schedule", "--time", "02:30", "--cron", "--print")
    assert done.out.startswith("30 2 * * * ")
    odd = tmp_path / "it's 100%"
    shutil.copytree(trust, odd)
    line = cron(load(odd), (2, 30)).line
    assert "\n" not in line
    command = line.split(" ", 5)[5].replace("\\%", "%")  # what cron hands to the shell
    shown = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert f"{tmp_path}" in command


def test_what_cannot_be_installed_is_printed(run: Run, trust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for kind in ("--cron", "--systemd"):
        done = run("-C", trust, "schedule", "--time", "02:30", kind)
        assert done.code == 0
        assert "Not installed" in done.err
        assert "nightly" in done.out


def test_cron_is_installed_once(run: Run, trust: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for crontab that keeps its table in a file."""
    table, tool = tmp_path / "table", tmp_path / "bin/crontab"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {table}; else cat > {table}; fi\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    table.write_text("0 1 * * * something else\n")
    for time in ("02:30", "03:15"):
        assert run("-C", trust, "schedule", "--time", time, "--cron").code == 0
    lines = table.read_text().splitlines()
    assert lines[0] == "0 1 * * * something else"
    assert [ln[:7] for ln in lines[1:]] == ["15 3 * "]


# --------------------------------------------------------------------------------------------------------------- store


def test_store_info_and_purge(run: Run, hosts: Hosts) -> None:
    assert run("-C", hosts.folder, "-q", "scan").code == 0
    found = json.loads(run("-C", hosts.folder, "store", "info", "--format", "json").out)
    assert (found["runs"], found["targets"], found["retired"]) == (1, 2, 0)
    assert found["place"].endswith(".spiritlevel/store.sqlite")
    assert found["bytes"] > 0
    assert "Scans: 1" in run("-C", hosts.folder, "store", "info").out
    done = run("-C", hosts.folder, "store", "purge")
    assert done.code == 0
    assert "Deleted 0 readings" in done.err


def test_a_person_is_taken_out(run: Run, trust: Path) -> None:
    from datetime import UTC, datetime

    from agent.model import Evidence, Finding, Kind, Offender, Reading, Target, TargetState, Verdict

    target = Target("dir", Kind.DIRECTORY, "ad", None)
    facts = {
        "users": Reading([{"sam": "jsmith", "dn": "CN=Jane Smith,OU=Staff"}, {"sam": "other"}]),
        "domain": Reading({"dn": "DC=x"}),
        "words": Reading({"text": "unjsmithing"}),
    }
    finding = Finding(
        "ad.stale-users", 1, "dir", None, Verdict.FAIL, "", "", "jsmith and other",
        (Offender("S-1-5-9", "jsmith", "old"), Offender("S-1-5-8", "other", "old")), 2, 0, "digest",
    )  # fmt: skip
    elsewhere = Finding(
        "ad.domain-admins", 1, "dir", None, Verdict.FAIL, "", "", "", (Offender("S-1-5-9", "Jane Smith"),), 1, 0, "d2"
    )
    with Store.open(trust / ".spiritlevel") as store:
        now = datetime.now(UTC)
        first = store.begin(now, ["dir"], {})
        evidence = Evidence(target, TargetState.PARTIAL, now, facts, "jsmith locked us out")
        store.save(first, evidence, [(finding, "r"), (elsewhere, "r")], {})
        store.finish(first, now)
        store.record(now, "jsmith", {"verb": "except add", "reason": "JSmith is on leave"})
    (trust / "attestations.yml").write_text("# by jsmith\nattestations: []\n")
    done = run("-C", trust, "store", "purge", "--person", "JSMITH", given="n\n")
    assert (done.code, "Nothing was changed" in done.err) == (0, True)
    assert run("-C", trust, "store", "purge", "--person", "JSMITH").code == 2, "nobody there to answer"
    done = run("-C", trust, "store", "purge", "--person", "JSMITH", "--yes")
    assert done.code == 0
    assert "2 findings" in done.err
    assert "1 readings" in done.err
    assert "attestations.yml" in done.err
    with Store.open(trust / ".spiritlevel", create=False) as store:
        kept = {k.finding.control: k.finding for k in store.findings()}
        assert [o.label for o in kept["ad.stale-users"].offenders] == ["(removed)", "other"]
        assert [(o.key, o.label) for o in kept["ad.domain-admins"].offenders] == [("(removed)", "(removed)")]
        assert kept["ad.stale-users"].offender_count == 2
        assert kept["ad.stale-users"].observed == "(removed) and other"
        evidence = store.evidence("dir")
        assert sorted(evidence.facts) == ["domain", "words"]
        assert evidence.detail == "(removed) locked us out"
        (action,) = store.actions()
        assert action["reason"] == "(removed) is on leave"
        assert action["who"] == "jsmith", "who acted is the record of the act"
    raw = b"".join(p.read_bytes() for p in (trust / ".spiritlevel").iterdir() if p.is_file())
    assert b"locked us out" in raw
    assert b"jsmith locked" not in raw, "free pages and the log were emptied"
    done = run("-C", trust, "store", "purge", "--person", "nobody here", "--yes")
    assert "does not hold" in done.err


def test_a_name_that_would_match_too_much(run: Run, trust: Path) -> None:
    run("-C", trust, "-q", "scan")
    done = run("-C", trust, "store", "purge", "--person", "Al", "--yes")
    assert done.code == 2
    with Store.open(trust / ".spiritlevel", create=False) as store, pytest.raises(ValueError, match="three"):
        upkeep.forget_person(store, " Al ")
