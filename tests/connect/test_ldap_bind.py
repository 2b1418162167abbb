"""Logins by NTLM tokens, against an acceptor that checks them and the channel binding, over real TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from agent.connect import ldap_bind
from agent.connect.ldap import open_ldap
from agent.demo.certs import issue, make_ca
from agent.errors import CredentialRefused, IdentityError, TargetError
from agent.facts.ad.directory import Directory
from agent.facts.protocol import Limits
from agent.model import Kind, Target
from tests.connect.test_ldap_wire import ber

USER, PASSWORD = "SCALE\\svc-audit", "Only-For-Tests-1"


def _value(data: bytes, place: int) -> tuple[int, bytes, int]:
    """Tag, contents and the place behind them."""
    tag, size, place = data[place], data[place + 1], place + 2
    if size > 127:
        octets = size & 127
        size, place = int.from_bytes(data[place : place + octets], "big"), place + octets
    return tag, data[place : place + size], place + size


class Acceptor(threading.Thread):
    """An LDAP server that knows one thing: SASL binds with GSS-SPNEGO. `binding` is what it holds its channel to be."""

    def __init__(self, certificate: tuple[Path, Path], binding: bytes | None) -> None:
        super().__init__(daemon=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.binding, self.heard, self.logins = binding, b"", 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"ldaps://127.0.0.1:{self.socket.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as line:
                    self._serve(line)
            except OSError:
                continue

    def _serve(self, line: ssl.SSLSocket) -> None:
        line.settimeout(10)
        bindings = GssChannelBindings(application_data=self.binding) if self.binding else None
        context = spnego.server(protocol="ntlm", channel_bindings=bindings)
        while data := line.recv(65536):
            self.heard += data
            _, message, _ = _value(data, 0)
            _, number, place = _value(message, 0)
            _, request, _ = _value(message, place)
            place = _value(request, _value(request, 0)[2])[2]  # behind version and name
            _, sasl, _ = _value(request, place)
            _, mechanism, place = _value(sasl, 0)
            assert mechanism == b"GSS-SPNEGO"
            token = _value(sasl, place)[1]
            try:
                answer = context.step(token) or b""
                code = 0 if context.complete else 14
            except SpnegoError:
                answer, code = b"", 49
            self.logins += code == 0
            reply = ber(0x61, ber(10, bytes([code])), ber(4), ber(4), ber(0x87, answer))
            line.sendall(ber(0x30, ber(2, number), reply))

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.join(10)


class Scene:
    """An authority, a server's certificate, and a way to open what stands behind it."""

    def __init__(self, folder: Path) -> None:
        authority = make_ca(folder, "ca.test")
        self.ca, self.certificate = authority.cert_path, issue(folder, authority, ["localhost"], ["127.0.0.1"])

    def open(self, url: str, secret: str = PASSWORD, **more: Any) -> AbstractContextManager[Directory]:
        whole = {"url": url, "bind": USER, "password": "env:P", "ca_file": str(self.ca), "auth": "ntlm", **more}
        return open_ldap(Target("ad", Kind.DIRECTORY, "ad", None, whole), {"env:P": secret}.__getitem__, Limits(20))

    def binding(self) -> bytes:
        import hashlib

        shown = ssl.PEM_cert_to_DER_cert(self.certificate[0].read_text(encoding="ascii"))
        return b"tls-server-end-point:" + hashlib.sha256(shown).digest()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    users = tmp_path / "users"
    users.write_text(f"SCALE:svc-audit:{PASSWORD}\n", encoding="utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    return Scene(tmp_path)


@pytest.fixture
def acceptor(scene: Scene) -> Iterator[Callable[[bytes | None], Acceptor]]:
    made: list[Acceptor] = []

    def make(binding: bytes | None) -> Acceptor:
        made.append(Acceptor(scene.certificate, binding))
        return made[-1]

    yield make
    for server in made:
        server.close()


def test_ntlm_is_bound_to_the_servers_certificate(scene: Scene, acceptor: Callable[..., Acceptor]) -> None:
    server = acceptor(scene.binding())
    with scene.open(server.url):
        pass
    assert server.logins == 1
    assert PASSWORD.encode() not in server.heard


def test_a_login_carried_over_another_channel_is_worth_nothing(scene: Scene, acceptor: Callable[..., Acceptor]) -> None:
    """What a hardened server sees when somebody in the middle hands a login on: another certificate's binding."""
    server = acceptor(b"tls-server-end-point:" + bytes(32))
    with pytest.raises(CredentialRefused), scene.open(server.url):
        pass
    assert server.logins == 0


def test_a_wrong_password_is_refused(scene: Scene, acceptor: Callable[..., Acceptor]) -> None:
    server = acceptor(None)
    with pytest.raises(CredentialRefused, match="name or password is wrong"), scene.open(server.url, "wrong"):
        pass
    assert server.logins == 0


def test_an_empty_password_is_no_login(scene: Scene, acceptor: Callable[..., Acceptor]) -> None:
    server = acceptor(None)
    with pytest.raises(CredentialRefused, match="empty"), scene.open(server.url, ""):
        pass
    assert not server.heard


def test_kerberos_without_its_library_or_ticket_is_said_in_words(
    scene: Scene, acceptor: Callable[..., Acceptor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KRB5_CONFIG", "/dev/null")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'none'}")
    server = acceptor(None)
    with (
        pytest.raises(TargetError, match=r"library that is not installed|There is no kerberos ticket"),
        scene.open(server.url, auth="kerberos", password="", bind=""),
    ):
        pass
    assert not server.heard


def test_a_server_that_skips_its_own_proof_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Half:
        complete = False

        def step(self, token: bytes | None = None) -> bytes:
            return b"token"

    monkeypatch.setattr(spnego, "client", lambda *a, **k: Half())
    with pytest.raises(IdentityError, match="without proving"):
        ldap_bind.login("kerberos", "a", "b", "dc1", b"", lambda token: {"result": 0, "saslCreds": b""})
