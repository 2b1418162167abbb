"""DNS: what an answer proves, and that none proves nothing. A real server on loopback answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.connect import dns as connector
from agent.connect.dns import Dns, address
from agent.demo.dns_server import DnsServer
from agent.facts.m365.protocol import Lookup
from agent.model import Reason, Unknown

LONG = "v=DKIM1; k=rsa; p=" + "A" * 390


@pytest.fixture
def server() -> Iterator[DnsServer]:
    records = {
        "school.example": ["v=spf1 -all", "MS=ms123"],
        "empty.example": [],
        "key.host.example": [LONG],
        "many.example": [f"text {n} " + "x" * 200 for n in range(20)],
    }
    trouble = {"silent.example": "silent", "ill.example": "SERVFAIL", "shy.example": "REFUSED"}
    with DnsServer(records, {"selector1.school.example": "key.host.example"}, trouble) as running:
        yield running


def ask(server: DnsServer, *names: str, seconds: float = 5.0) -> list[object]:
    return [a.value for a in Dns([server.address], seconds).resolve([Lookup(n) for n in names])]


def test_texts_absence_and_aliases(server: DnsServer) -> None:
    found = ask(server, "school.example", "empty.example", "gone.example", "selector1.school.example")
    assert sorted(found[0]) == ["MS=ms123", "v=spf1 -all"]  # type: ignore[call-overload]
    assert found[1:3] == [[], []]
    assert found[3] == [LONG], "one record in several strings is one text"


def test_an_answer_too_long_for_a_datagram_comes_by_tcp(server: DnsServer) -> None:
    (found,) = ask(server, "many.example")
    assert isinstance(found, list)
    assert len(found) == 20


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("silent.example", Reason.TIMED_OUT),
        ("ill.example", Reason.UNREACHABLE),
        ("shy.example", Reason.UNREACHABLE),
        ("a..b", Reason.UNREADABLE),
        ("x" * 70 + ".example", Reason.UNREADABLE),
    ],
)
def test_no_answer_is_unknown(server: DnsServer, name: str, reason: Reason) -> None:
    (found,) = ask(server, name, seconds=1.0)
    assert isinstance(found, Unknown)
    assert found.reason is reason


def test_one_question_in_trouble_costs_itself_only(server: DnsServer) -> None:
    found = ask(server, "ill.example", "school.example", seconds=1.0)
    assert isinstance(found[0], Unknown)
    assert len(found[1]) == 2  # type: ignore[arg-type]


def test_nobody_listens() -> None:
    (answer,) = Dns(["127.0.0.1:1"], 1.0).resolve([Lookup("school.example")])
    assert isinstance(answer.value, Unknown)


def test_when_nobody_answers_the_rest_is_not_asked(server: DnsServer) -> None:
    names = [f"n{n}.example" for n in range(40)]
    server.trouble.update(dict.fromkeys(names, "silent"))
    found = ask(server, *names, seconds=0.5)
    assert all(isinstance(f, Unknown) and f.reason is Reason.TIMED_OUT for f in found)
    assert len(set(server.asked)) < 40
    # One silent name of many is that name's own trouble.
    assert len(ask(server, "school.example", *names[:12], "school.example", seconds=0.5)[-1]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gone.example", "empty.example"])
def test_an_inside_copy_of_the_zone_proves_no_absence(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server.authority = True
    inside = Dns()
    # The machine's own configuration, pointed at the server of this test.
    monkeypatch.setattr(inside, "_resolver", Dns([server.address])._resolver)
    absent, there = (a.value for a in inside.resolve([Lookup(name), Lookup("school.example")]))
    assert isinstance(absent, Unknown)
    assert "dns_servers" in absent.detail
    assert len(there) == 2
    assert ask(server, name) == [[]], "a server that trust.yml names is believed"


def test_a_machine_without_name_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    import dns.resolver

    def broken(*_: object, **__: object) -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(connector.Dns, "_resolver", broken)
    (answer,) = Dns().resolve([Lookup("school.example")])
    assert isinstance(answer.value, Unknown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["ns1.example", "192.0.2.53:0", "192.0.2.53:x", "300.1.1.1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"port|int|address"):
        address(text)
