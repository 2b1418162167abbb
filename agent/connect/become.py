"""sudo with a password: the password goes to a host only where sudo asks for one, on standard input, once.

It never stands on a command line, in the environment or in an answer. One wrong password is one wrong try: sudo gets
a pipe that holds that line alone, and cannot go on reading the script as further guesses.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from agent.connect.ssh_keys import Secret
from agent.errors import CredentialRefused, SecretError
from agent.facts.protocol import Limits, Output, Shell

PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass", "ansible_sudo_password")
_ASKS = b"spiritlevel: sudo asks"
_REFUSED = b"spiritlevel: sudo refused"

# What the collector itself runs, with nothing to do: a sudoers rule may allow just that.
_PROBE = (
    'exec /bin/sh -c \'if [ "$(id -u)" = 0 ] || sudo -n /bin/sh -s </dev/null >/dev/null 2>&1; then :; '
    f"elif command -v sudo >/dev/null 2>&1; then echo {_ASKS.decode()}; fi'"
)

# `read` takes one line byte by byte, so the rest of standard input is untouched. printf must be the shell's own: the
# password would be an argument of a program otherwise. sudo keeps its leave for children of this very process (no
# terminal: timestamps go by parent), which becomes the shell that runs the command.
_PRIME = (
    'IFS= read -r P; [ "$(command -v printf)" = printf ] && '
    "printf '%s\\n' \"$P\" | sudo -S -p '' -v >/dev/null 2>&1 || "
    f"echo {_REFUSED.decode()} >&2; P=; "
)


def reference(settings: Mapping[str, Any]) -> str:
    """The reference to sudo's password, or "" where there is none or the inventory does not want sudo."""
    if str(settings.get("ansible_become", "true")).lower() in ("false", "no", "off", "0"):
        return ""
    method = str(settings.get("ansible_become_method") or "sudo")
    if method.rpartition(".")[2] != "sudo":
        return ""
    return next((str(settings[n]) for n in PASSWORDS if settings.get(n) not in (None, "")), "")


class SudoShell:
    """A shell whose commands find sudo open (`agent.facts.protocol.Shell`)."""

    def __init__(self, shell: Shell, reference: str, secret: Secret, who: str) -> None:
        self._shell, self._reference, self._secret, self._who = shell, reference, secret, who

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        """As the shell inside. Raises `CredentialRefused` where sudo does not take the password, `SecretError`."""
        probe = self._shell.run(_PROBE, b"", limits)
        if _ASKS not in probe.stdout.splitlines():
            return self._shell.run(command, stdin, limits)
        word = self._secret(self._reference)
        if "\n" in word or "\0" in word:
            raise SecretError("the password for sudo is more than one line.", "Look at ansible_become_password.")
        output = self._shell.run(
            f"exec /bin/sh -c {shlex.quote(_PRIME + command)}", word.encode() + b"\n" + stdin, limits
        )
        if _REFUSED in output.stderr.splitlines():
            raise CredentialRefused(
                f"sudo on {self._who} did not take the password, or does not let this account do anything.",
                "Check ansible_become_password, and what sudoers says of the account.",
            )
        return output
