"""Whether a restart is waiting: the flag of the distribution, and the kernel that runs beside those installed."""

from __future__ import annotations

import re
from typing import Any

from agent.facts.linux.answer import Answer
from agent.facts.linux.readers import reads
from agent.facttypes import BOOL, Field, Record
from agent.model import Reason, Unknown
from agent.versions import at_least

_IMAGE = re.compile(r"linux-image-(?:unsigned-)?([0-9][^|]*)")


@reads(
    "reboot",
    Record({"required": Field(BOOL, "whether installed updates wait for a restart")}),
    asks=("reboot",),
    what="/run/reboot-required and the kernels installed, or needs-restarting",
)
def read_reboot(answer: Answer) -> Any:
    """Whether a restart is waiting.

    With dpkg the flag is written only by programs that need not be there (unattended-upgrades, update-notifier): no
    flag means something only where one of them is, or where the newest kernel installed is the one that runs.
    """
    lines = answer.need("reboot").lines
    word, told = lines[0].strip() if lines else "", dict(line.partition("=")[::2] for line in lines[1:])
    if word not in {"yes", "no"}:
        return Unknown(Reason.UNREADABLE, "/run/reboot-required")
    if word == "yes" or answer.meta.get("packages") != "dpkg" or "boxed" in told:
        return {"required": word == "yes"}
    running = told.get("running", "")
    kernels = _kernels(lines[1:], running)
    newest = _newest(kernels, running)
    if newest is not None and newest != running:
        return {"required": True}
    if newest is None and "writer" not in told:
        return {"required": Unknown(Reason.NOT_SUPPORTED, "nothing on this host tells when it wants a restart")}
    # Debian mends a kernel without a new name too; it puts the version of the package into `uname -v`
    built = re.search(r"\bDebian (\S+)", told.get("build", ""))
    if newest is not None and built is not None and not at_least("dpkg", built[1], kernels[newest]):
        return {"required": True}
    return {"required": False}


def _kernels(lines: list[str], running: str) -> dict[str, str]:
    """Installed kernels by their release, with the package's version: those of the running one's flavour."""
    out = {}
    for line in lines:
        name, bar, version = line.partition("=")[2].partition("|")
        match = _IMAGE.fullmatch(name)
        if bar and line.startswith("image=") and match and _flavour(match[1]) == _flavour(running):
            out[match[1]] = version.strip()
    return out


def _flavour(release: str) -> str:
    """`amd64` of 6.1.0-25-amd64, `cloud-amd64` of 6.1.0-25-cloud-amd64, `rpi-v8` of 6.6.31+rpt-rpi-v8."""
    return "-".join(w for w in release.split("-")[1:] if not w[:1].isdigit())


def _newest(kernels: dict[str, str], running: str) -> str | None:
    """The newest kernel's release; None where the running one came from no package that is there."""
    if running not in kernels:
        return None
    best = running
    for release, version in kernels.items():
        if not at_least("dpkg", kernels[best], version):
            best = release
    return best
