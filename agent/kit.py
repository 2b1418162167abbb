"""What an administrator needs to grant read-only access, as files: generated from the plan of the trust, never fixed.

Linux: a sudoers file. Windows: PowerShell that lets the scan in. Active Directory: a PowerShell script that delegates
reading. Microsoft 365: an app manifest and a script that registers it with its least permissions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import kit_switch, kit_windows
from agent.collect import module
from agent.doctor import needing_root
from agent.errors import SpiritlevelError, UsageError
from agent.model import Kind
from agent.plan import Job, Planner
from agent.resources import data_dir
from agent.yamlfile import read

ROLES = "graph-app-roles.yml"
SUDO_COMMAND = "/bin/sh -s"
"""What the collector's command line hands to sudo; a test holds both together."""


def write_kit(planner: Planner, jobs: Sequence[Job], folder: Path) -> list[Path]:
    """Write the kit of these jobs into `folder`; files of an earlier kit are replaced. Gives the paths.

    Raises `UsageError` when nothing that is planned takes any right, OSError when `folder` cannot be written.
    """
    files: dict[str, str] = {}
    notes: list[str] = []
    devices = [j for j in jobs if j.target.platform == "linux" and j.target.kind is Kind.DEVICE]
    if devices:
        files.update(_linux(devices, notes))
    windows = [j for j in jobs if j.target.platform == "windows" and j.wanted]
    if windows:
        files.update(kit_windows.files(windows))
        notes.append(kit_windows.note(windows))
    switches = [j for j in jobs if j.target.family == "switch" and j.wanted]
    if switches:
        files.update(kit_switch.files(switches))
        notes.append(kit_switch.note(switches))
    for job in jobs:
        if job.target.kind is Kind.DIRECTORY:
            files.update(_directory(job, notes))
        elif job.target.kind is Kind.TENANT:
            files.update(_tenant(job, notes))
    if not files:
        raise UsageError("nothing that is planned takes any right to be granted.", "See `spiritlevel plan`.")
    files["README.md"] = _readme(planner.trust.name, notes)
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, text in files.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        out.append(path)
    return out


def _line(text: object) -> str:
    """Text for a comment: one line, printable."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _quoted(text: object) -> str:
    """A PowerShell string that is taken as it stands (typographic quotes end a string there, too)."""
    return "'" + re.sub(r"(['\u2018\u2019\u201a\u201b])", r"\1\1", _line(text)) + "'"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "x"


# ------------------------------------------------------------------------------------------------------------ Linux


def _linux(jobs: Sequence[Job], notes: list[str]) -> Iterator[tuple[str, str]]:
    users = sorted(
        {
            str(j.target.settings.get("ansible_user") or j.target.settings.get("ansible_ssh_user") or "scan")
            for j in jobs
        }
    )
    facts = sorted({f for j in jobs for f in needing_root(j.wanted)})
    for user in users:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*\$?", user):
            raise SpiritlevelError(f"{user!r} is no login name that sudoers can hold.", "Correct ansible_user.")
    users = [u for u in users if u != "root"]
    if not users or not facts:
        return
    rules = "\n".join(f"{u} ALL=(root) NOPASSWD: {SUDO_COMMAND}\nDefaults:{u} !requiretty" for u in users)
    yield (
        "linux-sudoers",
        f"""\
# For /etc/sudoers.d/spiritlevel: owner root, mode 0440; check it with `visudo -cf` before it goes there.
# The scan logs in as {", ".join(users)} and runs one script, which it sends on standard input and which writes nothing.
# Root is needed for: {", ".join(facts)}. Without this file those stay unknown, and say so.
# This lets the account become root: guard its key, allow it from the scanning machine only (see README.md), and name
# the account in the parameter passwordless_sudo_accounts, so that the audit expects exactly this one.
{rules}
""",
    )
    hosts = [j.target.id for j in jobs]
    notes.append(f"""\
## Linux ({", ".join(hosts[:8])}{f" and {len(hosts) - 8} more" if len(hosts) > 8 else ""})

On each host, for {", ".join(f"`{u}`" for u in users)}:

1. Make the account without a password: `useradd --create-home --shell /bin/sh {users[0]}`
2. Put the scanning machine's public key into its `~/.ssh/authorized_keys`, narrowed to that machine:
   `restrict,from="ADDRESS OF THE SCANNING MACHINE" ssh-ed25519 AAAA…`
3. Check and place the sudoers file:
   `visudo -cf linux-sudoers && install -o root -g root -m 0440 linux-sudoers /etc/sudoers.d/spiritlevel`

It feeds: {", ".join(facts)}. To take it back, delete that file and the account.
""")


# -------------------------------------------------------------------------------------------------------- directory


def _directory(job: Job, notes: list[str]) -> Iterator[tuple[str, str]]:
    from agent.facts.ad.collect import FACTS
    from agent.facts.ad.searches import SEARCHES

    target = job.target
    bind = str(target.settings.get("bind") or "")
    searches = list(dict.fromkeys(s for n in job.wanted if n in FACTS for s in FACTS[n].searches))
    extra = sorted({r for n in job.wanted if n in FACTS for r in FACTS[n].rights})
    name = f"directory-{_slug(target.name)}.ps1"
    closed, narrow = [], []
    for search in searches:
        s = SEARCHES[search]
        base = _base(s.base)
        grants = "LCRPLO" if s.scope == "one" or not s.attributes() else ""
        if search in _CLOSED:
            closed += [f'Grant {_base(place)} "${{account}}:{what}" "{how}"' for place, what, how in _CLOSED[search]]
        if search in ("password_policies", "deleted", "recovery_keys"):
            continue
        if grants:
            narrow.append(f'Grant {base} "${{account}}:{grants}" "/I:T"')
        else:
            scope = "/I:S" if s.scope == "sub" else "/I:T"
            kind = {"users": ";user", "computers": ";computer", "groups": ";group"}
            for attribute in s.attributes():
                if attribute.lower() in ("objectclass", "distinguishedname"):
                    continue
                if attribute == "nTSecurityDescriptor":
                    narrow.append(f'Grant {base} "${{account}}:RC" "{scope}"')
                    continue
                # without ;class dsacls grants on the object itself
                narrow.append(f'Grant {base} "${{account}}:RP;{attribute}{kind.get(search, "")}" "{scope}"')
    yield (
        name,
        _POWERSHELL_AD.format(
            target=_line(target.name),
            account=_quoted(bind or "DOMAIN\\account"),
            base=_quoted(target.settings["base_dn"])
            if target.settings.get("base_dn")
            else "(Get-ADDomain).DistinguishedName",
            closed="\n".join(dict.fromkeys(closed)) or "# nothing: an ordinary account reads all that is planned",
            narrow="\n".join(f"    {line}" for line in dict.fromkeys(narrow)) or "    # nothing",
        ),
    )
    beyond = ", ".join(_line(r) for r in extra) or "nothing"
    notes.append(f"""\
## Directory {_line(target.name)}

`{name}` gives {_line(bind) or "the account"} the right to read what the plan asks for, and nothing to change.
An ordinary member of Domain Users reads almost all of it already. Beyond that the plan needs: {beyond}.

1. Make an ordinary user for the scan, with a long random password, and no group beyond Domain Users.
2. As a domain administrator, look through the script, then run it: `.\\{name}`
3. Only if `spiritlevel doctor` still names something hidden, the domain is locked down: run `.\\{name} -LockedDown`.

It feeds: {", ".join(n for n in job.wanted if n in FACTS)}. `.\\{name} -Remove` takes it back.
""")


# What ordinary accounts may not read, by search: (place, rights, reach). That a key is there is read from its class
# alone; no right to the key itself is given.
_CLOSED = {
    "password_policies": (("CN=Password Settings Container,CN=System,{domain}", "LCRPLO", "/I:T"),),
    "deleted": (("CN=Deleted Objects,{domain}", "LCRP", "/I:T"),),
    "recovery_keys": (("{domain}", "RP;objectClass;msFVE-RecoveryInformation", "/I:S"),),
    "configuration": (
        ("CN=Group Key Distribution Service,CN=Services,{config}", "LC", "/I:T"),
        ("CN=Group Key Distribution Service,CN=Services,{config}", "RP;objectClass;msKds-ProvRootKey", "/I:S"),
    ),
    "system": (("CN=MicrosoftDNS,CN=System,{domain}", "LCRPRC", "/I:T"),),
}


def _base(text: str) -> str:
    """A search's base as a PowerShell expression."""
    for name in ("domain", "config", "schema", "root"):
        text = text.replace("{" + name + "}", "$" + name)
    return f'"{text}"'


_POWERSHELL_AD = """\
# Delegates reading in the directory {target} to the account of the scan. Grants nothing that changes anything.
# Run by a domain administrator on a machine with the AD tools (dsacls, ActiveDirectory module).
#requires -Modules ActiveDirectory
param([switch]$LockedDown, [switch]$Remove)
$ErrorActionPreference = 'Stop'
$account = {account}
$domain = {base}
$config = (Get-ADRootDSE).configurationNamingContext
$schema = (Get-ADRootDSE).schemaNamingContext
$root = (Get-ADRootDSE).rootDomainNamingContext
if ($account -like '*@*') {{
    # dsacls wants DOMAIN\\name
    $user = Get-ADUser -Filter {{ UserPrincipalName -eq $account }}
    if (-not $user) {{ throw "There is no account $account." }}
    $account = (Get-ADDomain).NetBIOSName + '\\' + $user.SamAccountName
}}

function Grant([string]$base, [string]$what, [string]$scope) {{
    if ($Remove) {{ dsacls $base /R $account | Out-Null }} else {{ dsacls $base $scope /G $what | Out-Null }}
    # A forest without, say, LAPS lacks its attributes: that is no reason to stop.
    if ($LASTEXITCODE -ne 0) {{ Write-Warning "dsacls refused: $base $what" }}
}}

# What ordinary accounts may not read by default. CN=Deleted Objects belongs to the system until somebody takes it:
# where dsacls refuses it, run dsacls "CN=Deleted Objects,$domain" /takeownership first.
{closed}

# What they may, unless the domain has been locked down: only with -LockedDown (or -Remove).
if ($LockedDown -or $Remove) {{
{narrow}
}}
Write-Host "Done for $account."
"""


# ----------------------------------------------------------------------------------------------------------- tenant


def app_roles() -> tuple[str, Mapping[str, str]]:
    """(id of Microsoft Graph, permission → id of its app role), from the shipped table. Raises `ConfigError`."""
    data: dict[str, Any] = read(data_dir("baselines") / "data" / ROLES, f"baselines/data/{ROLES}").data
    return str(data["graph"]), {str(k): str(v) for k, v in data["roles"].items()}


def permissions(wanted: Sequence[str]) -> dict[str, list[str]]:
    """Permission → facts that need it, as the tenant's plan says."""
    facts = module("m365")
    out: dict[str, list[str]] = {}
    for step in facts.plan(wanted) if facts else []:
        for right in step.rights:
            out.setdefault(right, []).extend(f for f in step.feeds if f not in out.get(right, []))
    return dict(sorted(out.items()))


def _tenant(job: Job, notes: list[str]) -> Iterator[tuple[str, str]]:
    graph, roles = app_roles()
    needed = permissions(job.wanted)
    lacking = [p for p in needed if p not in roles]
    if lacking:
        raise SpiritlevelError(f"the table of Graph permissions lacks {', '.join(lacking)}.", f"Add its id to {ROLES}.")
    slug = _slug(job.target.name)
    access = [{"resourceAppId": graph, "resourceAccess": [{"id": roles[p], "type": "Role"} for p in needed]}]
    manifest, script = f"tenant-{slug}-manifest.json", f"tenant-{slug}.ps1"
    yield (
        manifest,
        json.dumps(
            {"displayName": "spiritlevel", "signInAudience": "AzureADMyOrg", "requiredResourceAccess": access}, indent=2
        )
        + "\n",
    )
    table = "\n".join(f"    {_quoted(p)} = {_quoted(roles[p])}" for p in needed)
    yield (
        script,
        _POWERSHELL_APP.format(
            target=_line(job.target.name),
            graph=_quoted(graph),
            roles=table,
            tenant=_quoted(job.target.settings.get("tenant_id", "")),
        ),
    )
    rows = "\n".join(f"| `{p}` | {', '.join(facts)} |" for p, facts in needed.items())
    notes.append(f"""\
## Tenant {_line(job.target.name)}

`{script}` registers an app named spiritlevel with these application permissions and consents to them; all only read.
`{manifest}` holds the same as `requiredResourceAccess`, for the portal or other tools.

| Permission | Feeds |
|---|---|
{rows}

1. As an administrator who may consent (Privileged Role Administrator), look through the script, then run it:
   `.\\{script} -Certificate scan.cer` with the public half of the scan's certificate.
2. Put the client id that it prints into trust.yml, and the certificate with its key where trust.yml says.

To take it back, delete the app registration.
""")


_POWERSHELL_APP = """\
# Registers the app that the scan signs in with to the tenant {target}, with its least permissions. All only read.
# Run where the Microsoft.Graph PowerShell module is installed.
#requires -Modules Microsoft.Graph.Applications
param([Parameter(Mandatory)][string]$Certificate)
$ErrorActionPreference = 'Stop'
$graph = {graph}
$roles = [ordered]@{{
{roles}
}}

Connect-MgGraph -TenantId {tenant} -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All' -NoWelcome
$public = [System.Security.Cryptography.X509Certificates.X509Certificate2]::new((Resolve-Path $Certificate).Path)
$each = @($roles.Values | ForEach-Object {{ @{{ id = $_; type = 'Role' }} }})
$access = @{{ resourceAppId = $graph; resourceAccess = $each }}
$key = @{{ type = 'AsymmetricX509Cert'; usage = 'Verify'; key = $public.RawData; displayName = 'spiritlevel' }}
$app = New-MgApplication -DisplayName 'spiritlevel' -SignInAudience 'AzureADMyOrg' `
    -RequiredResourceAccess @($access) -KeyCredentials @($key)
$me = New-MgServicePrincipal -AppId $app.AppId
$theirs = Get-MgServicePrincipal -Filter "appId eq '$graph'"
foreach ($id in $roles.Values) {{
    New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $me.Id -PrincipalId $me.Id `
        -ResourceId $theirs.Id -AppRoleId $id | Out-Null
}}
Write-Host "client_id: $($app.AppId)"
"""


def _readme(trust: str, notes: Sequence[str]) -> str:
    return f"""\
# Read-only access for spiritlevel: {_line(trust)}

Made from the trust's plan: exactly what its baseline reads, and nothing else. Nothing here lets the scan change
anything, except that an account which may become root, or is an administrator of a Windows machine, could: guard its
key or password. When the baseline grows,
`spiritlevel doctor` names what is missing, and `spiritlevel doctor --kit` writes this anew.

{chr(10).join(notes)}"""
