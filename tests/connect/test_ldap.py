"""The directory connector against a stand-in domain controller over real TLS, and against servers that misbehave."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from agent.connect import ldap_wire as wire
from agent.connect.ldap import open_ldap
from agent.connect.ldap_search import Searcher
from agent.demo.certs import issue, make_ca
from agent.demo.ldap_entry import load_entries
from agent.demo.ldap_server import DirectoryFaults, DirectoryServer
from agent.errors import Broken, CredentialRefused, IdentityError, TargetError, Unreachable
from agent.facts.ad.directory import Directory
from agent.facts.protocol import Limits
from agent.model import Kind, Reason, Target

BASE = "DC=ad,DC=example"
SVC, PASSWORD = "svc-audit@ad.example", "Only-For-Tests-1"
PEOPLE = 2500


class Files:
    """Certificates of one authority, and of one that nobody trusts."""

    def __init__(self, folder: Path) -> None:
        authority = make_ca(folder, "ca.test")
        self.ca = authority.cert_path
        self.stranger = make_ca(folder, "stranger.test").cert_path
        self.server = issue(folder, authority, ["localhost"], ["127.0.0.1"])
        self.other_name = issue(folder, authority, ["dc9.example"], [])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def server(files: Files) -> Iterator[DirectoryServer]:
    people = [f"CN=User {n:04},{BASE}" for n in range(PEOPLE)]
    documents: list[dict[str, Any]] = [
        {"dn": BASE, "attributes": {"objectClass": ["top", "domain", "domainDNS"], "minPwdLength": ["7"]}},
        {"dn": f"CN=svc-audit,{BASE}", "attributes": {"objectClass": ["top", "person"], "sAMAccountName": ["svc-audit"],
                                                      "userPrincipalName": [SVC]}},
        {"dn": f"CN=Hidden,{BASE}", "attributes": {"objectClass": ["group"]}, "hidden_from": [SVC]},
        {"dn": f"CN=Elsewhere,{BASE}", "attributes": {"objectClass": ["group"]}},
        {"dn": f"CN=All,{BASE}", "attributes": {"objectClass": ["group"], "cn": ["All"], "member": people}},
        *({"dn": dn, "attributes": {"objectClass": ["top", "user"], "sAMAccountName": [f"user{n}"]}}
          for n, dn in enumerate(people)),
    ]  # fmt: skip
    with DirectoryServer(
        load_entries(documents),
        {SVC: PASSWORD},
        *files.server,
        referrals={f"CN=Elsewhere,{BASE}": "ldap://other.example"},
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").faults = DirectoryFaults()


@pytest.fixture
def opened(server: DirectoryServer, files: Files) -> Callable[..., AbstractContextManager[Directory]]:
    def open_it(*, password: str = PASSWORD, seconds: float = 30, **settings: Any) -> AbstractContextManager[Directory]:
        whole = {"url": server.ldaps_url, "bind": SVC, "password": "env:P", "ca_file": str(files.ca), **settings}
        target = Target("trust-ad", Kind.DIRECTORY, "ad", None, whole)
        return open_ldap(target, {"env:P": password}.__getitem__, Limits(seconds))

    return open_it


Opened = Callable[..., AbstractContextManager[Directory]]


def test_every_page_and_every_range_is_read(opened: Opened) -> None:
    with opened() as directory:
        people = directory.search(BASE, "(objectClass=user)", ["sAMAccountName"])
        group = directory.search(BASE, "(cn=All)", ["member"]).entries[0]
    assert people.why is None
    assert len({e.attributes["samaccountname"][0] for e in people.entries}) == PEOPLE
    assert len(set(group.attributes["member"])) == PEOPLE
    assert group.cut == frozenset()


def test_start_tls_comes_before_the_login(opened: Opened, server: DirectoryServer) -> None:
    with opened(url=server.ldap_url) as directory:
        assert directory.search(BASE, "(objectClass=domainDNS)", ["minPwdLength"], scope="base").entries


def test_referrals_are_recorded_and_not_followed(opened: Opened) -> None:
    with opened() as directory:
        found = directory.search(BASE, "(objectClass=group)", ["cn"])
        gone = directory.search(f"CN=Elsewhere,{BASE}", "(objectClass=*)", ["cn"], scope="base")
    assert [r for r in found.referrals if "other.example" in r]
    assert gone.why is not None
    assert gone.why.reason is Reason.NOT_SUPPORTED


def test_a_base_that_is_not_shown_is_absent(opened: Opened) -> None:
    with opened() as directory:
        assert directory.search(f"CN=Nobody,{BASE}", "(objectClass=*)", ["cn"], scope="base").absent
        assert directory.search(f"CN=Hidden,{BASE}", "(objectClass=*)", ["cn"], scope="base").absent


def test_a_foreign_authority_is_refused_and_named(opened: Opened, files: Files) -> None:
    with pytest.raises(IdentityError, match=r"stranger.*Nothing was sent"), opened(ca_file=str(files.stranger)):
        pass


def test_without_ca_file_the_system_decides(opened: Opened) -> None:
    with pytest.raises(IdentityError, match="no ca_file is set"), opened(ca_file=None):
        pass


def test_a_ca_file_that_is_none(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(IdentityError, match=r"ca\.pem cannot be read"), opened(ca_file=str(tmp_path / "ca.pem")):
        pass


def test_a_certificate_for_another_name_is_refused(opened: Opened, files: Files) -> None:
    with (
        DirectoryServer([*load_entries([{"dn": BASE, "attributes": {"objectClass": ["domainDNS"]}}])], {},
                        *files.other_name) as other,
        pytest.raises(IdentityError, match="did not prove who it is"),
        opened(url=other.ldaps_url),
    ):  # fmt: skip
        pass


def test_wrong_password(opened: Opened) -> None:
    with pytest.raises(CredentialRefused, match="password is wrong"), opened(password="nope"):
        pass


@pytest.mark.parametrize(
    ("code", "words"), [("533", "disabled"), ("775", "locked"), ("532", "expired"), ("fff", "fff")]
)
def test_active_directorys_reasons_are_said_in_words(
    opened: Opened, server: DirectoryServer, code: str, words: str
) -> None:
    server.faults = DirectoryFaults(refuse_bind=code)
    with pytest.raises(CredentialRefused, match=words), opened():
        pass


def test_a_busy_server_is_not_a_refusal(opened: Opened, server: DirectoryServer) -> None:
    server.faults = DirectoryFaults(bind_result=51)
    with pytest.raises(Unreachable, match="not taking logins"), opened():
        pass


def test_an_empty_password_never_becomes_an_anonymous_login(opened: Opened) -> None:
    with pytest.raises(CredentialRefused, match="anonymous"), opened(password=""):
        pass


def test_the_next_server_is_tried(opened: Opened, server: DirectoryServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"ldaps://127.0.0.1:{closed.getsockname()[1]}"
    with opened(url=[dead, server.ldaps_url]) as directory:
        assert directory.server == server.ldaps_url
    with pytest.raises(Unreachable, match="None of the 2 servers"), opened(url=[dead, dead]):
        pass


def test_a_refused_login_is_not_tried_elsewhere(opened: Opened, server: DirectoryServer) -> None:
    with pytest.raises(CredentialRefused), opened(url=[server.ldaps_url] * 3, password="nope"):
        pass


@pytest.mark.parametrize("url", ["http://dc1", "dc1.example", "ldaps://", "ldaps://dc1:notaport"])
def test_an_address_that_is_none(opened: Opened, url: str) -> None:
    with pytest.raises(TargetError, match=r"not the address|no sensible port"), opened(url=url):
        pass


def test_other_logins_are_refused_in_words(opened: Opened) -> None:
    with pytest.raises(TargetError, match="digest"), opened(auth="digest"):
        pass


def test_a_name_that_nobody_knows(opened: Opened) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"), opened(url="ldaps://dc1.invalid"):
        pass


def test_what_was_read_before_the_line_broke_is_kept(opened: Opened, server: DirectoryServer) -> None:
    with opened() as directory:
        server.faults = DirectoryFaults(cut_after_entries=1700)
        found = directory.search(BASE, "(objectClass=user)", ["sAMAccountName"])
        after = directory.search(BASE, "(objectClass=group)", ["cn"])
    assert 1600 < len(found.entries) <= 1700
    assert found.why is not None
    assert found.why.reason is Reason.UNREACHABLE
    assert after.why == found.why
    assert not after.entries


def test_a_range_that_breaks_off_says_so(opened: Opened, server: DirectoryServer) -> None:
    with opened() as directory:
        server.faults = DirectoryFaults(cut_after_entries=1)
        found = directory.search(BASE, "(cn=All)", ["member"])
    assert found.entries[0].cut == {"member"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [(4, Reason.TRUNCATED), (50, Reason.PERMISSION), (3, Reason.TIMED_OUT), (51, Reason.THROTTLED),
     (80, Reason.UNREADABLE), (53, Reason.NOT_SUPPORTED)],
)  # fmt: skip
def test_a_refused_search_is_unknown(opened: Opened, server: DirectoryServer, code: int, reason: Reason) -> None:
    with opened() as directory:
        server.faults = DirectoryFaults(search_result=code, after_entries=3)
        found = directory.search(BASE, "(objectClass=user)", ["cn"])
        server.faults = DirectoryFaults()
        later = directory.search(BASE, "(objectClass=domainDNS)", ["minPwdLength"], scope="base")
    assert found.why is not None
    assert found.why.reason is reason
    assert later.why is None


def test_a_slow_server_ends_with_the_time_limit(opened: Opened, server: DirectoryServer) -> None:
    with opened(seconds=1.5) as directory:
        server.faults = DirectoryFaults(delay=5)
        begin = time.monotonic()
        found = directory.search(BASE, "(objectClass=user)", ["cn"])
    assert time.monotonic() - begin < 3
    assert found.why is not None
    assert found.why.reason is Reason.TIMED_OUT


class Rude(threading.Thread):
    """A TCP server that answers every connection with the same bytes and remembers what it was told."""

    def __init__(self, answer: bytes, *, hold: bool = False) -> None:
        super().__init__(daemon=True)
        self.answer, self.hold, self.heard = answer, hold, b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.settimeout(5)
                    self.heard += connection.recv(65536)
                    connection.sendall(self.answer)
                    while self.hold and (more := connection.recv(65536)):
                        self.heard += more
                except OSError:
                    continue

    def __enter__(self) -> Rude:
        return self

    def __exit__(self, *_: object) -> None:
        socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        self.socket.close()
        self.join(10)


REFUSES_TLS = bytes.fromhex("300c02010178070a013404000400")
ACCEPTS_TLS = bytes.fromhex("300c02010178070a010004000400")


NONSENSE = [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", REFUSES_TLS, ACCEPTS_TLS + b"hello", b"\x30\x84"]


@pytest.mark.parametrize("answer", NONSENSE)
@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_server_that_talks_nonsense_hears_no_password(opened: Opened, scheme: str, answer: bytes) -> None:
    with Rude(answer) as rude, pytest.raises((Broken, Unreachable)), opened(url=f"{scheme}://127.0.0.1:{rude.port}"):
        pass
    assert PASSWORD.encode() not in rude.heard


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_server_that_says_nothing_is_left_in_time(opened: Opened, scheme: str) -> None:
    begin = time.monotonic()
    with (
        Rude(b"", hold=True) as rude,
        pytest.raises((Broken, Unreachable)),
        opened(url=f"{scheme}://127.0.0.1:{rude.port}", seconds=1.5),
    ):
        pass
    assert time.monotonic() - begin < 6
    assert PASSWORD.encode() not in rude.heard


# ------------------------------------------------------------------ the reader alone
class Line:
    """A socket that gives prepared chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = list(chunks)

    def settimeout(self, _: float) -> None: ...

    def sendall(self, _: bytes) -> None: ...

    def recv(self, _: int) -> bytes:
        return self.chunks.pop(0) if self.chunks else b""


def ber(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 128 else b"\x84" + len(body).to_bytes(4, "big")
    return bytes([tag]) + size + body


def message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    return ber(0x30, ber(2, bytes([number])), operation, controls)


def entry(dn: str, **values: Sequence[bytes]) -> bytes:
    attributes = [ber(0x30, ber(4, k.encode()), ber(0x31, *(ber(4, v) for v in vs))) for k, vs in values.items()]
    return ber(0x64, ber(4, dn.encode()), ber(0x30, *attributes))


def done(code: int = 0) -> bytes:
    return ber(0x65, ber(10, bytes([code])), ber(4), ber(4))


def paging(cookie: bytes) -> bytes:
    return ber(0xA0, ber(0x30, ber(4, wire.PAGED), ber(4, ber(0x30, ber(2, b"\0"), ber(4, cookie)))))


def reader(chunks: Sequence[bytes], left: int = 1 << 20) -> Searcher:
    line: Any = Line(chunks)
    return Searcher(line, "dc", time.monotonic() + 30, left, lambda *_: (7, b""))


def test_an_endless_promise_of_pages_ends() -> None:
    page = message(7, done(), paging(b"more"))
    found = reader([page] * 5).search("", "", [], "sub", False)
    assert found.why is not None
    assert found.why.reason is Reason.TRUNCATED


def test_a_flood_ends() -> None:
    found = reader([message(7, entry("CN=a", cn=[b"x" * 1000]))] * 100, left=5000).search("", "", [], "sub", False)
    assert found.why is not None
    assert found.why.reason is Reason.TRUNCATED
    assert 0 < len(found.entries) < 10


@pytest.mark.parametrize(
    "sent",
    [
        message(8, entry("CN=a")) + message(7, done()),  # an answer to another question
        message(7, ber(0x61, b"")),  # a bind's answer
        b"\x30\x80garbage",
        b"garbage",
        message(7, ber(0x64, ber(4, b"CN=a"))),  # no attributes
        message(7, ber(0x64, ber(4, b"CN=a"), b"\x30\x7f")),  # longer than it is
        message(7, ber(0x64, b"\x04\x7fCN")),
        message(7, ber(0x65)),
    ],
)  # fmt: skip
def test_nonsense_is_unreadable_not_empty(sent: bytes) -> None:
    found = reader([sent]).search("", "", [], "sub", False)
    assert found.why is not None
    assert found.why.reason in (Reason.UNREADABLE, Reason.UNREACHABLE)


def test_a_notice_of_disconnection_is_no_end_of_list() -> None:
    notice = ber(0x30, ber(2, b"\0"), ber(0x78, ber(10, b"\x34"), ber(4), ber(4)))
    found = reader([message(7, entry("CN=a")) + notice]).search("", "", [], "sub", False)
    assert len(found.entries) == 1
    assert found.why is not None
    assert "goes away" in found.why.detail
