"""A remediation bundle as text: inventory, plays and variables. Pure: what is in it comes from `agent.remediate`.

Nothing observed on a target is ever template or code here: offenders' keys are `!unsafe` data, and no text of a control
but its id stands where Ansible would read a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.render import bundle_shared as shared
from agent.render.bundle_content import COLLECTIONS, NETWORK, Content, Host, Step
from agent.render.bundle_readme import readme
from agent.yamlfile import Unsafe, dump

SECRET = re.compile(r"pass(wd|word|phrase)?$|secret|token|vault|(?<!public_)(?<!host_)key$", re.IGNORECASE)
"""Variables that hold a credential. A private key's file is a path, not a credential."""
_TEMPLATE = re.compile(r"\{[{%#]|[%#}]\}")


def files(content: Content) -> dict[str, str]:
    """Relative path → text of everything but the task files, which are copied as reviewed."""
    out = {"README.md": readme(content)}
    for snippet in content.snippets:
        out[f"switches/{snippet.target}.txt"] = snippet.text
        out[f"switches/{snippet.target}-undo.txt"] = snippet.undo
    if content.steps:
        out["inventory.yml"] = inventory(content)
        out["site.yml"] = site(content)
        out.update(_variables(content))
        if any(is_template(k) for step in content.steps for keys in step.offenders.values() for k in keys):
            out[".ansible-lint"] = _LINT
        if names := content.collections:
            out["requirements.yml"] = dump({"collections": [{"name": n, "version": COLLECTIONS[n]} for n in names]})
        if plays := shared.undo(content):
            out["undo.yml"] = dump(plays)
    return out


# ------------------------------------------------------------------------------------------------------ for Ansible


def is_template(text: str) -> bool:
    """Whether Ansible would see a template in it."""
    return bool(_TEMPLATE.search(text))


def inert(value: Any) -> Any:
    """A value of the baseline for a variables file: text that looks like a template is tagged `!unsafe`."""
    if isinstance(value, str):
        return Unsafe(value) if is_template(value) else value
    if isinstance(value, Mapping):
        return {str(k): inert(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [inert(v) for v in value]
    return value


def inventory(content: Content) -> str:
    """The failing hosts with how to reach them; one group a fix, and the groups of the inventory they come from."""
    children: dict[str, Any] = {s.group: {"hosts": {h: {} for h in s.hosts}} for s in content.steps}
    known: dict[str, dict[str, Any]] = {}
    taken = {*children, *_RESERVED, *(h.name for h in content.hosts)}
    for host in content.hosts:
        for group in host.groups:
            if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", group) and group not in taken:
                known.setdefault(group, {})[host.name] = {}
    children.update({g: {"hosts": known[g]} for g in sorted(known)})
    return dump(
        {
            "all": {
                "hosts": {h.name: _reached(h) for h in content.hosts},
                "children": children,
            }
        }
    )


def _reached(host: Host) -> dict[str, Any]:
    """How to reach a host. The only templates are these; the name of an environment variable was checked."""
    made = {n: f"{{{{ lookup('env', '{name}') }}}}" for n, name in host.environment.items()}
    if host.shared == "sl_tenants":
        made["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
    return dict(sorted({**inert(host.variables), **made}.items()))


_RESERVED = frozenset("all ungrouped localhost hosts vars children".split())


def site(content: Content) -> str:
    """The plays: read the hosts, one play per control, and at the end say what failed."""
    plays: list[dict[str, Any]] = []
    groups = [g for g in shared.SHARED if any(h.shared == g for h in content.hosts)]
    network = [NETWORK] if any(NETWORK in h.groups for h in content.hosts) else []
    if any(not h.shared and NETWORK not in h.groups for h in content.hosts):
        plays.append(
            {
                "name": "Read what the fixes need to know",
                "hosts": ":!".join(["all", *groups, *network]),
                "gather_facts": True,
                "any_errors_fatal": False,
                "tags": ["always"],
            }
        )
    plays += [shared.ready(group) for group in groups]
    plays += [_play(step) for step in content.steps]
    plays.append(
        {
            "name": "Say what failed",
            "hosts": "all",
            "gather_facts": False,
            "any_errors_fatal": False,
            "tags": ["always"],
            "tasks": [
                {
                    "name": "Every fix that was tried has worked",
                    "ansible.builtin.assert": {
                        "that": ["sl_failed | default([]) | length == 0"],
                        "fail_msg": "These fixes failed here - {{ sl_failed | default([]) | join(', ') }}",
                        "quiet": True,
                    },
                }
            ],
        }
    )
    return dump(plays)


def _play(step: Step) -> dict[str, Any]:
    include: dict[str, Any] = {
        "name": f"Mend {step.control}",
        "ansible.builtin.include_tasks": {"file": f"tasks/{step.playbook}"},
    }
    names = sorted({n for values in step.variables.values() for n in values})
    passed = {name: f"{{{{ {variable(step, name)} }}}}" for name in names}
    if step.offenders:
        passed["sl_offenders"] = f"{{{{ {variable(step, 'sl_offenders')} }}}}"
    if step.shared:
        passed["sl_control"] = step.control
    if passed:
        include["vars"] = passed
    play: dict[str, Any] = {"name": step.play, "hosts": step.group, "gather_facts": False}
    if step.platform == "linux":
        play["become"] = True
    if step.shared:
        play["module_defaults"] = shared.module_defaults(step.platform)
    return {
        **play,
        "any_errors_fatal": False,
        "tags": [step.control, f"risk_{step.risk}"],
        "tasks": [
            {
                # A host that fails is out of all later plays; the rescue keeps it in, and the last play tells.
                "name": f"Mend {step.control}, and go on if that fails",
                "block": [include],
                "rescue": [
                    {
                        "name": "Note the failure",
                        "ansible.builtin.set_fact": {
                            "sl_failed": f"{{{{ sl_failed | default([]) + ['{step.control}'] }}}}"
                        },
                    }
                ],
            }
        ],
    }


def variable(step: Step, name: str) -> str:
    """The variable under which the bundle keeps a task file's `sl_name`: two controls may use one name."""
    return f"sl_{step.slug}_{name.removeprefix('sl_')}"


def _variables(content: Content) -> dict[str, str]:
    """group_vars for what is the same on all hosts of a fix, host_vars for the rest."""
    out: dict[str, str] = {}
    by_host: dict[str, dict[str, Any]] = {}
    for step in content.steps:
        shared: dict[str, Any] = {}
        for name in sorted({n for values in step.variables.values() for n in values}):
            values = {h: step.variables[h][name] for h in step.hosts}
            first = values[step.hosts[0]]
            if all(_same(v, first) for v in values.values()):
                shared[variable(step, name)] = inert(first)
            else:
                for host, value in values.items():
                    by_host.setdefault(host, {})[variable(step, name)] = inert(value)
        if shared:
            out[f"group_vars/{step.group}.yml"] = _HEAD + dump(shared)
        for host, keys in step.offenders.items():
            by_host.setdefault(host, {})[variable(step, "sl_offenders")] = [Unsafe(k) for k in keys]
    for host in sorted(by_host):
        out[f"host_vars/{host}.yml"] = _HEAD + dump(by_host[host])
    return out


_LINT = """\
# What was found looks like a template here and there. It is tagged !unsafe and never filled in; the linter cannot know.
skip_list: ["jinja[spacing]", "jinja[invalid]"]
"""
_HEAD = "# yamllint disable rule:line-length\n"  # a path is as long as it is


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)  # True is not 1 in a variables file
