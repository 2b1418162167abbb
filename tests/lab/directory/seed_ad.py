#!/usr/bin/env python3
"""Fill a freshly provisioned (stopped) Samba AD with a drifted multi-academy trust, and write what a scan must find.

Runs with the system's python3 (Debian's `samba` bindings), offline, straight on sam.ldb; who is chosen for which fault
never varies (seed 7). Writes OUT/expected.json, {row id: [sorted labels of offenders]}, and OUT/schools.json, the
schools that the trust's baseline has. Reads from top to bottom: each planted fault stands beside what it must be found
as.
"""

# mypy: ignore-errors
# ruff: noqa: F821  (`db` is opened, closed and opened again: see the bulk part)

import argparse
import datetime as dt
import json
import os
import random
import struct
import sys
import time
import uuid
from pathlib import Path

import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB

ap = argparse.ArgumentParser()
ap.add_argument("--conf", required=True)
ap.add_argument("--out", required=True)
ap.add_argument("--users", type=int, default=500)
ap.add_argument("--schools", type=int, default=5)
ap.add_argument("--scan-password", required=True)
ap.add_argument("--host", default="dc1")
A = ap.parse_args()
if A.users < 180:
    print("raising --users to 180: the planted faults need that many people")
    A.users = 180
if not 5 <= A.schools <= 400:
    sys.exit("--schools must be 5 to 400")
random.seed(7)
lp = LoadParm()
lp.load(A.conf)
priv = lp.get("private dir")
db = SamDB(url=os.path.join(priv, "sam.ldb"), lp=lp, session_info=system_session())
DOM = str(db.domain_dn())
CFG = str(db.get_config_basedn())
SCH = str(db.get_schema_basedn())
SID = db.get_domain_sid()
DNSDOM = db.domain_dns_name()
MAIL = DNSDOM.split(".", 1)[1]  # ad.riverside-mat.example -> riverside-mat.example
NOW = dt.datetime.now(dt.UTC)
EPOCH = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)


def ft(days_ago):
    return str(int((NOW - dt.timedelta(days=days_ago) - EPOCH).total_seconds()) * 10**7)


def gt(days_ago):
    return (NOW - dt.timedelta(days=days_ago)).strftime("%Y%m%d%H%M%S.0Z")


EXP = {}


def expect(cid, *keys):
    EXP.setdefault(cid, []).extend(keys)


RAW = {}  # dn -> {attr: value}: written under the modules afterwards


def raw(dn, **kw):
    RAW.setdefault(str(dn), {}).update({k.replace("__", "-"): v for k, v in kw.items()})


def add(dn, cls, controls=None, **kw):
    m = {"dn": dn, "objectClass": cls}
    m.update(
        {k.replace("__", "-"): (v if isinstance(v, (list, bytes)) else str(v)) for k, v in kw.items() if v is not None}
    )
    db.add(m, controls=controls)
    return dn


def mod(dn, flag=ldb.FLAG_MOD_REPLACE, controls=None, **kw):
    m = ldb.Message(ldb.Dn(db, dn))
    for k, v in kw.items():
        k = k.replace("__", "-")
        m[k] = ldb.MessageElement(v if isinstance(v, (list, bytes)) else str(v), flag, k)
    db.modify(m, controls=controls)


def sd(sddl):
    return ndr_pack(security.descriptor.from_sddl(sddl, security.dom_sid(SID)))


def add_aces(dn, aces):  # append ACEs to an existing DACL
    res = db.search(dn, ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"])
    d = ndr_unpack(security.descriptor, res[0]["nTSecurityDescriptor"][0])
    s = d.as_sddl(security.dom_sid(SID))
    i = s.index("D:")
    j = s.find("S:", i)
    j = len(s) if j < 0 else j
    mod(dn, nTSecurityDescriptor=sd(s[:j] + aces + s[j:]))


# ------------------------------------------------------------------ schema: LAPS, legacy and Windows, in a transaction
lp.set("dsdb:schema update allowed", "yes")


def attr(name, oid, syntax, om, single=True, sf=0):
    add(
        f"CN={name},{SCH}",
        ["top", "attributeSchema"],
        lDAPDisplayName=name,
        attributeID=oid,
        attributeSyntax=syntax,
        oMSyntax=om,
        isSingleValued="TRUE" if single else "FALSE",
        searchFlags=sf,
        schemaIDGUID=uuid.uuid5(uuid.NAMESPACE_OID, oid).bytes_le,
    )


LEGACY_LAPS = "1.2.840.113556.1.8000.2554.50051.45980.28112.18903.35903.6685103.1224907.2."
WINDOWS_LAPS = "1.2.840.113556.1.6.44.1."
db.transaction_start()
attr("ms-Mcs-AdmPwd", LEGACY_LAPS + "1", "2.5.5.5", 19, sf=904)
attr("ms-Mcs-AdmPwdExpirationTime", LEGACY_LAPS + "2", "2.5.5.16", 65)
attr("msLAPS-PasswordExpirationTime", WINDOWS_LAPS + "1", "2.5.5.16", 65)
attr("msLAPS-Password", WINDOWS_LAPS + "2", "2.5.5.5", 19, sf=904)
attr("msLAPS-EncryptedPassword", WINDOWS_LAPS + "3", "2.5.5.10", 4, sf=648)
db.transaction_commit()
db.set_schema_update_now()
mod(
    f"CN=Computer,{SCH}",
    ldb.FLAG_MOD_ADD,
    mayContain=[
        "ms-Mcs-AdmPwd",
        "ms-Mcs-AdmPwdExpirationTime",
        "msLAPS-PasswordExpirationTime",
        "msLAPS-Password",
        "msLAPS-EncryptedPassword",
    ],
)
db.set_schema_update_now()

t0 = time.time()
db.transaction_start()
# ------------------------------------------------------------------ structure
NAMES = [
    "Oakfield Primary",
    "Elm Grove Academy",
    "Ashdown High",
    "Birchwood Juniors",
    "Hazel Park School",
    "Maple Lodge",
    "Rowan Bank",
    "Cedar Hall",
    "Larch Hill",
    "Alder Brook",
]
CODES = ["OAK", "ELM", "ASH", "BIR", "HAZ", "MAP", "ROW", "CED", "LAR", "ALD"]
while len(CODES) < A.schools:
    CODES.append(f"S{len(CODES):02d}")
    NAMES.append(f"School {len(NAMES)}")
CODES = CODES[: A.schools]


def suffix(c):
    return f"{c.lower()}.{MAIL}"


SCHOOLS = f"OU=Schools,{DOM}"
TRUST = f"OU=Trust,{DOM}"
for n in (SCHOOLS, TRUST, f"OU=Admins,{TRUST}", f"OU=Service Accounts,{TRUST}", f"OU=Leavers,{TRUST}"):
    add(n, "organizationalUnit")
for c, n in zip(CODES, NAMES, strict=False):
    add(f"OU={c},{SCHOOLS}", "organizationalUnit", description=n)
    for s in ("Staff", "Pupils", "Computers", "Groups"):
        if c == CODES[-1] and s == "Groups":
            continue  # DRIFT the last school has no Groups OU
        add(f"OU={s},OU={c},{SCHOOLS}", "organizationalUnit")
expect("DIR-STD-002", f"OU={CODES[-1]}: Groups")
add(f"OU=OldSchool,{SCHOOLS}", "organizationalUnit")  # DRIFT not in the baseline
expect("DIR-STD-001", "extra: OldSchool", "missing: WIL")  # WIL is in the baseline, not in the directory
protected = f"OU={CODES[0]},{SCHOOLS}"
add_aces(protected, "(D;;SDDT;;;WD)")
mod(f"CN=Partitions,{CFG}", ldb.FLAG_MOD_ADD, uPNSuffixes=[suffix(c) for c in CODES if c != CODES[2]])
expect("DIR-STD-010", suffix(CODES[2]), suffix("WIL"))


# ------------------------------------------------------------------ groups
def grp_ou(c):
    return f"OU={c},{SCHOOLS}" if c == CODES[-1] else f"OU=Groups,OU={c},{SCHOOLS}"


GRP = {}


def group(name, ou, **kw):
    GRP[name] = add(f"CN={name},{ou}", "group", sAMAccountName=name, **kw)
    return GRP[name]


for c in CODES:
    for g in ("Staff", "Pupils", "Admins"):
        if c == CODES[1] and g == "Admins":
            expect("DIR-STD-004", f"GRP-{c}-Admins")
            continue  # DRIFT
        group(f"GRP-{c}-{g}", grp_ou(c))
for g in ("Staff", "Pupils", "Admins"):
    expect("DIR-STD-004", f"GRP-WIL-{g}")
group("wifi users old", grp_ou(CODES[0]))
expect("DIR-STD-003", "wifi users old")  # DRIFT name
empty = group(f"GRP-{CODES[0]}-Minibus", grp_ou(CODES[0]))  # DRIFT empty
group("GRP-TRUST-Tier0", f"OU=Admins,{TRUST}")
group("GRP-TRUST-HelpDesk", f"OU=Admins,{TRUST}")
group("GRP-TRUST-AllPupils", TRUST)

# ------------------------------------------------------------------ people
FIRST = """
    Amelia Noah Olivia Arthur Isla George Ava Leo Mia Oscar Freya Theo Lily Harry Zara Ibrahim Ayesha Kofi Chloe
    Dylan Sofia Jakub Priya Hassan Grace Ewan Nia Rhys Maeve Callum
""".split()
LAST = """
    Smith Jones Taylor Brown Williams Wilson Johnson Davies Patel Khan Wright Walker White Edwards Hughes Green
    Hall Thomas Begum Clarke Ahmed Evans Roberts O'Brien Nowak Murphy Singh Cohen Mensah Scott
""".split()
people, members = [], {g: [] for g in GRP}
db.transaction_commit()
del db  # bulk part on a second handle: without batch_mode every add copies the index lists (quadratic)
db = SamDB(
    url=os.path.join(priv, "sam.ldb"),
    lp=lp,
    session_info=system_session(),
    options=["batch_mode:1", "transaction_index_cache_size:500000"],
)
db.transaction_start()
for i in range(A.users):
    c = CODES[i % len(CODES)]
    pupil = i % 7 != 0
    first, last = random.choice(FIRST), random.choice(LAST)
    base = f"{first[0]}{last}".lower().replace("'", "")
    sam = (f"{random.randint(19, 25)}{base}{i}" if pupil else f"{base}{i}")[:20]
    up = f"{sam}@{suffix(c)}"
    dn = f"CN={first} {last} {i},OU={'Pupils' if pupil else 'Staff'},OU={c},{SCHOOLS}"
    add(
        dn,
        "user",
        sAMAccountName=sam,
        userPrincipalName=up,
        mail=up,
        givenName=first,
        sn=last,
        displayName=f"{first} {last}",
        department="Pupils" if pupil else random.choice(["Teaching", "Office", "Site", "Leadership"]),
        company=NAMES[CODES.index(c)],
        employeeID=str(100000 + i),
        userAccountControl=512,
    )
    raw(
        dn,
        pwdLastSet=ft(random.randint(5, 300)),
        lastLogonTimestamp=ft(random.randint(0, 40)),
        whenCreated=gt(random.randint(400, 900)),
    )
    members[f"GRP-{c}-{'Pupils' if pupil else 'Staff'}"].append(dn)
    people.append((dn, sam, c, pupil))
    if i and i % 5000 == 0:
        db.transaction_commit()
        db.transaction_start()
        print(i, round(time.time() - t0, 1), flush=True)
ncomp = max(40, A.users // 5)
ok = []


def computer(name, ou, os_="Windows 11 Enterprise", ver="10.0 (26100)", uac=4096, laps=-20, seen=None, **kw):
    dn = add(
        f"CN={name},{ou}",
        "computer",
        sAMAccountName=name + "$",
        userAccountControl=uac,
        dNSHostName=f"{name.lower()}.{DNSDOM}",
        operatingSystem=os_,
        operatingSystemVersion=ver,
        servicePrincipalName=[f"HOST/{name}", f"HOST/{name.lower()}.{DNSDOM}"],
        **({"msLAPS-PasswordExpirationTime": ft(laps)} if laps is not None else {}),
        **kw,
    )
    raw(
        dn,
        lastLogonTimestamp=ft(random.randint(0, 30) if seen is None else seen),
        pwdLastSet=ft(10),
        whenCreated=gt(600),
    )
    return dn


for i in range(ncomp):
    c = CODES[i % len(CODES)]
    nm = f"{c}-{'LT' if i % 3 else 'PC'}{1000 + i}"
    ok.append((computer(nm, f"OU=Computers,OU={c},{SCHOOLS}"), nm, c))
    if i and i % 5000 == 0:
        db.transaction_commit()
        db.transaction_start()
db.transaction_commit()
del db
db = SamDB(url=os.path.join(priv, "sam.ldb"), lp=lp, session_info=system_session())
db.transaction_start()
print("bulk done", round(time.time() - t0, 1), flush=True)
for g, ms in members.items():
    if ms and GRP[g] != empty:
        mod(GRP[g], ldb.FLAG_MOD_ADD, member=ms)
print("members done", round(time.time() - t0, 1), flush=True)
expect("DIR-STD-012", *[g for g in GRP if not members.get(g) and GRP[g].endswith(SCHOOLS)])
pool_p = [p for p in people if p[3]]
pool_s = [p for p in people if not p[3]]
random.shuffle(pool_p)
random.shuffle(pool_s)


def P(n):
    return [pool_p.pop() for _ in range(n)]


def S(n):
    return [pool_s.pop() for _ in range(n)]


n = max(1, A.users // 100)


def drift(cid, who, fn):
    for dn, sam, _c, _pu in who:
        fn(dn)
        expect(cid, sam)


drift("DIR-ACC-002", S(n), lambda d: mod(d, userAccountControl=512 + 65536))
drift("DIR-ACC-003", P(n), lambda d: mod(d, userAccountControl=512 + 32))
drift("DIR-ACC-004", P(1), lambda d: mod(d, userAccountControl=512 + 128))
drift("DIR-ACC-005", S(2), lambda d: mod(d, userAccountControl=512 + 4194304))
drift("DIR-ACC-006", S(1), lambda d: mod(d, userAccountControl=512 + 2097152))
drift("DIR-ACC-007", P(4 * n) + S(n), lambda d: raw(d, lastLogonTimestamp=ft(random.randint(120, 700))))
drift("DIR-ACC-008", P(2), lambda d: raw(d, lastLogonTimestamp=None))
for dn, sam, _c, _pu in P(1):
    raw(dn, sIDHistory=ndr_pack(security.dom_sid("S-1-5-21-1111-2222-3333-1105")))
    expect("DIR-ACC-011", sam)
drift("DIR-ACC-013", S(2), lambda d: mod(d, description="Supply cover. Password is Summer2019"))
drift("DIR-ACC-014", S(1), lambda d: mod(d, unixUserPassword="x1y2"))
drift("DIR-ACC-017", P(3), lambda d: raw(d, pwdLastSet="0"))
drift("DIR-ACC-019", S(2), lambda d: mod(d, accountExpires=ft(60)))
drift("DIR-ACC-020", S(1), lambda d: mod(d, altSecurityIdentities="X509:<S>CN=someone"))
drift("DIR-STD-006", S(2), lambda d: mod(d, mail=[]))
drift("DIR-STD-005", P(2), lambda d: mod(d, userPrincipalName=f"old{random.randint(1, 10**6)}@{DNSDOM}"))
EXP["DIR-STD-007"] = list(EXP["DIR-STD-005"])
(d1, s1, c1, _), (d2, s2, c2, _) = S(2)
mod(d2, proxyAddresses=["SMTP:" + str(db.search(d1, ldb.SCOPE_BASE, attrs=["mail"])[0]["mail"][0])])
expect("DIR-STD-013", str(db.search(d1, ldb.SCOPE_BASE, attrs=["mail"])[0]["mail"][0]).lower())
((dn, sam, c, _),) = S(1)
grpx = group(f"GRP-{CODES[0]}-Chess Club", grp_ou(CODES[0]))
mod(grpx, ldb.FLAG_MOD_ADD, member=dn)
mod(
    dn,
    ldb.FLAG_MOD_REPLACE,
    primaryGroupID=str(
        db.search(grpx, ldb.SCOPE_BASE, attrs=["primaryGroupToken", "objectSid"])[0]["primaryGroupToken"][0]
    ),
)
expect("DIR-ACC-012", sam)
# Its only member is there through the primary group: invisible to (member=*).
EXP["DIR-STD-012"].append(f"GRP-{CODES[0]}-Chess Club")


def account(sam, ou, uac=512, pwd=None, **kw):
    dn = add(
        f"CN={sam},{ou}", "user", sAMAccountName=sam, userPrincipalName=f"{sam}@{DNSDOM}", userAccountControl=uac, **kw
    )
    if pwd:
        db.setpassword(f"(sAMAccountName={sam})", pwd)
    raw(dn, lastLogonTimestamp=ft(3), whenCreated=gt(500), **({} if pwd else {"pwdLastSet": ft(100)}))
    return dn


# leavers, generic, stray accounts
account("jleaver1", f"OU=Leavers,{TRUST}")
expect("DIR-STD-011", "jleaver1")
account("jleaver2", f"OU=Leavers,{TRUST}", uac=514)
account("supply1", f"OU=Staff,OU={CODES[0]},{SCHOOLS}")
expect("DIR-STD-014", "supply1")
expect("DIR-STD-006", "supply1")
expect("DIR-STD-005", "supply1")
account("printadmin", f"CN=Users,{DOM}")
expect("DIR-STD-008", "printadmin")
account("MSOL_0a1b2c", f"OU=Service Accounts,{TRUST}", uac=512 + 65536)
account("MSOL_old99", f"OU=Service Accounts,{TRUST}", uac=512 + 65536)
expect("DIR-DOM-018", "MSOL_0a1b2c", "MSOL_old99")
account("svc-scan", f"OU=Service Accounts,{TRUST}", uac=512 + 65536, pwd=A.scan_password)
# ------------------------------------------------------------------ service accounts with SPNs
SA = f"OU=Service Accounts,{TRUST}"
d = account(
    "svc-library",
    SA,
    uac=512 + 65536,
    servicePrincipalName=["HTTP/library." + DNSDOM],
    msDS__SupportedEncryptionTypes=24,
)
raw(d, pwdLastSet=ft(1500))
expect("DIR-ACC-016", "svc-library")
d = account("svc-sims", SA, uac=512 + 65536, servicePrincipalName=["MSSQLSvc/sims." + DNSDOM + ":1433"])
raw(d, pwdLastSet=ft(20))
expect("DIR-ACC-015", "svc-sims")
d = account(
    "svc-web",
    SA,
    uac=512 + 65536 + 16777216,
    servicePrincipalName=["HTTP/intranet." + DNSDOM],
    msDS__SupportedEncryptionTypes=24,
    msDS__AllowedToDelegateTo=[f"cifs/{A.host}.{DNSDOM}"],
)
raw(d, pwdLastSet=ft(20))
expect("DIR-DEL-003", "svc-web")
expect("DIR-DEL-004", "svc-web")
# ------------------------------------------------------------------ administrators
AD = f"OU=Admins,{TRUST}"


def g(rid=None, cn=None):
    return f"CN={cn},CN=Users,{DOM}"


DA, EA, SCA = g(cn="Domain Admins"), g(cn="Enterprise Admins"), g(cn="Schema Admins")
PU = g(cn="Protected Users")


def B(cn):
    return f"CN={cn},CN=Builtin,{DOM}"


adm = {}
for k, uac, kw in (
    ("adm-alice", 512 + 1048576, {}),
    ("adm-bob", 512, {}),
    ("adm-carol", 512 + 65536, {"mail": f"carol@{MAIL}"}),
    ("adm-dave", 512, {"servicePrincipalName": ["HTTP/adm." + DNSDOM]}),
    ("adm-eve", 512 + 4194304, {}),
    ("adm-frank", 512 + 1048576, {}),
    ("adm-gone", 514, {}),
    ("adm-was", 512, {}),
):
    adm[k] = account(k, AD, uac=uac, **kw)
mod(DA, ldb.FLAG_MOD_ADD, member=[adm["adm-alice"], adm["adm-bob"], adm["adm-carol"], GRP["GRP-TRUST-Tier0"]])
mod(
    GRP["GRP-TRUST-Tier0"], ldb.FLAG_MOD_ADD, member=[adm["adm-dave"], adm["adm-eve"], GRP["GRP-TRUST-HelpDesk"]]
)  # nested twice
mod(GRP["GRP-TRUST-HelpDesk"], ldb.FLAG_MOD_ADD, member=[adm["adm-frank"]])
mod(EA, ldb.FLAG_MOD_ADD, member=[adm["adm-bob"]])
expect("DIR-ADM-002", "adm-bob")
mod(SCA, ldb.FLAG_MOD_ADD, member=[adm["adm-carol"]])
expect("DIR-ADM-003", "adm-carol")
mod(B("Backup Operators"), ldb.FLAG_MOD_ADD, member=[adm["adm-was"]])
expect("DIR-ADM-004", "Backup Operators")
mod(B("Administrators"), ldb.FLAG_MOD_ADD, member=[adm["adm-gone"]])
expect("DIR-ADM-019", "adm-gone")
mod(PU, ldb.FLAG_MOD_ADD, member=[adm["adm-alice"]])
admins = ["adm-alice", "adm-bob", "adm-carol", "adm-dave", "adm-eve", "adm-frank"]
expect("DIR-ADM-001", *admins, "Administrator")
expect("DIR-ADM-005", "GRP-TRUST-Tier0", "GRP-TRUST-HelpDesk")
expect("DIR-ADM-006", *[a for a in admins if a != "adm-alice"])
for a in [*admins, "adm-gone", "adm-was"]:
    mod(adm[a], adminCount=1)
((dn, sam, c, _),) = S(1)
mod(dn, adminCount=1)
expect("DIR-ADM-007", sam)
expect("DIR-ADM-020", sam)
expect("DIR-ADM-010", sam)
expect("DIR-ADM-013", sam)  # a teacher who was an administrator once
expect("DIR-ADM-008", "adm-dave")
expect("DIR-ADM-009", "adm-eve")
expect("DIR-ACC-005", "adm-eve")
expect("DIR-ACC-015", "adm-dave")
expect("DIR-ADM-010", "adm-bob", "adm-carol", "adm-dave", "adm-eve", "adm-was")
raw(adm["adm-bob"], pwdLastSet=ft(900))
expect("DIR-ADM-011", "adm-bob")
expect("DIR-ADM-012", "adm-carol")
expect("DIR-ACC-002", "adm-carol")
expect("DIR-ADM-013", "adm-carol")
raw(adm["adm-eve"], lastLogonTimestamp=ft(300))
expect("DIR-ADM-014", "adm-eve")
expect("DIR-ACC-007", "adm-eve")
d = account("adm-dns", AD)
mod(
    db.search(DOM, ldb.SCOPE_SUBTREE, "(sAMAccountName=DnsAdmins)", attrs=[])[0].dn.get_linearized(),
    ldb.FLAG_MOD_ADD,
    member=[d],
)
expect("DIR-ADM-015", "DnsAdmins")
d = account("adm-gpo", AD)
mod(g(cn="Group Policy Creator Owners"), ldb.FLAG_MOD_ADD, member=[d])
expect("DIR-ADM-016", "adm-gpo")
((dn, sam, c, _),) = P(1)
mod(B("Backup Operators"), ldb.FLAG_MOD_ADD, member=[dn])
expect("DIR-ADM-018", sam)  # a PUPIL in Backup Operators
mod(B("Pre-Windows 2000 Compatible Access"), ldb.FLAG_MOD_ADD, member=["<SID=S-1-1-0>"])
expect(
    "DIR-ADM-017", "Pre-Windows 2000 Compatible Access"
)  # Samba resolves it to CN=Everyone,CN=WellKnown Security Principals
mod(g(cn="Cert Publishers"), ldb.FLAG_MOD_ADD, member=[adm["adm-bob"]])
expect("DIR-ADM-021", "Cert Publishers")
# ------------------------------------------------------------------ domain-wide settings
mod(DOM, ms__DS__MachineAccountQuota=10)
expect("DIR-CMP-001", DOM)
mod(
    DOM,
    lockoutThreshold=0,
    pwdHistoryLength=24,
    minPwdLength=7,
    pwdProperties=1 + 16,
    lockoutDuration="-3000000000",
    lockOutObservationWindow="-3000000000",
    maxPwdAge=str(-42 * 864 * 10**9),
)
for c in ("DIR-PWD-001", "DIR-PWD-003", "DIR-PWD-004", "DIR-PWD-005", "DIR-PWD-006"):
    expect(c, DOM)
raw(f"CN=krbtgt,CN=Users,{DOM}", pwdLastSet=ft(1200))
expect("DIR-ACC-001", "krbtgt")
raw(f"CN=Guest,CN=Users,{DOM}", userAccountControl=str(512 + 65536 + 32))
expect("DIR-ACC-009", "Guest")
expect("DIR-ACC-002", "Guest")
expect("DIR-ACC-003", "Guest")
raw(f"CN=Administrator,CN=Users,{DOM}", lastLogonTimestamp=ft(2))
expect("DIR-ACC-010", "Administrator")
expect("DIR-ADM-010", "Administrator")
DSVC = f"CN=Directory Service,CN=Windows NT,CN=Services,{CFG}"
mod(DSVC, dSHeuristics="0000002001000001", tombstoneLifetime=60)
expect("DIR-DOM-005", DSVC)
expect("DIR-DOM-006", DSVC)
expect("DIR-DOM-004", DSVC)
expect("DIR-DOM-001", DOM)
expect("DIR-DOM-002", f"CN=Partitions,{CFG}")
expect("DIR-DOM-003", "(none)")
expect("DIR-DOM-007", DOM)
expect("DIR-DOM-008", DOM)
expect("DIR-DOM-009", DOM)
expect("DIR-DOM-010", f"{A.host.upper()}")
expect("DIR-DOM-012", "(none)")
expect("DIR-DOM-015", SCH)
add(f"CN=10.20.0.0/16,CN=Subnets,CN=Sites,{CFG}", "subnet")
expect("DIR-DOM-011", "10.20.0.0/16")
add(f"CN=10.30.0.0/16,CN=Subnets,CN=Sites,{CFG}", "subnet", siteObject=f"CN=Default-First-Site-Name,CN=Sites,{CFG}")
# password settings objects
PSC = f"CN=Password Settings Container,CN=System,{DOM}"


def pso(name, prec, length, thr, rev="FALSE", to=None):
    return add(
        f"CN={name},{PSC}",
        "msDS-PasswordSettings",
        msDS__PasswordSettingsPrecedence=prec,
        msDS__PasswordReversibleEncryptionEnabled=rev,
        msDS__PasswordHistoryLength=5,
        msDS__PasswordComplexityEnabled="FALSE",
        msDS__MinimumPasswordLength=length,
        msDS__MinimumPasswordAge="0",
        msDS__MaximumPasswordAge="-9223372036854775808",
        msDS__LockoutThreshold=thr,
        msDS__LockoutObservationWindow="-9000000000",
        msDS__LockoutDuration="-9000000000",
        msDS__PSOAppliesTo=to,
    )


pso("PSO-Admins", 10, 15, 5, to=GRP["GRP-TRUST-Tier0"])
expect("DIR-PWD-011", "(none)")  # DRIFT applies to a nested group, not to Domain Admins
pso("PSO-Infants", 50, 4, 0, rev="TRUE", to=GRP[f"GRP-{CODES[0]}-Pupils"])
expect("DIR-PWD-007", "PSO-Infants")
expect("DIR-PWD-008", "PSO-Infants")
expect("DIR-PWD-009", "PSO-Infants")
pso("PSO-Forgotten", 90, 12, 10)
expect("DIR-PWD-010", "PSO-Forgotten")
# ------------------------------------------------------------------ computers
k = iter(ok)
for _ in range(4):
    d, nm, c = next(k)
    raw(d, lastLogonTimestamp=ft(200))
    expect("DIR-CMP-003", nm)
for o, v in (
    ("Windows 7 Professional", "6.1 (7601)"),
    ("Windows Server 2012 R2 Standard", "6.3 (9600)"),
    ("Windows 8.1 Pro", "6.3 (9600)"),
):
    d, nm, c = next(k)
    mod(d, operatingSystem=o, operatingSystemVersion=v)
    expect("DIR-CMP-004", nm)
for o, v in (("Windows 10 Pro", "10.0 (19041)"), ("Windows 11 Pro", "10.0 (22000)")):
    d, nm, c = next(k)
    mod(d, operatingSystem=o, operatingSystemVersion=v)
    expect("DIR-CMP-005", nm)
for _ in range(3):
    d, nm, c = next(k)
    mod(d, msLAPS__PasswordExpirationTime=[])
    expect("DIR-CMP-007", nm)
d, nm, c = next(k)
mod(d, msLAPS__PasswordExpirationTime=ft(100))
expect("DIR-CMP-009", nm)
d, nm, c = next(k)
mod(d, msLAPS__PasswordExpirationTime=[])
mod(d, ms__Mcs__AdmPwdExpirationTime=ft(-5))  # legacy LAPS: fine
d, nm, c = next(k)
mod(d, userAccountControl=4096 + 32)
expect("DIR-CMP-011", nm)
d, nm, c = next(k)
mod(d, userAccountControl=4096 + 524288)
expect("DIR-DEL-001", nm)
d, nm, c = next(k)
mod(d, msDS__AllowedToActOnBehalfOfOtherIdentity=sd("O:BAD:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;DU)"))
expect("DIR-DEL-002", nm)
d, nm, c = next(k)
raw(d, primaryGroupID="513")
expect("DIR-CMP-012", nm)
d, nm, c = next(k)
raw(d, **{"ms-DS-CreatorSID": ndr_pack(security.dom_sid(SID + "-1105"))})
expect("DIR-CMP-002", nm)
(da, na, _), (dbb, nb, _) = next(k), next(k)
for x, nmx in ((da, na), (dbb, nb)):
    raw(x, servicePrincipalName=[f"HOST/{nmx}", "HTTP/canteen." + DNSDOM])
expect("DIR-CMP-015", "http/canteen." + DNSDOM)
computer("DESKTOP-A1B2C3", f"CN=Computers,{DOM}")
expect("DIR-CMP-010", "DESKTOP-A1B2C3")
computer("office-pc", f"OU=Computers,OU={CODES[0]},{SCHOOLS}")
expect("DIR-STD-009", "office-pc")
d = computer("AZUREADSSOACC", f"CN=Computers,{DOM}", os_=None, ver=None, laps=None)
raw(d, pwdLastSet=ft(700))
expect("DIR-DOM-017", "AZUREADSSOACC")
expect("DIR-CMP-010", "AZUREADSSOACC")
lt = [(d, nm) for d, nm, c in ok if "-LT" in nm]
for i, (d, nm) in enumerate(lt):
    if i % 4:
        add(
            f"CN=2026-01-0{i % 9 + 1}T10:00:00-00:00{{{i:08x}-0000-4000-8000-000000000000}},{d}",
            "msFVE-RecoveryInformation",
            msFVE__RecoveryPassword="000000-" * 7 + "000000",
            msFVE__RecoveryGuid=struct.pack("<QQ", i, 1),
        )
    else:
        expect("DIR-CMP-014", nm)
raw(
    f"CN={A.host.upper()},OU=Domain Controllers,{DOM}",
    operatingSystem="Windows Server 2012 R2 Standard",
    operatingSystemVersion="6.3 (9600)",
)
expect("DIR-CMP-006", A.host.upper())
expect("DIR-CMP-004", A.host.upper())


# ------------------------------------------------------------------ group policy
def gpo(guid, name, ver=65537, flags=0):
    dn = add(
        f"CN={guid},CN=Policies,CN=System,{DOM}",
        "groupPolicyContainer",
        displayName=name,
        versionNumber=ver,
        flags=flags,
        gPCFunctionalityVersion=2,
        gPCFileSysPath=f"\\\\{DNSDOM}\\sysvol\\{DNSDOM}\\Policies\\{guid}",
    )
    add(f"CN=Machine,{dn}", "container")
    add(f"CN=User,{dn}", "container")
    return guid


def link(guid, opt=0):
    return f"[LDAP://cn={guid},cn=policies,cn=system,{DOM};{opt}]"


TB = gpo("{11111111-AAAA-4AAA-8AAA-000000000001}", "Trust-Baseline")
OP = gpo("{11111111-AAAA-4AAA-8AAA-000000000002}", "Old-Printers")
EM = gpo("{11111111-AAAA-4AAA-8AAA-000000000003}", "Empty-Policy", ver=0)
WP = gpo("{11111111-AAAA-4AAA-8AAA-000000000004}", "Wallpaper")
GONE = "{99999999-AAAA-4AAA-8AAA-000000000009}"
expect("DIR-GPO-002", "Old-Printers")
expect("DIR-GPO-003", "Empty-Policy")
add_aces(f"CN={WP},CN=Policies,CN=System,{DOM}", "(A;CI;GW;;;DU)")
expect("DIR-GPO-005", "Wallpaper")
for i, c in enumerate(CODES):
    links = link(WP)
    if i == 1:
        expect("DIR-GPO-004", f"{c}: Trust-Baseline missing")
    elif i == 2:
        links += link(TB, 1)
        expect("DIR-GPO-004", f"{c}: Trust-Baseline disabled")
    else:
        links += link(TB)
    if i == 3:
        links += link(GONE)
        expect("DIR-GPO-001", f"OU={c},{SCHOOLS}")
    mod(f"OU={c},{SCHOOLS}", gPLink=links)
mod(TRUST, gPLink=link(EM))
mod(f"OU=Pupils,OU={CODES[4 % len(CODES)]},{SCHOOLS}", gPOptions=1)
expect("DIR-GPO-006", f"OU=Pupils,OU={CODES[4 % len(CODES)]},{SCHOOLS}")
# ------------------------------------------------------------------ certificate services
PKI = f"CN=Public Key Services,CN=Services,{CFG}"
T = f"CN=Certificate Templates,{PKI}"
ENR, DEF = (
    "0e10c968-78fb-11d2-90d4-00c04f79dc55",
    "O:EAG:EAD:PAI(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;DA)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;EA)(A;;LCRPLORC;;;AU)",
)
CA_EKU, SA_EKU, AG_EKU, ANY = "1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1", "1.3.6.1.4.1.311.20.2.1", "2.5.29.37.0"


def tmpl(cn, name_flag, enr_flag, eku, enrol="DU", extra="", ra=0):
    add(
        f"CN={cn},{T}",
        "pKICertificateTemplate",
        displayName=cn,
        flags=131680,
        revision=100,
        pKIDefaultKeySpec=1,
        msPKI__RA__Signature=ra,
        msPKI__Template__Schema__Version=2,
        msPKI__Certificate__Name__Flag=name_flag,
        msPKI__Enrollment__Flag=enr_flag,
        pKIExtendedKeyUsage=eku,
        nTSecurityDescriptor=sd(DEF + f"(OA;;CR;{ENR};;{enrol}){extra}"),
    )


tmpl("WebServer", 1, 0, [SA_EKU], "DU")
tmpl("SchoolWiFi", 1, 0, [CA_EKU], "DU")
expect("DIR-PKI-001", "SchoolWiFi")
tmpl("SchoolWiFiChecked", 1, 2, [CA_EKU], "DU")
tmpl("AdminWiFi", 1, 0, [CA_EKU], "DA")
tmpl("AnyAdmins", 0, 0, [ANY], "DA")
tmpl("AnyStaff", 0, 0, [ANY], "AU")
expect("DIR-PKI-002", "AnyStaff")
tmpl("AgentOpen", 0, 0, [AG_EKU], "AU")
expect("DIR-PKI-003", "AgentOpen")
tmpl("Editable", 0x02000000, 0, [CA_EKU], "DA", extra="(A;;RPWP;;;DU)")
expect("DIR-PKI-004", "Editable")
tmpl("NoStamp", 0x02000000, 524288, [CA_EKU], "DA")
expect("DIR-PKI-006", "NoStamp")
for ca in ("RIVERSIDE-CA", "OLD-CA"):
    add(
        f"CN={ca},CN=Enrollment Services,{PKI}",
        "pKIEnrollmentService",
        dNSHostName=f"{ca.lower()}.{DNSDOM}",
        certificateTemplates=["WebServer", "SchoolWiFi"],
    )
expect("DIR-PKI-005", "OLD-CA")


# ------------------------------------------------------------------ trusts (objects only)
def trust(name, attrs, enc=None, direction=3):
    add(
        f"CN={name},CN=System,{DOM}",
        "trustedDomain",
        controls=["relax:0"],
        trustPartner=name,
        flatName=name.split(".")[0].upper(),
        trustAttributes=attrs,
        trustDirection=direction,
        trustType=2,
        securityIdentifier=ndr_pack(security.dom_sid(f"S-1-5-21-{len(name)}-2-3")),
        msDS__SupportedEncryptionTypes=enc,
    )


trust("oldschool.local", 0)
expect("DIR-TRU-002", "oldschool.local")
expect("DIR-TRU-003", "oldschool.local")
trust("partner-mat.example", 4 + 2048, 24)
expect("DIR-TRU-004", "partner-mat.example")
expect("DIR-TRU-001", "oldschool.local", "partner-mat.example")


# ------------------------------------------------------------------ DNS
def dnsprop(pid, data):
    return struct.pack("<IIIII", len(data), 1, 0, 1, pid) + data + b"\0"


Z = f"CN=MicrosoftDNS,DC=DomainDnsZones,{DOM}"
add(
    f"DC=devices.{MAIL},{Z}",
    "dnsZone",
    dNSProperty=[dnsprop(1, struct.pack("<I", 1)), dnsprop(2, b"\x01"), dnsprop(0x40, struct.pack("<I", 0))],
)
expect("DIR-DNS-001", f"devices.{MAIL}")
add(f"DC=wpad,DC=devices.{MAIL},{Z}", "dnsNode")
expect("DIR-DNS-003", "wpad")
# ------------------------------------------------------------------ ACL drift
add_aces(
    DOM,
    "(OA;;CR;1131f6aa-9c07-11d1-f79f-00c04fc2dcd2;;%s)(OA;;CR;1131f6ad-9c07-11d1-f79f-00c04fc2dcd2;;%s)"
    % (
        (
            ndr_unpack(
                security.dom_sid,
                db.search(f"CN=svc-library,{SA}", ldb.SCOPE_BASE, attrs=["objectSid"])[0]["objectSid"][0],
            ),
        )
        * 2
    ),
)
expect("DIR-ACL-001", "svc-library")
add_aces(f"CN=AdminSDHolder,CN=System,{DOM}", "(A;;GA;;;DU)")
expect("DIR-ACL-002", "AdminSDHolder")
add_aces(f"OU=Pupils,OU={CODES[1]},{SCHOOLS}", "(A;CI;GA;;;DU)")
expect("DIR-ACL-003", f"OU=Pupils,OU={CODES[1]},{SCHOOLS}")
add_aces(f"OU=Computers,OU={CODES[2]},{SCHOOLS}", "(OA;CI;CR;;bf967a86-0de6-11d0-a285-00aa003049e2;DU)")
expect("DIR-ACL-005", f"OU=Computers,OU={CODES[2]},{SCHOOLS}")
helpdesk_sid = ndr_unpack(
    security.dom_sid, db.search(GRP["GRP-TRUST-HelpDesk"], ldb.SCOPE_BASE, attrs=["objectSid"])[0]["objectSid"][0]
)
add_aces(f"OU=Computers,OU={CODES[3]},{SCHOOLS}", f"(A;CI;CC;;;{helpdesk_sid})")
expect("DIR-ACL-006", f"OU=Computers,OU={CODES[3]},{SCHOOLS}")
for r in db.search(DOM, ldb.SCOPE_SUBTREE, "(objectClass=organizationalUnit)", attrs=[]):
    if str(r.dn) != protected:
        expect("DIR-ACL-004", str(r.dn))
# findings that come with Samba's own defaults, or that follow from another planted fault
expect("DIR-DNS-002", "_msdcs." + DNSDOM, DNSDOM, f"devices.{MAIL}")
expect("DIR-DNS-004", DNSDOM, f"devices.{MAIL}")
expect("DIR-GPO-003", "Default Domain Controllers Policy", "Default Domain Policy")
expect("DIR-ACL-005", f"OU=Pupils,OU={CODES[1]},{SCHOOLS}")
expect(
    "DIR-ACL-006",
    f"OU=Pupils,OU={CODES[1]},{SCHOOLS}",
    f"CN=AdminSDHolder,CN=System,{DOM}",
    f"CN=MicrosoftDNS,CN=System,{DOM}",
)
expect("DIR-LDP-004", "readable")  # Samba honours dSHeuristics: anonymous search really works
db.transaction_commit()
print("added in", round(time.time() - t0, 1), "s")
t1 = time.time()
del db


# ------------------------------------------------------------------ values only the server may set: below its modules
def part(nc):
    d = os.path.join(priv, "sam.ldb.d")
    f = [
        x
        for x in os.listdir(d)
        if x.upper() == nc.replace("=", "%3D").replace(",", "%2C").upper() + ".LDB" or x.upper() == nc.upper() + ".LDB"
    ]
    return os.path.join(d, f[0])


p = part(DOM)
with open(p, "rb") as fh:
    head = fh.read(64)
backend = "tdb" if head.startswith(b"TDB file") else "mdb"
raws = ldb.Ldb(f"{backend}://{p}")
raws.transaction_start()
for dn, kv in RAW.items():
    m = ldb.Message(ldb.Dn(raws, dn))
    for kk, v in kv.items():
        m[kk] = ldb.MessageElement([] if v is None else v, ldb.FLAG_MOD_REPLACE, kk)
    raws.modify(m)
raws.transaction_commit()
print("raw values", len(RAW), "in", round(time.time() - t1, 1), "s")
out = Path(A.out)
found = {row: sorted(set(labels)) for row, labels in sorted(EXP.items())}
(out / "expected.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
wanted = [*zip(CODES, NAMES, strict=False), ("WIL", "Willow Infants")]
schools = [{"code": code, "name": name, "upn_suffix": suffix(code)} for code, name in wanted]
(out / "schools.json").write_text(json.dumps(schools, indent=1), encoding="utf-8")
