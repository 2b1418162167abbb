"""Is everything there that a scan needs? Reachability, credentials and permissions of each target, tried for real.

Only reads. A credential that three targets refuse is not tried again, as in a scan.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from agent.collect import Credentials, at, collect, credential_key, open_target
from agent.connect import ansible, known_hosts, secrets
from agent.errors import SecretError, SpiritlevelError, TargetError
from agent.facts.protocol import Limits
from agent.facttypes import REGISTRY
from agent.model import Evidence, Kind, Partial, Reason, Target, TargetState, Unknown
from agent.plan import Job

T = TypeVar("T")
R = TypeVar("R")
NAMED = 6
"""Things named on one line; the rest is counted."""
_NO_FAULT = (Reason.NOT_LICENSED, Reason.BY_CHOICE, Reason.NOT_SUPPORTED, Reason.NOT_COLLECTED)
"""Reasons that nobody can mend by granting something: there is none, or the other side does not know itself."""
KIT = "`spiritlevel doctor --kit DIR` writes what an administrator needs to grant it."


class State(StrEnum):
    """How a target is."""

    WELL = "well"
    MISSING = "missing"
    NOT_REACHED = "not reached"
    NOT_COVERED = "not covered"


@dataclass(frozen=True, slots=True)
class Checkup:
    """One target: `missing` is one sentence, `grant` says how to mend it. Both empty when all is well."""

    target: Target
    state: State
    missing: str = ""
    grant: str = ""


def parallel(items: Sequence[T], work: Callable[[T], R], workers: int) -> Iterator[tuple[T, R]]:
    """Results of `work` as they come. Workers are daemons, so that Ctrl-C never waits for a target that hangs."""
    todo: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        todo.put(item)
    done: queue.Queue[tuple[T, R | BaseException]] = queue.Queue()

    def run() -> None:
        while True:
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(item)))
            except Exception as error:  # told to the caller, who raises it
                done.put((item, error))

    for n in range(max(1, min(workers, len(items)))):
        threading.Thread(target=run, name=f"doctor-{n}", daemon=True).start()
    left = len(items)
    while left:
        try:
            item, result = done.get(timeout=0.5)  # short steps: Ctrl-C is heard at once
        except queue.Empty:
            continue
        left -= 1
        if isinstance(result, BaseException):
            raise result
        yield item, result


def examine(job: Job, folder: Path, limits: Limits, credentials: Credentials, stop: threading.Event) -> Checkup:
    """One target. Never raises for what the target does."""
    target = job.target
    if not job.wanted:
        return Checkup(target, State.NOT_COVERED, f"no control reads {target.platform} here")
    if target.family == "switch":
        return _switch(collect(target, sorted({*job.wanted, "remote"}), folder, limits, credentials, stop))
    if target.kind is Kind.DEVICE and target.platform != "windows":
        return _device(job, folder, limits, credentials, stop)
    evidence = collect(target, job.wanted, folder, limits, credentials, stop)
    if evidence.state is TargetState.UNREACHABLE:
        return _failed(target, evidence.detail or "it answers, and tells nothing")
    return _windows(evidence) if target.platform == "windows" else _shared(evidence)


def _failed(target: Target, sentence: str) -> Checkup:
    return Checkup(target, State.NOT_REACHED, sentence)


def _device(job: Job, folder: Path, limits: Limits, credentials: Credentials, stop: threading.Event) -> Checkup:
    """Log in, run the collector for one cheap fact, and see whether it ran as root."""
    from agent.facts.linux import facts_from
    from agent.facts.linux.answer import COMMAND, new_nonce, parse, payload

    target = job.target
    if target.platform != "linux":
        return Checkup(target, State.NOT_COVERED, f"spiritlevel cannot read {target.platform} yet")
    nonce = new_nonce()
    try:
        with (
            credentials.use(credential_key(target), stop),
            open_target(at(target, folder), lambda r: secrets.resolve(r, folder), limits) as shell,
        ):
            answer = parse(shell.run(COMMAND, payload({"os": []}, nonce), limits), nonce, limits)
    except (TargetError, SecretError) as error:
        return _failed(target, str(error))
    why = answer.lost or facts_from(answer, ["os"])["os"].unknown
    if why is not None:
        return Checkup(
            target,
            State.MISSING,
            f"the login works, and the host gave no proper answer ({why}).",
            "Is /bin/sh the account's shell, and does its profile print nothing?",
        )
    if not answer.root:
        lost = needing_root(job.wanted)
        if lost:
            return Checkup(
                target,
                State.MISSING,
                f"sudo -n is refused: {named(lost)} stay unknown.",
                f"Put the kit's sudoers file there. {KIT}",
            )
    return Checkup(target, State.WELL)


def _windows(evidence: Evidence) -> Checkup:
    """What a Windows machine did not show: what takes an administrator, and anything else by its reason."""
    closed: list[str] = []
    other: Counter[str] = Counter()
    for name, reading in evidence.facts.items():
        for why in unknowns(reading.value):
            if why.reason is Reason.PERMISSION:
                closed.append(name.split("[", 1)[0])
            elif why.reason not in _NO_FAULT:
                other[f"{name} ({why})"] += 1
    if not closed and not other:
        return Checkup(evidence.target, State.WELL)
    words = []
    if closed:
        words.append(f"the account is no administrator there: {named(sorted(set(closed)))} stay unknown.")
    if other:
        words.append(f"Not read: {named(list(other))}.")
    grant = f"Give it the rights that the kit describes. {KIT}" if closed else "Try again; then look at the reason."
    return Checkup(evidence.target, State.MISSING, " ".join(words), grant)


def _switch(evidence: Evidence) -> Checkup:
    """What a switch did not show: the configuration, which takes a right, and commands that did not answer."""
    target = evidence.target
    if evidence.state is TargetState.UNREACHABLE:
        return _failed(target, evidence.detail)
    lacking = sorted(
        {why.detail for r in evidence.facts.values() if (why := r.unknown) and why.reason is Reason.PERMISSION}
    )
    if lacking:
        return Checkup(
            target,
            State.MISSING,
            f"the login works, and the account may not: {named(lacking)}.",
            "Give it that right for reading (Cisco: privilege 15 or a view with that command; Aruba: a role with that"
            " command), or an enable password: ansible_become_password.",
        )
    other = sorted({str(why) for r in evidence.facts.values() if (why := r.unknown) and why.reason not in _SILENT})
    if other:
        return Checkup(target, State.MISSING, f"Not read: {named(other)}.", "Try again; see how long the switch takes.")
    return Checkup(target, State.WELL)


_SILENT = (Reason.COMMAND_MISSING, Reason.NOT_SUPPORTED, Reason.NOT_COLLECTED)
"""A command that a switch lacks is no fault of the account's."""


def needing_root(wanted: Sequence[str]) -> list[str]:
    """Linux facts that take root, by name."""
    return sorted({n.split("[", 1)[0] for n in wanted if "sudo" in REGISTRY.spec_of("linux", n).rights})


def _shared(evidence: Evidence) -> Checkup:
    """What a directory or tenant did not show: permissions by name, and anything else that could not be read."""
    target = evidence.target
    lacking: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for name, reading in evidence.facts.items():
        for why in unknowns(reading.value):
            if why.reason is Reason.PERMISSION:
                lacking[why.detail or name] += 1
            elif why.reason not in _NO_FAULT:
                other[f"{name} ({why})"] += 1
    if not lacking and not other:
        return Checkup(target, State.WELL)
    parts = []
    if lacking:
        what = "Graph permissions are missing" if target.kind is Kind.TENANT else "the account may not"
        parts.append(f"{what}: {named([w for w, _ in lacking.most_common()])}.")
    if other:
        parts.append(f"Not read: {named(list(other))}.")
    if not lacking:
        return Checkup(target, State.MISSING, " ".join(parts), "Try again; if it stays, look at the sentence's reason.")
    if target.kind is Kind.TENANT:
        return Checkup(
            target,
            State.MISSING,
            " ".join(parts),
            f"Add them to the app as application permissions and grant admin consent. {KIT}",
        )
    return Checkup(
        target, State.MISSING, " ".join(parts), f"Delegate reading to {target.settings.get('bind', '')}. {KIT}"
    )


def unknowns(value: Any) -> Iterator[Unknown]:
    """Every `Unknown` inside a reading."""
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, Partial):
        yield value.why
        for item in value.items:
            yield from unknowns(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from unknowns(item)
    elif isinstance(value, list):
        for item in value:
            yield from unknowns(item)


def named(words: Sequence[str]) -> str:
    """The first few words and how many more there are."""
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(words[:NAMED]) + more


@dataclass(frozen=True, slots=True)
class Shown:
    """Host keys that a target shows and that are not known: `lines` go into `file` once a person says yes.

    `trouble` says why there is nothing to learn: not reached, or another key is known already.
    """

    target: Target
    place: str = ""
    fingerprints: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    file: Path | None = None
    trouble: str = ""


def unknown_keys(target: Target, folder: Path, seconds: float) -> Shown:
    """What a device shows, where it is not known yet. A changed key is never learnt: a person has to remove the old."""
    from agent.connect.ssh import fingerprints
    from agent.connect.ssh_options import login

    settings = at(target, folder).settings
    if target.family != "switch" and not ansible.own_connection(settings):
        return Shown(target)  # reached through Ansible: there is no SSH host key to learn
    try:
        want = login(target.name, settings)
        known = known_hosts.lookup(want.known_hosts, want.key_name, want.key_port)
        shown = fingerprints(want.host, want.port, seconds, settings)
    except SpiritlevelError as error:
        return Shown(target, trouble=str(error))
    words = tuple(f"{k.type} {k.fingerprint}" for k in shown)
    place = want.host if want.port == 22 else f"{want.host} port {want.port}"
    if any(k.fingerprint in {r.fingerprint for r in known.revoked} for k in shown):
        return Shown(target, place, words, trouble="it shows a host key that is marked as revoked.")
    if known.keys:
        if {k.fingerprint for k in shown} & {k.fingerprint for k in known.keys}:
            return Shown(target, place)
        old = known.keys[0]
        return Shown(
            target,
            place,
            words,
            trouble=f"it shows another key than the one in {old.place}; nothing was "
            "replaced. If you know why it changed, remove that line and run this again.",
        )
    if want.learn_to is None:
        return Shown(
            target,
            place,
            words,
            trouble="the inventory turns known_hosts off (UserKnownHostsFile=none); name a file there.",
        )
    return Shown(target, place, words, tuple(k.line for k in shown), want.learn_to)


def learn(shown: Shown) -> None:
    """Append the lines to the known-hosts file. Raises OSError."""
    if shown.file is None:
        return
    shown.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(shown.file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "rb+") as f:
        end = f.seek(0, os.SEEK_END)
        if end:
            f.seek(end - 1)
            start = b"" if f.read(1) == b"\n" else b"\n"
        else:
            start = b""
        f.write(start + "".join(f"{line}\n" for line in shown.lines).encode())
