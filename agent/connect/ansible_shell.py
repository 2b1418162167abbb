"""Hosts that Ansible reaches and we do not: one command through any of its connection plugins (`local`, `docker`, …).

The command and its standard input travel as base64 inside one `raw` task, and the answer comes back so: raw offers
neither standard input nor bytes. No Python is needed on the host.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import secrets as dice
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.connect import become, secrets
from agent.connect.inventory_values import SECRET, is_template
from agent.connect.ssh_options import FOLDER, clean
from agent.errors import Broken, CredentialRefused, TargetError, Unreachable
from agent.facts.protocol import Limits, Output
from agent.model import Target
from agent.resources import tool
from agent.yamlfile import Unsafe, dump

SLACK = 1 << 20
"""Bytes beside the answer: warnings, the callback's own words."""

_ENVIRONMENT = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_HOST_KEY_CHECKING": "true",
    "ANSIBLE_STDOUT_CALLBACK": "minimal",
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "false",
    "ANSIBLE_LOG_PATH": "",
    "ANSIBLE_VERBOSITY": "0",
    "ANSIBLE_RETRY_FILES_ENABLED": "false",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "PYTHONWARNINGS": "ignore",
}


@contextlib.contextmanager
def open_ansible(target: Target, secret: Callable[[str], str], limits: Limits) -> Iterator[AnsibleShell]:
    """A shell on a host that its inventory puts behind another connection than SSH.

    Nothing is connected before the first command. Raises `Unreachable` for variables that cannot be used, and what
    `secret` raises.
    """
    plain: dict[str, Any] = {"ansible_host": target.name}
    hidden: dict[str, str] = {}
    for name, value in target.settings.items():
        if not name.startswith("ansible_") or isinstance(value, Mapping):
            continue
        if is_template(value):
            raise Unreachable(
                f"{name} of {clean(target.name)} is a template that is not filled in here.", "Write its value."
            )
        if SECRET.fullmatch(name) and secrets.is_reference(str(value)):
            # Through the environment of that one process: no file ever holds it, even if we are killed.
            variable = f"SPIRITLEVEL_SECRET_{len(hidden)}"
            hidden[variable] = secret(str(value))
            plain[name] = f"{{{{ lookup('ansible.builtin.env', '{variable}') }}}}"
        else:
            plain[name] = Unsafe(value) if isinstance(value, str) else value
    _become(plain, target.settings)
    folder = Path(tempfile.mkdtemp(prefix="spiritlevel-ansible-"))  # 0700
    try:
        # One host of one name: a pattern that would pick another is not possible, whatever the host is called.
        (folder / "inventory.yml").write_text(dump({"all": {"hosts": {"target": plain}}}), encoding="utf-8")
        base = target.settings.get(FOLDER)
        yield AnsibleShell(target.name, folder, hidden, Path(str(base)) if base else None, limits)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _become(plain: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Who becomes root. The collector asks `sudo -n` itself, and goes on without where that is refused: with Ansible's
    own become such a host would be lost as a whole. Only a password, or another method than sudo, is Ansible's to use.
    """
    if become.reference(settings):
        plain["ansible_become"] = True
    elif str(settings.get("ansible_become_method") or "sudo").rpartition(".")[2] == "sudo":
        plain["ansible_become"] = False
    plain.pop("ansible_become_user", None)  # what the collector reads takes root


class AnsibleShell:
    """Runs commands through Ansible (`agent.facts.protocol.Shell`)."""

    def __init__(self, name: str, folder: Path, hidden: Mapping[str, str], base: Path | None, limits: Limits) -> None:
        self._name, self._folder, self._hidden, self._base = clean(name), folder, dict(hidden), base
        self._deadline = time.monotonic() + limits.seconds

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        """Run one command with `stdin`. Standard error is not kept. Raises `Unreachable` or `Broken`."""
        mark = dice.token_hex(8)
        seconds = max(0.1, min(limits.seconds, self._deadline - time.monotonic()))
        said, late = self._ansible(_script(command, stdin, mark, limits.bytes), seconds, limits.bytes * 4 // 3 + SLACK)
        start, end = f"SL-BEGIN-{mark}".encode(), f"SL-END-{mark}".encode()
        _, began, rest = said.partition(start)
        body, ended, _ = rest.partition(end)
        if not began:
            if late:
                return Output(b"", b"", None, False, True)
            raise self._complaint(said)
        try:
            data = base64.b64decode(b"".join(body.split()))
        except binascii.Error:
            if ended:
                raise Broken(f"{self._name} answered with something else than was asked for.") from None
            data = base64.b64decode(b"".join(body.split())[: len(b"".join(body.split())) // 4 * 4])
        if not ended:
            return Output(data[: limits.bytes], b"", None, not late, late)
        if len(data) >= limits.bytes:
            return Output(data[: limits.bytes], b"", None, True)
        out, _, code = data.rpartition(b"\n")
        return Output(out, b"", int(code) if code.isdigit() else None)

    def _ansible(self, script: str, seconds: float, most: int) -> tuple[bytes, bool]:
        """Run `ansible` → (what it printed, whether time ran out)."""
        packed = base64.b64encode(script.encode() + b" " * (-len(script.encode()) % 3)).decode()  # no `=` at the end
        words = [tool("ansible"), "target", "-i", str(self._folder / "inventory.yml"), "-m", "ansible.builtin.raw"]
        # One command to whatever is between: a plugin that only puts words before it would run the rest here, on the
        # scanner's own machine (community.docker.nsenter does).
        words += ["-a", f"/bin/sh -c 'printf %s {packed} | base64 -d | /bin/sh'"]
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._base,
                env={**os.environ, **_ENVIRONMENT, **self._hidden},
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            raise Unreachable(
                f"{self._name} is reached through Ansible, and ansible does not start.", "Install ansible-core."
            ) from None
        late = threading.Event()

        def stop() -> None:
            late.set()
            _kill(process)

        clock = threading.Timer(seconds, stop)
        clock.daemon = True
        clock.start()
        out = bytearray()
        try:
            assert process.stdout is not None  # noqa: S101 - for the type checker
            with process.stdout as pipe:
                while data := pipe.read(1 << 16):
                    out += data
                    if len(out) > most:
                        break
        finally:
            clock.cancel()
            _kill(process)
            process.wait()
        return bytes(out), late.is_set()

    def _complaint(self, said: bytes) -> TargetError:
        """What Ansible said instead of an answer, without the secrets that it was given."""
        text = said.decode("utf-8", "replace")
        found = re.search(r'"msg": ("(?:[^"\\]|\\.)*")', text)
        line = json.loads(found[1], strict=False) if found else ""
        errors = [ln for ln in text.splitlines() if re.match(r"\[?(ERROR|FATAL)", ln)]
        line = line or (errors[0] if errors else "it gave no answer")
        for value in self._hidden.values():
            line = line.replace(value, "***")
        line = re.sub(r"^(\[ERROR\]: |Task failed: |: )+", "", line)
        kind: type[TargetError] = Unreachable if "UNREACHABLE!" in text or not found else Broken
        if re.search(r"(incorrect|invalid|missing|duplicate become)( \w+)? password", line, re.IGNORECASE):
            kind = CredentialRefused
        return kind(
            f"Ansible does not reach {self._name}: {clean(line)}.",
            "Try it by hand: ansible HOST -m ansible.builtin.raw.",
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _script(command: str, stdin: bytes, mark: str, most: int) -> str:
    """What runs on the host: the command with its standard input, and its answer and exit code as base64."""
    given = base64.b64encode(stdin).decode()
    return (
        f"printf '\\n%s%s\\n' SL-BEGIN- {mark}\n"
        f"printf %s {given} | base64 -d | {{ ( {command} ); printf '\\n%s' \"$?\"; }} 2>/dev/null"
        f" | head -c {most + 1} | base64\n"
        f"printf '\\n%s%s\\n' SL-END- {mark}\n"
    )


__all__ = ["AnsibleShell", "open_ansible"]
