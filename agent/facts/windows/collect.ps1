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
    $j = ConvertTo-Json -InputObject $value -Depth 6 -Compress
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
    try { $k = Get-Item -LiteralPath $q.p } catch { if ([string]$_.CategoryInfo.Category -eq 'ObjectNotFound') { return @{ m = 1 } }; return @{ e = (Why $_) } }
    try {
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

#: end
'#' + $K + ' END'
