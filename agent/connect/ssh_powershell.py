"""PowerShell over OpenSSH for Windows: a short command line that reads the script from standard input.

cmd.exe, its usual shell, takes 8,191 characters a line, and neither it nor PowerShell as the account's shell changes
anything in base64. The words are those that Ansible's ssh connection has long used on Windows.
"""

from __future__ import annotations

import base64

from agent.facts.protocol import Limits, Output, Shell

# `$input` and Invoke-Expression work in constrained language too, where [Console]::In and [scriptblock] do not.
_BOOT = '$ProgressPreference="SilentlyContinue";Invoke-Expression (@($input) -join [string][char]10)'
COMMAND = "powershell.exe -NoProfile -NonInteractive -EncodedCommand " + base64.b64encode(
    _BOOT.encode("utf-16-le")
).decode("ascii")
"""The same for cmd.exe and PowerShell. It writes nothing, downloads nothing and changes no execution policy."""


class SshPowerShell:
    """PowerShell at the far end of a shell (`agent.facts.protocol.PowerShell`)."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def script(self, text: str, limits: Limits) -> Output:
        """Run one script. `text` has to be ASCII: which code page reads standard input there is the machine's choice.

        Raises what the shell raises, and `UnicodeEncodeError` for other text.
        """
        return self._shell.run(COMMAND, text.encode("ascii"), limits)


__all__ = ["COMMAND", "SshPowerShell"]
