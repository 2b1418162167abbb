"""Directories and tenants in a bundle: hosts that are changed from the machine that runs the playbook.

What is written down is how to reach them. Their credentials are not: one that trust.yml takes from the environment is
looked up there by the playbook too, the others are asked of whoever runs it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.connect.graph_answers import CLOUDS
from agent.model import Kind, Target
from agent.render.bundle_content import Host

GROUPS = {Kind.DIRECTORY: "sl_directories", Kind.TENANT: "sl_tenants"}
_ENVIRONMENT = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


def host(target: Target, folder: Path) -> Host:
    """A directory or tenant as a bundle's host; `folder` is the trust's, for files that are named relative to it."""
    variables, secret, reference = (_directory if target.kind is Kind.DIRECTORY else _tenant)(target)
    missing: dict[str, str] = {}
    environment: dict[str, str] = {}
    if reference.startswith("file:") and secret == "sl_graph_certificate":  # noqa: S105 - a variable's name
        variables["sl_graph_certificate"] = str(folder / reference.removeprefix("file:"))
    elif found := _ENVIRONMENT.fullmatch(reference):
        environment[secret] = found[1]
    elif reference:
        missing[secret] = "credential"
    variables |= {"ansible_connection": "local", "ansible_pipelining": True}
    if target.kind is Kind.DIRECTORY:
        # python-ldap comes with the distribution (python3-ldap), and so belongs to its own Python.
        variables["ansible_python_interpreter"] = "/usr/bin/python3"
    return Host(target.name, variables, (GROUPS[target.kind],), missing, environment)


_SID = re.compile(r"S-1-\d+(-\d+)+")


def clause(key: str) -> str:
    """An offender's key (SID, GUID or distinguished name) as a clause of an LDAP filter that matches it alone.

    Whatever stands in it, it is a value and no part of the filter (RFC 4515).
    """
    if _SID.fullmatch(key):
        return f"(objectSid={key})"
    try:
        return f"(objectGUID={_escaped(uuid.UUID(key).bytes_le, frozenset())})"
    except ValueError:
        return f"(distinguishedName={_escaped(key.encode('utf-8', 'replace'), _PLAIN)})"


def _escaped(raw: bytes, plain: frozenset[int]) -> str:
    return "".join(chr(b) if b in plain else f"\\{b:02x}" for b in raw)


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=,. -_")


def _directory(target: Target) -> tuple[dict[str, Any], str, str]:
    settings, fix = target.settings, target.settings.get("fix") or {}
    urls = [settings["url"]] if isinstance(settings["url"], str) else list(settings["url"])
    out: dict[str, Any] = {
        "sl_ldap_url": " ".join(urls),
        "sl_ldap_starttls": all(u.lower().startswith("ldap://") for u in urls),
    }
    if settings.get("ca_file"):
        out["sl_ldap_ca"] = str(settings["ca_file"])
    if settings.get("base_dn"):
        out["sl_ldap_base"] = str(settings["base_dn"])
    if settings.get("auth") == "kerberos" and not fix:
        return out | {"sl_ldap_sasl": "gssapi"}, "sl_ldap_password", ""
    bind = str(fix.get("bind") or settings.get("bind", ""))
    reference = str(fix.get("password") or settings.get("password", ""))
    return out | {"sl_ldap_bind": bind}, "sl_ldap_password", reference


def _tenant(target: Target) -> tuple[dict[str, Any], str, str]:
    settings, fix = target.settings, target.settings.get("fix") or {}
    login, graph = CLOUDS.get(str(settings.get("cloud") or "global"), CLOUDS["global"])
    out: dict[str, Any] = {
        "sl_graph_authority": str(settings.get("authority") or f"{login}/{settings['tenant_id']}").rstrip("/"),
        "sl_graph_url": str(settings.get("graph_url") or graph).rstrip("/"),
        "sl_graph_client": str(fix.get("client_id") or settings["client_id"]),
    }
    if settings.get("ca_file"):
        out["sl_graph_ca"] = str(settings["ca_file"])
    source = fix or settings
    if source.get("certificate"):
        return out, "sl_graph_certificate", str(source["certificate"])
    return out, "sl_graph_secret", str(source["secret"])


def credentials(target: Target, resolve: Callable[[str], str]) -> dict[str, str]:
    """What a run needs to change a directory or tenant, read now and kept nowhere: a password, or an access token.

    Raises `SecretError` for a reference that cannot be read, `TargetError` where the tenant gives no token.
    """
    fix = target.settings.get("fix") or {}
    if target.kind is Kind.DIRECTORY:
        reference = str(fix.get("password") or target.settings.get("password") or "")
        return {"sl_ldap_password": resolve(reference)} if reference else {}
    from agent.connect.graph import access_token

    # `fix` names either a secret or a certificate, and the other as None: the scanner's own is never mixed in.
    settings = {**target.settings, **fix}
    return {"sl_graph_token": access_token(replace(target, settings=settings), resolve)}
