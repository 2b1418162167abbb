"""A tenant of any size for the stand-in of Microsoft Graph, in a process of its own and in a trust's folder.

The people and machines of the demonstration's tenant, again and again under other ids and names: whatever is judged of
one of the originals is judged of each of its copies, so that what a scan must find is known at any size.

    python -m tests.lab.big_tenant FOLDER USERS DEVICES [LATENCY]   serves until standard input ends; prints what it did
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import agent.demo
from agent.demo.certs import issue, make_ca
from agent.demo.folder import SCHOOLS
from agent.demo.graph_data import Json, TenantData
from agent.demo.graph_server import GraphServer

SOURCE = Path(agent.demo.__file__).with_name("tenant.json")
APP = "Spirit level (all permissions)"
ROOT = Path(__file__).resolve().parents[2]
LISTS = (
    "/users",
    "/reports/authenticationMethods/userRegistrationDetails",
    "/education/users",
    "/devices",
    "/deviceManagement/managedDevices",
    "/directory/deviceLocalCredentials",
)
_PEOPLE = LISTS[:3]


def enlarge(tenant: TenantData, users: int, devices: int) -> None:
    """Copy members and machines until there are so many; guests, administrators and the trust's own people stay few.

    A copy's ids are made from the original's and its number; names carry the number. Groups hold the copies of whom
    they held.
    """
    held: dict[str, list[Json]] = {path: [*tenant.objects(path)] for path in LISTS}
    admins = {a["principalId"] for a in tenant.objects("/roleManagement/directory/roleAssignments")}
    people = [u for u in held["/users"] if u["userType"] == "Member" and u["id"] not in admins]
    machines = held["/deviceManagement/managedDevices"]
    grown: dict[str, list[Json]] = {path: [] for path in LISTS}
    again: dict[str, list[str]] = {}
    _grow(held, grown, again, [u["id"] for u in people], users - len(held["/users"]), _PEOPLE, "id")
    _grow(
        held,
        grown,
        again,
        [m["azureADDeviceId"] for m in machines],
        devices - len(machines),
        LISTS[3:],
        "azureADDeviceId",
    )
    for path, items in grown.items():
        tenant.collections[path] = [*held[path], *items]
    for group in tenant.objects("/groups"):
        group["members"] = [m for old in group.get("members", []) for m in (old, *again.get(old, ()))]


def _grow(
    held: dict[str, list[Json]],
    grown: dict[str, list[Json]],
    again: dict[str, list[str]],
    keys: Sequence[str],
    count: int,
    paths: Sequence[str],
    key: str,
) -> None:
    keyed = {path: {_key(item, key): item for item in held[path]} for path in paths}
    for number in range(max(0, count)):
        old = keys[number % len(keys)]
        new = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{old}/{number}"))
        for path in paths:
            item = keyed[path].get(old)
            if item is None:
                continue
            made = copy.deepcopy(item)
            for name in ("id", "azureADDeviceId", "deviceId"):
                if name in made:
                    made[name] = new if made[name] == old else str(uuid.uuid5(uuid.NAMESPACE_OID, made[name] + new))
            for name in ("userPrincipalName", "mail"):
                if made.get(name):
                    made[name] = f"n{number}.{made[name]}"
            for name in ("deviceName", "displayName"):
                if made.get(name) and key != "id":
                    made[name] = f"{made[name]}-{number}"
            if made.get("serialNumber"):
                made["serialNumber"] += f"-{number}"
            grown[path].append(made)
        again.setdefault(old, []).append(new)


def _key(item: Json, key: str) -> str:
    """How one of the lists names the person or machine: LAPS knows a machine by its device id too."""
    if key == "id":
        return str(item["id"])
    return str(item.get("azureADDeviceId") or item.get("deviceId") or item.get("id"))


def write_trust(folder: Path, tenant: TenantData, server: GraphServer, ca: Path, app: str = APP) -> None:
    """A trust with this tenant alone."""
    client = next(c for c in tenant.clients if tenant.clients[c].name == app)
    lines = ["name: Northfield Learning Trust", "timezone: Europe/London", "profile: trust", "schools:"]
    for key, name, phase, code, domain, urn in SCHOOLS:
        selector = f'{{use: trust-m365, domains: [{domain}], device_names: "^{code}-"}}'
        lines += [f"  {key}:", f"    name: {name}", f"    urn: {urn}", f"    phase: {phase}", f"    code: {code}"]
        lines += [f"    tenant: {selector}"]
    lines += ["tenants:", "  trust-m365:", f"    tenant_id: {tenant.tenant_id}", f"    client_id: {client}"]
    lines += ["    secret: file:secrets/m365.txt", f"    authority: {server.authority}"]
    lines += [f"    graph_url: {server.url}", f"    ca_file: {ca}"]
    (folder / "trust.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "profiles").mkdir(exist_ok=True)
    profile = 'id: trust\nextends: [core]\ncontrols: ["m365.*"]\n'
    (folder / "profiles" / "trust.yml").write_text(profile, encoding="utf-8")
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    secret = folder / "secrets" / "m365.txt"
    secret.write_text(tenant.clients[client].secret, encoding="utf-8")
    secret.chmod(0o600)


class BigTenant:
    """The stand-in in a process of its own, with a trust's folder that names it; a context manager.

    `stop()` gives what it did: `exchanges` and `bytes` on the wire, `pages` by path, `throttled`.
    """

    def __init__(self, folder: Path, users: int, devices: int, latency: float = 0.0, *options: str) -> None:
        words = [sys.executable, "-m", "tests.lab.big_tenant", str(folder), str(users), str(devices), str(latency)]
        self.folder = folder
        self._child = subprocess.Popen(
            [*words, *options], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._child.stdout is not None
        if self._child.stdout.readline().strip() != "ready":
            raise RuntimeError("the stand-in for Graph did not start")
        return self

    def stop(self) -> dict[str, Any]:
        """End it → what it did."""
        out, _ = self._child.communicate(timeout=60)
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.communicate(timeout=60)


def serve(folder: Path, users: int, devices: int, latency: float, options: Sequence[str]) -> int:
    """Serve until standard input ends. Options: `throttled` (every tenth request is told to wait a second),
    `without:PERMISSION` (the app lacks it)."""
    tenant = TenantData.load(SOURCE)
    enlarge(tenant, users, devices)
    client = next(c for c in tenant.clients.values() if c.name == APP)
    lacking = {o.partition(":")[2] for o in options if o.startswith("without:")}
    client.roles = [r for r in client.roles if r not in lacking]
    folder.mkdir(parents=True, exist_ok=True)
    ca = make_ca(folder, "Stand-in authority")
    with GraphServer(tenant, issue(folder, ca, ["localhost"], ["127.0.0.1"]), page_size=1000, slow_bucket=True) as it:
        it.settings.latency = latency
        if "throttled" in options:
            for n in range(200):
                it.faults.throttle(r"^/v1\.0/(?!\$batch)", retry_after="0.5", times=1).after = 10 * n
        write_trust(folder, tenant, it, ca.cert_path)
        print("ready", flush=True)
        sys.stdin.read()
        wire = [e for e in it.log if not e.in_batch]
        pages = Counter(e.path for e in it.log if e.status == 200 and not e.path.endswith("$batch"))
        told = {
            "exchanges": len(wire),
            "bytes": it.sent,
            "pages": dict(pages.most_common(12)),
            "throttled": sum(e.status == 429 for e in it.log),
            "slow": sum(e.path.startswith(("/v1.0/identity/cond", "/v1.0/identityProtection")) for e in it.log),
            "errors": [repr(e) for e in it.errors],
        }
        print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]))
