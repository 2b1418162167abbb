"""The parts of a bundle for directories and tenants: plays that run where the playbook runs, and their way back."""

from __future__ import annotations

from typing import Any

from agent.render.bundle_content import SHARED, Content

_LDAP = {
    "server_uri": "{{ sl_ldap_url }}",
    "start_tls": "{{ sl_ldap_starttls }}",
    "ca_path": "{{ sl_ldap_ca | default(omit) }}",
    "bind_dn": "{{ sl_ldap_bind | default(omit) }}",
    "bind_pw": "{{ sl_ldap_password | default(omit) }}",
    "sasl_class": "{{ sl_ldap_sasl | default('external') }}",
    # A referral names a server of the directory's choosing: no password goes there.
    "referrals_chasing": "disabled",
    "xorder_discovery": "disable",
}
_MODULES = ("ldap_attrs", "ldap_entry", "ldap_search")
_GRAPH = {
    "ca_path": "{{ sl_graph_ca | default(omit) }}",
    "return_content": True,
    "timeout": 60,
    "follow_redirects": "none",
}
_NEEDED = {
    "sl_directories": (
        ["sl_ldap_sasl is defined or (sl_ldap_bind | length > 0 and sl_ldap_password | default('') | length > 0)"],
        "There is no login for this directory. The README says which variable holds it.",
    ),
    "sl_tenants": (
        ["sl_graph_token | default(sl_graph_certificate) | default(sl_graph_secret) | default('') | length > 0"],
        "There is no login for this tenant. The README says which variable holds it.",
    ),
}


def module_defaults(platform: str) -> dict[str, Any]:
    """How the modules of a play reach a directory (`ad`) or tenant (`m365`); values come from the inventory."""
    if platform == "ad":
        return {f"community.general.{name}": dict(_LDAP) for name in _MODULES}
    return {"ansible.builtin.uri": dict(_GRAPH)}


def ready(group: str) -> dict[str, Any]:
    """The play that comes first for directories or tenants: is there a login, and where do former values go."""
    that, otherwise = _NEEDED[group]
    return {
        "name": f"Get ready for {group.removeprefix('sl_')}",
        "hosts": group,
        "gather_facts": False,
        "any_errors_fatal": False,
        "tags": ["always"],
        "tasks": [
            {
                "name": "There is a login",
                "ansible.builtin.assert": {"that": that, "fail_msg": otherwise, "quiet": True},
            },
            {
                "name": "Name the folder for former values",
                "ansible.builtin.set_fact": {
                    "sl_undo_folder": (
                        "{{ playbook_dir | dirname }}/_undo/{{ playbook_dir | basename }}/"
                        "{{ now(utc=true, fmt='%Y%m%dT%H%M%SZ') }}"
                    )
                },
            },
        ],
    }


def undo(content: Content) -> list[dict[str, Any]]:
    """Plays that put back what a file of former values says; none where a bundle changes machines only."""
    groups = [g for g in SHARED if any(h.shared == g for h in content.hosts)]
    return [
        {
            "name": f"Put former values back in {group.removeprefix('sl_')}",
            "hosts": group,
            "gather_facts": False,
            "module_defaults": module_defaults(SHARED[group]),
            "tasks": [
                {
                    "name": "Read the former values",
                    "ansible.builtin.slurp": {"src": "{{ sl_undo }}"},
                    "register": "sl_undo_file",
                    "check_mode": False,
                },
                {
                    "name": "Put them back",
                    "ansible.builtin.include_tasks": {"file": f"tasks/{SHARED[group]}/undo.yml"},
                    "vars": {"sl_noted": "{{ sl_undo_file.content | b64decode | from_json }}"},
                    "when": "sl_noted.host == inventory_hostname",
                },
            ],
        }
        for group in groups
    ]


__all__ = ["SHARED", "module_defaults", "ready", "undo"]
