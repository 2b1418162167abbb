"""The whole line on real parts: hosts, a domain controller and the tenant's stand-in in one trust, scanned twice.

The first scan finds exactly the drift that was planted; then one host is mended, one goes away, one gets worse, and one
more account goes stale. The second scan calls each by its right name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.demo.certs import issue, make_ca
from agent.demo.folder import DEMO_APP, TENANT
from agent.demo.graph_data import TenantData
from agent.demo.graph_server import GraphServer
from tests.lab.hosts import HostLab
from tests.lab.samba import SambaLab

pytestmark = [pytest.mark.lab, pytest.mark.slow]
ROWS = Path(__file__).resolve().parent.parent / "coverage" / "rows.yml"
DRIFT = {"h001": [], "h002": ["ssh-root", "sysctl-forward", "uid0", "ntp-wrong"], "h003": ["telnetd", "ssh-match"]}


@pytest.fixture
def directory() -> Iterator[SambaLab]:
    ready, why = SambaLab.available()
    if not ready:
        pytest.skip(f"{why}: a Samba domain controller")
    with SambaLab().start() as lab:
        yield lab


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[tuple[GraphServer, Path]]:
    ca = make_ca(tmp_path, "tenant")
    certs = issue(tmp_path, ca, ["localhost"], ["127.0.0.1"])
    with GraphServer(TenantData.load(TENANT), certs, page_size=50) as server:
        yield server, Path(ca.cert_path)


def write_trust(folder: Path, hosts: HostLab, directory: SambaLab, server: GraphServer, ca: Path) -> None:
    """A trust as its team would write it; JSON is YAML too."""
    (folder / "inventories").mkdir(parents=True)
    (folder / "profiles").mkdir()
    (folder / "inventories" / "hosts.ini").write_text(hosts.inventory.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "ldap.txt").write_text(directory.scan_password, encoding="utf-8")
    (folder / "m365.txt").write_text(server.tenant.clients[DEMO_APP].secret, encoding="utf-8")
    schools: dict[str, Any] = {
        s["code"].lower(): {
            "name": s["name"],
            "code": s["code"],
            "directory": {"use": "ad1", "ou": f"OU={s['code']},OU=Schools,{{base_dn}}", "upn_suffix": s["upn_suffix"]},
        }
        for s in directory.schools
    }
    schools["oak"] |= {"inventory": "inventories/hosts.ini", "tenant": {"use": "m365", "domains": ["oakfield.example"]}}
    trust = {
        "name": "Riverside Trust",
        "profile": "trust",
        "schools": schools,
        "directories": {
            "ad1": {
                "url": directory.ldaps_url,
                "bind": directory.scan_upn,
                "password": "file:ldap.txt",
                "ca_file": str(directory.ca_file),
            }
        },
        "tenants": {
            "m365": {
                "tenant_id": server.tenant.tenant_id,
                "client_id": DEMO_APP,
                "secret": "file:m365.txt",
                "authority": server.authority,
                "graph_url": server.url,
                "ca_file": str(ca),
            }
        },
    }
    (folder / "trust.yml").write_text(json.dumps(trust), encoding="utf-8")
    values = {**HostLab.SITE_PARAMETERS, **directory.SITE_PARAMETERS}
    known = json.loads(spiritlevel(folder, "schema", "trust").stdout)
    assert known["title"] == "TrustFile"
    profile = {"id": "trust", "extends": ["core"], "parameters": values}
    (folder / "profiles" / "trust.yml").write_text(json.dumps(profile), encoding="utf-8")


def spiritlevel(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", "-C", str(folder), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def findings(folder: Path) -> list[dict[str, Any]]:
    done = spiritlevel(folder, "report", "--format", "ndjson", "-o", "-")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_scans_of_one_trust(
    tmp_path: Path, make_host_lab: Callable[..., HostLab], directory: SambaLab, tenant: tuple[GraphServer, Path]
) -> None:
    server, ca = tenant
    hosts = make_host_lab(3, DRIFT)
    folder = tmp_path / "trust"
    write_trust(folder, hosts, directory, server, ca)

    first = spiritlevel(folder, "scan")
    assert first.returncode == 3, first.stderr  # a permission is missing in the tenant: incomplete, never clean
    rows = YAML(typ="safe").load(ROWS.read_text(encoding="utf-8"))
    seen = findings(folder)
    for host, truth in hosts.truth.items():
        planted = {c for row in truth for c in _controls(rows[row])}
        failed = {f["control"] for f in seen if f["target"] == host and f["verdict"] == "fail"}
        assert failed == planted, host
    stale = {f["school"]: set(f["offenders"]) for f in seen if f["control"] == "ad.stale-users" and f["offenders"]}
    assert set().union(*stale.values()) == set(directory.expected["DIR-ACC-007"])
    assert len(stale) > 1  # each account falls to its own school

    # one is mended, one gets worse, one goes away, and one more account is not used any more
    hosts.exec(
        "h002",
        "sed -i 's/^PermitRootLogin yes/PermitRootLogin no/' /etc/ssh/sshd_config; "
        "sysctl -qw net.ipv4.ip_forward=0; rm -f /etc/sysctl.d/99-zz-lab.conf; "
        "grep -rl 'ip_forward *= *1' /etc/sysctl.d /etc/sysctl.conf | xargs -r sed -i '/ip_forward/d'; "
        "sed -i '/^toor:/d' /etc/passwd /etc/shadow; systemctl reload ssh",
    )
    hosts.exec(
        "h001",
        "sed -i 's/^PermitEmptyPasswords no/PermitEmptyPasswords yes/' /etc/ssh/sshd_config; systemctl reload ssh",
    )
    hosts.stop_host("h003")
    school, joined = _one_more_stale(directory, stale)

    second = spiritlevel(folder, "scan")
    assert second.returncode == 3, second.stderr
    now = {(f["school"], f["target"], f["control"]): f for f in findings(folder)}

    mended = {c for row in ("LNX-SSH-001", "LNX-ACC-001", "LNX-NET-001") for c in _controls(rows[row])}
    for control in mended:
        assert (now["oak", "h002", control]["verdict"], now["oak", "h002", control]["change"]) == ("pass", "resolved")
    for control in _controls(rows["LNX-TIM-002"]):
        assert (now["oak", "h002", control]["verdict"], now["oak", "h002", control]["change"]) == ("fail", "persisting")
    for control in _controls(rows["LNX-SSH-003"]):
        assert (now["oak", "h001", control]["verdict"], now["oak", "h001", control]["change"]) == ("fail", "regressed")
    gone = [f for f in now.values() if f["target"] == "h003"]
    assert {f["verdict"] for f in gone} == {"unknown"}
    was_failing = {f["control"] for f in seen if f["target"] == "h003" and f["verdict"] == "fail"}
    assert {f["control"] for f in gone if f["change"] == "persisting"} == was_failing
    assert not any(f["change"] == "resolved" for f in gone)

    account = now[school, "ad1", "ad.stale-users"]
    assert account["change"] == "persisting"
    assert joined in account["offenders"]
    changed = json.loads(spiritlevel(folder, "drift", "--since", "previous", "--format", "json").stdout)
    ours = [c for c in changed if c["control"] == "ad.stale-users"]
    assert [(c["school"], c["change"], c["new_offenders"]) for c in ours] == [(school, "persisting", [joined])]


def _controls(entry: Any) -> list[str]:
    return [] if isinstance(entry, dict) else [entry] if isinstance(entry, str) else list(entry)


def _one_more_stale(directory: SambaLab, stale: dict[str, set[str]]) -> tuple[str, str]:
    """Make another account of a school that has stale ones look unused → (school, sAMAccountName)."""
    school = sorted(k for k in stale if k)[0]
    base = f"OU=Staff,OU={school.upper()},OU=Schools,{directory.base_dn}"
    text = directory.search(base, "one", "(&(objectClass=user)(userAccountControl=512))", "sAMAccountName")
    for block in text.strip().split("\n\n"):
        values = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if values["sAMAccountName"] not in stale[school]:
            old = 116444736000000000 + 1_600_000_000 * 10_000_000  # September 2020, as a FILETIME
            directory.modify(
                f"dn: {values['dn']}\nchangetype: modify\nreplace: lastLogonTimestamp\nlastLogonTimestamp: {old}\n"
            )
            return school, values["sAMAccountName"]
    raise AssertionError("every account is stale already")
