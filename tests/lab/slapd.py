"""A directory of any size on OpenLDAP, shaped like Active Directory: for speed, and as a second server to agree with.

It has AD's names of attributes and classes, naming contexts, schema objects, LDAPS and AD's limit of 1,000 entries a
page. It is no AD: no ranges, no security descriptors worth the name, `objectCategory` is text. What it holds follows
from a seed.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

from agent.demo.certs import issue, make_ca
from agent.demo.descriptors import DELETE, DELETE_TREE, Ace, descriptor
from agent.facts.ad.reader import CONTEXTS
from agent.facts.ad.searches import SEARCHES
from tests.lab.hosts import LabError
from tests.lab.slots import Slot

PROGRAMS = ("slapd", "slapadd", "ldapsearch")
SCHEMAS = ("core", "cosine", "inetorgperson")
SLOTS = 16
BASE = "DC=ad,DC=scale-mat,DC=example"
CONFIG = f"CN=Configuration,{BASE}"
SCHEMA = f"CN=Schema,{CONFIG}"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
_START = datetime(1601, 1, 1, tzinfo=UTC)
# Names that slapd itself brings, whatever schema files are loaded.
BUILT_IN = (
    "objectClass createTimestamp modifyTimestamp name cn userPassword distinguishedName description subschemaSubentry"
)
BINARY = re.compile(
    r"^(objectSid|objectGUID|nTSecurityDescriptor|sIDHistory|.*certificate.*|msDS-AllowedToAct.*)$", re.I
)
# What the data below hold, whether or not anybody asks for it.
WRITTEN = """cn member lDAPDisplayName objectCategory objectGUID objectSid nTSecurityDescriptor
  objectVersion displayName versionNumber flags
  sAMAccountName userAccountControl primaryGroupID accountExpires pwdLastSet lastLogonTimestamp whenCreated logonCount
  badPwdCount userPrincipalName groupType isCriticalSystemObject operatingSystem operatingSystemVersion dNSHostName"""
CLASSES = """user computer group domainDNS container crossRefContainer dMD attributeSchema nTDSService
  groupPolicyContainer msDS-PasswordSettingsContainer trustedDomain""".split()
FIRST = "Amelia Noah Olivia Arthur Isla George Ava Leo Mia Oscar Freya Theo Zara Ibrahim Ayesha Kofi Zoë Seán".split()
LAST = "Smith Jones Taylor Brown Patel Khan Wright Hughes Begum Ahmed Evans Nowak Murphy Singh Mensah Müller".split()


class SlapdLab:
    """One server. Use as a context manager, or call `stop`, which also deletes its data."""

    bind = f"CN=scan,{BASE}"
    password = "scan-secret"
    base_dn = BASE
    SITE_PARAMETERS: ClassVar[Mapping[str, Any]] = {
        "schools_ou": "OU=Schools,{base_dn}",
        "leavers_ou": "OU=Leavers,OU=Trust,{base_dn}",
        "service_account_ou": "OU=Service Accounts,OU=Trust,{base_dn}",
        "required_school_ous": ["Staff", "Pupils", "Computers", "Groups"],
        "required_school_groups": ["GRP-{code}-Staff", "GRP-{code}-Pupils"],
        "required_school_gpos": [],
        "group_name_regex": "^GRP-({codes})-[A-Za-z]+$",
        "computer_name_regex": "^({codes})-PC[0-9]{5}$",
        "expected_trusts": [],
        "expected_cas": [],
        "dcsync_allowed_extra": [],
    }

    def __init__(self) -> None:
        self._slot: Slot | None = None
        self._dir: Path | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.users = self.computers = 0
        self.codes: list[str] = []

    @staticmethod
    def available() -> tuple[bool, str]:
        """Whether this machine can run it, and if not, why not in a few words."""
        if os.geteuid() != 0:
            return False, "needs root"
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        return (False, f"missing {', '.join(missing)}: run tests/lab/deps.sh") if missing else (True, "")

    def start(self, users: int = 50_000, computers: int = 10_000, schools: int = 40) -> Self:
        """Fill and run it; returns when it answers. About 60 µs an object. Raises LabError."""
        self._slot = next((s for n in range(SLOTS) if (s := Slot.try_take("slapd", n)) is not None), None)
        if self._slot is None:
            raise LabError(f"all {SLOTS} slapd labs are in use")
        _clear(self._slot)
        atexit.register(self.stop)
        self.address, self.users, self.computers = f"127.88.0.{self._slot.number + 1}", users, computers
        self.codes = [f"S{n:03}" for n in range(schools)]
        self._dir = Path(tempfile.mkdtemp(prefix="spiritlevel-slapd-"))
        self._slot.note = str(self._dir)
        try:
            self._write()
            with (self.dir / "seed.ldif").open("w", encoding="utf-8") as out:
                out.writelines(objects(users, computers, self.codes, self.password))
            # -q and -s: the data are ours, and checking them against the schema would take longer than the tests.
            _run(["slapadd", "-q", "-s", "-f", str(self.dir / "slapd.conf"), "-l", str(self.dir / "seed.ldif")])
            self._serve()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and delete its data; does nothing when already stopped."""
        if self._slot is None:
            return
        slot, self._slot = self._slot, None
        atexit.unregister(self.stop)
        if self._server is not None:
            self._server.terminate()
            self._server.communicate(timeout=20)
            self._server = None
        if self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None
        slot.note = ""
        slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def dir(self) -> Path:
        """The lab's own folder. Raises LabError when it is not running."""
        if self._dir is None:
            raise LabError("the slapd lab is not running")
        return self._dir

    @property
    def url(self) -> str:
        """Where it answers over TLS; the certificate carries this address."""
        return f"ldaps://{self.address}"

    @property
    def ca_file(self) -> Path:
        """The authority that signed the server's certificate."""
        return self._authority

    def ldapsearch(self, base: str, scope: str, where: str, attributes: Sequence[str], page: int = 1000) -> None:
        """The same search by the distribution's ldapsearch, its answer thrown away. Raises LabError."""
        words = ["ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-H", self.url, "-D", self.bind, "-w", self.password]
        words += ["-b", base, "-s", scope, "-E", f"pr={page}/noprompt", where, *(attributes or ["1.1"])]
        env = {**os.environ, "LDAPTLS_CACERT": str(self.ca_file), "LDAPTLS_REQCERT": "demand", "LDAPRC": "/dev/null"}
        done = subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode not in (0, 32):  # 32: there is no such base
            raise LabError(f"ldapsearch: {done.stderr.decode(errors='replace').strip()}")

    # ------------------------------------------------------------------ making it
    def _write(self) -> None:
        ca = make_ca(self.dir, "Scale Lab CA")
        self._authority = ca.cert_path
        certificate, key = issue(self.dir, ca, ["localhost"], [self.address])
        (self.dir / "db").mkdir()
        (self.dir / "ad.schema").write_text("\n".join(schema()) + "\n", encoding="utf-8")
        contexts = {"domain": BASE, "config": CONFIG, "schema": SCHEMA, "root": BASE}
        rows = "".join(f"{attribute}: {contexts[name]}\n" for name, attribute in CONTEXTS.items())
        (self.dir / "root.ldif").write_text(f"dn:\n{rows}", encoding="utf-8")
        includes = "\n".join(f"include /etc/ldap/schema/{name}.schema" for name in SCHEMAS)
        (self.dir / "slapd.conf").write_text(
            f"""\
{includes}
include {self.dir}/ad.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {self.dir}/slapd.pid
TLSCACertificateFile {ca.cert_path}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
threads 4
rootDSE {self.dir}/root.ldif
database mdb
suffix "{BASE}"
rootdn "CN=admin,{BASE}"
directory {self.dir}/db
maxsize 8589934592
dbnosync
index objectClass,objectCategory eq
limits dn.exact="{self.bind}" size.soft=1000 size.hard=1000 size.pr=1000 size.prtotal=unlimited time=unlimited
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{self.bind}" read by anonymous auth by * none
""",
            encoding="utf-8",
        )

    def _serve(self) -> None:
        words = ["slapd", "-d", "none", "-f", str(self.dir / "slapd.conf"), "-h", f"{self.url}/"]
        self._server = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        end, problem = time.monotonic() + 30, ""
        while time.monotonic() < end and self._server.poll() is None:
            try:
                self.ldapsearch(BASE, "base", "(objectClass=*)", ["objectClass"])
                return
            except LabError as failed:
                problem = str(failed)
            time.sleep(0.05)
        self._server.kill()
        said = self._server.communicate(timeout=10)[1].decode(errors="replace")[-500:]
        raise LabError(f"slapd does not answer on {self.address}: {problem} {said}")


def _clear(slot: Slot) -> None:
    """Stop what a dead owner left running, and delete its data."""
    if not slot.note:
        return
    with contextlib.suppress(OSError, ValueError):
        pid = int((Path(slot.note) / "slapd.pid").read_text(encoding="ascii"))
        if slot.note.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(slot.note, ignore_errors=True)
    slot.note = ""


def _run(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{words[0]}: {done.stderr.strip()[-500:]}")


# ---------------------------------------------------------------------------------------------------------- schema
def schema() -> Iterator[str]:
    """Every attribute that a search asks for, and AD's classes, as slapd's own schema language says them."""
    known = set(BUILT_IN.lower().split())
    for name in SCHEMAS:
        text = Path(f"/etc/ldap/schema/{name}.schema").read_text(encoding="utf-8")
        for one, many in re.findall(r"NAME\s+(?:'([^']+)'|\(([^)]*)\))", text):
            known |= {n.strip("'").lower() for n in (one or many).split()}
    wanted = {a for s in SEARCHES.values() for a in s.attributes()} | set(CONTEXTS.values())
    wanted |= {*WRITTEN.split(), *_DOMAIN}
    new = sorted(a for a in wanted if a.lower() not in known)
    for number, name in enumerate(new):
        kind = "1.3.6.1.4.1.1466.115.121.1.40" if BINARY.match(name) else "1.3.6.1.4.1.1466.115.121.1.15"
        rule = "octetStringMatch" if BINARY.match(name) else "caseIgnoreMatch"
        yield f"attributetype ( 1.3.6.1.4.1.99999.1.{number} NAME '{name}' EQUALITY {rule} SYNTAX {kind} )"
    may = " $ ".join(sorted(wanted))
    for number, name in enumerate(c for c in CLASSES if c.lower() not in known):
        yield f"objectclass ( 1.3.6.1.4.1.99999.2.{number} NAME '{name}' SUP top STRUCTURAL MAY ( {may} ) )"


# ------------------------------------------------------------------------------------------------------------ data
def objects(users: int, computers: int, codes: Sequence[str], password: str) -> Iterator[str]:
    """The tree as LDIF, parents first."""
    chance = random.Random(11)
    numbers = iter(range(1100, 10_000_000))
    yield _entry(BASE, "domainDNS", objectSid=_sid(None), **_DOMAIN)
    yield _entry(f"CN=scan,{BASE}", "applicationProcess", "simpleSecurityObject", userPassword=password)
    yield _entry(CONFIG, "container")
    yield _entry(SCHEMA, "dMD", objectVersion="88", objectGUID=_guid(chance))
    known = sorted({a for s in SEARCHES.values() for a in s.attributes()})
    for name in known:
        yield _entry(f"CN={name},{SCHEMA}", "attributeSchema", lDAPDisplayName=name)
    yield _entry(
        f"CN=Partitions,{CONFIG}", "crossRefContainer", objectGUID=_guid(chance), **{"msDS-Behavior-Version": "7"}
    )
    for place in (
        f"CN=Services,{CONFIG}",
        f"CN=Windows NT,CN=Services,{CONFIG}",
        f"CN=System,{BASE}",
        f"CN=Users,{BASE}",
    ):
        yield _entry(place, "container")
    yield _entry(f"CN=Directory Service,CN=Windows NT,CN=Services,{CONFIG}", "nTDSService", objectGUID=_guid(chance))
    yield _entry(f"CN=Policies,CN=System,{BASE}", "container")
    yield _entry(f"CN=Password Settings Container,CN=System,{BASE}", "msDS-PasswordSettingsContainer")
    policy = {"displayName": "Default Domain Policy", "versionNumber": "3", "flags": "0"}
    yield _entry(f"CN={{1}},CN=Policies,CN=System,{BASE}", "groupPolicyContainer", objectGUID=_guid(chance), **policy)
    for place in (
        "OU=Trust",
        "OU=Leavers,OU=Trust",
        "OU=Service Accounts,OU=Trust",
        "OU=Schools",
        "OU=Domain Controllers",
    ):
        yield _unit(f"{place},{BASE}", chance)
    for code in codes:
        for place in ("", "OU=Staff,", "OU=Pupils,", "OU=Computers,", "OU=Groups,"):
            yield _unit(f"{place}OU={code},OU=Schools,{BASE}", chance)
    admin = f"CN=Administrator,CN=Users,{BASE}"
    yield _entry(admin, "user", **_account("Administrator", 500, 512, 513, chance))
    yield _entry(f"CN=krbtgt,CN=Users,{BASE}", "user", **_account("krbtgt", 502, 514, 513, chance))
    members: dict[str, list[str]] = {}
    for n in range(users):
        code, role = codes[n % len(codes)], "Pupils" if n % 7 else "Staff"
        first, last = chance.choice(FIRST), chance.choice(LAST)
        place = f"CN={first} {last} {n},OU={role},OU={code},OU=Schools,{BASE}"
        login = f"{first[0]}{last}{n}".lower().encode("ascii", "ignore").decode()
        members.setdefault(f"GRP-{code}-{role}", []).append(place)
        upn = f"{login}@{code.lower()}.scale-mat.example"
        control = chance.choice((512, 512, 512, 512, 66048, 514, 544))
        person = _account(login, next(numbers), control, 513, chance)
        yield _entry(place, "user", userPrincipalName=upn, mail=upn, displayName=f"{first} {last}", **person)
    for name, people in members.items():
        code = name.split("-")[1]
        group = {"sAMAccountName": name, "groupType": "-2147483646", "objectSid": _sid(next(numbers))}
        yield _entry(f"CN={name},OU=Groups,OU={code},OU=Schools,{BASE}", "group", member=people, **group)
    for name, number, kind, inside in _GROUPS:
        top = {"sAMAccountName": name, "groupType": kind, "objectSid": _sid(number), "isCriticalSystemObject": "TRUE"}
        yield _entry(f"CN={name},CN=Users,{BASE}", "group", member=[admin] if inside else [], **top)
    yield _machine(f"CN=DC1,OU=Domain Controllers,{BASE}", "DC1", 1000, 0x82000, 516, chance)
    for n in range(computers):
        code = codes[n % len(codes)]
        name = f"{code}-PC{10000 + n}"
        yield _machine(f"CN={name},OU=Computers,OU={code},OU=Schools,{BASE}", name, next(numbers), 4096, 515, chance)


_DOMAIN = {
    "minPwdLength": "12",
    "pwdHistoryLength": "24",
    "pwdProperties": "1",
    "lockoutThreshold": "10",
    "lockoutDuration": "-18000000000",
    "lockOutObservationWindow": "-18000000000",
    "maxPwdAge": "-9223372036854775808",
    "minPwdAge": "0",
    "ms-DS-MachineAccountQuota": "0",
    "msDS-Behavior-Version": "7",
}
_DOMAIN_GROUP = "-2147483646"
_GROUPS: list[tuple[str, int | str, str, bool]] = [
    ("Domain Admins", 512, _DOMAIN_GROUP, True),
    ("Domain Users", 513, _DOMAIN_GROUP, False),
    ("Schema Admins", 518, _DOMAIN_GROUP, False),
    ("Enterprise Admins", 519, _DOMAIN_GROUP, False),
    ("Group Policy Creator Owners", 520, _DOMAIN_GROUP, False),
    ("Protected Users", 525, _DOMAIN_GROUP, False),
    ("Administrators", "S-1-5-32-544", "-2147483643", True),
    ("Account Operators", "S-1-5-32-548", "-2147483643", False),
    ("Server Operators", "S-1-5-32-549", "-2147483643", False),
    ("Print Operators", "S-1-5-32-550", "-2147483643", False),
    ("Backup Operators", "S-1-5-32-551", "-2147483643", False),
]


def _unit(place: str, chance: random.Random) -> str:
    guarded = descriptor("S-1-5-32-544", "S-1-5-32-544", [Ace("S-1-1-0", DELETE | DELETE_TREE, deny=True)])
    values = {"ou": place[3:].split(",", 1)[0], "objectGUID": _guid(chance), "nTSecurityDescriptor": guarded}
    return _entry(place, "organizationalUnit", **values)


def _account(login: str, number: int, control: int, primary: int, chance: random.Random) -> dict[str, Any]:
    made = NOW - timedelta(days=chance.randint(30, 3000))
    return {
        "sAMAccountName": login,
        "objectSid": _sid(number),
        "objectGUID": _guid(chance),
        "objectCategory": [f"CN=Person,{SCHEMA}", "person"],
        "userAccountControl": str(control),
        "primaryGroupID": str(primary),
        "accountExpires": "9223372036854775807",
        "pwdLastSet": _filetime(chance.uniform(1, 900)),
        "lastLogonTimestamp": _filetime(chance.uniform(0, 400)),
        "whenCreated": f"{made:%Y%m%d}080000.0Z",
        "logonCount": "7",
        "badPwdCount": "0",
        "description": f"Account {number}",
    }


def _machine(place: str, name: str, number: int, control: int, primary: int, chance: random.Random) -> str:
    values = _account(f"{name}$", number, control, primary, chance)
    values["objectCategory"] = [f"CN=Computer,{SCHEMA}", "computer"]
    system = {"operatingSystem": "Windows 11 Enterprise", "operatingSystemVersion": "10.0 (26100)"}
    return _entry(place, "computer", dNSHostName=f"{name.lower()}.ad.scale-mat.example", **system, **values)


def _entry(place: str, *classes: str, **values: Any) -> str:
    first, _, value = place.split(",", 1)[0].partition("=")
    named = {} if first.lower() in (k.lower() for k in values) else {first.lower(): value}
    lines = [_line("dn", place), *(_line("objectClass", c) for c in classes)]
    for name, given in {**named, **values}.items():
        lines += [_line(name, one) for one in (given if isinstance(given, list) else [given])]
    return "".join(lines) + "\n"


def _line(name: str, value: str | bytes) -> str:
    raw = value if isinstance(value, bytes) else value.encode()
    plain = isinstance(value, str) and value.isascii() and value[:1] not in (" ", ":", "<", "")
    return f"{name}: {value!s}\n" if plain else f"{name}:: {base64.b64encode(raw).decode()}\n"


def _sid(number: int | str | None) -> bytes:
    if isinstance(number, str):
        parts = [int(p) for p in number.split("-")[3:]]
    else:
        parts = [21, 1111111111, 2222222222, 3333333333, *([] if number is None else [number])]
    return b"\x01" + bytes([len(parts)]) + (5).to_bytes(6, "big") + struct.pack(f"<{len(parts)}I", *parts)


def _guid(chance: random.Random) -> bytes:
    return chance.randbytes(16)


def _filetime(days: float) -> str:
    return str(int((NOW - timedelta(days=days) - _START).total_seconds()) * 10_000_000)
