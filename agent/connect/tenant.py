"""A tenant as its facts see it: Microsoft Graph, and public DNS for its mail domains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from agent.connect.dns import Dns
from agent.connect.graph import open_graph
from agent.facts.m365.protocol import Answer, Graph, Lookup, More, Names, Request, Tenant
from agent.facts.protocol import Limits
from agent.model import Target


@dataclass(frozen=True, slots=True)
class _Tenant:
    graph: Graph
    names: Names

    def get(self, requests: Sequence[Request], more: More | None = None) -> list[Answer]:
        return self.graph.get(requests, more)

    def resolve(self, lookups: Sequence[Lookup]) -> list[Answer]:
        return self.names.resolve(lookups)


@contextmanager
def open_tenant(target: Target, secret: Callable[[str], str], limits: Limits) -> Iterator[Tenant]:
    """Sign in to a tenant; DNS is asked of its `dns_servers`, or of the machine's. Raises as `open_graph` does."""
    with open_graph(target, secret, limits) as graph:
        yield _Tenant(graph, Dns(target.settings.get("dns_servers") or ()))
