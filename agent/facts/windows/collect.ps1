# Collector for one Windows machine: Windows PowerShell 5.1, full or constrained language. Writes nothing there, fetches
# nothing, changes no setting, and asks no class and no cmdlet twice. It goes out in parts: only what a plan needs.
# Answer: "#K name length", then one line of JSON, for each part; "#K END" last. K is new for every run, and JSON
# has neither line ends nor letters beyond ASCII in it here, so nothing that the machine says can look like a mark,
# whatever the code page, and lines broken by a console can be joined. A part's JSON is {"v": ...} or {"e": why not}.
# Before this stand: $K the mark, $A what is asked for, $B seconds for all of it.
$ErrorActionPreference = 'Stop'; $ProgressPreference = 'SilentlyContinue'; $WarningPreference = 'SilentlyContinue'
$VerbosePreference = 'SilentlyContinue'; $DebugPreference = 'SilentlyContinue'; $InformationPreference = 'SilentlyContinue'
Set-StrictMode -Off
$T0 = Get-Date
$Most = 5000
function Text($s, $n = 300) { $s = [string]$s; if ($s.Length -gt $n) { $s.Substring(0, $n) } else { $s } }
function Iso($d) { if ($d -is [datetime]) { $d.ToUniversalTime().ToString('s') + 'Z' } else { $null } }
# How a command failed, in words that are the same in every language.
function Why($e) {
    $c = $e.CategoryInfo; $w = ''; $h = 0
    if ($e.Exception) { $h = $e.Exception.HResult }
    if ([string]$c.Reason -eq 'CommandNotFoundException') { $w = Text $c.TargetName 60 }
    @{ t = [string]$c.Reason; c = [string]$c.Category; i = (Text $e.FullyQualifiedErrorId 120); h = [string]$h; w = $w }
}
function Put($name, $value) {
    $j = ConvertTo-Json -InputObject $value -Depth 10 -Compress
    if ($j.Length -gt 4000000) { $j = '{"e":{"t":"TooLong","c":"","i":"","h":"0","w":""}}' }
    foreach ($m in @([regex]::Matches($j, '[^\x20-\x7e]') | ForEach-Object { $_.Value } | Select-Object -Unique)) { $j = $j.Replace($m, ('\u{0:x4}' -f [int][char]$m)) }
    '#' + $K + ' ' + $name + ' ' + $j.Length
    $j
}
function Part($name, $block) {
    try { $o = @{ v = (& $block) } } catch { $o = @{ e = (Why $_) } }
    Put $name $o
}
function Cim($space, $class, $properties, $filter, $seconds = 25) {
    $left = [int]($B - ((Get-Date) - $T0).TotalSeconds)
    if ($left -lt $seconds) { $seconds = $left }
    if ($seconds -lt 2) { $seconds = 2 }
    $a = @{ Namespace = $space; ClassName = $class; OperationTimeoutSec = $seconds }
    if ($properties) { $a['Property'] = $properties }
    if ($filter) { $a['Filter'] = $filter }
    Get-CimInstance @a
}
function Some($items) { $i = @($items); @{ all = ($i.Count -le $Most); items = @($i | Select-Object -First $Most) } }
# whoami says the same in every language: the integrity level of an administrator's token is high or system.
$Groups = @()
try { $Groups = @(whoami.exe /groups /fo csv /nh) } catch { }

#: meta
Part 'meta' {
    @{ proto = 1; language = [string]$ExecutionContext.SessionState.LanguageMode; version = [string]$PSVersionTable.PSVersion; edition = [string]$PSVersionTable.PSEdition
        narrow = [bool]$env:PROCESSOR_ARCHITEW6432; asked = ($Groups.Count -gt 0); admin = [bool]($Groups -match 'S-1-16-(12288|16384)') }
}

#: registry
function RegistryValue($x) {
    if ($null -eq $x) { return @{ t = 'none' } }
    if ($x -is [int] -or $x -is [uint32]) { return @{ t = 'dword'; n = [string]$x } }
    if ($x -is [long] -or $x -is [uint64]) { return @{ t = 'qword'; n = [string]$x } }
    if ($x -is [string]) { return @{ t = 'text'; s = (Text $x 2000) } }
    if ($x -is [byte[]]) { return @{ t = 'binary' } }
    if ($x -is [array]) { return @{ t = 'list'; l = @($x | Select-Object -First 200 | ForEach-Object { Text $_ 400 }) } }
    @{ t = 'other' }
}
function RegistryKey($q) {
    try {
        # a key that may not be opened is there all the same: Test-Path says so, or throws
        if (-not (Test-Path -LiteralPath $q.p)) { return @{ m = 1 } }
        $k = Get-Item -LiteralPath $q.p
        $names = @($k.Property | ForEach-Object { [string]$_ })
        $values = $null
        if ($q.n.Count) { $values = Get-ItemProperty -LiteralPath $q.p }
        @{ c = $names.Count; v = @(foreach ($n in $q.n) { if ($names -contains $n) { RegistryValue $values.$n } else { @{ t = '' } } }) }
    }
    catch { @{ e = (Why $_) } }
}
Part 'registry' { @{ keys = @(foreach ($q in $A.registry) { RegistryKey $q }) } }

#: services
Part 'services' {
    $f = @(foreach ($n in $A.services) { "Name='" + $n + "'" }) -join ' OR '
    @{ items = @(Cim 'root/cimv2' 'Win32_Service' @('Name', 'State', 'StartMode') $f | ForEach-Object { @{ name = (Text $_.Name); state = [string]$_.State; start = [string]$_.StartMode } }) }
}

#: licences
# Only licences for Extended Security Updates are looked for, and only where there are any: the class is a slow one.
Part 'licences' {
    $b = [string](Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion' -Name 'CurrentBuild').CurrentBuild
    if (@('7601', '9200', '9600', '19045') -notcontains $b) { return @{ names = @() } }
    @{ names = @(Cim 'root/cimv2' 'SoftwareLicensingProduct' @('Name', 'LicenseStatus') "Name LIKE '%ESU%' AND LicenseStatus=1" 40 | ForEach-Object { Text $_.Name 120 }) }
}

#: computer
Part 'computer' {
    $c = @(Cim 'root/cimv2' 'Win32_ComputerSystem' @('PartOfDomain', 'Domain', 'DomainRole', 'Name'))[0]
    @{ member = $c.PartOfDomain; domain = (Text $c.Domain); role = $c.DomainRole; name = (Text $c.Name) }
}

#: running
Part 'running' {
    $o = @(Cim 'root/cimv2' 'Win32_OperatingSystem' @('LastBootUpTime'))[0]
    @{ boot = (Iso $o.LastBootUpTime) }
}

#: disk
Part 'disk' {
    $d = @(Cim 'root/cimv2' 'Win32_LogicalDisk' @('DeviceID', 'Size', 'FreeSpace') ("DeviceID='" + $env:SystemDrive + "'"))[0]
    @{ drive = (Text $d.DeviceID); size = $d.Size; free = $d.FreeSpace }
}

#: ids
Part 'ids' {
    $b = @(Cim 'root/cimv2' 'Win32_BIOS' @('SerialNumber'))[0]
    $d = @(); $s = ''
    try { $d = @(dsregcmd.exe /status | Where-Object { $_ -match '^\s*(AzureAdJoined|DomainJoined|DeviceId)\s*:' } | ForEach-Object { Text ([string]$_).Trim() 120 }) } catch { }
    # The machine's own account in its own domain, whoever's account we came with; constrained language may not ask.
    try { $s = ((New-Object System.Security.Principal.NTAccount ((Get-ItemProperty -LiteralPath 'HKLM:\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters').Domain + '\' + $env:COMPUTERNAME + '$')).Translate([System.Security.Principal.SecurityIdentifier])).Value } catch { }
    @{ serial = (Text $b.SerialNumber 80); state = $d; sid = (Text $s 80) }
}

#: updates
Part 'updates' {
    @{ dates = @(Cim 'root/cimv2' 'Win32_QuickFixEngineering' @('HotFixID', 'InstalledOn') | ForEach-Object { $t = $_.InstalledOn; if ($t -is [datetime]) { $t.ToString('s').Substring(0, 10) } else { Text $t 40 } }) }
}

#: features
Part 'features' {
    Some @(Cim 'root/cimv2' 'Win32_OptionalFeature' @('Name', 'InstallState') $null 60 | ForEach-Object { @{ name = (Text $_.Name 120); state = $_.InstallState } })
}

#: guard
Part 'guard' {
    $g = @(Cim 'root/Microsoft/Windows/DeviceGuard' 'Win32_DeviceGuard' $null $null)[0]
    @{ running = @($g.SecurityServicesRunning | ForEach-Object { $_ }); configured = @($g.SecurityServicesConfigured | ForEach-Object { $_ }); user = $g.UsermodeCodeIntegrityPolicyEnforcementStatus; kernel = $g.CodeIntegrityPolicyEnforcementStatus }
}

#: adapters
Part 'adapters' {
    Some @(Cim 'root/cimv2' 'Win32_NetworkAdapterConfiguration' @('Description', 'SettingID', 'IPEnabled', 'TcpipNetbiosOptions') 'IPEnabled=TRUE' | ForEach-Object { @{ name = (Text $_.Description); id = (Text $_.SettingID 60); netbios = $_.TcpipNetbiosOptions } })
}

#: resolvers
Part 'resolvers' {
    Some @(Cim 'root/StandardCimv2' 'MSFT_DNSClientServerAddress' @('InterfaceAlias', 'InterfaceIndex', 'AddressFamily', 'ServerAddresses') | ForEach-Object { @{ name = (Text $_.InterfaceAlias); index = $_.InterfaceIndex; servers = @($_.ServerAddresses | ForEach-Object { Text $_ 60 }) } })
}

#: firewall
Part 'firewall' {
    Some @(Get-NetFirewallProfile -PolicyStore ActiveStore | ForEach-Object { @{ name = (Text $_.Name 40); on = [string]$_.Enabled; inbound = [string]$_.DefaultInboundAction } })
}

#: smb
Part 'smb' {
    try { $s = @(Get-SmbServerConfiguration)[0] }
    catch {
        if ([string]$_.CategoryInfo.Reason -ne 'CommandNotFoundException') { throw }
        $s = @(Cim 'root/Microsoft/Windows/SMB' 'MSFT_SmbServerConfiguration' $null $null)[0]
    }
    @{ one = $s.EnableSMB1Protocol }
}

#: accounts
Part 'accounts' {
    try { Some @(Get-LocalUser | ForEach-Object { @{ name = (Text $_.Name 100); sid = (Text $_.SID.Value 80); on = $_.Enabled; needs = $_.PasswordRequired; set = (Iso $_.PasswordLastSet); dated = $true } }) }
    catch {
        if ([string]$_.CategoryInfo.Reason -ne 'CommandNotFoundException') { throw }
        Some @(Cim 'root/cimv2' 'Win32_UserAccount' @('Name', 'SID', 'Disabled', 'PasswordRequired') 'LocalAccount=TRUE' | ForEach-Object { @{ name = (Text $_.Name 100); sid = (Text $_.SID 80); on = (-not $_.Disabled); needs = $_.PasswordRequired; set = $null; dated = $false } })
    }
}

#: admins
# The cmdlet fails as a whole where one member is an account that no longer exists; net.exe lists that one by its SID.
Part 'admins' {
    try { Some @(Get-LocalGroupMember -SID 'S-1-5-32-544' | ForEach-Object { @{ name = (Text $_.Name); sid = (Text $_.SID.Value 80); source = [string]$_.PrincipalSource } }) }
    catch {
        $w = Why $_
        $g = @(Cim 'root/cimv2' 'Win32_Group' @('Name', 'SID') "LocalAccount=TRUE AND SID='S-1-5-32-544'")[0]
        if (-not $g) { throw }
        @{ why = $w; lines = @(net.exe localgroup $g.Name | Select-Object -First $Most | ForEach-Object { Text $_ }); code = $LASTEXITCODE }
    }
}

#: lockout
Part 'lockout' { @{ lines = @(net.exe accounts | Select-Object -First 40 | ForEach-Object { Text $_ 160 }); code = $LASTEXITCODE } }

#: applocker
Part 'applocker' { @{ policy = (Text (Get-AppLockerPolicy -Effective -Xml) 2000000) } }

#: tpm
Part 'tpm' {
    try { $t = Get-Tpm; @{ present = $t.TpmPresent; ready = $t.TpmReady } }
    catch {
        if ([string]$_.CategoryInfo.Reason -ne 'CommandNotFoundException') { throw }
        $t = @(Cim 'root/cimv2/Security/MicrosoftTpm' 'Win32_Tpm' $null $null)
        if (-not $t.Count) { @{ present = $false; ready = $false } }
        else { $r = Invoke-CimMethod -InputObject $t[0] -MethodName 'IsReady' -OperationTimeoutSec 15; @{ present = $true; ready = ($r.ReturnValue -eq 0 -and $r.IsReady) } }
    }
}

#: attestation
Part 'attestation' { @{ lines = @(tpmtool.exe getdeviceinformation | Select-Object -First 60 | ForEach-Object { Text $_ 120 }) } }

#: software
Part 'software' {
    $r = @('HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall', 'HKLM:\SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall') | Where-Object { Test-Path -LiteralPath $_ }
    Some @(Get-ChildItem -LiteralPath $r | Get-ItemProperty | Where-Object { $_.DisplayName } | ForEach-Object { @{ name = (Text $_.DisplayName 160); version = (Text $_.DisplayVersion 60); publisher = (Text $_.Publisher 120) } })
}

#: shares
Part 'shares' {
    $s = @(Get-SmbShare | Where-Object { -not $_.Special })
    $names = @($s | ForEach-Object { [string]$_.Name })
    $o = Some @($s | ForEach-Object { @{ name = (Text $_.Name 100); path = (Text $_.Path 260) } })
    $o['rights'] = @()
    if ($names.Count) { $o['rights'] = @(Get-SmbShareAccess -Name $names | Select-Object -First (4 * $Most) | ForEach-Object { @{ share = (Text $_.Name 100); who = (Text $_.AccountName 120); kind = [string]$_.AccessControlType; right = [string]$_.AccessRight } }) }
    # what the groups that everybody is in are called here
    $o['everyone'] = @($Groups | ForEach-Object { if ($_ -match '^"([^"]+)","[^"]*","(S-1-1-0|S-1-5-11|S-1-5-32-545)"') { @{ name = $Matches[1]; sid = $Matches[2] } } })
    $o
}

#: printers
Part 'printers' {
    Some @(Cim 'root/cimv2' 'Win32_PrinterDriver' @('Name', 'Version', 'SupportedPlatform') | ForEach-Object { @{ name = (Text $_.Name 160); version = $_.Version } })
}

#: enrolment
# when Intune was last reached: one account below each enrolment of its provider
Part 'enrolment' {
    $e = 'HKLM:\SOFTWARE\Microsoft\Enrollments'; $p = 'HKLM:\SOFTWARE\Microsoft\Provisioning\OMADM\Accounts\'
    $l = @()
    if (Test-Path -LiteralPath $e) {
        $l = @(Get-ChildItem -LiteralPath $e | Get-ItemProperty | Where-Object { $_.ProviderID -eq 'MS DM Server' } | Select-Object -First 10 | ForEach-Object {
            $i = @(Get-ItemProperty -LiteralPath ($p + $_.PSChildName + '\Protected\ConnInfo') -ErrorAction SilentlyContinue)[0]
            @{ last = (Text $i.ServerLastSuccessTime 40) }
        })
    }
    @{ accounts = $l }
}

#: wireless
# The service's own files say in every language how a network is joined. Only name and kind leave the machine.
Part 'wireless' {
    $d = $env:ProgramData + '\Microsoft\Wlansvc\Profiles\Interfaces'
    $l = @()
    $there = Test-Path -LiteralPath $d
    if ($there) {
        $l = @(Get-ChildItem -LiteralPath $d -Filter '*.xml' -Recurse | Select-Object -First 500 | ForEach-Object {
            $x = [xml](Get-Content -LiteralPath $_.FullName -Raw)
            @{ name = (Text $x.WLANProfile.name 64); how = (Text $x.WLANProfile.MSM.security.authEncryption.authentication 40); cipher = (Text $x.WLANProfile.MSM.security.authEncryption.encryption 40) }
        })
    }
    else {
        # without that folder, what the program says, whose words are translated
        $n = @(netsh.exe wlan show profiles | ForEach-Object { $_ })
        if ($LASTEXITCODE -eq 0) {
            $l = @($n | ForEach-Object { if ($_ -match '^\s+\S[^:]*\s:\s(.+)$') { Text $Matches[1].Trim() 64 } } | Select-Object -First 100 | ForEach-Object {
                $o = @(netsh.exe wlan show profile ('name=' + $_) | ForEach-Object { if ($_ -match '^\s+Auth\w+\s*:\s*(\S.*)$') { $Matches[1].Trim() } })
                @{ name = $_; how = (Text ([string]$o[0]) 40) }
            })
        }
    }
    @{ all = $true; there = $there; items = $l }
}

#: antivirus
Part 'antivirus' {
    Some @(Cim 'root/SecurityCenter2' 'AntiVirusProduct' @('displayName', 'productState') | ForEach-Object { @{ name = (Text $_.displayName 100); state = $_.productState } })
}

#: preferences
Part 'preferences' {
    $p = @(Cim 'root/Microsoft/Windows/Defender' 'MSFT_MpPreference' $null $null 60)[0]
    $o = @{ pua = $p.PUAProtection; maps = $p.MAPSReporting }
    $o['paths'] = @($p.ExclusionPath | Where-Object { $_ } | Select-Object -First 500 | ForEach-Object { Text $_ })
    $o['processes'] = @($p.ExclusionProcess | Where-Object { $_ } | Select-Object -First 500 | ForEach-Object { Text $_ })
    $o['extensions'] = @($p.ExclusionExtension | Where-Object { $_ } | Select-Object -First 500 | ForEach-Object { Text $_ })
    $o['rules'] = @($p.AttackSurfaceReductionRules_Ids | Where-Object { $_ } | ForEach-Object { Text $_ 60 })
    $o['actions'] = @($p.AttackSurfaceReductionRules_Actions | Where-Object { $null -ne $_ } | ForEach-Object { [int]$_ })
    $o
}

#: defender
# some minutes after a start the service answers late; nothing else waits so long
Part 'defender' {
    $s = @(Cim 'root/Microsoft/Windows/Defender' 'MSFT_MpComputerStatus' $null $null 80)[0]
    @{ mode = (Text $s.AMRunningMode 40); real = $s.RealTimeProtectionEnabled; age = $s.AntivirusSignatureAge; tamper = $s.IsTamperProtected; updated = (Iso $s.AntivirusSignatureLastUpdated) }
}

#: bitlocker
# By WMI, not by Get-BitLockerVolume: that has no time limit, and brings the recovery passwords along.
Part 'bitlocker' {
    $v = @(Cim 'root/cimv2/Security/MicrosoftVolumeEncryption' 'Win32_EncryptableVolume' $null ("DriveLetter='" + $env:SystemDrive + "'"))
    if (-not $v.Count) { return @{ found = $false } }
    $c = $v[0].ConversionStatus; $m = $v[0].EncryptionMethod
    if ($null -eq $c) { $c = (Invoke-CimMethod -InputObject $v[0] -MethodName 'GetConversionStatus' -OperationTimeoutSec 15).ConversionStatus }
    if ($null -eq $m) { $m = (Invoke-CimMethod -InputObject $v[0] -MethodName 'GetEncryptionMethod' -OperationTimeoutSec 15).EncryptionMethod }
    # 3: numerical password. Its id is asked for, never the password.
    $k = Invoke-CimMethod -InputObject $v[0] -MethodName 'GetKeyProtectors' -Arguments @{ KeyProtectorType = [uint32]3 } -OperationTimeoutSec 15
    @{ found = $true; protection = $v[0].ProtectionStatus; conversion = $c; method = $m; code = $k.ReturnValue; recovery = @($k.VolumeKeyProtectorID | Where-Object { $_ }).Count }
}

#: end
'#' + $K + ' END'
