"""What the tenant's facts know of a connection: reads of Graph paths and of DNS, and how far each could be believed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import quote

from agent.model import Unknown

Option = Literal["", "beta", "each_device"]
"""What a trust has to switch on for a tenant before it is asked: `beta` (paths that v1.0 does not have), `each_device`
(one request for every device)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One read of Graph v1.0, or of its beta where `option` says so.

    `path` starts with a slash and carries no version. `permission` is the least application permission that it
    takes (Microsoft's permission map of 2026-08-07). `headers` are repeated on every page. `slow` requests share a
    limit of one a second for the whole tenant. `absent_ok`: a 404 means that the object is not there (value None).
    `first`: the first page is enough, as the newest come first. `option`: unknown by choice unless the trust has
    switched that on. `keep`: the properties (`a/b` inside `a`) that are read of each item of a long list, where
    $select cannot say it; the rest is let go page by page, so that a large tenant does not fill the memory.
    """

    path: str
    permission: str
    select: tuple[str, ...] = ()
    expand: str = ""
    filter: str = ""
    top: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    slow: bool = False
    absent_ok: bool = False
    first: bool = False
    option: Option = ""
    keep: tuple[str, ...] = ()

    def url(self, top: int | None = None) -> str:
        """Path and query, relative to the version; `top` replaces the page size."""
        size = self.top if top is None else top
        options = [
            ("$select", ",".join(self.select)),
            ("$expand", self.expand),
            ("$filter", self.filter),
            ("$top", str(size) if size else ""),
        ]
        query = "&".join(f"{name}={quote(value, safe='$,()=')}" for name, value in options if value)
        return f"{self.path}?{query}" if query else self.path

    def thin(self, item: Any) -> Any:
        """One item of a page with only what `keep` names; anything that is no object as it is."""
        if not self.keep or not isinstance(item, dict):
            return item
        out: dict[str, Any] = {}
        for name in self.keep:
            first, _, inner = name.partition("/")
            value = item.get(first)
            if first not in item:
                continue
            if not inner or not isinstance(value, dict):
                out[first] = value
            elif inner in value:
                out.setdefault(first, {})[inner] = value[inner]
            else:
                out.setdefault(first, {})
        return out

    def __str__(self) -> str:
        """As `plan` prints it: readable, not encoded."""
        parts = [f"$select={','.join(self.select)}"] if self.select else []
        parts += [f"$expand={self.expand}"] if self.expand else []
        parts += [f"$filter={self.filter}"] if self.filter else []
        path = f"/beta{self.path}" if self.option == "beta" else self.path
        return f"GET {path}" + (f"?{'&'.join(parts)}" if parts else "")


@dataclass(frozen=True, slots=True)
class Lookup:
    """One DNS question: texts (TXT) of a name, an alias followed. No right is needed: DNS is public."""

    name: str

    def __str__(self) -> str:
        """As `plan` prints it."""
        return f"DNS TXT {self.name}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gave.

    `value` is an object (dict), the whole list of a collection, a `Partial` of it when a page was missing, None when
    there is no such object, or `Unknown`. `request_ids` are Graph's own, for support and the log. Of a `Lookup`:
    the list of texts, empty where DNS says that there are none.
    """

    value: Any
    request_ids: tuple[str, ...] = field(default=())

    @property
    def unknown(self) -> Unknown | None:
        """The reason, when nothing could be read."""
        return self.value if isinstance(self.value, Unknown) else None


More = Callable[[Request, Answer], Sequence[Request]]
"""Told every answer as it comes, in the thread that called `Graph.get`; gives what is to be read because of it."""


class Graph(Protocol):
    """A signed-in connection to one tenant."""

    def get(self, requests: Sequence[Request], more: More | None = None) -> list[Answer]:
        """Read them all, in the order given, and what `more` asks for meanwhile (those answers only `more` gets).

        Raises `TargetError` when the tenant as a whole cannot be read.
        """


class Names(Protocol):
    """Somebody who can ask DNS."""

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        """Answers in the order given; never raises: a question that nobody answers is unknown."""


class Tenant(Graph, Names, Protocol):
    """Everything that the facts of a tenant are read from."""
