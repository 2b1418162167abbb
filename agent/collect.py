"""One target → evidence: opens the right connection, asks for the wanted facts, holds them to their types.

The only place where a platform meets its transport. A target's trouble becomes unknown facts with a reason; it never
stops a run.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from agent.conform import conform
from agent.connect import ansible, secrets
from agent.connect.ssh_options import FOLDER
from agent.errors import (
    Broken,
    CredentialRefused,
    IdentityError,
    NoAnswer,
    NotAllowed,
    SecretError,
    TargetError,
    Unreachable,
)
from agent.facts.protocol import Collected, Limits, PlanStep, PowerShell
from agent.facttypes import REGISTRY
from agent.model import Evidence, Kind, Reading, Reason, Target, TargetState, Unknown

REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (IdentityError, Reason.IDENTITY),
    (CredentialRefused, Reason.CREDENTIAL_REFUSED),
    (SecretError, Reason.CREDENTIAL_MISSING),
    (NotAllowed, Reason.PERMISSION),
    (Broken, Reason.UNREADABLE),
    (Unreachable, Reason.UNREACHABLE),
)
CREDENTIAL = re.compile(r"(private_key|private_key_file|pass|password|passphrase|certificate_pem|cert_pem)$")
"""Inventory variables that tell two credentials apart: key files, and references to what is secret."""
MAX_REFUSALS = 3
"""Targets that may refuse a credential before it is not tried again in a run; accounts lock out at five or ten."""


@dataclass(slots=True)
class Credentials:
    """Guards accounts against being locked out, over all targets of a run.

    Until a credential has been accepted once, at most three tries of it are under way or refused; once three targets
    have refused it, nobody tries it again.
    """

    _lock: threading.Condition = field(default_factory=threading.Condition)
    _busy: dict[str, int] = field(default_factory=dict)
    _refused: dict[str, int] = field(default_factory=dict)
    _good: set[str] = field(default_factory=set)

    @contextmanager
    def use(self, key: str, stop: threading.Event) -> Iterator[Callable[[], None]]:
        """Take a turn with a credential. Raises `CredentialRefused` when it is spent.

        Gives what says that it was accepted, so that others need not wait until this target has been read.
        """
        with self._lock:
            while True:
                if self._refused.get(key, 0) >= MAX_REFUSALS:
                    raise CredentialRefused(
                        f"not tried: {MAX_REFUSALS} other targets have refused this credential.",
                        "Mend the credential, then scan again.",
                    )
                if key in self._good or self._busy.get(key, 0) + self._refused.get(key, 0) < MAX_REFUSALS:
                    break
                if stop.is_set():
                    raise Unreachable("not tried: the scan was stopped.")
                self._lock.wait(0.5)
            self._busy[key] = self._busy.get(key, 0) + 1
        good = False

        def accepted() -> None:
            with self._lock:
                self._good.add(key)
                self._lock.notify_all()

        try:
            yield accepted
            good = True
        except CredentialRefused:
            with self._lock:
                self._refused[key] = self._refused.get(key, 0) + 1
            raise
        finally:
            with self._lock:
                self._busy[key] -= 1
                if good:
                    self._good.add(key)
                self._lock.notify_all()


def credential_key(target: Target) -> str:
    """What tells two credentials apart: the account and where its secret comes from, never the secret."""
    s = target.settings
    if target.platform == "ad":
        return f"ad:{s.get('bind')}:{s.get('password')}"
    if target.platform == "m365":
        return f"m365:{s.get('tenant_id')}:{s.get('client_id')}"
    secrets_of = sorted(f"{k}={v}" for k, v in s.items() if k.startswith("ansible_") and CREDENTIAL.search(k))
    user = next((s[k] for k in ("ansible_user", "ansible_psrp_user", "ansible_winrm_user") if s.get(k)), None)
    return f"{target.platform}:{user}:{':'.join(secrets_of)}"


def usual_limits(target: Target) -> Limits:
    """Limits that suit a kind of target: two minutes for a device; fifteen for a directory or tenant, which hold a
    whole trust and whose pages are throttled (sign-ins: five requests in ten seconds)."""
    return Limits() if target.kind is Kind.DEVICE else Limits(900.0, 512 << 20)


def module(platform: str) -> ModuleType | None:
    """The fact module of a platform, or None where spiritlevel has none yet."""
    return importlib.import_module(f"agent.facts.{platform}") if platform in REGISTRY.platforms() else None


def steps(target: Target, wanted: Sequence[str]) -> list[PlanStep]:
    """What reading a target would ask; empty where spiritlevel cannot read it yet."""
    facts = module(target.family)
    if facts is None:
        return []
    makes = (target.platform,) if target.platform != target.family else ()
    found: list[PlanStep] = facts.plan(wanted, *makes)
    return found


def collect(
    target: Target,
    wanted: Sequence[str],
    folder: Path,
    limits: Limits,
    credentials: Credentials,
    stop: threading.Event,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Evidence:
    """Read one target. Never raises for anything that the target does."""
    began = now()
    try:
        with credentials.use(credential_key(target), stop) as accepted:
            got = _ask(target, wanted, folder, limits, accepted)
    except (TargetError, SecretError) as e:
        reason = next(r for kind, r in REASONS if isinstance(e, kind) or kind is Unreachable)
        return replace(nothing(target, wanted, began, reason, str(e)), no_answer=isinstance(e, NoAnswer))
    facts = shape(target.family, wanted, got)
    # A target that answered and told nothing is one state, not a hundred unknowns.
    silent = bool(facts) and all(r.unknown for r in facts.values())
    return Evidence(target, TargetState.UNREACHABLE if silent else got.state, began, facts, got.detail, dict(got.ids))


def _ask(
    target: Target, wanted: Sequence[str], folder: Path, limits: Limits, accepted: Callable[[], None]
) -> Collected:
    def secret(reference: str) -> str:
        return secrets.resolve(reference, folder)

    facts = module(target.family)
    if facts is None:
        raise Unreachable(f"spiritlevel cannot read {target.platform} yet.")
    deadline = Limits(limits.seconds, limits.bytes)
    start = time.monotonic()
    with open_target(at(target, folder), secret, deadline, accepted) as connection:
        left = Limits(max(1.0, limits.seconds - (time.monotonic() - start)), limits.bytes)
        out: Collected = facts.collect(connection, wanted, left)
    return out


def open_target(
    target: Target, secret: Callable[[str], str], limits: Limits, accepted: Callable[[], None] = lambda: None
) -> Any:
    """The connection of a target's platform, as a context manager. Raises `TargetError` when it is entered.

    `accepted` is called where the login is taken long before the target has been read.
    """
    if target.platform == "ad":
        from agent.connect.ldap import open_ldap

        return open_ldap(target, secret, limits)
    if target.platform == "m365":
        from agent.connect.tenant import open_tenant

        return open_tenant(target, secret, limits)
    if target.platform == "windows":
        return _open_windows(target, secret, limits)
    if target.family == "switch":
        from agent.connect.switch import open_switch

        return open_switch(target, secret, limits, accepted)
    if not ansible.own_connection(target.settings):
        from agent.connect.ansible_shell import open_ansible

        return open_ansible(target, secret, limits)
    from agent.connect.ssh import open_ssh

    return open_ssh(target, secret, limits)


@contextmanager
def _open_windows(target: Target, secret: Callable[[str], str], limits: Limits) -> Iterator[PowerShell]:
    """PowerShell on a Windows machine: over PowerShell remoting or OpenSSH, as its inventory says."""
    if ansible.remoting(target.settings):
        from agent.connect.psrp import open_psrp

        with open_psrp(target, secret, limits) as remote:
            yield remote
        return
    from agent.connect.ssh import open_ssh
    from agent.connect.ssh_powershell import SshPowerShell

    if not ansible.own_connection(target.settings):
        word = str(target.settings.get("ansible_connection"))
        raise Unreachable(
            f"{target.name} is Windows behind the connection {word!r}, which spiritlevel does not know.",
            "Use ssh, psrp or winrm.",
        )
    # sudo is nothing that a Windows machine has, whatever a group variable for all hosts says
    plain = {k: v for k, v in target.settings.items() if not k.startswith("ansible_become")}
    with open_ssh(replace(target, settings=plain), secret, limits) as shell:
        yield SshPowerShell(shell)


def at(target: Target, folder: Path) -> Target:
    """A device with the trust's folder among its settings: its relative file names start there."""
    return replace(target, settings={**target.settings, FOLDER: str(folder)}) if target.kind is Kind.DEVICE else target


def shape(platform: str, wanted: Sequence[str], got: Collected) -> dict[str, Reading]:
    """Hold what a fact module gave to the declared types; a wanted fact that it forgot is `not collected`."""
    out: dict[str, Reading] = {}
    for name in wanted:
        spec = REGISTRY.spec_of(platform, name)
        reading = got.facts.get(name)
        value = (
            Unknown(Reason.NOT_COLLECTED)
            if reading is None
            else conform(reading.value, spec.type, spec.may_be_absent, name)
        )
        out[name] = Reading(value)
    return out


def nothing(target: Target, wanted: Sequence[str], when: datetime, reason: Reason, detail: str) -> Evidence:
    """Evidence of a target that could not be read: every fact unknown for that reason."""
    reading = Reading(Unknown(reason, ""))
    return Evidence(target, TargetState.UNREACHABLE, when, dict.fromkeys(wanted, reading), detail)
