"""A real Active Directory domain controller (Samba) on a loopback address, filled with a trust that has drifted."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.lab.hosts import LabError
from tests.lab.slots import Slot

HERE = Path(__file__).resolve().parent / "directory"
PROGRAMS = ("samba", "samba-tool", "ldbmodify", "ldapsearch", "ldapmodify", "openssl", "setfattr")
# Samba's LDAP ports are fixed, so every lab has an address of its own: slot N answers on 127.86.0.(N + 1).
SLOTS = 16
REALM = "AD.RIVERSIDE-MAT.EXAMPLE"
DOMAIN = "RIVERSIDE"
HOST = "dc1"
# The bindings (samba, ldb) belong to the distribution's own Python.
SYSTEM_PYTHON = "/usr/bin/python3"

SMB_CONF = """\
[global]
	netbios name = {netbios}
	realm = {realm}
	workgroup = {domain}
	server role = active directory domain controller
	server services = ldap, cldap, kdc
	interfaces = {address}/8
	bind interfaces only = yes
	private dir = {dir}/private
	state directory = {dir}/state
	cache directory = {dir}/cache
	lock directory = {dir}/lock
	pid directory = {dir}/run
	ncalrpc dir = {dir}/ncalrpc
	winbindd socket directory = {dir}/winbind
	ntp signd socket directory = {dir}/ntp
	binddns dir = {dir}/bind-dns
	log file = {dir}/log/log.%m
	logging = file
	log level = 1
	ldap server require strong auth = {strong_auth}
	tls enabled = yes
	tls keyfile = {dir}/tls/key.pem
	tls certfile = {dir}/tls/cert.pem
	tls cafile = {dir}/tls/ca.pem
	tls priority = NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2
	dns forwarder =
	kdc enable fast = yes
	prefork children = 2
	ldb:nosync = yes
	panic action =
{extra}[sysvol]
	path = {dir}/state/sysvol
	read only = no
[netlogon]
	path = {dir}/state/sysvol/{dns_domain}/scripts
	read only = no
"""

KRB5_CONF = """\
[libdefaults]
	default_realm = {realm}
	dns_lookup_realm = false
	dns_lookup_kdc = false
	dns_canonicalize_hostname = false
	rdns = false
	udp_preference_limit = 1
[realms]
	{realm} = {{
		kdc = {address}
		admin_server = {address}
		default_domain = {dns_domain}
	}}
[domain_realm]
	.{dns_domain} = {realm}
	{dns_domain} = {realm}
	{address} = {realm}
"""


class SambaLab:
    """One domain controller. Use as a context manager, or call `stop`, which also deletes its data.

    `expected` says which offenders a scan must find, by row id of the directory checks. What the trust wants is in
    `SITE_PARAMETERS` and `schools`: a school there (WIL) that the directory lacks is one of the planted faults.
    """

    # The site's own values that `expected` was made with (names as in the shipped parameters).
    SITE_PARAMETERS: ClassVar[Mapping[str, Any]] = {
        "service_account_ou": "OU=Service Accounts,OU=Trust,{base_dn}",
        "leavers_ou": "OU=Leavers,OU=Trust,{base_dn}",
        "schools_ou": "OU=Schools,{base_dn}",
        "required_school_ous": ["Staff", "Pupils", "Computers", "Groups"],
        "required_school_groups": ["GRP-{code}-Staff", "GRP-{code}-Pupils", "GRP-{code}-Admins"],
        "required_school_gpos": ["Trust-Baseline"],
        "group_name_regex": "^(GRP|SEC|DL|APP)-(TRUST|{codes})-[A-Za-z0-9 &'-]{2,48}$",
        "computer_name_regex": "^({codes})-(PC|LT|SRV|TAB)[0-9]{3,5}$",
        "expected_trusts": [],
        "expected_cas": ["RIVERSIDE-CA"],
        "dcsync_allowed_extra": [],
    }

    bind_password = "Trust-Wide-2026!"
    scan_password = "Scan-Only-2026!"  # an ordinary account: it may read what any authenticated user may

    def __init__(self) -> None:
        self._slot: Slot | None = None
        self._dir: Path | None = None
        self.address = ""
        self.start_seconds = 0.0
        self.dns_domain = REALM.lower()
        self.fqdn = f"{HOST}.{self.dns_domain}"
        self.base_dn = ",".join(f"DC={part}" for part in self.dns_domain.split("."))
        self.bind_upn = f"Administrator@{self.dns_domain}"
        self.bind_dn = f"CN=Administrator,CN=Users,{self.base_dn}"
        self.scan_upn = f"svc-scan@{self.dns_domain}"

    # ------------------------------------------------------------------ life
    @staticmethod
    def available() -> tuple[bool, str]:
        """Whether this machine can run a domain controller, and if not, why not in a few words."""
        if os.geteuid() != 0:
            return False, "needs root"
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if not Path("/usr/share/samba/setup/provision.ldif").exists():
            missing.append("samba-ad-provision")
        if missing:
            return False, f"missing {', '.join(missing)}: run tests/lab/deps.sh"
        return True, ""

    def start(
        self,
        address: str | None = None,
        *,
        schools: int = 5,
        users: int = 500,
        seed: bool = True,
        strong_auth: str = "yes",
    ) -> Self:
        """Provision, fill and run the domain controller; returns when it answers over LDAPS.

        `address` is a 127.x address of the caller's choice (default: one that no other lab uses). `strong_auth` is
        Samba's `ldap server require strong auth`: yes, allow_sasl_over_tls or no. With `seed=False` the directory is
        as Samba makes it, and `expected` is empty. Raises LabError.
        """
        if self._slot is not None:
            raise LabError("this directory lab is already running: stop it first")
        begin = time.monotonic()
        self._slot = self._take_slot()
        atexit.register(self.stop)
        self.address = address or f"127.86.0.{self._slot.number + 1}"
        self._dir = Path(tempfile.mkdtemp(prefix="spiritlevel-samba-"))
        self._slot.note = str(self._dir)
        try:
            self._write_files(strong_auth)
            self._make_certificates()
            self._provision()
            if seed:
                self._seed(schools, users)
            self._serve()
        except BaseException:
            self.stop()
            raise
        self.start_seconds = time.monotonic() - begin
        return self

    @staticmethod
    def _take_slot() -> Slot:
        """The first free slot; what dead owners left running is stopped on the way."""
        mine: Slot | None = None
        for number in range(SLOTS):
            slot = Slot.try_take("samba", number)
            if slot is None:
                continue
            if slot.note:
                _kill(Path(slot.note) / "run" / "lab.pid")
                shutil.rmtree(slot.note, ignore_errors=True)
                slot.note = ""
            if mine is None:
                mine = slot
            else:
                slot.release()
        if mine is None:
            raise LabError(f"all {SLOTS} directory labs are in use")
        return mine

    def stop(self) -> None:
        """Stop the server and delete its data; does nothing when already stopped."""
        if self._slot is None:
            return
        slot, self._slot = self._slot, None
        atexit.unregister(self.stop)
        if self._dir is not None:
            _kill(self._dir / "run" / "lab.pid")
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None
        slot.note = ""
        slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ what is there
    @property
    def dir(self) -> Path:
        """The lab's own folder. Raises LabError when it is not running."""
        if self._dir is None:
            raise LabError("the directory lab is not running")
        return self._dir

    @property
    def ldaps_url(self) -> str:
        """Where it answers over TLS; the certificate carries this address and `fqdn`."""
        return f"ldaps://{self.address}"

    @property
    def ldap_url(self) -> str:
        """The same in clear (StartTLS works; simple binds in clear are refused)."""
        return f"ldap://{self.address}"

    @property
    def ca_file(self) -> Path:
        """The authority that signed the server's certificate."""
        return self.dir / "tls" / "ca.pem"

    @property
    def krb5_config(self) -> Path:
        """For KRB5_CONFIG, when a test wants Kerberos."""
        return self.dir / "krb5.conf"

    @property
    def expected(self) -> dict[str, list[str]]:
        """Row id to the sorted labels of its offenders; a row that is not named here has none."""
        path = self.dir / "expected.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    @property
    def schools(self) -> list[dict[str, str]]:
        """The trust's schools as its baseline has them: code, name, upn_suffix."""
        path = self.dir / "schools.json"
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []

    # ------------------------------------------------------------------ doing things to it
    def search(self, base: str, scope: str = "base", where: str = "(objectClass=*)", *attributes: str) -> str:
        """LDIF of what the administrator sees, by the distribution's ldapsearch over LDAPS."""
        return self._ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", scope, "-b", base, where, *attributes)

    def modify(self, ldif: str) -> None:
        """Change the directory as the administrator, over LDAPS. Raises LabError with the server's words."""
        self._ldap("ldapmodify", "-a", text=ldif)

    def snapshot(self) -> None:
        """Keep the directory as it is now, for `reset`. Restarts the server (about a second)."""
        self._restart_around(self._save)

    def reset(self) -> None:
        """Put the directory back as it was at `snapshot`. Raises LabError when there is none."""
        if not (self.dir / "snapshot").is_dir():
            raise LabError("take a snapshot before a reset")
        self._restart_around(self._restore)

    def _save(self) -> None:
        shutil.rmtree(self.dir / "snapshot", ignore_errors=True)
        for name in ("private", "state"):
            shutil.copytree(self.dir / name, self.dir / "snapshot" / name, symlinks=True, ignore=_ignore_sockets)

    def _restore(self) -> None:
        for name in ("private", "state"):
            shutil.rmtree(self.dir / name)
            shutil.copytree(self.dir / "snapshot" / name, self.dir / name, symlinks=True)

    def _restart_around(self, action: Callable[[], None]) -> None:
        _kill(self.dir / "run" / "lab.pid")
        action()
        self._serve()

    def _ldap(self, program: str, *words: str, text: str | None = None) -> str:
        secret = self.dir / "private" / "lab-bind"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(self.bind_password, encoding="utf-8")
        done = subprocess.run(
            [program, "-x", "-H", self.ldaps_url, "-D", self.bind_upn, "-y", str(secret), *words],
            env={**os.environ, "LDAPTLS_CACERT": str(self.ca_file), "LDAPTLS_REQCERT": "demand", "LDAPRC": "/dev/null"},
            input=text or "",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"{program}: {done.stderr.strip()}")
        return done.stdout

    # ------------------------------------------------------------------ making it
    def _write_files(self, strong_auth: str) -> None:
        for name in ("run", "state", "cache", "lock", "private", "ncalrpc", "winbind", "ntp", "bind-dns", "log", "tls"):
            (self.dir / name).mkdir(mode=0o700 if name == "private" else 0o755)
        for name in ("ntp", "winbind"):
            (self.dir / name).chmod(0o750)
        words = {
            "address": self.address,
            "dir": str(self.dir),
            "dns_domain": self.dns_domain,
            "domain": DOMAIN,
            "extra": "\tad dc functional level = 2016\n" if _samba_minor() >= 19 else "",
            "netbios": HOST.upper(),
            "realm": REALM,
            "strong_auth": strong_auth,
        }
        self._smb_conf = SMB_CONF.format(**words)
        (self.dir / "smb.conf").write_text(self._smb_conf, encoding="utf-8")
        self.krb5_config.write_text(KRB5_CONF.format(**words), encoding="utf-8")

    def _make_certificates(self) -> None:
        """An authority and a server certificate with the right names, so that tests can leave checking on."""
        tls = self.dir / "tls"
        new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256"
        (tls / "server.ext").write_text(
            f"subjectAltName=DNS:{self.fqdn},DNS:localhost,IP:{self.address}\nextendedKeyUsage=serverAuth\n"
            "keyUsage=digitalSignature,keyEncipherment\nbasicConstraints=CA:FALSE\n",
            encoding="utf-8",
        )
        for line in (
            f"req {new_key} -x509 -days 3650 -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.pem"
            f" -subj /O=Lab/CN=Lab-CA-{DOMAIN}",
            f"req {new_key} -keyout key.pem -out csr.pem -subj /CN={self.fqdn}",
            "x509 -req -sha256 -days 825 -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -extfile server.ext"
            " -out cert.pem",
        ):
            _run(["openssl", *line.split()], "openssl", cwd=tls)
        for name in ("key.pem", "ca.key"):
            (tls / name).chmod(0o600)

    def _provision(self) -> None:
        tool = ["samba-tool"]
        if not self._xattrs_work():
            # Only SYSVOL's file permissions need them, and an LDAP lab has no use for those.
            tool = [SYSTEM_PYTHON, str(HERE / "samba_tool_nosysvol.py")]
        conf = str(self.dir / "smb.conf")
        words = ["domain", "provision", "-s", conf, f"--realm={REALM}", f"--domain={DOMAIN}", f"--host-name={HOST}"]
        words += [f"--host-ip={self.address}", "--server-role=dc", "--dns-backend=SAMBA_INTERNAL"]
        _run([*tool, *words, f"--adminpass={self.bind_password}", "--backend-store=tdb"], "samba-tool domain provision")
        (self.dir / "smb.conf").write_text(self._smb_conf, encoding="utf-8")  # provisioning rewrites it
        # The dnsupdate service would add these; it is off here, and without them Kerberos to LDAP fails.
        names = [
            f"ldap/{self.fqdn}",
            f"ldap/{HOST}",
            f"ldap/{self.fqdn}/{self.dns_domain}",
            f"ldap/{self.fqdn}/{DOMAIN}",
        ]
        names += [f"ldap/{self.address}", f"GC/{self.fqdn}/{self.dns_domain}"]
        ldif = f"dn: CN={HOST.upper()},OU=Domain Controllers,{self.base_dn}\nchangetype: modify\n"
        ldif += "add: servicePrincipalName\n"
        ldif += "".join(f"servicePrincipalName: {name}\n" for name in names)
        _run(["ldbmodify", f"--configfile={conf}", "-H", str(self.dir / "private" / "sam.ldb")], "ldbmodify", text=ldif)

    def _xattrs_work(self) -> bool:
        probe = self.dir / "xattr"
        probe.touch()
        words = ["setfattr", "-n", "security.NTACL", "-v", "x", str(probe)]
        works = subprocess.run(words, capture_output=True, check=False).returncode == 0
        probe.unlink()
        return works

    def _seed(self, schools: int, users: int) -> None:
        words = ["--conf", str(self.dir / "smb.conf"), "--out", str(self.dir), "--host", HOST]
        words += ["--users", str(users), "--schools", str(schools), "--scan-password", self.scan_password]
        _run([SYSTEM_PYTHON, str(HERE / "seed_ad.py"), *words], "seed_ad.py")

    def _serve(self) -> None:
        """Start the server and wait until it answers the administrator over LDAPS."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.address, 389))
            except OSError as error:
                raise LabError(f"{self.address}:389 is taken: {error.strerror}") from error
        pid_file = self.dir / "run" / "lab.pid"
        pid_file.unlink(missing_ok=True)
        out = self.dir / "log" / "samba.out"
        words = ["samba", "-s", str(self.dir / "smb.conf"), "-F", "--no-process-group", "-M", "prefork"]
        with out.open("ab") as log:
            server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        # Samba's own pid file comes only once it is well under way; whoever clears up after us needs it at once.
        pid_file.write_text(f"{server.pid} {_stat(Path(f'/proc/{server.pid}'))[2]}\n", encoding="ascii")
        _servers[server.pid] = server
        end = time.monotonic() + 60
        problem = ""
        while time.monotonic() < end and server.poll() is None:
            try:
                socket.create_connection((self.address, 636), timeout=1).close()
                self.search(self.base_dn, "base", "(objectClass=*)", "dn")
                return
            except (OSError, LabError) as error:
                problem = str(error)
            time.sleep(0.05)
        said = out.read_text(encoding="utf-8", errors="replace")[-500:]
        raise LabError(
            f"the domain controller does not answer on {self.address}: {problem or server.returncode} {said}"
        )


_servers: dict[int, subprocess.Popen[bytes]] = {}


def _kill(pid_file: Path) -> None:
    """Stop the server of this pid file and wait until it and its children are gone."""
    try:
        pid, started = map(int, pid_file.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return
    for sign, seconds in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + seconds
        for member in _family(pid, started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, sign)
        while _family(pid, started) and time.monotonic() < end:
            if pid in _servers:
                _servers[pid].poll()
            time.sleep(0.02)
    if pid in _servers:
        _servers.pop(pid).wait(timeout=10)
    pid_file.unlink(missing_ok=True)


def _stat(entry: Path) -> tuple[str, int, int]:
    """State, session and start time (clock ticks since boot) of a process in /proc; raises OSError when it is gone."""
    fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], int(fields[3]), int(fields[19])


def _family(leader: int, started: int) -> list[int]:
    """Live processes of the session that this leader opened.

    A number may have been given to another process since, so the leader counts only with its start time. While it or
    any of its children lives the kernel gives the number to nobody else.
    """
    with contextlib.suppress(OSError):
        if _stat(Path(f"/proc/{leader}"))[2] != started:
            return []
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # it ended while we looked
            state, session, _ = _stat(entry)
            if session == leader and state != "Z" and (entry / "cmdline").read_bytes().startswith(b"samba"):
                found.append(int(entry.name))
    return found


def _run(words: list[str], name: str, *, cwd: Path | None = None, text: str = "") -> None:
    """Run a program to its end; raises LabError with the end of what it said."""
    done = subprocess.run(words, cwd=cwd, input=text, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        raise LabError(f"{name} failed: {(done.stderr + done.stdout).strip()[-1500:]}")


def _samba_minor() -> int:
    said = subprocess.run(["samba", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("4.", 1)[1].split(".", 1)[0])


def _ignore_sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if (Path(folder) / name).is_socket()}
