"""What the directory's facts know of a connection: searches, and how far each could be believed. No transport here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.model import Unknown


@dataclass(slots=True)
class Entry:
    """One object as it was shown. `attributes` holds raw values by lower-case name, without options or ranges.

    `cut` names (lower case) attributes of which more values exist than could be read. Nobody changes one; it is not
    frozen because a directory has 100,000 of them, and frozen they take three times as long to make.
    """

    dn: str
    attributes: Mapping[str, Sequence[bytes]]
    cut: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """Answer of one search.

    `why` says why entries may be missing (size limit, no right, connection lost); None means the server said that
    this was all it shows. `absent` means that it showed no such base, which may be because the account may not see
    it. `referrals` were handed out by the server and never followed.
    """

    entries: Sequence[Any] = ()
    why: Unknown | None = None
    absent: bool = False
    referrals: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a server treats strangers, by trying. `Unknown` where that could not be tried.

    `plain_login`: it weighs a login in clear. `anonymous`: it answers a search of somebody who has
    not signed in.
    `channel_binding`: it refuses an NTLM login over TLS that is not bound to the connection. `certificate_ends` is
    ISO 8601, UTC.
    """

    ldaps: bool | Unknown
    old_tls: bool | Unknown
    certificate_ends: str | Unknown
    plain_login: bool | Unknown
    channel_binding: bool | Unknown
    anonymous: bool | Unknown


class Directory(Protocol):
    """A bound connection to one directory server."""

    @property
    def server(self) -> str:
        """The address of the server that answered, as trust.yml writes it."""

    def search(
        self,
        base: str,
        filter: str,
        attributes: Sequence[str],
        *,
        scope: str = "sub",
        security: bool = False,
        take: Callable[[Entry], Any] | None = None,
    ) -> Found:
        """All pages of one search. `scope` is `base`, `one`, `sub`, or `deleted` (`sub` with what was deleted);
        `security` asks for security descriptors without their audit part, which an ordinary account may read. Never
        raises for what the server does.

        With `take`, each entry is handed to it once, not always in order, and what it gives stands in `entries`
        instead: a class of 50,000 need not be held as it came."""

    def behaviour(self, base: str) -> Behaviour:
        """How the server treats strangers; tried once. `base` is the domain's DN. Never raises for what it does."""
