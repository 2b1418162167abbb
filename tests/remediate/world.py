"""A small trust with controls and task files of its own, and findings put into its store: no host is needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent import trust as trusts
from agent.baseline import load_policy
from agent.connect.ansible import Host, inventory
from agent.model import Evidence, Finding, Kind, Offender, Target, TargetState, Verdict
from agent.plan import Planner, Selection
from agent.remediate import BundleInfo, bundle
from agent.store import Store

TODAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOSTILE = (
    "{{ lookup('pipe', 'id') }}",
    "{% for x in [1] %}owned{% endfor %}",
    "a\nb: !vault |\n  x",
    '"}}\\" quote\' # comment',
    "!unsafe '*anchor' &a <<: - ? | >",
    "`code` **bold** <script>alert(1)</script> [x](javascript:y)",
    "\x1b[31mred\x07\u202eevil \u0085\u2028 \U0001f600",
    "%{nothing} ${HOME} $(id) ; rm -rf /",
    " leading and trailing ",
    "no",
    "0640",
)

TRUST = """\
name: Northfield Trust
profile: own
schools:
  oak: {name: "Oakfield *Primary*", code: OAK, inventory: inventories/oak.yml, parameters: {motd_words: [one, two]}}
  elm: {name: Elm Academy, code: ELM, inventory: inventories/elm.yml}
"""
INVENTORIES = {
    "oak": """\
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: @PYTHON@
    ansible_remote_tmp: "{{ nowhere }}"
    ansible_become: false
    ansible_become_password: env:NOT_SET_ANYWHERE
    ansible_ssh_common_args: -o UserKnownHostsFile=/etc/ssh/known_ones -o StrictHostKeyChecking=yes
    ansible_ssh_private_key_file: keys/id
    asset_tag: not for Ansible
  children:
    pilot: {hosts: {web1: {}}}
    fileservers: {hosts: {web2: {}, web3: {}}}
""",
    "elm": "all: {hosts: {lib1: {ansible_host: 192.0.2.7, ansible_user: audit, ansible_port: 2222}}}\n",
}
PROFILE = """\
id: own
controls: [linux.own-words, linux.own-files, linux.own-reboot, linux.own-manual, linux.own-unwritten]
groups:
  fileservers: {parameters: {motd_words: [three]}}
"""
CONTROL = """\
id: {id}
version: 1
title: {title}
theme: devices
severity: high
applies_to: {{platform: linux}}
why: Because a test says so & means it.
check: {check}
{fix}
parameters: {parameters}
"""
MANUAL = "{manual: Is it so?}"
CONTROLS = {
    "linux.own-words": (
        "Every greeting has the {{ trust's }} words",
        "{fact: os.name, one_of: {param: motd_words}}",
        "fix: {playbook: own/words.yml, variables: {sl_words: {param: motd_words}, sl_school: '{code}', "
        "sl_odd: '{{ x }}'}, risk: medium, minutes: 3, undo: Delete the file., note: Quick.}",
        "{motd_words: {type: list, why: Words that are welcome., default: [zero]}}",
    ),
    "linux.own-files": (
        "No file is astray",
        MANUAL,
        "fix: {playbook: own/files.yml, risk: low, minutes: 1, undo: Put the file back.}",
        "{}",
    ),
    "linux.own-reboot": (
        "The kernel is the newest one",
        MANUAL,
        "fix: {playbook: own/reboot.yml, risk: low, reboot: true, minutes: 10}",
        "{}",
    ),
    "linux.own-manual": (
        "The cabinet is locked",
        MANUAL,
        "fix: {manual: 'Lock it, with the *right* key.', risk: low, undo: Unlock it.}",
        "{}",
    ),
    "linux.own-unwritten": ("Nobody has written how", MANUAL, "notes: none", "{}"),
}
TASKS = {
    "words": """\
---
- name: Write the words
  ansible.builtin.copy:
    dest: "{{ lookup('env', 'WORLD') }}/{{ inventory_hostname }}-words"
    content: "{{ sl_school }} {{ sl_odd }} {{ sl_words | join(' ') }}\\n"
    mode: "0644"
""",
    "files": """\
---
- name: Write what was astray
  ansible.builtin.copy:
    dest: "{{ lookup('env', 'WORLD') }}/{{ inventory_hostname }}-offenders.json"
    content: "{{ sl_offenders | to_json }}"
    mode: "0644"
""",
    "reboot": """\
---
- name: Fail on one host
  ansible.builtin.fail:
    msg: It never works here.
  when: inventory_hostname == 'web1'

- name: Note that the last step was reached
  ansible.builtin.copy:
    dest: "{{ lookup('env', 'WORLD') }}/{{ inventory_hostname }}-last"
    content: ""
    mode: "0644"
""",
}


def make(folder: Path) -> Planner:
    """Write the trust into `folder` and load it."""
    for sub in ("inventories", "profiles", "controls/linux", "playbooks/own"):
        (folder / sub).mkdir(parents=True)
    (folder / "trust.yml").write_text(TRUST)
    for name, text in INVENTORIES.items():
        (folder / "inventories" / f"{name}.yml").write_text(text.replace("@PYTHON@", sys.executable))
    (folder / "profiles/own.yml").write_text(PROFILE)
    for cid, (title, check, fix, parameters) in CONTROLS.items():
        text = CONTROL.format(id=cid, title=f'"{title}"', check=check, fix=fix, parameters=parameters)
        (folder / f"controls/linux/{cid.removeprefix('linux.')}.yml").write_text(text)
    for name, text in TASKS.items():
        (folder / f"playbooks/own/{name}.yml").write_text(text)
    return load(folder)


def load(folder: Path) -> Planner:
    """Load a trust's folder. Ansible reads each inventory once in a test run."""
    planner = Planner(trusts.load(folder), load_policy(folder))
    planner._targets = [
        Target(h.name, Kind.DEVICE, "linux", school, h.variables, h.groups)
        for school, paths in planner.trust.inventories.items()
        for h in _hosts(paths[0].read_text())
    ]
    return planner


@cache
def _hosts(text: str) -> list[Host]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "inventory.yml"
        path.write_text(text)
        return inventory([path], Path(folder))


def fail(control: str, target: str, *labels: str, **more: Any) -> Finding:
    """A failing finding whose offenders have these keys (and labels)."""
    offenders = tuple(Offender(x, x) for x in labels)
    return Finding(
        control,
        1,
        target,
        target.split("/")[0],
        Verdict.FAIL,
        offenders=offenders,
        offender_count=more.pop("count", len(offenders)),
        digest=f"{control}{target}{labels}",
        **more,
    )


USUAL = (
    fail("linux.own-words", "oak/web1"),
    fail("linux.own-words", "oak/web2"),
    fail("linux.own-words", "oak/web3"),
    fail("linux.own-files", "oak/web1", *HOSTILE),
    fail("linux.own-files", "oak/web2", "/srv/a", "/srv/b"),
    fail("linux.own-reboot", "oak/web1"),
    fail("linux.own-reboot", "oak/web2"),
    fail("linux.own-manual", "oak/web1", *HOSTILE),
    fail("linux.own-unwritten", "oak/web2", observed="`{{ x }}`\x1b", expected="a lock"),
)


def save(planner: Planner, store: Store, findings: Sequence[Finding]) -> None:
    """Put findings into the store, as a scan would."""
    targets = {t.id: t for t in planner.targets()}
    run = store.begin(NOON, sorted(targets), {})
    for tid, target in sorted(targets.items()):
        mine = [(f, "rule") for f in findings if f.target == tid]
        store.save(run, Evidence(target, TargetState.COLLECTED, NOON, {}), mine, {})
    store.finish(run, NOON)


def built(
    folder: Path, findings: Sequence[Finding] = USUAL, selection: Selection | None = None, out: Path | None = None
) -> list[BundleInfo]:
    """A fresh trust in `folder` with these findings, and the bundles of it."""
    planner = make(folder)
    with Store.open(planner.trust.hidden) as store:
        save(planner, store, findings)
        return bundle(planner, store, selection or Selection(), out or folder / "out", TODAY)
