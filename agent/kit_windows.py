"""The kit's part for Windows: how a machine lets the scan in, as PowerShell and as places of a Group Policy."""

from __future__ import annotations

from collections.abc import Sequence

from agent.connect import ansible
from agent.facttypes import REGISTRY
from agent.plan import Job

ACCESS, ENDPOINT = "windows-access.ps1", "windows-endpoint.ps1"


def files(jobs: Sequence[Job]) -> dict[str, str]:
    """File name → text. The scripts take the account as a parameter, so that nothing here has to be quoted."""
    facts = ", ".join(needing_admin({f for j in jobs for f in j.wanted})) or "nothing that is planned"
    head = f"# An administrator's rights are needed for: {facts}.\n# Without them those stay unknown, and say so.\n"
    return {ACCESS: _ACCESS.replace("#FACTS\n", head), ENDPOINT: _ENDPOINT}


def needing_admin(wanted: set[str]) -> list[str]:
    """Windows facts that take an administrator, by name."""
    return sorted({n.split("[", 1)[0] for n in wanted if REGISTRY.spec_of("windows", n).rights})


def note(jobs: Sequence[Job]) -> str:
    """What the kit's README says of Windows."""
    hosts = [j.target.id for j in jobs]
    shown = ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")
    ways = {"psrp" if ansible.remoting(j.target.settings) else "ssh" for j in jobs}
    kinds = " and ".join({"psrp": "WinRM", "ssh": "OpenSSH"}[w] for w in sorted(ways))
    facts = needing_admin({f for j in jobs for f in j.wanted})
    return _NOTE.format(hosts=shown, kinds=kinds, facts=", ".join(facts) or "nothing", access=ACCESS, endpoint=ENDPOINT)


_NOTE = """\
## Windows ({hosts}; by {kinds})

An administrator of the machine is needed for: {facts}. All else an ordinary account reads. There are three ways to
give that, each narrower than the one before:

1. The account in the machine's Administrators. `.\\{access} -Account 'SCHOOL\\svc-audit' -Administrator`
2. An ordinary account, and an endpoint that lends it an administrator's rights for the scan only, over WinRM and from
   nowhere else: `.\\{access} -Account 'SCHOOL\\svc-audit'`, then `.\\{endpoint} -Account 'SCHOOL\\svc-audit'`,
   and in the inventory `ansible_connection: psrp` with `ansible_psrp_configuration_name: spiritlevel`. Whoever has
   the account's password can do anything through it, as with sudo: guard it, and allow the scanning machine only.
3. An ordinary account in Remote Management Users alone: `.\\{access} -Account 'SCHOOL\\svc-audit'`. Those facts stay
   unknown, and exceptions can accept that.

Look through the scripts, then run them on each machine as an administrator, or as a start-up script. `-Scanner` takes
the address of the scanning machine, `-Way OpenSSH -PublicKey 'ssh-ed25519 AAAA…'` sets up OpenSSH instead of WinRM.
`-Remove` takes it back.

For a whole domain the same as a Group Policy, on the OU of the machines:

| Where, below Computer Configuration | What |
|---|---|
| Policies > Administrative Templates > Windows Components > Windows Remote Management (WinRM) > WinRM Service > \
Allow remote server management through WinRM | Enabled; IPv4 filter: the scanning machine's address |
| Policies > Windows Settings > Security Settings > System Services > Windows Remote Management | Automatic |
| Policies > Windows Settings > Security Settings > Windows Defender Firewall > Inbound Rules | \
Windows Remote Management (predefined); scope: the scanning machine |
| Preferences > Control Panel Settings > Local Users and Groups | Administrators (built-in), or Remote Management \
Users: update, add the account |
| Policies > Windows Settings > Security Settings > Public Key Policies > \
Certificate Services Client - Auto-Enrollment | Enabled, where the school's authority gives machines certificates: \
HTTPS (port 5986) then needs nothing else |

Over HTTP (port 5985) every message is sealed with the login's own key; that is allowed. Over HTTPS the machine's
certificate is checked: name the school's authority with `ansible_psrp_ca_cert`.

Over WinRM an account of the machine itself, not of a domain, has its administrator's rights only where
`LocalAccountTokenFilterPolicy` is set, which opens more than the scan needs: use a domain's account.
"""

_ACCESS = r"""# Lets the account of the scan into this machine: by WinRM, or by OpenSSH. Run by an administrator.
# It changes: the WinRM or sshd service (running, automatic), one firewall rule, one group membership.
#FACTS
#requires -Version 5.1
#requires -RunAsAdministrator
param(
    [Parameter(Mandatory)][string]$Account,
    [string]$Scanner = 'LocalSubnet',
    [ValidateSet('WinRM', 'OpenSSH')][string]$Way = 'WinRM',
    [string]$PublicKey = '',
    [switch]$Administrator,
    [switch]$Remove
)
$ErrorActionPreference = 'Stop'
$rule = 'spiritlevel-in'
# By SID: the names are others in every language. 580 is Remote Management Users, 544 Administrators.
$groups = @('S-1-5-32-580', 'S-1-5-32-544')

if ($Remove) {
    Remove-NetFirewallRule -Name $rule -ErrorAction SilentlyContinue
    foreach ($sid in $groups) { Remove-LocalGroupMember -SID $sid -Member $Account -ErrorAction SilentlyContinue }
    Write-Host "Taken back. The service $Way was left as it is."
    return
}

$sid = if ($Administrator) { $groups[1] } else { $groups[0] }
try { Add-LocalGroupMember -SID $sid -Member $Account }
catch [Microsoft.PowerShell.Commands.MemberExistsException] { Write-Host "$Account is a member already." }

if ($Way -eq 'WinRM') {
    Enable-PSRemoting -SkipNetworkProfileCheck -Force | Out-Null
    # A certificate of the school's authority, for this machine's name: then HTTPS too.
    $name = [Net.Dns]::GetHostEntry('').HostName
    $https = @(Get-ChildItem WSMan:\localhost\Listener | Where-Object { $_.Keys -contains 'Transport=HTTPS' })
    $certificate = Get-ChildItem Cert:\LocalMachine\My | Where-Object {
        $_.HasPrivateKey -and $_.NotAfter -gt (Get-Date) -and $_.Issuer -ne $_.Subject -and
        @($_.DnsNameList.Unicode) -contains $name -and
        @($_.EnhancedKeyUsageList.ObjectId) -contains '1.3.6.1.5.5.7.3.1'
    } | Sort-Object NotAfter | Select-Object -Last 1
    if (-not $https.Count -and $certificate) {
        $words = @{ Path = 'WSMan:\localhost\Listener'; Transport = 'HTTPS'; Address = '*'; Force = $true }
        New-Item @words -CertificateThumbPrint $certificate.Thumbprint | Out-Null
    }
    $ports = if ($https.Count -or $certificate) { 5985, 5986 } else { 5985 }
}
else {
    $have = Get-WindowsCapability -Online -Name 'OpenSSH.Server*'
    if ([string]$have.State -ne 'Installed') { Add-WindowsCapability -Online -Name $have.Name | Out-Null }
    Set-Service -Name sshd -StartupType Automatic
    Start-Service -Name sshd
    if ($PublicKey) {
        # sshd reads keys of administrators from this one file, and only if nobody else may write it.
        if ($Administrator) {
            $file = Join-Path $env:ProgramData 'ssh\administrators_authorized_keys'
            Add-Content -LiteralPath $file -Value $PublicKey -Encoding ascii
            icacls.exe $file /inheritance:r /grant '*S-1-5-32-544:F' /grant '*S-1-5-18:F' | Out-Null
        }
        else { Write-Host "Put the key into .ssh\authorized_keys of $Account, which exists after its first login." }
    }
    $ports = 22
}
Remove-NetFirewallRule -Name $rule -ErrorAction SilentlyContinue
$words = @{ Name = $rule; DisplayName = 'Audit by the school''s IT'; Direction = 'Inbound'; Action = 'Allow' }
New-NetFirewallRule @words -Protocol TCP -LocalPort $ports -RemoteAddress $Scanner | Out-Null
Write-Host "Done: $Way on port $($ports -join ', ') for $Account, from $Scanner."
"""

_ENDPOINT = r"""# An endpoint of PowerShell remoting that lends its users an administrator's rights for a session, by a
# virtual account. Only the account of the scan may use it. Whoever has that account can do anything through it.
#requires -Version 5.1
#requires -RunAsAdministrator
param([Parameter(Mandatory)][string]$Account, [string]$Name = 'spiritlevel', [switch]$Remove)
$ErrorActionPreference = 'Stop'
if ($Remove) {
    Unregister-PSSessionConfiguration -Name $Name -Force
    return
}
$sid = (New-Object Security.Principal.NTAccount $Account).Translate([Security.Principal.SecurityIdentifier]).Value
$file = Join-Path $env:TEMP "$Name.pssc"
New-PSSessionConfigurationFile -Path $file -SessionType Default -RunAsVirtualAccount -LanguageMode FullLanguage
try {
    # Generic execute is what a session takes; the WinRM service restarts, which ends sessions that are open.
    $sddl = "O:NSG:BAD:P(A;;GX;;;$sid)"
    Register-PSSessionConfiguration -Name $Name -Path $file -SecurityDescriptorSddl $sddl -Force | Out-Null
}
finally { Remove-Item -LiteralPath $file -Force }
Write-Host "Done. In the inventory: ansible_psrp_configuration_name: $Name"
"""

__all__ = ["ACCESS", "ENDPOINT", "files", "needing_admin", "note"]
