"""The kit's part for switches: the commands that the account must be allowed to run, by make, from the plan."""

from __future__ import annotations

from collections.abc import Sequence

from agent.collect import steps
from agent.connect.switch import PAGING
from agent.plan import Job

COMMANDS = "switch-commands.txt"
_MAKES = {"ios": "Cisco IOS and IOS-XE", "aoscx": "Aruba AOS-CX", "procurve": "Aruba ProVision (AOS-S)"}


def files(jobs: Sequence[Job]) -> dict[str, str]:
    """File name → text: every command that a scan may send, by make, as for a permit list of TACACS+ or RADIUS."""
    out = [
        "# All that a scan sends to switches; nothing of it changes anything. For the permit list of a TACACS+ or",
        "# RADIUS server. `enable` only where the account needs it.",
    ]
    for make in _by_make(jobs):
        out += ["", f"# {_MAKES[make]}"]
        out += [*PAGING[make], *dict.fromkeys(c for j in jobs if j.target.platform == make for c in _asked(j)), "exit"]
    return {COMMANDS: "\n".join(out) + "\n"}


def _by_make(jobs: Sequence[Job]) -> list[str]:
    return [m for m in _MAKES if any(j.target.platform == m for j in jobs)]


def _asked(job: Job) -> list[str]:
    return [s.what for s in steps(job.target, job.wanted)]


def note(jobs: Sequence[Job]) -> str:
    """What the kit's README says of switches."""
    hosts = [j.target.id for j in jobs]
    shown = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
    return f"""\
## Switches ({shown})

The scan logs in and sends the commands of `{COMMANDS}`, which only show. `show running-config` in full takes a right
on every make; without it nearly all stays unknown. Best is a central account with that list as its permit list. Local:

{chr(10).join(_ACCOUNT[m] for m in _by_make(jobs))}
Allow the scanning machine's address in the access list of the switches' management. To take it back, delete the
account.
"""


_ACCOUNT = {
    "ios": """\
- Cisco: `username spiritlevel privilege 15 algorithm-type scrypt secret …`. A lower privilege with
  `privilege exec level 7 show running-config` shows only what that level may configure, which is not enough.
""",
    "aoscx": """\
- AOS-CX: `user-group spiritlevel`, in it `permit cli command "show .*"` and `permit cli command "no page"`, then
  `user spiritlevel group spiritlevel password`.
""",
    "procurve": """\
- ProVision: `aaa authorization group "spiritlevel" 1 match-command "command:^show" permit`, the same as number 2 for
  `command:^no page`, then `aaa authentication local-user "spiritlevel" group "spiritlevel" password sha256`.
""",
}
