"""A second opinion on a lab host: Debian's OpenSCAP with the rules of ComplianceAsCode, run inside the host.

Neither is part of this project: both come from the package source that the machine's own apt uses. The rules for
Debian 12 are in ssg-debian 0.1.76 (Debian 13); where only an older ssg-debian can be had, its rules for Debian 11 judge
those things that have not changed since.
"""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from tests.lab.hosts import HostLab

XCCDF = "{http://checklists.nist.gov/xccdf/1.2}"
PREFIX = "xccdf_org.ssgproject.content_"
PROFILE = "xccdf_test.spiritlevel_profile_lab"
FOLDER = "/var/tmp/oscap"  # inside the host; /tmp there is part of what is judged
STREAMS = ("ssg-debian12-ds.xml", "ssg-debian11-ds.xml")
# Installed where its rules look for it: without it all rules about sshd, sysctl and audit are not applicable.
PACKAGES = ("openscap-scanner", "linux-base")


class NotHere(Exception):
    """OpenSCAP or its rules cannot be had on this machine; the message says which."""


@dataclass(frozen=True, slots=True)
class Content:
    """A data stream: the file, the Debian it is for, its version, its rules (with the groups above each) and values."""

    file: Path
    debian: str
    version: str
    rules: Mapping[str, tuple[str, ...]]
    values: frozenset[str]

    @classmethod
    def read(cls, file: Path) -> Content:
        """Read a data stream's first benchmark."""
        root = ET.parse(file).getroot()  # noqa: S314 - Debian's own package, its signature checked by apt
        benchmark = next(root.iter(f"{XCCDF}Benchmark"))
        rules: dict[str, tuple[str, ...]] = {}

        def walk(node: ET.Element, above: tuple[str, ...]) -> None:
            for child in node:
                name = child.get("id", "")
                if child.tag == f"{XCCDF}Group":
                    walk(child, (*above, name))
                elif child.tag == f"{XCCDF}Rule":
                    rules[name.removeprefix(f"{PREFIX}rule_")] = above

        walk(benchmark, ())
        values = {v.get("id", "").removeprefix(f"{PREFIX}value_") for v in benchmark.iter(f"{XCCDF}Value")}
        debian = re.sub(r"\D", "", file.name)
        return cls(file, debian, benchmark.findtext(f"{XCCDF}version") or "?", rules, frozenset(values))

    def tailoring(self, rules: Collection[str], values: Mapping[str, str]) -> str:
        """A profile of its own: these rules, the groups above them (Debian's profiles switch whole groups off, and a
        rule in such a group is left out without a word), these values, and nothing else."""
        groups = sorted({g for rule in rules for g in self.rules[rule]})
        lines = [f"<select idref={quoteattr(group)} selected='true'/>" for group in groups]
        for rule in self.rules:
            chosen = "true" if rule in rules else "false"
            lines.append(f"<select idref='{PREFIX}rule_{rule}' selected='{chosen}'/>")
        for name, value in values.items():
            if name in self.values:
                lines.append(f"<set-value idref='{PREFIX}value_{name}'>{escape(value)}</set-value>")
        # One element a line: OpenSCAP 1.3.7 skips every other one of those that have nothing between them.
        return "\n".join(
            (
                f"<Tailoring xmlns='{XCCDF[1:-1]}' id='xccdf_test.spiritlevel_tailoring_lab'>",
                f"<benchmark href='{FOLDER}/{self.file.name}'/>",
                "<version time='2026-01-01T00:00:00'>1</version>",
                f"<Profile id='{PROFILE}'>",
                "<title>lab</title>",
                *lines,
                "</Profile>",
                "</Tailoring>",
            )
        )


def apt(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """apt-get with the machine's own sources, as root, without its sandbox user (who may not write to `folder`)."""
    return subprocess.run(
        ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *words],
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def newer(folder: Path) -> None:
    """Debian 13's ssg-debian, which has the rules for Debian 12, by the machine's own mirror and an apt that knows
    nothing else; where it cannot be had, nothing is there."""
    listed = apt("indextargets", "--format", "$(CODENAME)|$(COMPONENT)|$(LABEL)|$(SITE)", folder=folder)
    sites = [row[3] for line in listed.stdout.splitlines() if (row := line.split("|"))[1:3] == ["main", "Debian"]]
    if not sites:
        return
    root = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial", "etc"):
        (root / part).mkdir(parents=True)
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (root / "etc/sources.list").write_text(f"deb [signed-by={keyring}] {sites[0]} trixie main\n", encoding="utf-8")
    (root / "etc/status").touch()
    own = {
        "Dir::State": root / "state",
        "Dir::State::status": root / "etc/status",
        "Dir::Cache": root / "cache",
        "Dir::Etc::SourceList": root / "etc/sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
    if apt(*options, "update", folder=folder).returncode == 0:
        apt(*options, "download", "ssg-debian", folder=folder)


def content(folder: Path) -> Content:
    """The newest rules that can be had: installed, or by the machine's own package source. Raises NotHere."""
    places = [Path("/usr/share/xml/scap/ssg/content")]
    if not (places[0] / STREAMS[0]).exists():
        got = apt("download", "ssg-debian", folder=folder)
        newer(folder)
        for package in folder.glob("ssg-debian_*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "ssg")], check=True)
            places.append(folder / "ssg/usr/share/xml/scap/ssg/content")
        if got.returncode and not places[0].exists():
            raise NotHere(f"no ssg-debian: {(got.stderr.strip().splitlines() or ['?'])[-1]}")
    for name in STREAMS:
        for place in reversed(places):
            if (place / name).exists():
                return Content.read(place / name)
    raise NotHere("ssg-debian holds no rules for Debian 11 or 12")


def packages(lab: HostLab, host: str, folder: Path) -> list[Path]:
    """OpenSCAP and what it needs on top of what a lab host has. Raises NotHere."""
    status = folder / "status"
    status.write_text(lab.exec(host, "cat /var/lib/dpkg/status"), encoding="utf-8")
    archives = folder / "debs"
    (archives / "partial").mkdir(parents=True)
    where = ("-o", f"Dir::State::status={status}", "-o", f"Dir::Cache::archives={archives}")
    got = apt(*where, "--no-install-recommends", "--download-only", "-y", "install", *PACKAGES, folder=folder)
    if got.returncode:
        raise NotHere(f"no openscap-scanner: {(got.stderr.strip().splitlines() or ['?'])[-1]}")
    return sorted(archives.glob("*.deb"))


def install(lab: HostLab, host: str, debs: Collection[Path], stream: Content) -> None:
    """Put OpenSCAP and its rules into a host. This changes the host: look at it yourself before."""
    lab.exec(host, f"mkdir -p {FOLDER} && chmod 777 {FOLDER}")
    copy(lab, host, *debs, stream.file)
    lab.exec(host, f"dpkg -i --force-unsafe-io {FOLDER}/*.deb", timeout=300)


def copy(lab: HostLab, host: str, *files: Path) -> None:
    """Copy files into FOLDER of a host."""
    words = ["scp", "-q", "-F", str(lab.ssh_config), *map(str, files), f"{host}:{FOLDER}/"]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True)


def evaluate(
    lab: HostLab, host: str, stream: Content, rules: Collection[str], values: Mapping[str, str], folder: Path
) -> dict[str, str]:
    """Run rules inside a host, as root → rule to result (pass, fail, notapplicable, error, …)."""
    file = folder / f"{host}.xml"
    file.write_text(stream.tailoring(rules, values), encoding="utf-8")
    copy(lab, host, file)
    run = (
        f"oscap xccdf eval --progress --tailoring-file {FOLDER}/{file.name} --profile {PROFILE} "
        f"{FOLDER}/{stream.file.name}"
    )
    if stream.debian != "12":  # rules for the release before: they ask this one file which release it is
        mount = f"mount --bind {FOLDER}/release /etc/debian_version"
        lab.exec(host, f"echo {stream.debian}.1 >{FOLDER}/release")
        run = f"unshare -m sh -c '{mount} && {run}'"
    out = lab.exec(host, f"{run} 2>{FOLDER}/log; [ $? -ne 1 ]", timeout=300)
    return {rule: word for rule, word in re.findall(rf"^{PREFIX}rule_(\S+):(\w+)$", out, re.MULTILINE)}
