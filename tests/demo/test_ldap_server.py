"""The stand-in domain controller, asked by ldap3 over real TLS."""

from __future__ import annotations

import gc
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.demo import ldap_wire as wire
from agent.demo.certs import issue, make_ca
from agent.demo.ldap_entry import Entry, load_entries, sid_bytes
from agent.demo.ldap_server import DirectoryFaults, DirectoryServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 2.9.1 asks pyasn1 for names since changed
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPSocketOpenError, LDAPStartTLSError

# ldap3 2.9.1 checks host names with a function that Python 3.10 deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning")

BASE = "DC=ad,DC=example"
CONFIG = f"CN=Configuration,{BASE}"
SVC, SVC_DN, PASSWORD = "svc-audit@ad.example", f"CN=svc-audit,OU=People,{BASE}", "Only-For-Tests-1"
PEOPLE = 2500


class Certificates:
    """One authority that counts, another that does not, and a server certificate of the first."""

    def __init__(self, folder: Path) -> None:
        authority = make_ca(folder, "ca.test")
        self.ca = authority.cert_path
        self.stranger = make_ca(folder, "stranger.test").cert_path
        self.server = issue(folder, authority, ["localhost"], ["127.0.0.1"])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certs"))


def entries() -> list[Entry]:
    ou = f"OU=People,{BASE}"
    documents: list[dict[str, object]] = [
        {"dn": BASE, "attributes": {"objectClass": ["top", "domain", "domainDNS"], "minPwdLength": ["7"]}},
        {"dn": ou, "attributes": {"objectClass": ["organizationalUnit"], "ou": ["People"],
                                  "nTSecurityDescriptor": ["base64:AQAEgA=="]}},
        {"dn": CONFIG, "attributes": {"objectClass": ["top", "configuration"]}},
        {"dn": f"CN=Schema,{CONFIG}", "attributes": {"objectClass": ["top", "dMD"], "objectVersion": ["88"]}},
        {"dn": SVC_DN, "attributes": {"objectClass": ["top", "user"], "cn": ["svc-audit"],
                                      "sAMAccountName": ["svc-audit"], "userPrincipalName": [SVC]}},
        {"dn": f"CN=Secret,{ou}", "attributes": {"objectClass": ["group"], "cn": ["Secret"]}, "hidden_from": [SVC]},
        {"dn": f"CN=Gone,{ou}", "attributes": {"objectClass": ["group"], "cn": ["Gone"], "isDeleted": ["TRUE"]}},
        {"dn": f"CN=Elsewhere,{ou}", "attributes": {"objectClass": ["group"], "cn": ["Elsewhere"]}},
    ]  # fmt: skip
    documents += [
        {
            "dn": f"CN=User {n:04},{ou}",
            "attributes": {
                "objectClass": ["top", "person", "user"],
                "cn": [f"User {n:04}"],
                "sAMAccountName": [f"user{n}"],
                "userAccountControl": [str(512 + (2 if n % 10 == 0 else 0))],
                "telephoneNumber": [f"0{n}"],
            },
            "hidden_attributes": {"telephoneNumber": [SVC]},
        }
        for n in range(PEOPLE)
    ]
    documents.append(
        {
            "dn": f"CN=Everyone,{ou}",
            "attributes": {
                "objectClass": ["top", "group"],
                "cn": ["Everyone"],
                "member": [f"CN=User {n:04},{ou}" for n in range(PEOPLE)],
            },
        }
    )
    loaded = load_entries(documents)
    sid = {"objectClass": (b"group",), "objectSid": (sid_bytes("S-1-5-21-1-2-3-512"),)}
    return [*loaded, Entry(f"CN=Domain Admins,{ou}", sid)]


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[DirectoryServer]:
    with DirectoryServer(
        entries(),
        {SVC: PASSWORD},
        *certificates.server,
        referrals={f"CN=Elsewhere,OU=People,{BASE}": "ldap://other.example"},
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(server: DirectoryServer) -> Iterator[None]:
    yield
    server.faults = DirectoryFaults()


def connect(
    server: DirectoryServer,
    ca: Path,
    user: str | None = SVC,
    password: str | None = PASSWORD,
    *,
    start_tls: bool = False,
    secure: bool = True,
    bind: bool = True,
) -> Any:
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(ca))
    ldaps = secure and not start_tls
    target = ldap3.Server(
        "localhost",
        server.ldaps_port if ldaps else server.ldap_port,
        use_ssl=ldaps,
        tls=tls,
        get_info=ldap3.DSA,
        connect_timeout=10,
    )
    connection = ldap3.Connection(
        target,
        user,
        password,
        auto_referrals=False,
        receive_timeout=30,
        check_names=False,
        return_empty_attributes=False,
    )
    try:
        connection.open()
        if start_tls:
            connection.start_tls()
        if bind:
            connection.bind()
    except LDAPException:
        connection.strategy.close()
        raise
    return connection


@pytest.fixture
def ldap(server: DirectoryServer, certificates: Certificates) -> Iterator[Any]:
    connection = connect(server, certificates.ca)
    assert connection.bound
    yield connection
    connection.unbind()


def found(connection: Any, text: str, attributes: list[str] | None = None, **more: object) -> list[str]:
    connection.search(f"OU=People,{BASE}", text, ldap3.SUBTREE, attributes=attributes or ["1.1"], **more)
    return [one["dn"] for one in connection.response or [] if one["type"] == "searchResEntry"]


def test_the_root_is_read_without_a_login(server: DirectoryServer, certificates: Certificates) -> None:
    connection = connect(server, certificates.ca, None, None, bind=False, secure=False)
    info = connection.server.info
    assert info.other["defaultNamingContext"] == [BASE]
    assert info.other["configurationNamingContext"] == [CONFIG]
    assert info.other["schemaNamingContext"] == [f"CN=Schema,{CONFIG}"]
    assert info.other["dnsHostName"] == ["dc1.ad.example"]
    assert {one[0] for one in info.supported_controls} >= {wire.PAGED_RESULTS, "1.2.840.113556.1.4.801"}
    connection.search(BASE, "(objectClass=*)", ldap3.BASE)
    assert connection.result["result"] == wire.OPERATIONS_ERROR
    assert "successful bind must be completed" in connection.result["message"]
    connection.unbind()


@pytest.mark.parametrize("name", [SVC, SVC.upper(), SVC_DN, "AD\\svc-audit"])
@pytest.mark.parametrize("start_tls", [False, True])
def test_a_login_by_any_name_of_the_account(
    server: DirectoryServer, certificates: Certificates, name: str, start_tls: bool
) -> None:
    connection = connect(server, certificates.ca, name, start_tls=start_tls)
    assert connection.bound
    assert connection.extend.standard.who_am_i() == "u:AD\\svc-audit"
    assert found(connection, "(cn=svc-audit)") == [SVC_DN]
    connection.unbind()


def test_wrong_passwords_and_strangers_get_the_same_answer(server: DirectoryServer, certificates: Certificates) -> None:
    for name, password in ((SVC, "wrong"), (f"CN=User 0001,OU=People,{BASE}", "x"), ("nobody@ad.example", "x")):
        connection = connect(server, certificates.ca, name, password)
        assert not connection.bound
        assert connection.result["result"] == wire.INVALID_CREDENTIALS
        assert "data 52e" in connection.result["message"]
        connection.unbind()


def test_no_password_before_tls(server: DirectoryServer, certificates: Certificates) -> None:
    connection = connect(server, certificates.ca, secure=False)
    assert connection.result["result"] == wire.STRONGER_AUTH_REQUIRED
    assert not connection.bound
    connection.unbind()


def test_a_careless_server_takes_passwords_and_strangers_in_clear(certificates: Certificates) -> None:
    with DirectoryServer(
        entries()[:6], {SVC: PASSWORD}, *certificates.server, require_tls=False, anonymous_search=True
    ) as careless:
        connection = connect(careless, certificates.ca, secure=False)
        assert connection.bound
        connection.unbind()
        connection = connect(careless, certificates.ca, None, None, secure=False, bind=False)
        assert found(connection, "(cn=svc-audit)") == [SVC_DN]
        connection.unbind()


# ldap3 leaves its own socket open when it refuses a certificate.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_certificate_of_an_unknown_authority_is_refused(server: DirectoryServer, certificates: Certificates) -> None:
    with pytest.raises(LDAPSocketOpenError, match="CERTIFICATE_VERIFY_FAILED"):
        connect(server, certificates.stranger)
    with pytest.raises((LDAPStartTLSError, LDAPSocketOpenError), match="CERTIFICATE_VERIFY_FAILED"):
        connect(server, certificates.stranger, start_tls=True)
    gc.collect()


def test_pages_carry_everybody_once(ldap: Any) -> None:
    pages, names, cookie = 0, [], None
    while True:
        ldap.search(BASE, "(&(objectClass=user)(cn=User*))", attributes=["cn"], paged_size=5000, paged_cookie=cookie)
        names += [one["attributes"]["cn"][0] for one in ldap.response if one["type"] == "searchResEntry"]
        pages += 1
        cookie = ldap.result["controls"][wire.PAGED_RESULTS]["value"]["cookie"]
        if not cookie:
            break
    assert pages == 3  # the server's own limit of 1,000 holds, whatever the client asks for
    assert sorted(names) == [f"User {n:04}" for n in range(PEOPLE)]


def test_without_pages_the_answer_stops_at_the_limit(ldap: Any) -> None:
    assert len(found(ldap, "(cn=User*)")) == 1000
    assert ldap.result["result"] == wire.SIZE_LIMIT_EXCEEDED
    assert len(found(ldap, "(cn=User*)", size_limit=7)) == 7
    assert ldap.result["result"] == wire.SIZE_LIMIT_EXCEEDED
    assert len(found(ldap, "(cn=User 000*)", size_limit=10)) == 10
    assert ldap.result["result"] == wire.SUCCESS


def test_a_cookie_belongs_to_one_search(ldap: Any) -> None:
    found(ldap, "(cn=User*)", paged_size=10)
    cookie = ldap.result["controls"][wire.PAGED_RESULTS]["value"]["cookie"]
    found(ldap, "(cn=User 1*)", paged_size=10, paged_cookie=cookie)
    assert ldap.result["result"] == wire.UNWILLING_TO_PERFORM
    found(ldap, "(cn=User*)", paged_size=10, paged_cookie=b"made up")
    assert ldap.result["result"] == wire.UNWILLING_TO_PERFORM


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("(&(objectClass=user)(userAccountControl:1.2.840.113556.1.4.803:=2))", 250),
        ("(&(cn=user 00*)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))", 90),
        ("(|(cn=*0001)(cn=user*0002)(sAMAccountName=USER3))", 3),
        ("(&(cn>=User 0490)(cn<=User 0499))", 10),
        ("(objectSid=S-1-5-21-1-2-3-512)", 1),
        ("(objectSid=" + "".join(f"\\{byte:02x}" for byte in sid_bytes("S-1-5-21-1-2-3-512")) + ")", 1),
        ("(member=cn=user 0001,ou=people,dc=AD,dc=example)", 1),
        ("(!(noSuchAttribute=*))", 0),
        ("(telephoneNumber=*)", 0),
        ("(!(telephoneNumber=*))", 6),
    ],
)  # fmt: skip
def test_filters(ldap: Any, text: str, count: int) -> None:
    found_now = found(ldap, text)
    # the last one: people are Undefined, which leaves the OU, the account and the groups that may be seen
    assert len(found_now) == (4 if text.startswith("(!(tel") else count)


def test_scopes_and_other_naming_contexts(ldap: Any) -> None:
    def names(base: str, scope: str) -> set[str]:
        ldap.search(base, "(!(objectClass=person))", scope, attributes=["1.1"])
        return {one["dn"] for one in ldap.response if one["type"] == "searchResEntry"}

    assert names(BASE, ldap3.BASE) == {BASE}
    assert names(BASE, ldap3.LEVEL) == {f"OU=People,{BASE}"}
    assert ldap.result["result"] == wire.SUCCESS
    assert CONFIG not in names(BASE, ldap3.SUBTREE)
    references = [one["uri"] for one in ldap.response if one["type"] == "searchResRef"]
    assert references == [
        [f"ldap://ad.example/{CONFIG}"],
        ["ldap://other.example/cn=elsewhere,ou=people,dc=ad,dc=example"],
    ]
    assert names(CONFIG, ldap3.SUBTREE) == {CONFIG}
    assert names(f"CN=Schema,{CONFIG}", ldap3.BASE) == {f"CN=Schema,{CONFIG}"}
    ldap.search(f"CN=Elsewhere,OU=People,{BASE}", "(cn=*)")
    assert ldap.result["result"] == wire.REFERRAL
    ldap.search(BASE, "(cn=svc-audit)", controls=[("1.2.840.113556.1.4.1339", True, None)])
    assert [one["type"] for one in ldap.response] == ["searchResEntry"]


def test_what_is_not_there(ldap: Any) -> None:
    ldap.search(f"OU=Nowhere,OU=People,{BASE}", "(cn=*)")
    assert ldap.result["result"] == wire.NO_SUCH_OBJECT
    assert ldap.result["dn"] == f"OU=People,{BASE}"
    ldap.search(f"CN=Secret,OU=People,{BASE}", "(cn=*)")
    assert ldap.result["result"] == wire.NO_SUCH_OBJECT
    ldap.search("no name", "(cn=*)")
    assert ldap.result["result"] == wire.INVALID_DN_SYNTAX
    ldap.search(BASE, "(cn=*)", controls=[("1.2.3.4", True, None)])
    assert ldap.result["result"] == wire.UNAVAILABLE_CRITICAL_EXTENSION
    assert found(ldap, "(cn=Gone)") == []
    gone = found(ldap, "(cn=Gone)", controls=[("1.2.840.113556.1.4.417", True, None)])
    assert gone == [f"CN=Gone,OU=People,{BASE}"]


def raw(connection: Any, dn: str, attributes: list[str], **more: object) -> dict[str, Any]:
    connection.search(dn, "(objectClass=*)", ldap3.BASE, attributes=attributes, **more)
    return dict(connection.response[0]["raw_attributes"])


def test_odd_questions_are_answered(ldap: Any) -> None:
    ldap.search("", "(:dn:2.5.13.5:=x)", ldap3.BASE)
    assert (ldap.result["result"], ldap.response) == (wire.SUCCESS, [])
    ldap.search("", "(cn=*)", ldap3.SUBTREE)
    assert ldap.result["result"] == wire.NO_SUCH_OBJECT
    group = f"CN=Everyone,OU=People,{BASE}"
    assert len(raw(ldap, group, ["cn;range=0-" + "9" * 5000])["cn"]) == 1
    assert len(raw(ldap, group, ["cn", "cn", "*"])) == 4


def test_attribute_selection(ldap: Any) -> None:
    user = f"CN=User 0001,OU=People,{BASE}"
    everything = {"objectClass", "cn", "sAMAccountName", "userAccountControl", "distinguishedName"}
    assert set(raw(ldap, user, ["*"])) == everything
    assert raw(ldap, user, ["1.1"]) == {}
    assert raw(ldap, user, ["CN", "telephoneNumber", "mail"]) == {"cn": [b"User 0001"]}
    assert raw(ldap, user, ["cn"], types_only=True) == {"cn": None}
    ou = f"OU=People,{BASE}"
    flags = [("1.2.840.113556.1.4.801", True, b"0\x03\x02\x01\x07")]
    assert raw(ldap, ou, ["nTSecurityDescriptor"]) == {}  # without the control the SACL is asked for too
    assert raw(ldap, ou, ["nTSecurityDescriptor"], controls=flags) == {"nTSecurityDescriptor": [b"\x01\x00\x04\x80"]}


def test_long_attributes_come_in_ranges(ldap: Any) -> None:
    group = f"CN=Everyone,OU=People,{BASE}"
    ldap.auto_range = False
    first = raw(ldap, group, ["member"])
    assert [(name, len(values)) for name, values in first.items()] == [("member;range=0-1499", 1500)]
    second = raw(ldap, group, ["member;range=1500-*"])
    assert [(name, len(values)) for name, values in second.items()] == [("member;range=1500-*", 1000)]
    assert [len(values) for values in raw(ldap, group, ["member;range=10-19"]).values()] == [10]
    assert raw(ldap, group, ["member;range=9000-*"]) == {}
    ldap.auto_range = True
    ldap.search(group, "(objectClass=*)", ldap3.BASE, attributes=["member"])
    assert len(ldap.response[0]["attributes"]["member"]) == PEOPLE


def test_compare_and_refused_changes(ldap: Any) -> None:
    user = f"CN=User 0001,OU=People,{BASE}"
    assert ldap.compare(user, "cn", "USER 0001") is True
    assert ldap.compare(user, "cn", "User 0002") is False
    ldap.compare(user, "telephoneNumber", "01")
    assert ldap.result["result"] == wire.NO_SUCH_ATTRIBUTE
    changes: list[tuple[str, tuple[Any, ...]]] = [
        ("delete", (user,)),
        ("add", (f"CN=new,{BASE}", "group")),
        ("modify", (user, {"cn": [(ldap3.MODIFY_REPLACE, ["x"])]})),
        ("modify_dn", (user, "CN=other")),
    ]
    for operation, arguments in changes:
        getattr(ldap, operation)(*arguments)
        assert ldap.result["result"] == wire.INSUFFICIENT_ACCESS
    ldap.extended("1.2.3.4")
    assert ldap.result["result"] == wire.PROTOCOL_ERROR
    ldap.abandon(99)
    assert found(ldap, "(cn=svc-audit)") == [SVC_DN]


def test_faults_on_demand(server: DirectoryServer, certificates: Certificates, ldap: Any) -> None:
    server.faults = DirectoryFaults(search_result=wire.BUSY)
    assert found(ldap, "(cn=User*)") == []
    assert ldap.result["result"] == wire.BUSY
    server.faults = DirectoryFaults(search_result=wire.UNAVAILABLE, after_entries=20)
    connection = connect(server, certificates.ca)
    assert len(found(connection, "(cn=User*)", paged_size=15)) == 15
    cookie = connection.result["controls"][wire.PAGED_RESULTS]["value"]["cookie"]
    assert len(found(connection, "(cn=User*)", paged_size=15, paged_cookie=cookie)) == 5
    assert connection.result["result"] == wire.UNAVAILABLE
    connection.unbind()
    server.faults = DirectoryFaults(bind_result=wire.BUSY)
    connection = connect(server, certificates.ca)
    assert connection.result["result"] == wire.BUSY
    connection.unbind()
    server.faults = DirectoryFaults(refuse_bind="775")
    connection = connect(server, certificates.ca)
    assert connection.result["result"] == wire.INVALID_CREDENTIALS
    assert "data 775" in connection.result["message"]
    connection.unbind()
    server.faults = DirectoryFaults(delay=0.2)
    before = time.monotonic()
    found(ldap, "(cn=svc-audit)")
    assert time.monotonic() - before >= 0.2


def test_a_connection_cut_inside_a_paged_search(server: DirectoryServer, certificates: Certificates) -> None:
    connection = connect(server, certificates.ca)
    server.faults = DirectoryFaults(cut_after_entries=120)
    assert len(found(connection, "(cn=User*)", paged_size=100)) == 100
    cookie = connection.result["controls"][wire.PAGED_RESULTS]["value"]["cookie"]
    with pytest.raises(LDAPException):
        found(connection, "(cn=User*)", paged_size=100, paged_cookie=cookie)
    connection.strategy.close()


def wait_for(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_closing_ends_every_thread_whatever_clients_do(certificates: Certificates) -> None:
    def ours() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("directory-")]

    assert wait_for(lambda: "directory-session" not in ours())  # the last tests' clients
    before = len(ours())
    running = DirectoryServer(entries()[:6], {SVC: PASSWORD}, *certificates.server, faults=DirectoryFaults(delay=60))
    with (
        socket.create_connection(("127.0.0.1", running.ldaps_port)),  # never starts its handshake
        socket.create_connection(("127.0.0.1", running.ldap_port)) as waiting,
        socket.create_connection(("127.0.0.1", running.ldap_port)) as half,
    ):
        waiting.sendall(wire.tlv(0x30, wire.integer(1), wire.tlv(0x60, wire.integer(3), b"\x04\x00\x80\x00")))
        half.sendall(b"\x30\x84\x00\x00")
        assert wait_for(lambda: len(ours()) == before + 5)
        started = time.monotonic()
        running.close()
        running.close()
        assert time.monotonic() - started < 3
    assert len(ours()) == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", running.ldap_port), timeout=2).close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", b"\x30\x03\x02\x01\x01", b"\x30\x84\x7f\xff\xff\xff"])
def test_nonsense_is_answered_with_a_goodbye(server: DirectoryServer, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.ldap_port), timeout=5) as client:
        client.sendall(data)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    assert b"1.3.6.1.4.1.1466.20036" in answer


def test_a_client_that_resets_the_connection_harms_nobody(server: DirectoryServer, ldap: Any) -> None:
    for _ in range(3):
        client = socket.create_connection(("127.0.0.1", server.ldaps_port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"\x16\x03")
        client.close()
    assert found(ldap, "(cn=svc-audit)") == [SVC_DN]


def test_contents_that_make_no_directory_are_refused(certificates: Certificates) -> None:
    for wrong, reason in ((entries()[1:3], "no domain object"), (entries()[:2] * 2, "occurs twice")):
        with pytest.raises(ValueError, match=reason):
            DirectoryServer(wrong, {}, *certificates.server)
