"""DNS as the world sees it: the one home of dnspython.

Public records of the trust's mail domains are asked of the machine's own name servers, or of those that trust.yml
names. An answer that never came is unknown; "there is no such record" is known, and an empty list.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from agent.facts.m365.protocol import Answer, Lookup
from agent.model import Reason, Unknown

if TYPE_CHECKING:
    from dns.resolver import Resolver

SECONDS = 8.0
"""Time for one question, over all name servers and tries."""
AT_ONCE = 16
"""Questions under way at once."""
SILENT = 8
"""Questions without an answer, and none with one, after which nothing more is asked: nobody is there."""
MOST = 4096
"""Characters kept of one record, and records of one name at most a hundred: a DNS answer holds no more of use."""


class Dns:
    """Asks DNS. `servers` are addresses (`192.0.2.53`, `192.0.2.53:5353`, `[2001:db8::53]:5353`); none: the machine's.

    The machine's own server may hold a copy of the trust's zone that only the inside sees, in which the public mail
    records are missing. When such a server says by its own authority that there is nothing, that proves nothing.
    """

    def __init__(self, servers: Sequence[str] = (), seconds: float = SECONDS) -> None:
        self._servers, self._seconds = tuple(servers), seconds
        self._answered, self._silent = False, 0

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        """Answers in the order given; see `Names`."""
        import dns.exception

        try:
            resolver = self._resolver()
        except (dns.exception.DNSException, OSError, ValueError) as error:
            why = Unknown(Reason.UNREACHABLE, f"no name server to ask ({type(error).__name__})")
            return [Answer(why) for _ in lookups]
        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(lookups)))) as pool:
            return [Answer(value) for value in pool.map(lambda lookup: self._texts(resolver, lookup.name), lookups)]

    def _resolver(self) -> Resolver:
        import dns.nameserver
        import dns.resolver

        if not self._servers:
            return _patient(dns.resolver.Resolver(), self._seconds)
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*address(server)) for server in self._servers]
        return _patient(resolver, self._seconds)

    def _texts(self, resolver: Resolver, name: str) -> Any:
        """Texts of one name: a list, or `Unknown`."""
        import dns.exception
        import dns.flags
        import dns.resolver

        if self._silent >= SILENT and not self._answered:
            return Unknown(Reason.TIMED_OUT, f"DNS does not answer at all, so nobody was asked for {name}")
        try:
            answer = resolver.resolve(name, "TXT", search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            self._answered = True
            said = error.kwargs.get("responses") or {}
            return self._nothing(any(r.flags & dns.flags.AA for r in said.values()), name)
        except dns.exception.Timeout:
            self._silent += 1
            return Unknown(Reason.TIMED_OUT, f"DNS did not answer for {name}")
        except dns.resolver.NoNameservers:
            return Unknown(Reason.UNREACHABLE, f"DNS refuses or fails to answer for {name}")
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return Unknown(Reason.UNREADABLE, f"DNS for {name} ({type(error).__name__})")
        self._answered = True
        if answer.rrset is None:
            return self._nothing(bool(answer.response.flags & dns.flags.AA), name)
        return [b"".join(record.strings).decode("latin-1")[:MOST] for record in answer.rrset][:100]

    def _nothing(self, by_own_authority: bool, name: str) -> Any:
        if by_own_authority and not self._servers:
            return Unknown(
                Reason.UNREADABLE,
                f"this machine's name server holds the zone of {name} itself, and may not show what the world sees: "
                "set dns_servers of the tenant in trust.yml to a public one",
            )
        return []


def _patient(resolver: Resolver, seconds: float) -> Resolver:
    resolver.timeout, resolver.lifetime = min(3.0, seconds), seconds
    return resolver


def address(text: str) -> tuple[str, int]:
    """`address` or `address:port` (an IPv6 address with a port stands in brackets). Raises `ValueError`."""
    import ipaddress

    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    number = int(port)
    if not 0 < number < 65536:
        raise ValueError(f"{port} is no port")
    return str(ipaddress.ip_address(host)), number
