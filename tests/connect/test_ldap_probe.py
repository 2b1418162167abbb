"""How a directory treats strangers, tried against servers that speak the protocol over real sockets and real TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.connect import ldap_probe, ntlm_probe
from agent.connect.ldap_probe import _part as part
from agent.demo.certs import issue, make_ca
from agent.facts.ad.directory import Behaviour
from agent.model import Reason, Unknown

BASE = "DC=ad,DC=example"
Reply = Callable[[bytes], bytes]


def result(number: int, tag: int, code: int, text: str = "", more: bytes = b"") -> bytes:
    body = part(0x0A, bytes([code])) + part(0x04, b"") + part(0x04, text.encode()) + more
    return part(0x30, part(0x02, bytes([number])) + part(tag, body))


def entry(number: int, dn: str, **attributes: str) -> bytes:
    listed = b"".join(
        part(0x30, part(0x04, name.encode()) + part(0x31, part(0x04, value.encode())))
        for name, value in attributes.items()
    )
    body = part(0x04, dn.encode()) + part(0x30, listed)
    return part(0x30, part(0x02, bytes([number])) + part(0x64, body))


def challenge() -> bytes:
    told = struct.pack("<HH", 2, 4) + "AD".encode("utf-16-le") + bytes(4)
    head = b"NTLMSSP\0" + struct.pack("<I", 2) + struct.pack("<HHI", 0, 0, 48) + struct.pack("<I", ntlm_probe.FLAGS)
    return head + bytes(8) + bytes(8) + struct.pack("<HHI", len(told), len(told), 48) + told


class Fake:
    """Answers each connection by the kind of its requests. `heard` keeps what was said."""

    def __init__(self, context: ssl.SSLContext | None, replies: dict[str, Sequence[bytes]]) -> None:
        self.context, self.replies, self.heard = context, replies, b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), sock:
                if self.context is None:
                    self._talk(sock)
                    continue
                sock.settimeout(5)
                with self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as secured:
                    secured.do_handshake()
                    self._talk(secured)

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(5)
        while data := sock.recv(1 << 14):
            self.heard += data
            kind = "bind"
            if b"GSS-SPNEGO" in data:
                kind = "authenticate" if b"\3\0\0\0" in data.partition(b"NTLMSSP\0")[2][:4] else "negotiate"
            elif b"vendorName" in data:
                kind = "vendor"
            elif b"objectClass" in data:
                kind = "search"
            for reply in self.replies.get(kind, ()):
                sock.sendall(reply)
            if kind not in self.replies:
                return

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who waits in accept
        self.socket.close()
        self.thread.join(5)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certs")
    authority = make_ca(folder, "ca.test")
    return authority.cert_path, issue(folder, authority, ["localhost"], ["127.0.0.1"])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ldap_probe, "SECONDS", 2.0)


def tls(certificates: tuple[Path, tuple[Path, Path]], *, old: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates[1])
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
    return context


@contextlib.contextmanager
def tried(
    certificates: tuple[Path, tuple[Path, Path]], replies: dict[str, Sequence[bytes]], *, old: bool = False
) -> Iterator[tuple[Behaviour, bytes]]:
    """What is found of a server that answers over TLS as `replies` say, and what it heard."""
    fake = Fake(tls(certificates, old=old), replies)
    try:
        trusted = ssl.create_default_context(cafile=str(certificates[0]))
        yield ldap_probe.behaviour(f"ldaps://127.0.0.1:{fake.port}", trusted, BASE), fake.heard
    finally:
        fake.stop()


def test_tls_and_its_certificate(certificates: tuple[Path, tuple[Path, Path]]) -> None:
    with tried(certificates, {}) as (seen, _):
        assert (seen.ldaps, seen.old_tls) == (True, False)
        assert isinstance(seen.certificate_ends, str)
        assert seen.certificate_ends.endswith("Z")


def test_old_versions_that_are_taken_are_found(certificates: tuple[Path, tuple[Path, Path]]) -> None:
    with tried(certificates, {}, old=True) as (seen, _):
        assert seen.old_tls is True or isinstance(seen.old_tls, Unknown)  # a machine that cannot try says so


def test_a_certificate_of_a_stranger_is_no_ldaps(certificates: tuple[Path, tuple[Path, Path]], tmp_path: Path) -> None:
    other = make_ca(tmp_path, "other.test").cert_path
    with tried((other, certificates[1]), {}) as (seen, _):
        assert seen.ldaps is False
        assert isinstance(seen.old_tls, Unknown)
        assert isinstance(seen.channel_binding, Unknown)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([result(1, 0x65, 1, "000004DC: LdapErr: a successful bind must be completed")], False),
        ([result(1, 0x65, 50)], False),
        ([entry(1, f"CN=a,{BASE}"), result(1, 0x65, 0)], True),
        ([result(1, 0x65, 0)], True),  # it answers, whatever it may show tomorrow
        ([part(0x30, part(0x02, b"\1") + part(0x73, part(0x04, b"ldap://x"))), result(1, 0x65, 1)], False),
        ([result(1, 0x65, 51)], None),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], None),
        ([b"\x30\x84\xff\xff\xff\xff"], None),
    ],
    ids=["refused", "no right", "shown", "answered", "referral", "busy", "no LDAP", "endless"],
)
def test_a_search_without_a_login(
    certificates: tuple[Path, tuple[Path, Path]], replies: list[bytes], expected: bool | None
) -> None:
    with tried(certificates, {"search": replies}) as (seen, heard):
        assert (None if isinstance(seen.anonymous, Unknown) else seen.anonymous) is expected
        assert b"sAMAccountName" not in heard  # nobody's name is asked for


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (result(2, 0x61, 8), False),
        (result(2, 0x61, 13), False),
        (result(2, 0x61, 49), True),
        (result(2, 0x61, 0), True),
        (result(2, 0x61, 2), None),
    ],
    ids=["stronger", "confidential", "weighed", "taken", "odd"],
)
def test_a_login_in_clear(answer: bytes, expected: bool | None) -> None:
    fake = Fake(None, {"bind": [answer]})
    try:
        trusted = ssl.create_default_context()
        seen = ldap_probe.behaviour(f"ldap://127.0.0.1:{fake.port}", trusted, BASE)
        assert (None if isinstance(seen.plain_login, Unknown) else seen.plain_login) is expected
        assert b"CN=spiritlevel-probe-" in fake.heard
        assert isinstance(seen.ldaps, Unknown) or seen.ldaps is False
    finally:
        fake.stop()


def test_a_port_that_is_shut_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    seen = ldap_probe.behaviour(f"ldap://127.0.0.1:{port}", ssl.create_default_context(), BASE)
    assert seen.plain_login == Unknown(Reason.NOT_SUPPORTED, f"nothing answers in clear on port {port} from here")
    assert isinstance(seen.anonymous, Unknown)


WINDOWS = entry(1, "", dnsHostName="dc1.ad.example"), result(1, 0x65, 0)
SAMBA = entry(1, "", vendorName="Samba Team (https://www.samba.org)"), result(1, 0x65, 0)
GO_ON = result(2, 0x61, 14, more=part(0x87, challenge()))
BINDINGS = "80090346: LdapErr: DSID-0C090588, comment: AcceptSecurityContext error, data 80090346, v4563"
NO_SUCH = "8009030C: LdapErr: DSID-0C0904DC, comment: AcceptSecurityContext error, data 52e, v1db1"


@pytest.mark.parametrize(
    ("vendor", "first", "second", "expected"),
    [
        (WINDOWS, GO_ON, result(3, 0x61, 49, BINDINGS), True),
        (WINDOWS, GO_ON, result(3, 0x61, 49, NO_SUCH), False),
        (WINDOWS, GO_ON, result(3, 0x61, 49, "no more was said"), None),
        (WINDOWS, result(2, 0x61, 7), b"", None),
        (WINDOWS, result(2, 0x61, 14, more=part(0x87, b"NTLMSSP\0")), b"", None),
        (SAMBA, GO_ON, result(3, 0x61, 49, NO_SUCH), None),  # it looks at names first, and says the same words
    ],
    ids=["bound", "unbound", "silent", "no NTLM", "no challenge", "Samba"],
)
def test_channel_binding(
    certificates: tuple[Path, tuple[Path, Path]],
    vendor: Sequence[bytes],
    first: bytes,
    second: bytes,
    expected: bool | None,
) -> None:
    replies = {"vendor": vendor, "negotiate": [first], "authenticate": [second]}
    with tried(certificates, replies) as (seen, _):
        assert (None if isinstance(seen.channel_binding, Unknown) else seen.channel_binding) is expected


def test_the_answer_to_a_challenge_repeats_what_the_server_told() -> None:
    answer = ntlm_probe.authenticate(challenge())
    length, _, place = struct.unpack_from("<HHI", answer, 20)
    assert ntlm_probe.target_information(challenge()) in answer[place : place + length]
    user, _, place = struct.unpack_from("<HHI", answer, 36)
    assert answer[place : place + user].decode("utf-16-le").startswith("spiritlevel-probe-")


@given(st.binary(max_size=200))
def test_no_noise_breaks_the_reading(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        ntlm_probe.target_information(noise)
    here, there = socket.socketpair()
    with here, there:
        there.sendall(noise)
        there.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ldap_probe._Cut):
            list(ldap_probe._answers(here))
