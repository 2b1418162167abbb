"""A rich snapshot: three schools, a shared directory and tenant, thirty controls, every verdict and change.

Seeded, so that it is the same every time. Names of people stand only where a leaders' page must not look:
`PEOPLE` lists them.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

from agent.model import Change, Finding, Kind, Offender, School, Severity, TargetState, Verdict
from agent.render.snapshot import (
    AttestationInfo,
    ControlInfo,
    ExceptionInfo,
    ExceptionState,
    FixInfo,
    NotCovered,
    Row,
    RunInfo,
    Snapshot,
    TargetInfo,
)
from agent.standards import Requirement, Standard

NOW = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
STARTED = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
PEOPLE = ("j.okafor", "p.lindqvist", "Priya Lindqvist", "Jude Okafor", "Sam Whitcombe")
LOW, MEDIUM, HIGH, CRITICAL = Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL

_CONTROLS = [
    ("linux.ssh-root-login", "Root may not log in over SSH", "identity", HIGH),
    ("linux.ssh-passwords", "SSH asks for keys, not passwords", "identity", MEDIUM),
    ("linux.sudo-members", "Only named staff may act as administrator", "identity", HIGH),
    ("linux.shadow-mode", "Password hashes are readable by the system alone", "identity", HIGH),
    ("linux.firewall-on", "Every server has its own firewall on", "network", HIGH),
    ("linux.ip-forward", "Servers do not forward traffic between networks", "network", MEDIUM),
    ("linux.open-ports", "Only expected services listen on the network", "network", MEDIUM),
    ("linux.telnet", "The telnet client is not installed", "devices", LOW),
    ("linux.disk-space", "Disks have room to work in", "devices", LOW),
    ("linux.updates-auto", "Security updates install themselves", "updates", HIGH),
    ("linux.updates-due", "No security update is older than 14 days", "updates", CRITICAL),
    ("linux.supported", "The operating system still gets updates", "updates", CRITICAL),
    ("linux.audit-on", "Security events are recorded", "logging", MEDIUM),
    ("linux.clock", "Clocks follow the trust's time servers", "logging", MEDIUM),
    ("linux.backup-recent", "A backup ran in the last day", "backup", HIGH),
    ("ad.lockout", "Guessing a password is limited to ten tries", "identity", HIGH),
    ("ad.stale-users", "No account is left behind by someone who has gone", "identity", MEDIUM),
    ("ad.admins-few", "Few people are domain administrators", "identity", CRITICAL),
    ("ad.password-length", "Passwords have at least twelve characters", "identity", HIGH),
    ("ad.krbtgt-age", "The directory's master key is changed each year", "identity", MEDIUM),
    ("ad.laps", "Each computer has its own local administrator password", "devices", HIGH),
    ("ad.ldap-signing", "Directory traffic is signed", "network", MEDIUM),
    ("m365.legacy-auth", "Old sign-in methods that skip MFA are blocked", "identity", HIGH),
    ("m365.mfa-admins", "Every administrator signs in with a second factor", "identity", CRITICAL),
    ("m365.mfa-staff", "All staff sign in with a second factor", "identity", CRITICAL),
    ("m365.guests", "Guests may not invite further guests", "data", LOW),
    ("m365.forwarding", "Mail is not forwarded outside by itself", "data", HIGH),
    ("m365.sharing", "Files are shared with named people only", "data", MEDIUM),
    ("m365.audit", "The tenant's audit log is on", "logging", HIGH),
    ("m365.device-rules", "Devices must meet the rules before they connect", "devices", MEDIUM),
]
_ITEMS = {"ad.stale-users", "ad.laps", "m365.mfa-staff"}

SCHOOLS = (
    School(
        "oakfield", "Oakfield Primary School", "OAK", 100001, "primary", not_scanned={"chromebooks": 320, "ipads": 60}
    ),
    School("millbrook", "Millbrook Academy", "MIL", 100002, "secondary", not_scanned={"ipads": 140}),
    School("st-wilfrids", "St Wilfrid's Church of England Primary School", "STW", 100003, "primary"),
)


def _control(entry: tuple[str, str, str, Severity]) -> ControlInfo:
    cid, title, theme, severity = entry
    automatic = cid.startswith("linux.")
    fix = FixInfo(
        "Sets the value in a drop-in file and reloads the service."
        if automatic
        else "Change it in the admin centre; the steps are in the bundle's README.",
        automatic,
        "low" if severity is not CRITICAL else "disruptive",
        cid == "linux.supported",
        5 if automatic else None,
    )
    return ControlInfo(
        cid,
        1,
        title,
        theme,
        severity,
        f"Without this, {title[0].lower()}{title[1:]} is only a hope.",
        "items" if cid in _ITEMS else "target",
        cid.split(".")[0],
        None if cid == "ad.krbtgt-age" else fix,
    )


def _targets() -> list[TargetInfo]:
    out = []
    for school, names in (
        ("oakfield", ("srv1", "files", "kiosk-03")),
        ("millbrook", ("srv1", "web", "print", "lab-07")),
        ("st-wilfrids", ("srv1", "files")),
    ):
        for name in names:
            state, detail, seen = TargetState.COLLECTED, "", STARTED + timedelta(minutes=2)
            if name == "kiosk-03":
                state, detail, seen = (
                    TargetState.UNREACHABLE,
                    "No answer on port 22.",
                    datetime(2026, 11, 20, 1, 2, tzinfo=UTC),
                )
            if name == "lab-07":
                state, detail, seen = TargetState.NOT_SEEN, "Off at night.", datetime(2026, 11, 23, 1, 3, tzinfo=UTC)
            if name == "print":
                state, detail = TargetState.PARTIAL, "sudo was refused for 3 readings."
            out.append(TargetInfo(f"{school}/{name}", name, school, Kind.DEVICE, "linux", state, detail, seen))
    everyone = tuple(s.key for s in SCHOOLS)
    out.append(
        TargetInfo(
            "trust-ad",
            "trust-ad",
            None,
            Kind.DIRECTORY,
            "ad",
            TargetState.COLLECTED,
            "",
            STARTED + timedelta(minutes=3),
            everyone,
        )
    )
    out.append(
        TargetInfo(
            "trust-m365",
            "trust-m365",
            None,
            Kind.TENANT,
            "m365",
            TargetState.PARTIAL,
            "AuditLog.Read.All is missing.",
            STARTED + timedelta(minutes=4),
            everyone[:2],
        )
    )
    return out


def _row(rng: random.Random, control: ControlInfo, target: TargetInfo, school: str | None) -> Row:
    expected, good, bad = "no", "no", rng.choice(("yes", "prohibit-password", "without-password"))
    roll = rng.random()
    offenders: tuple[Offender, ...] = ()
    change, reason, seen = Change.NONE, "", datetime(2026, 9, 7, 1, 0, tzinfo=UTC)
    if target.state in (TargetState.UNREACHABLE, TargetState.NOT_SEEN):
        verdict, reason = Verdict.UNKNOWN, "unreachable: no answer on port 22"
        change = Change.LOST_SIGHT
    elif control.id == "m365.audit":
        verdict, reason, change = Verdict.UNKNOWN, "permission missing: AuditLog.Read.All", Change.LOST_SIGHT
    elif control.id == "m365.device-rules":
        verdict, reason = Verdict.NOT_APPLICABLE, "not licensed: Intune"
    elif control.id == "m365.sharing":
        verdict, reason = Verdict.MANUAL, "Are files shared with named people only?"
    elif target.name == "print" and control.id in ("linux.shadow-mode", "linux.firewall-on", "linux.audit-on"):
        verdict, reason = Verdict.UNKNOWN, "permission missing: sudo"
    elif control.scope == "items" and roll < 0.75:
        verdict = Verdict.FAIL
        names = ("j.okafor", "p.lindqvist") if control.id != "ad.laps" else ("OAK-PC101", "MIL-LT007")
        offenders = tuple(Offender(f"S-1-5-21-{n}", f"{name}", "180 days") for n, name in enumerate(names))
        change = Change.PERSISTING
    elif roll < 0.16:
        verdict = Verdict.FAIL
        change = rng.choice((Change.NEW, Change.REGRESSED, Change.PERSISTING, Change.REBASELINED))
        seen = STARTED if change in (Change.NEW, Change.REGRESSED) else seen
    elif roll < 0.22 and target.kind is Kind.DEVICE:
        verdict, reason = Verdict.NOT_APPLICABLE, "not a file server"
    else:
        verdict, change = Verdict.PASS, Change.RESOLVED if roll > 0.96 else Change.NONE
    observed = {Verdict.PASS: good, Verdict.FAIL: f"{len(offenders)} items" if offenders else bad}.get(verdict, "")
    finding = Finding(
        control.id,
        1,
        target.id,
        school,
        verdict,
        reason,
        expected,
        observed,
        offenders,
        len(offenders),
        0,
        f"{control.id}-{verdict}",
    )
    exception, until = None, None
    if control.id == "linux.ip-forward" and verdict is Verdict.FAIL:
        exception, until = "Routes the lab network until it is rewired (Sam Whitcombe)", date(2026, 12, 6)
    return Row(
        finding,
        change,
        offenders[:1] if change is Change.PERSISTING and offenders else (),
        seen,
        exception,
        until,
        f"sha256:{target.name}",
    )


def _rows(controls: dict[str, ControlInfo], targets: list[TargetInfo]) -> list[Row]:
    rng = random.Random(20)
    out = []
    for target in targets:
        for control in controls.values():
            if control.platform != target.platform or (control.id == "linux.clock"):
                continue
            if control.scope == "items":
                out += [_row(rng, control, target, s) for s in (*target.serves, None)]
            else:
                out.append(_row(rng, control, target, target.school))
    # One departure of each kind is certain, whatever the seed gives.
    first = next(
        n for n, r in enumerate(out) if r.finding.control == "linux.ip-forward" and r.finding.school == "millbrook"
    )
    f = out[first].finding
    out[first] = Row(
        Finding(f.control, 1, f.target, f.school, Verdict.FAIL, "", "0", "1", digest="x"),
        Change.PERSISTING,
        (),
        datetime(2026, 9, 7, 1, 0, tzinfo=UTC),
        "Routes the lab network until it is rewired (Sam Whitcombe)",
        date(2026, 12, 6),
        "sha256:srv1",
    )
    return out


def _standards() -> tuple[Standard, ...]:
    source = "https://www.gov.uk/guidance/meeting-digital-and-technology-standards-in-schools-and-colleges"

    def req(rid: str, theme: str, title: str, *controls: str, attest: str = "") -> Requirement:
        return Requirement(rid, theme, title, "must", controls, attest=attest, core=True, source=source)

    return (
        Standard(
            "dfe",
            "DfE digital and technology standards",
            "DfE standards",
            "Page text of 16 September 2026",
            source,
            date(2026, 9, 16),
            "",
            (
                req("dfe.cyber.lockout", "Cyber security", "Guessing limited to ten", "ad.lockout"),
                req("dfe.cyber.mfa-staff", "Cyber security", "MFA for all staff with cloud access", "m365.mfa-staff"),
                req(
                    "dfe.cyber.patch-14d",
                    "Cyber security",
                    "High-risk fixes within 14 days",
                    "linux.updates-due",
                    "linux.supported",
                ),
                req(
                    "dfe.cyber.training",
                    "Cyber security",
                    "Yearly cyber training",
                    attest="Has everyone with a login had training?",
                ),
                req(
                    "dfe.cyber.incident",
                    "Cyber security",
                    "Response plan in place",
                    attest="Is there a plan, and was it tried?",
                ),
                req("dfe.switch.stp", "Network switching", "Spanning tree in use"),
                req(
                    "dfe.cyber.logging",
                    "Cyber security",
                    "Logging on and watched",
                    "linux.audit-on",
                    "m365.audit",
                    attest="Does somebody look at the alerts?",
                ),
            ),
        ),
    )


def sample(stand_in: bool = False) -> Snapshot:
    """The snapshot."""
    controls = {c[0]: _control(c) for c in _CONTROLS}
    targets = _targets()
    runs = tuple(
        RunInfo(
            f"run-{n:02}",
            STARTED - timedelta(days=12 - n),
            {"pass": 120 + 2 * n, "fail": 42 - 2 * n + (n % 3), "unknown": 20 + (n * 5) % 17},
        )
        for n in range(12)
    )
    return Snapshot(
        "Northfield Learning Trust",
        "run-12",
        STARTED,
        NOW,
        SCHOOLS,
        controls,
        tuple(_rows(controls, targets)),
        tuple(targets),
        (
            NotCovered("linux.clock", "Clocks follow the trust's time servers", None, "set time_servers"),
            NotCovered(
                "linux.open-ports", "Only expected services listen on the network", "oakfield", "set log_servers"
            ),
        ),
        (
            ExceptionInfo(
                "linux.ip-forward",
                "millbrook",
                None,
                None,
                "Routes the lab network until it is rewired",
                "Sam Whitcombe",
                date(2026, 12, 6),
                ExceptionState.EXPIRING,
            ),
            ExceptionInfo(
                "linux.telnet",
                None,
                None,
                "fileservers",
                "Needed by the old library system",
                "Priya Lindqvist",
                date(2026, 10, 31),
                ExceptionState.EXPIRED,
            ),
            ExceptionInfo(
                "m365.guests",
                None,
                "trust-m365",
                None,
                "Joint sixth form",
                "Jude Okafor",
                date(2027, 7, 31),
                ExceptionState.ACTIVE,
            ),
        ),
        (
            AttestationInfo(
                "dfe.cyber.training",
                None,
                "Has everyone with a login had training?",
                True,
                "Priya Lindqvist",
                date(2026, 9, 4),
                date(2027, 9, 3),
                "Register of 4 September",
            ),
            AttestationInfo(
                "dfe.cyber.incident",
                "oakfield",
                "Is there a plan, and was it tried?",
                True,
                "Jude Okafor",
                date(2025, 9, 4),
                date(2026, 9, 3),
                "Board paper 12",
            ),
        ),
        runs,
        runs[-1],
        _standards(),
        {},
        stand_in,
        "0.1.0",
    )
