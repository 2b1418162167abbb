"""A bundle's README: the steps in order, with risk, time, reboot and undo; then what people do, as a checklist.

Labels observed on a target are code spans without control characters; everything else is escaped prose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.render.bundle_content import SHARED, Content, Manual, Step

SHOWN = 200
"""Labels listed per manual step; the report has them all."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\ud800-\udfff]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!~&])")


def span(text: str, most: int = 300) -> str:
    """Text as an inert Markdown code span: no control character, no line break, no end of the span inside."""
    clean = _CONTROL.sub("�", text)
    clean = clean if len(clean) <= most else f"{clean[:most]}…"
    fence = "`" * (max((len(m) for m in re.findall(r"`+", clean)), default=0) + 1)
    pad = " " if not clean.strip() or clean[0] in "` " or clean[-1] in "` " else ""
    return f"{fence}{pad}{clean}{pad}{fence}"


def prose(text: str) -> str:
    """Text of the baseline as plain Markdown prose on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(_CONTROL.sub(" ", text).split()))


def readme(content: Content) -> str:
    """What the bundle does, in which order, with risk, time, reboot and undo of each step; then what people do."""
    out = [f"# Remediation: {prose(content.title)}", ""]
    minutes = sum(s.minutes for s in content.steps)
    if content.steps:
        out += [
            f"{_count(len(content.steps), 'step')} for {_count(len(content.hosts), 'host')}, about "
            f"{_count(minutes, 'minute')}; {_count(len(content.manual), 'thing')} to do by hand.",
            "",
        ]
    else:
        out += [f"Nothing here can be mended by a playbook; {_count(len(content.manual), 'thing')} to do by hand.", ""]
    for heading, lines in (
        ("Left out", content.left_out),
        ("Clashes", content.clashes),
        ("When changes may be made", content.windows),
    ):
        if lines:
            out += [f"## {heading}", "", *(f"- {prose(line)}" for line in lines), ""]
    if content.steps:
        out += [*_how_to(content), "## Steps", ""]
        for number, step in enumerate(content.steps, 1):
            out += _step(number, step)
    if content.snippets:
        out += _snippets(content)
    if content.manual:
        out += ["## By hand", ""]
        for item in content.manual:
            out += _manual(item)
    return "\n".join(out).rstrip("\n") + "\n"


def _how_to(content: Content) -> list[str]:
    machines = any(not h.shared for h in content.hosts)
    out = [
        "## How to run it",
        "",
        f"Any machine with ansible-core 2.16 or newer that reaches the {'hosts' if machines else 'targets'} will do."
        + ("" if content.collections else " Look first, change nothing:"),
        "",
        *(_collections(content) if content.collections else []),
        "```sh",
        "ansible-playbook -i inventory.yml site.yml --check --diff",
        "```",
        "",
        "In this preview a step may fail because a package that an earlier task of it would install is not there yet; "
        "the real run installs it. Then apply, one host or the group `pilot` first where there is one:",
        "",
        "```sh",
        f"ansible-playbook -i inventory.yml site.yml --diff --limit {content.hosts[0].name}",
        "ansible-playbook -i inventory.yml site.yml --diff",
        "```",
        "",
        "A second run changes nothing. One step alone: `--tags` with its name below; only the harmless ones: "
        "`--tags risk_low`. A step that fails on a host does not stop the others; the last play names what failed.",
        "",
    ]
    out += _shared(content)
    missing: dict[tuple[str, str], list[str]] = {}
    for host in content.hosts:
        for name, why in host.missing.items():
            missing.setdefault((name, why), []).append(host.name)
    if missing:
        out += [
            "No credential is written here. Supply these yourself, with `--ask-pass`, `--ask-become-pass`, a vault "
            "file or `-e`:",
            "",
        ]
        for (name, why), hosts in sorted(missing.items()):
            because = "a credential" if why == "credential" else "a template, which is not carried over"
            out.append(f"- {span(name)} ({because}): {_names(hosts)}")
        out.append("")
    return out


def _collections(content: Content) -> list[str]:
    """What must be there before the first run; beside Ansible itself."""
    out = ["Fetch the collections once (the package `ansible` brings them too), then look first, change nothing:", ""]
    if any(h.shared == "sl_directories" for h in content.hosts):
        out[0] = (
            "The steps for the directory speak LDAP from this machine: its own Python needs python-ldap (Debian and "
            "Ubuntu: `apt install python3-ldap`, Fedora and RHEL: `dnf install python3-ldap`). " + out[0]
        )
    return [*out, "```sh", "ansible-galaxy collection install -r requirements.yml", "```", ""]


_LOGINS = {
    "sl_directories": (
        "Directories are changed over LDAP as `sl_ldap_bind`. The account that scans may only read; name one that may "
        "change what is listed under *Needs*: as `fix:` of the directory in trust.yml, or with `-e sl_ldap_bind=… ` "
        "and `-e @FILE` of Ansible Vault that holds `sl_ldap_password`."
    ),
    "sl_tenants": (
        "Tenants are changed through Microsoft Graph. The scanner's app may only read: register a second app with the "
        "permissions below, and name it as `fix:` of the tenant in trust.yml. It logs in with `sl_graph_secret`, or "
        "with `sl_graph_certificate`, a PEM file of key and certificate; or give a token of your own as "
        "`sl_graph_token`, such as `az account get-access-token --resource-type ms-graph` prints."
    ),
}


def _shared(content: Content) -> list[str]:
    """Logins, permissions and the way back for directories and tenants."""
    out: list[str] = []
    for group, text in _LOGINS.items():
        hosts = [h for h in content.hosts if h.shared == group]
        if not hosts:
            continue
        out += [text, ""]
        for h in hosts:
            for name, where in h.environment.items():
                out.append(f"- On {span(h.name)} the environment gives {span(name)}: set {span(where)}.")
        rights = sorted({r for s in content.steps if s.platform == SHARED[group] for r in s.rights})
        out += [f"- Needs: {', '.join(span(r) for r in rights)}." if rights else "", ""]
    if not out:
        return []
    return [
        *out,
        "Each step looks first whether what was found is still so. Before it changes something in a directory or "
        "tenant it notes the former values in a file under `_undo/`, beside this folder. To put them back:",
        "",
        "```sh",
        "ansible-playbook -i inventory.yml undo.yml -e sl_undo=/full/path/of/the/file.json",
        "```",
        "",
    ]


def _step(number: int, step: Step) -> list[str]:
    out = [
        f"### {number}. {prose(step.title)}",
        "",
        f"- Tag: {span(step.control)} (severity {step.severity}); task file {span('tasks/' + step.playbook)}",
        f"- Why: {prose(step.why)}",
        f"- Risk: {step.risk}; about {_count(step.minutes, 'minute')} a host; "
        + ("a reboot is needed before it holds." if step.reboot else "no reboot."),
        f"- Undo: {prose(step.undo) if step.undo else 'nothing is written down; take a backup first.'}",
    ]
    if step.rights:
        out.append(f"- Needs: {', '.join(span(r) for r in step.rights)}")
    if step.note:
        out.append(f"- Note: {prose(step.note)}")
    out.append(f"- {'On' if step.shared else 'Hosts'} ({len(step.hosts)}): {_names(step.hosts)}")
    if step.shared:
        out += [
            f"- Looks at {_count(len(keys), 'item')} there, and changes those that still need it."
            for keys in step.offenders.values()
        ]
    for host, count in sorted(step.cut.items()):
        out.append(
            f"- On {span(host)} the first {len(step.offenders[host])} of {count} items; scan and run again for more."
        )
    return [*out, ""]


def _manual(item: Manual) -> list[str]:
    out = [
        f"- [ ] **{prose(item.title)}** on {span(item.target)} ({span(item.control)})",
        f"  - Do: {prose(item.what)}",
        f"  - Why: {prose(item.why)}",
        f"  - Risk: {item.risk}; about {_count(item.minutes, 'minute')}; "
        + ("a reboot is needed." if item.reboot else "no reboot."),
    ]
    if item.undo:
        out.append(f"  - Undo: {prose(item.undo)}")
    if item.labels:
        out.append(f"  - Concerns ({item.count}):")
        out += [f"    - [ ] {span(label)}" for label in item.labels[:SHOWN]]
        if item.count > len(item.labels[:SHOWN]):
            out.append(f"    - and {item.count - len(item.labels[:SHOWN])} more: see the CSV report")
    elif item.observed:
        out.append(f"  - Found: {span(item.observed)}")
    out += [f"  - Look: {prose(sentence)}" for sentence in item.left]
    for word, lines in (("Type", item.lines), ("To take it back", item.undo_lines)):
        if lines:
            out += [
                f"  - {word}, in configuration mode:",
                "",
                "    ```text",
                *(f"    {ln}" for ln in lines),
                "    ```",
                "",
            ]
    return out if out[-1] == "" else [*out, ""]


def _snippets(content: Content) -> list[str]:
    """Where the lines of whole devices are, and how they are sent."""
    return [
        "## Switches",
        "",
        "For each switch there is a file with all the lines that it takes, in the order in which nothing is cut off, "
        "and one that takes them back: steps above are in it too. Paste them line by line. Each begins with the way "
        "back that the switch takes by itself, where it has one, and ends with what calls that off: log in a second "
        "time before you do so.",
        "",
        *(
            f"- {span(s.target)}: {span(f'switches/{s.target}.txt')}, {span(f'switches/{s.target}-undo.txt')}"
            for s in content.snippets
        ),
        "",
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(span(n) for n in sorted(names))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
