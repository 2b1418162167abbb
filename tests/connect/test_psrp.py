"""PowerShell remoting against a stand-in that speaks the real wire format on a real socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.collect import Credentials, collect, credential_key
from agent.connect.psrp import open_psrp
from agent.connect.psrp_http import has_kerberos
from agent.connect.psrp_options import Endpoint, endpoint
from agent.demo.certs import CertificateAuthority, issue, make_app_certificate, make_ca
from agent.demo.psrp_server import PsrpServer, Reply
from agent.errors import (
    Broken,
    CredentialRefused,
    IdentityError,
    NoAnswer,
    NotAllowed,
    SecretError,
    TargetError,
    Unreachable,
)
from agent.facts.protocol import Limits, Output
from agent.model import Kind, Reason, Target, Unknown

SCRIPT = "'Grüße', 'x' # \u2713 _x0041_ \U0001f600\r\n\tGet-Date"


class Place(NamedTuple):
    ca: CertificateAuthority
    certs: tuple[Path, Path]
    folder: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("certs")
    ca = make_ca(folder, "school")
    return Place(ca, issue(folder, ca, ["localhost"], ["127.0.0.1"]), folder)


def echo(script: str) -> Reply:
    return Reply([script, ""])


def settings(server: PsrpServer, place: Place, **more: Any) -> dict[str, Any]:
    return {
        "ansible_connection": "psrp",
        "ansible_host": "localhost",
        "ansible_port": server.port,
        "ansible_user": "scan",
        "ansible_password": "env:PASSWORD",
        "ansible_psrp_ca_cert": str(place.ca.cert_path),
        **more,
    }


def ask(
    given: Mapping[str, Any], *, password: str = "geheim", limits: Limits | None = None, script: str = SCRIPT
) -> Output:
    limits = limits or Limits(20.0, 4 << 20)
    target = Target("pc1", Kind.DEVICE, "windows", "oak", given)
    with open_psrp(target, lambda reference: password, limits) as shell:
        return shell.script(script, limits)


@pytest.fixture
def serve(place: Place) -> Iterator[Callable[..., PsrpServer]]:
    running: list[PsrpServer] = []

    def start(answer: Callable[[str], Reply] = echo, *, https: bool = True, **more: Any) -> PsrpServer:
        certs = more.pop("certs", place.certs) if https else None
        server = PsrpServer(certs, {"scan": "geheim", "SCHOOL\\scan": "geheim"}, answer, **more)
        running.append(server.__enter__())
        return server

    yield start
    for server in running:
        server.__exit__()
        assert not server.failures


# ------------------------------------------------------------------------------------------------------ what is right


@pytest.mark.parametrize("more", [{}, {"ansible_psrp_message_encryption": "always"}, {"ansible_psrp_auth": "ntlm"}])
def test_text_comes_back_as_it_was_over_https(serve: Any, place: Place, more: dict[str, Any]) -> None:
    server = serve()
    out = ask(settings(server, place, **more))
    assert out == Output(f"{SCRIPT}\n\n".encode(), b"", 0)
    assert server.log == ["login scan", "Create", "Receive", "Command", "Receive", "Delete"]
    assert not server.shells, "the session was not closed"


def test_over_http_every_message_is_sealed(serve: Any, place: Place) -> None:
    server = serve(https=False)
    assert ask(settings(server, place, ansible_psrp_protocol="http")).stdout == f"{SCRIPT}\n\n".encode()
    assert server.log[0] == "login scan"


def test_winrm_of_an_inventory_is_the_same_endpoint(serve: Any, place: Place) -> None:
    server = serve()
    given = {
        "ansible_connection": "winrm",
        "ansible_host": "127.0.0.1",
        "ansible_winrm_port": server.port,
        "ansible_winrm_user": "SCHOOL\\scan",
        "ansible_winrm_password": "env:PASSWORD",
        "ansible_winrm_transport": ["kerberos", "ntlm"],
        "ansible_winrm_ca_trust_path": str(place.ca.cert_path),
        "ansible_winrm_server_cert_validation": "ignore",
    }
    assert ask(given).stdout == f"{SCRIPT}\n\n".encode()
    assert server.log[0] == "login SCHOOL\\scan"


def test_basic_inside_tls_where_the_inventory_names_it(serve: Any, place: Place) -> None:
    server = serve(offers=["Negotiate", "Basic"])
    assert ask(settings(server, place, ansible_psrp_auth="basic")).rc == 0
    with pytest.raises(CredentialRefused, match="refused the credential of scan"):
        ask(settings(server, place, ansible_psrp_auth="basic"), password="wrong")


def test_a_certificate_logs_in(serve: Any, place: Place) -> None:
    mine, _ = make_app_certificate(place.folder, "scan-client")
    server = serve(offers=["Negotiate"], clients=mine)
    given = settings(
        server, place, ansible_psrp_certificate_pem="scan-client.pem", spiritlevel_folder=str(place.folder)
    )
    del given["ansible_password"], given["ansible_user"]
    given["ansible_psrp_certificate_key_pem"] = "scan-client.key"
    assert ask(given).rc == 0
    assert server.log[0] == "login scan-client"
    with pytest.raises(SecretError, match="cannot be used"):
        ask({**given, "ansible_psrp_certificate_key_pem": str(place.certs[1])})
    with pytest.raises(SecretError, match="cannot be read: No such file"):
        ask({**given, "ansible_psrp_certificate_pem": "nowhere.pem"})


def test_a_large_answer_and_a_large_script(serve: Any, place: Place) -> None:
    """More than one envelope each way: 1.5 MB there is more than 500 kB, and so is 3 MB back."""
    text = "Zeile <&> ä\r\n" * 120_000
    server = serve(lambda script: Reply([str(len(script)), script, script]))
    out = ask(settings(server, place), script=text, limits=Limits(60.0, 16 << 20))
    assert out.rc == 0
    assert out.stdout == f"{len(text)}\n{text}\n{text}\n".encode()
    assert "Send" in server.log


def test_errors_are_kept_apart_and_a_failed_script_says_so(serve: Any, place: Place) -> None:
    server = serve(lambda _: Reply(["half"], ["it broke"], failed=True))
    out = ask(settings(server, place))
    assert (out.stdout, out.stderr, out.rc) == (b"half\n", b"it broke", 1)


def test_several_scripts_on_one_session(serve: Any, place: Place) -> None:
    server = serve()
    target = Target("pc1", Kind.DEVICE, "windows", "oak", settings(server, place))
    with open_psrp(target, lambda _: "geheim", Limits(20.0)) as shell:
        assert [shell.script(s, Limits(5.0)).stdout for s in ("1", "2")] == [b"1\n\n", b"2\n\n"]
    assert server.log.count("Create") == 1


def test_the_stand_in_speaks_what_pypsrps_own_client_speaks(serve: Any, place: Place) -> None:
    """The stand-in is written from the specifications; here the library's own transport talks to it."""
    from pypsrp.powershell import PowerShell, RunspacePool
    from pypsrp.wsman import WSMan

    for https in (True, False):
        server = serve(https=https)
        wsman = WSMan(
            "localhost",
            port=server.port,
            username="scan",
            password="geheim",
            ssl=https,
            cert_validation=str(place.ca.cert_path),  # type: ignore[arg-type]
            auth="ntlm",
            no_proxy=True,
        )
        with wsman, RunspacePool(wsman) as pool:
            shell = PowerShell(pool)
            shell.add_script(SCRIPT)
            assert shell.invoke() == [SCRIPT, ""]


# ------------------------------------------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    ("trouble", "kind", "words"),
    [
        ("denied", NotAllowed, "lets this account in, and not into PowerShell: Access is denied"),
        ("quota", Unreachable, "allows no further session"),
        ("no-endpoint", Broken, "has no endpoint Microsoft.PowerShell"),
        ("odd-fault", Broken, "refused what was asked: Something"),
        ("html", Broken, "is not WinRM: it answers with text/html"),
        ("redirect", Broken, "a redirect to another place, which is not followed"),
        ("busy", Unreachable, "too busy"),
        ("cut", Broken, "broke an answer off in the middle"),
        ("dies", Broken, "closed the connection in the middle"),
        ("fragments", Broken, "not as PowerShell remoting says: FragmentError"),
        ("entities", Broken, "defines entities"),
        ("no-scripts", NotAllowed, "endpoint Microsoft.PowerShell of localhost port .* runs no scripts"),
        ("stopped", Broken, "stopped the script before its end"),
        ("broken-pool", Broken, "not as PowerShell remoting says"),
        ("silent-login", Broken, "answered the login with something that makes no sense"),
    ],
)
def test_trouble_has_its_own_words(serve: Any, place: Place, trouble: str, kind: type[TargetError], words: str) -> None:
    server = serve(trouble=trouble)
    with pytest.raises(kind, match=words) as caught:
        ask(settings(server, place))
    assert type(caught.value) is kind
    assert caught.value.hint
    assert "geheim" not in str(caught.value)


def test_a_hosts_warnings_are_not_ours(serve: Any, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(settings(serve(trouble="warns"), place)).rc == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("trouble", ["clear", "garbled"])
def test_what_is_not_sealed_as_agreed_is_not_read(serve: Any, place: Place, trouble: str) -> None:
    server = serve(https=False, trouble=trouble)
    with pytest.raises(IdentityError, match=r"nothing of it was read|does not open"):
        ask(settings(server, place, ansible_psrp_protocol="http"))


@pytest.mark.parametrize("trouble", ["hangs", "slow", "chatter"])
def test_a_host_that_takes_too_long_ends_in_time(serve: Any, place: Place, trouble: str) -> None:
    server = serve(trouble=trouble)
    out = ask(settings(server, place), limits=Limits(1.2, 4 << 20))
    assert out.timed_out or out.truncated, "it was asked again and again for nothing"
    assert out.rc is None


def test_a_script_that_works_long_is_waited_for(serve: Any, place: Place) -> None:
    """The host's answer to a Receive may be that there is nothing yet: then it is asked again."""

    def answer(_: str) -> Reply:
        time.sleep(2.5)
        return Reply(["done"])

    server = serve(answer)
    limits = Limits(20.0, 1 << 20)
    target = Target("pc1", Kind.DEVICE, "windows", "oak", settings(server, place))
    with open_psrp(target, lambda _: "geheim", limits) as shell:
        assert shell.script("x", Limits(1.2, 1 << 20)).timed_out
    with open_psrp(target, lambda _: "geheim", Limits(4.0, 1 << 20)) as shell:
        assert shell.script("x", limits).stdout == b"done\n"


def test_a_host_that_floods_is_cut_off(serve: Any, place: Place) -> None:
    out = ask(settings(serve(trouble="floods"), place), limits=Limits(30.0, 1 << 20))
    assert (out.truncated, out.rc, len(out.stdout)) == (True, None, 1 << 20)


def test_a_wrong_password_is_tried_once(serve: Any, place: Place) -> None:
    server = serve()
    with pytest.raises(CredentialRefused, match="refused the credential of scan"):
        ask(settings(server, place), password="wrong")
    assert server.log == ["refused"]


def test_an_unknown_authority_gets_nothing(serve: Any, place: Place, tmp_path: Path) -> None:
    server = serve()
    other = make_ca(tmp_path, "other")
    for more in ({}, {"ansible_psrp_cert_validation": "ignore"}):
        with pytest.raises(IdentityError, match="certificate that is not trusted") as caught:
            ask(settings(server, place, **{"ansible_psrp_ca_cert": str(other.cert_path), **more}))
        assert ("is not followed" in caught.value.hint) == bool(more)
    assert server.log == []


def test_authorities_of_the_environment_are_not_taken(
    serve: Any, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(place.ca.cert_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = serve()
    assert ask(settings(server, place)).rc == 0
    other = make_ca(tmp_path, "other")
    with pytest.raises(IdentityError):
        ask(settings(server, place, ansible_psrp_ca_cert=str(other.cert_path)))


def test_a_certificate_of_another_name(serve: Any, place: Place) -> None:
    server = serve(certs=issue(place.folder, place.ca, ["another.school.example"]))
    with pytest.raises(IdentityError, match=r"Hostname mismatch|not valid for 'localhost'"):
        ask(settings(server, place))


def test_a_hosts_own_certificate_may_be_named(serve: Any, place: Place) -> None:
    """As with a self-signed one: the certificate itself is the anchor, and its name must still be right."""
    server = serve()
    assert ask(settings(server, place, ansible_psrp_ca_cert=str(place.certs[0]))).rc == 0


def test_a_host_that_does_not_negotiate(serve: Any, place: Place) -> None:
    with pytest.raises(Unreachable, match="lets nobody log in by negotiate; it offers Basic"):
        ask(settings(serve(offers=["Basic realm=WSMAN"]), place))


def test_nothing_there(place: Place) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"ansible_host": "127.0.0.1", "ansible_port": port, "ansible_user": "a", "ansible_password": "env:X"}
    with pytest.raises(NoAnswer, match=r"cannot be reached: connection refused\. Is WinRM listening there for HTTPS"):
        ask(given)
    with pytest.raises(NoAnswer, match="no such name"):
        ask({**given, "ansible_host": "pc1.invalid"})


def test_a_port_that_does_not_speak_tls(serve: Any, place: Place) -> None:
    server = serve(https=False)
    with pytest.raises(Unreachable, match=r"does not speak TLS.*Is that the HTTPS port\?"):
        ask(settings(server, place))


def test_a_host_that_takes_the_connection_and_says_nothing(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        given = {"ansible_host": "127.0.0.1", "ansible_port": mute.getsockname()[1], "ansible_password": "env:X"}
        for protocol in ("http", "https"):
            with pytest.raises(Unreachable, match="in time"):
                ask({**given, "ansible_user": "a", "ansible_psrp_protocol": protocol}, limits=Limits(1.0))


def test_a_host_that_drips_ends_in_time(place: Place) -> None:
    """A byte now and then keeps every socket's own timeout from ending it; the one clock does."""
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:
            try:
                with slow.accept()[0] as connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n")
                    for _ in range(100):
                        connection.sendall(b"X")
                        time.sleep(0.1)
            except OSError:  # cut off, which is the point
                return

        threading.Thread(target=drip, daemon=True).start()
        given = {"ansible_host": "127.0.0.1", "ansible_port": slow.getsockname()[1], "ansible_password": "env:X"}
        with pytest.raises(Unreachable, match="did not answer in time"):
            ask({**given, "ansible_user": "a", "ansible_psrp_protocol": "http"}, limits=Limits(1.5))


# ------------------------------------------------------------------------------------------------------ the inventory


def way(**given: Any) -> Endpoint:
    return endpoint("pc1", {f"ansible_{k}": v for k, v in given.items()})


@pytest.mark.parametrize(
    ("given", "port", "https"),
    [
        ({}, 5986, True),
        ({"port": 5985}, 5985, False),
        ({"port": "5985", "psrp_protocol": "https"}, 5985, True),
        ({"psrp_protocol": "http"}, 5985, False),
        ({"port": 443}, 443, True),
        ({"winrm_scheme": "http", "winrm_port": 8080}, 8080, False),
    ],
)
def test_ports_are_read_as_ansible_reads_them(given: dict[str, Any], port: int, https: bool) -> None:
    found = way(user="scan", **given)
    assert (found.port, found.https, found.seal) == (port, https, not https)


@pytest.mark.parametrize(
    ("given", "auth"),
    [
        ({}, "negotiate"),
        ({"psrp_auth": "kerberos"}, "kerberos"),
        ({"winrm_transport": "kerberos,ntlm"}, "negotiate"),
        ({"winrm_transport": "ssl"}, "basic"),
        ({"winrm_transport": "ssl", "winrm_cert_pem": "c.pem"}, "certificate"),
        ({"winrm_cert_pem": "c.pem"}, "certificate"),
        ({"winrm_transport": ["credssp", "ntlm"]}, "ntlm"),
        ({"winrm_transport": ["plaintext", "ntlm"], "port": 5985}, "ntlm"),
    ],
)
def test_logins_are_read_as_ansible_names_them(given: dict[str, Any], auth: str) -> None:
    assert way(user="scan", **given).auth == auth


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"psrp_auth": "basic", "psrp_protocol": "http"}, "basic over HTTP, which would show the password"),
        ({"winrm_transport": "plaintext", "port": 5985}, "plaintext over HTTP, which would show the password"),
        ({"psrp_auth": "credssp"}, "CredSSP, which hands the password over"),
        ({"psrp_auth": "digest"}, "by digest, which is not known"),
        ({"port": 5985, "psrp_message_encryption": "never"}, "over HTTP without encryption"),
        ({"psrp_message_encryption": "always", "psrp_auth": "basic"}, "a login by basic does not have"),
        ({"psrp_proxy": "http://proxy:3128"}, "behind a proxy"),
        ({"psrp_auth": "certificate"}, "logs in by certificate, and none is named"),
        ({"host": "a/../b"}, "no usable host name"),
        ({"port": "many"}, "no usable port: 'many'"),
        ({"psrp_protocol": "gopher"}, "to be read by gopher"),
        ({"psrp_path": "{{ x | default }}"}, "ansible_psrp_path of pc1 is a template"),
    ],
)
def test_what_would_be_wrong_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(Unreachable, match=words) as caught:
        way(user="scan", **given)
    assert caught.value.hint


def test_who_and_with_what_is_needed(serve: Any, place: Place) -> None:
    with pytest.raises(Unreachable, match="has no ansible_user"):
        way(psrp_auth="ntlm")
    given = {"ansible_user": "scan", "ansible_psrp_auth": "ntlm"}
    with pytest.raises(SecretError, match="has no password"):
        ask(given)


@pytest.mark.skipif(has_kerberos(), reason="the packages are there")
def test_kerberos_without_its_packages_says_so(serve: Any, place: Place) -> None:
    server = serve()
    with pytest.raises(Unreachable, match="a login by kerberos cannot be begun") as caught:
        ask(settings(server, place, ansible_psrp_auth="kerberos"))
    assert "gssapi and krb5" in caught.value.hint
    assert server.log == []


def test_two_accounts_are_two_credentials() -> None:
    """The guard against locking accounts out counts by account and secret, whichever connection's words name them."""

    def key(**given: str) -> str:
        return credential_key(
            Target("pc1", Kind.DEVICE, "windows", "oak", {f"ansible_{k}": v for k, v in given.items()})
        )

    assert key(winrm_user="a", winrm_password="env:X") != key(winrm_user="b", winrm_password="env:X")
    assert key(psrp_user="a", psrp_certificate_pem="a.pem") != key(psrp_user="a", psrp_certificate_pem="b.pem")
    assert key(user="a", password="env:X") == key(user="a", password="env:X", port="1")


def test_let_in_and_no_further_is_a_missing_permission(
    serve: Any, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "geheim")
    target = Target("pc1", Kind.DEVICE, "windows", "oak", settings(serve(trouble="denied"), place))
    credentials = Credentials()
    for _ in range(4):
        evidence = collect(target, ["os"], place.folder, Limits(10.0), credentials, threading.Event())
        assert evidence.facts["os"].unknown == Unknown(Reason.PERMISSION, "")
        assert "not into PowerShell" in evidence.detail
