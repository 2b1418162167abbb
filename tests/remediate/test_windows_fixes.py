"""The PowerShell inside fixes for Windows: it parses for 5.1, and does its work once, on stand-ins for the cmdlets.

Nothing here is Windows: what a cmdlet really does with these words only Windows shows.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.resources import data_dir
from tests.lab import windows

SCRIPT = "ansible.windows.win_powershell"
FILES = sorted((data_dir("playbooks") / "windows").glob("*.yml"))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the PowerShell engine; skips where there is none."""
    engine = windows.engine()
    if engine is None:
        pytest.skip("needs the PowerShell engine (SPIRITLEVEL_PWSH)")
    return subprocess.run([str(engine), *words], capture_output=True, text=True, timeout=120)


def scripts(path: Path) -> Iterator[dict[str, Any]]:
    for task in yaml.safe_load(path.read_text()):
        if SCRIPT in task:
            yield task


def named(name: str) -> str:
    (task,) = [
        t for t in scripts(data_dir("playbooks") / "windows" / f"{name}.yml") if t.get("check_mode") is not False
    ]
    return str(task[SCRIPT]["script"])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_script_either_only_looks_or_knows_check_mode(path: Path) -> None:
    for task in scripts(path):
        text = task[SCRIPT]["script"]
        looks = task.get("check_mode") is False and task.get("changed_when") is False and "register" in task
        assert looks != ("SupportsShouldProcess" in text and "$PSCmdlet.ShouldProcess(" in text), task["name"]
        assert "{{" not in text, "values go in as parameters, never into the text"
        assert task[SCRIPT]["error_action"] == "stop"
        if looks:
            assert not re.search(r"\b(Set|Add|Remove|Enable|Disable|Start|Stop|New|Update)-\w+", text), task["name"]


def test_scripts_are_5_1(tmp_path: Path) -> None:
    for path in FILES:
        for number, task in enumerate(scripts(path)):
            file = tmp_path / f"{path.stem}-{number}.ps1"
            file.write_text(task[SCRIPT]["script"])
            for check in ("-Parse", "-Lint51"):
                done = run(check, str(file))
                assert done.returncode == 0, done.stdout + done.stderr


# State is one hashtable; the stand-ins read and write it. `Odd` says what a policy would hold.
STAND_INS = r"""
function Get-MpPreference { [pscustomobject]$S.mp }
function Set-MpPreference {
    param([Nullable[int]]$MAPSReporting, [Nullable[int]]$PUAProtection, $DisableRealtimeMonitoring)
    if (-not $S.held) { foreach ($k in $PSBoundParameters.Keys) { $S.mp[$k] = $PSBoundParameters[$k] } }
}
function Remove-MpPreference {
    param($ExclusionPath, $ExclusionProcess, $ExclusionExtension)
    foreach ($k in $PSBoundParameters.Keys) {
        $gone = $PSBoundParameters[$k]
        $S.mp[$k] = @($S.mp[$k] | Where-Object { $gone -notcontains $_ })
    }
}
function Add-MpPreference {
    param($AttackSurfaceReductionRules_Ids, $AttackSurfaceReductionRules_Actions)
    $S.mp.AttackSurfaceReductionRules_Ids = @($S.mp.AttackSurfaceReductionRules_Ids) + $AttackSurfaceReductionRules_Ids
    $S.mp.AttackSurfaceReductionRules_Actions = @($S.mp.AttackSurfaceReductionRules_Actions) + 1
}
function Get-MpComputerStatus { [pscustomobject]@{ AntivirusSignatureAge = $S.age } }
function Update-MpSignature { $S.age = 0 }
function Get-SmbServerConfiguration { [pscustomobject]$S.smb }
function Set-SmbServerConfiguration {
    param($RequireSecuritySignature, [switch]$Force, [switch]$Confirm)
    $S.smb.RequireSecuritySignature = $RequireSecuritySignature
}
function Get-LocalUser { foreach ($u in $S.users) { [pscustomobject]$u } }
function Disable-LocalUser { param($SID) foreach ($u in $S.users) { if ($u.SID -eq $SID) { $u.Enabled = $false } } }
function Get-BitLockerVolume {
    param($MountPoint)
    [pscustomobject]@{ KeyProtector = @(foreach ($p in $S.keys) { [pscustomobject]$p }) }
}
function Add-BitLockerKeyProtector {
    param($MountPoint, [switch]$RecoveryPasswordProtector)
    $S.keys = @($S.keys) + @{ KeyProtectorId = '{new}'; KeyProtectorType = 'RecoveryPassword' }
    'SECRET-123456'
}
function Remove-BitLockerKeyProtector {
    param($MountPoint, $KeyProtectorId)
    $S.keys = @($S.keys | Where-Object { $_.KeyProtectorId -ne $KeyProtectorId })
}
function BackupToAAD-BitLockerKeyProtector { param($MountPoint, $KeyProtectorId) if (-not $S.entra) { throw 'no' } }
function Backup-BitLockerKeyProtector { param($MountPoint, $KeyProtectorId) if (-not $S.domain) { throw 'no' } }
"""
RUN = r"""
function Shown { ConvertTo-Json -Depth 5 -Compress -InputObject $S }
function Once($words, [switch]$Look) {
    $global:Ansible = [pscustomobject]@{ Changed = $true; Result = $null }
    $failed = ''; $said = ''
    try { if ($Look) { $said = & $F @words -WhatIf } else { $said = & $F @words } } catch { $failed = [string]$_ }
    @{ changed = $Ansible.Changed; failed = $failed; said = [string]$said; state = Shown }
}
$W = ConvertFrom-Json @'
WORDS
'@
$words = @{}
foreach ($p in $W.PSObject.Properties) {
    if ($p.Value -is [pscustomobject]) {
        $words[$p.Name] = @{}
        foreach ($q in $p.Value.PSObject.Properties) { $words[$p.Name][$q.Name] = $q.Value }
    }
    else { $words[$p.Name] = $p.Value }
}
$before = Shown
$all = @{ before = $before; look = (Once $words -Look); first = (Once $words); second = (Once $words) }
ConvertTo-Json -Compress -Depth 8 -InputObject $all
"""


def tried(tmp_path: Path, name: str, state: str, words: dict[str, Any]) -> dict[str, Any]:
    """The script of a fix: in check mode, then twice for real. `state` is PowerShell, `words` its parameters."""
    prelude = tmp_path / "stand-ins.ps1"
    prelude.write_text(STAND_INS)
    file = tmp_path / "run.ps1"
    file.write_text(f"$S = {state}\n$F = {{\n{named(name)}\n}}\n" + RUN.replace("WORDS", json.dumps(words)))
    done = run("-Json7", "-Prelude", str(prelude), "-File", str(file))
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(lines[-1])
    return found


CASES: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "defender",
        "@{ mp = @{ MAPSReporting = 0; PUAProtection = 1 } }",
        {"Wanted": {"MAPSReporting": 2}},
        '"MAPSReporting":2',
    ),
    (
        "defender",
        "@{ mp = @{ DisableRealtimeMonitoring = $true } }",
        {"Wanted": {"DisableRealtimeMonitoring": False}},
        '"DisableRealtimeMonitoring":false',
    ),
    ("defender_signatures", "@{ age = 9 }", {"Days": 3}, '"age":0'),
    (
        "defender_exclusions",
        r"@{ mp = @{ ExclusionPath = @('C:\A', 'C:\B'); ExclusionProcess = @(); ExclusionExtension = $null } }",
        {"Approved": ["C:\\B"], "Found": ["c:\\a", "C:\\B", "C:\\Gone"]},
        '"ExclusionPath":["C:\\\\B"]',
    ),
    (
        "defender_asr",
        "@{ mp = @{ AttackSurfaceReductionRules_Ids = @('aaaa'); AttackSurfaceReductionRules_Actions = @(1) } }",
        {"Rules": ["bbbb"]},
        '["aaaa","bbbb"]',
    ),
    (
        "smb",
        "@{ smb = @{ RequireSecuritySignature = $false } }",
        {"Side": "Server", "Wanted": {"RequireSecuritySignature": True}},
        '"RequireSecuritySignature":true',
    ),
    (
        "guest_disabled",
        "@{ users = @(@{ SID = 'S-1-5-21-1-2-501'; Enabled = $true }, @{ SID = 'S-1-5-21-1-500'; Enabled = $true }) }",
        {},
        '"Enabled":false',
    ),
    (
        "bitlocker_recovery",
        "@{ keys = @(@{ KeyProtectorId = '{tpm}'; KeyProtectorType = 'Tpm' }); entra = $true; domain = $false }",
        {},
        "RecoveryPassword",
    ),
]


@pytest.mark.parametrize(("name", "state", "words", "then"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)])
def test_a_fix_changes_once_and_nothing_in_check_mode(
    tmp_path: Path, name: str, state: str, words: dict[str, Any], then: str
) -> None:
    found = tried(tmp_path, name, state, words)
    assert (found["look"]["changed"], found["look"]["failed"]) == (True, "")
    assert found["look"]["state"] == found["before"], "check mode changed something"
    assert (found["first"]["changed"], found["first"]["failed"]) == (True, "")
    assert then in found["first"]["state"]
    assert found["second"]["changed"] is False
    assert found["second"]["failed"] == ""
    assert not found["first"]["said"], "nothing of what a cmdlet says is shown"


def test_what_a_policy_holds_is_a_failure_that_says_so(tmp_path: Path) -> None:
    found = tried(
        tmp_path, "defender", "@{ held = $true; mp = @{ PUAProtection = 0 } }", {"Wanted": {"PUAProtection": 1}}
    )
    assert "holds PUAProtection" in found["first"]["failed"]


def test_a_recovery_password_that_nobody_keeps_is_taken_off(tmp_path: Path) -> None:
    found = tried(tmp_path, "bitlocker_recovery", "@{ keys = @(); entra = $false; domain = $false }", {})
    assert "taken off again" in found["first"]["failed"]
    assert found["first"]["state"] == found["before"]
