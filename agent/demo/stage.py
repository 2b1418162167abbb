"""The stand-in trust's servers and folder, and what happens to it between two scans."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.demo.certs import issue, make_ca
from agent.demo.directory import ACCOUNTS, AUDITOR, stand_in_domain
from agent.demo.dns_server import DnsServer
from agent.demo.folder import (
    DEMO_APP,
    SCHOOLS,
    TENANT,
    write_attestations,
    write_exceptions,
    write_inventory,
    write_secret,
    write_trust,
)
from agent.demo.graph_data import TenantData
from agent.demo.graph_server import GraphServer
from agent.demo.ldap_entry import Entry, filetime
from agent.demo.ldap_server import DirectoryServer
from agent.demo.replay_linux import replay
from agent.demo.ssh_server import HostFaults, HostScript, ReplayHosts

HERE = Path(__file__).parent
# host: (school, capture in the first scan, capture in the second). The captures are answers of real hosts.
HOSTS: Mapping[str, tuple[str, str, str]] = {
    "oak-files": ("oakfield", "clean", "clean"),
    "oak-print": ("oakfield", "drifted", "clean"),
    "oak-backup": ("oakfield", "no-sudo", "no-sudo"),
    "elm-files": ("elmgrove", "clean", "clean"),
    "elm-web": ("elmgrove", "worse", "worse"),
    "elm-old": ("elmgrove", "clean", "clean"),
    "ash-files": ("ashdown", "clean", "drifted"),
    "ash-web": ("ashdown", "drifted", "drifted"),
    "ash-library": ("ashdown", "worse", "worse"),
    "ash-mis": ("ashdown", "clean", "clean"),
}
DOWN = ("elm-old",)
LOST = ("ash-library",)
"""Answers in the first scan, and is cut off in the second: what was known stays, and is not called resolved."""

_SPF, _DMARC, _KEY = (
    "v=spf1 include:spf.protection.outlook.example -all",
    "v=DMARC1; p=reject",
    "v=DKIM1; k=rsa; p=MIGf",
)
MAIL_RECORDS: Mapping[str, Sequence[str]] = {
    **{
        f"{label}{domain}": [text]
        for domain in ("northfield.example", "oakfield.example", "elmgrove.example", "ashdown.example")
        for label, text in (
            ("", _SPF),
            ("_dmarc.", _DMARC),
            ("selector1._domainkey.", _KEY),
            ("selector2._domainkey.", _KEY),
        )
    },
    "elmgrove.example": ["v=spf1 include:spf.protection.outlook.example ~all"],
    "_dmarc.elmgrove.example": ["v=DMARC1; p=none; rua=mailto:it@elmgrove.example"],
}
"""What public DNS says of the trust's mail domains: Elm Grove's mail can be forged."""

EXCEPTIONS: tuple[Mapping[str, object], ...] = (
    {
        "control": "ad.machine-account-quota",
        "reason": "The imaging team joins PCs with ordinary accounts until the new build server is in.",
        "owner": "Head of IT",
        "days": 12,
    },
    {
        "control": "linux.ssh-root-login",
        "school": "ashdown",
        "target": "ash-web",
        "reason": "The supplier of the web server signs in as root until the contract ends.",
        "owner": "Network manager, Ashdown",
        "days": 120,
    },
    {
        "control": "ad.tombstone-lifetime",
        "reason": "Waited for the second domain controller; this should have been looked at again.",
        "owner": "Head of IT",
        "days": -9,
    },
)


class Stage:
    """Starts every server and writes the trust's folder; a context manager. `change()` is the week that passes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._now = datetime.now(UTC)
        self._playing: dict[str, Callable[[str, bytes], tuple[bytes, bytes, int]]] = {}

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = self.folder
        (folder / "certs").mkdir(parents=True, exist_ok=True)
        ca = make_ca(folder / "certs", "demo")
        certs = issue(folder / "certs", ca, ["localhost"], ["127.0.0.1"])
        tenant = TenantData.load(TENANT)
        self._graph = self._stack.enter_context(GraphServer(tenant, certs, page_size=100))
        names = self._stack.enter_context(DnsServer(MAIL_RECORDS))
        domain = stand_in_domain(self._now)
        self._ldap = self._stack.enter_context(
            DirectoryServer(domain.entries, ACCOUNTS, *certs, host_name="dc1.ad.northfield.example")
        )
        key, public = _ssh_key(folder)
        for name, (_, first, _second) in HOSTS.items():
            self._playing[name] = _capture(first)
        scripts = {n: HostScript(self._answer(n), down=n in DOWN) for n in HOSTS}
        self._ssh = self._stack.enter_context(ReplayHosts(scripts, public))
        known = folder / "known_hosts"
        known.write_text("\n".join(self._ssh.known_hosts_lines()) + "\n", encoding="utf-8")
        write_trust(
            folder,
            ldap_url=f"ldaps://localhost:{self._ldap.ldaps_port}",
            bind=AUDITOR,
            ca_file=str(Path(ca.cert_path).relative_to(folder)),
            tenant_id=tenant.tenant_id,
            client_id=DEMO_APP,
            authority=self._graph.authority,
            graph_url=self._graph.url,
            dns_server=names.address,
        )
        write_secret(folder, "ldap.txt", ACCOUNTS[AUDITOR])
        write_secret(folder, "m365.txt", tenant.clients[DEMO_APP].secret)
        for school, *_ in SCHOOLS:
            mine = [(n, self._ssh.inventory_vars(n)) for n, (s, _, _) in HOSTS.items() if s == school]
            write_inventory(folder, school, mine, key, known)
        write_exceptions(folder, self._now.date(), EXCEPTIONS)
        write_attestations(folder, self._now.date(), ())

    def _answer(self, name: str) -> Callable[[str, bytes], tuple[bytes, bytes, int]]:
        return lambda command, stdin: self._playing[name](command, stdin)

    def change(self) -> None:
        """A week goes by: one host is mended, one gets worse, one is cut off; an account goes stale; people can no
        longer register applications in the tenant."""
        for name, (_, _first, second) in HOSTS.items():
            self._playing[name] = _capture(second)
        for name in LOST:
            self._ssh.set_faults(name, HostFaults(cut_after_bytes=0))
        self._ldap.replace(_week_later(stand_in_domain(self._now).entries, self._now))
        _tenant_later(self._graph.tenant)


def _week_later(entries: list[Entry], now: datetime) -> list[Entry]:
    """One more account of Oakfield is long unused: its last sign-in moves back by half a year."""
    out, moved = [], False
    for e in entries:
        values: dict[str, Any] = dict(e.attributes)
        name = e.text("sAMAccountName") or ""
        if not moved and ",OU=Staff,OU=OAK," in e.dn and e.text("userAccountControl") == "512":
            when = datetime.fromtimestamp(now.timestamp() - 180 * 86400, UTC)
            values["lastLogonTimestamp"] = (filetime(when).encode(),)
            moved = bool(name)
        out.append(Entry(e.dn, values, e.hidden_from, e.hidden_attributes))
    return out


def _tenant_later(tenant: TenantData) -> None:
    """The authorisation policy no longer lets everybody register applications."""
    policy = tenant.collections["/policies/authorizationPolicy"]
    policy = policy[0] if isinstance(policy, list) else policy
    policy["defaultUserRolePermissions"]["allowedToCreateApps"] = False


def _capture(name: str) -> Callable[[str, bytes], tuple[bytes, bytes, int]]:
    return replay(json.loads((HERE / "captures" / f"{name}.json").read_text(encoding="utf-8")))


def _ssh_key(folder: Path) -> tuple[Path, str]:
    """A throw-away key pair → (private key's path, the public line)."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    path = folder / "secrets" / "id_ed25519"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return path, public.decode()
