"""Writes the stand-in trust's folder: the same files that any trust writes, pointing at servers on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from agent.demo.directory import BASE_DN

TENANT = Path(__file__).parent / "tenant.json"
DEMO_APP = "694bdaaf-6a12-507a-aa0b-2976a7c4eae5"
"""The app registration of tenant.json that lacks exactly one permission, AuditLog.Read.All."""

PROFILE = """\
# What the whole trust keeps to: the shipped core, and the values that only this trust knows.
id: trust
title: Northfield Learning Trust
extends: [core]
parameters:
  time_servers: [ntp1.trust.test, ntp2.trust.test]
  dns_servers: [10.77.0.53]
  linux_admins: [tech1]
  passwordless_sudo_accounts: [scan]
  required_packages: {trust-agent: '2.0'}
  schools_ou: "OU=Schools,{base_dn}"
  service_account_ou: "OU=Service Accounts,OU=Trust,{base_dn}"
  leavers_ou: "OU=Leavers,OU=Trust,{base_dn}"
  required_school_ous: [Staff, Pupils, Computers, Groups]
  required_school_groups: ["GRP-{code}-Staff", "GRP-{code}-Pupils", "GRP-{code}-Admins"]
  group_name_regex: "^(GRP|SEC|DL|APP)-(TRUST|{codes})-[A-Za-z0-9 &'-]{2,48}$"
  computer_name_regex: "^({codes})-(PC|LT|SRV|TAB)[0-9]{3,5}$"
  expected_trusts: []
  break_glass_accounts: [eb610b71-6d66-592d-ba33-892caa1200c8]
# log_servers is left out on purpose: the pages then say "not covered: set log_servers", and nothing is guessed.
"""

SCHOOLS: tuple[tuple[str, str, str, str, str, int], ...] = (
    ("oakfield", "Oakfield Primary School", "primary", "OAK", "oakfield.example", 100001),
    ("elmgrove", "Elm Grove Academy", "primary", "ELM", "elmgrove.example", 100002),
    ("ashdown", "Ashdown High School", "secondary", "ASH", "ashdown.example", 100003),
)
NOT_SCANNED: Mapping[str, str] = {
    "oakfield": "{chromebooks: 120, ipads: 30}",
    "elmgrove": "{chromebooks: 90}",
    "ashdown": "{ipads: 60}",
}


def write_trust(
    folder: Path,
    *,
    ldap_url: str,
    bind: str,
    ca_file: str,
    tenant_id: str,
    client_id: str,
    authority: str,
    graph_url: str,
    dns_server: str,
) -> None:
    """trust.yml, the profile and the attestations. Secrets are referred to, in secrets/, as in any trust."""
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    lines = [
        "# The trust of the demonstration. Its schools do not exist; its servers are stand-ins on this machine.",
        "name: Northfield Learning Trust",
        "timezone: Europe/London",
        "profile: trust",
        "schools:",
    ]
    for key, name, phase, code, domain, urn in SCHOOLS:
        lines += [
            f"  {key}:",
            f"    name: {name}",
            f"    urn: {urn}",
            f"    phase: {phase}",
            f"    code: {code}",
            f"    inventory: inventories/{key}.yml",
            f'    directory: {{use: trust-ad, ou: "OU={code},OU=Schools,{{base_dn}}", upn_suffix: {domain}}}',
            f'    tenant: {{use: trust-m365, domains: [{domain}], device_names: "^{code}-"}}',
            f"    not_scanned: {NOT_SCANNED[key]}",
        ]
    lines += [
        "directories:",
        "  trust-ad:",
        f"    url: {ldap_url}",
        f"    bind: {bind}",
        "    password: file:secrets/ldap.txt",
        f"    ca_file: {ca_file}",
        f'    base_dn: "{BASE_DN}"',
        "tenants:",
        "  trust-m365:",
        f"    tenant_id: {tenant_id}",
        f"    client_id: {client_id}",
        "    secret: file:secrets/m365.txt",
        f"    authority: {authority}",
        f"    graph_url: {graph_url}",
        f"    ca_file: {ca_file}",
        f'    dns_servers: ["{dns_server}"]',
    ]
    (folder / "trust.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "profiles" / "trust.yml").write_text(PROFILE, encoding="utf-8")


def write_inventory(
    folder: Path, school: str, hosts: Sequence[tuple[str, Mapping[str, str | int]]], key: Path, known_hosts: Path
) -> None:
    """An ordinary Ansible inventory of one school, in YAML."""
    arguments = f"-o UserKnownHostsFile={known_hosts} -o StrictHostKeyChecking=yes"
    lines = [
        f"# {school}: an ordinary Ansible inventory.",
        "all:",
        "  vars:",
        "    ansible_user: scan",
        f"    ansible_ssh_private_key_file: {json.dumps(str(key))}",
        f"    ansible_ssh_common_args: {json.dumps(arguments)}",
        "  children:",
        "    servers:",
        "      hosts:",
    ]
    for name, variables in hosts:
        lines.append(f"        {name}: {{{', '.join(f'{k}: {v}' for k, v in variables.items())}}}")
    path = folder / "inventories" / f"{school}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_exceptions(folder: Path, today: date, entries: Sequence[Mapping[str, object]]) -> None:
    """exceptions.yml: each entry gets `days` until it expires."""
    lines = ["# Departures that the trust has accepted for a while. The controls still run."]
    for entry in entries:
        values = {k: v for k, v in entry.items() if k != "days"}
        values["expires"] = (today + timedelta(days=int(str(entry["days"])))).isoformat()
        lines += [f"{'- ' if i == 0 else '  '}{k}: {json.dumps(v)}" for i, (k, v) in enumerate(values.items())]
    (folder / "exceptions.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_attestations(folder: Path, today: date, entries: Sequence[Mapping[str, str]]) -> None:
    """attestations.yml: answers given last week, good for a year."""
    lines = ["# Answers of people to what no machine can read."]
    for entry in entries:
        values = {
            **entry,
            "on": (today - timedelta(days=7)).isoformat(),
            "expires": (today + timedelta(days=358)).isoformat(),
        }
        lines += [f"{'- ' if i == 0 else '  '}{k}: {json.dumps(v)}" for i, (k, v) in enumerate(values.items())]
    (folder / "attestations.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_secret(folder: Path, name: str, value: str) -> None:
    """A secret file that only its owner reads."""
    path = folder / "secrets" / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(value + "\n", encoding="utf-8")
