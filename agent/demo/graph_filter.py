"""OData `$filter`, as far as the stand-in for Microsoft Graph goes.

Comparisons, `in`, `startsWith`, `endsWith`, `contains`, `and`, `or`, `not`, brackets, and `any` over a list. A filter
that goes further is refused with 400, as Graph refuses what it cannot do: never answered wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Predicate = Callable[[dict[str, Any]], bool]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')"
    r"|(?P<date>\d{4}-\d\d-\d\dT[\d:.]+Z)"
    r"|(?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>@?[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*)"
    r"|(?P<mark>[(),:]))"
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "gt": lambda left, right: left is not None and right is not None and left > right,
    "ge": lambda left, right: left is not None and right is not None and left >= right,
    "lt": lambda left, right: left is not None and right is not None and left < right,
    "le": lambda left, right: left is not None and right is not None and left <= right,
}
_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": lambda text, part: part in text,
}
# What directory objects answer only with `ConsistencyLevel: eventual` and `$count=true`.
_ADVANCED = {"ne", "not", "endswith", "contains"}


class FilterError(ValueError):
    """The filter is not one that this server understands."""


@dataclass(slots=True)
class Filter:
    """A parsed filter: `matches` decides, `names` are the properties read, `advanced` says it needs eventual mode."""

    matches: Predicate
    names: set[str] = field(default_factory=set)
    advanced: bool = False


def parse(text: str) -> Filter:
    """Parse an OData filter. Raises FilterError."""
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise FilterError(f"Syntax error at position {position} in '{text}'.")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    parser = _Parser(tokens, text)
    result = Filter(parser.alternatives(), parser.names, parser.advanced)
    if parser.position != len(tokens):
        raise FilterError(f"Syntax error at position {len(text)} in '{text}'.")
    return result


class _Parser:
    """Recursive descent over the tokens of one filter."""

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self.tokens, self.text, self.position = tokens, text, 0
        self.names: set[str] = set()
        self.advanced = False
        self._bound: list[str] = []

    def alternatives(self) -> Predicate:
        terms = [self._all()]
        while self._word("or"):
            terms.append(self._all())
        return terms[0] if len(terms) == 1 else lambda item: any(term(item) for term in terms)

    def _all(self) -> Predicate:
        terms = [self._one()]
        while self._word("and"):
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else lambda item: all(term(item) for term in terms)

    def _one(self) -> Predicate:
        if self._word("not"):
            self.advanced = True
            inner = self._one()
            return lambda item: not inner(item)
        if self._mark("("):
            inner = self.alternatives()
            self._need(")")
            return inner
        name = self._take("name")
        if name.lower() in _FUNCTIONS and self._mark("("):
            return self._function(name.lower())
        if name.endswith("/any") and self._mark("("):
            return self._any(name.removesuffix("/any"))
        return self._comparison(name)

    def _function(self, name: str) -> Predicate:
        self.advanced |= name in _ADVANCED
        read = self._reader(self._take("name"))
        self._need(",")
        wanted = str(self._literal())
        self._need(")")
        test = _FUNCTIONS[name]
        return lambda item: test(str(_plain(read(item)) or ""), str(_plain(wanted)))

    def _any(self, name: str) -> Predicate:
        read = self._reader(name)
        variable = self._take("name")
        self._need(":")
        self._bound.append(variable)
        inner = self.alternatives()
        self._bound.pop()
        self._need(")")
        return lambda item: any(inner({**item, variable: each}) for each in read(item) or [])

    def _comparison(self, name: str) -> Predicate:
        read = self._reader(name)
        word = self._take("name").lower()
        if word == "in":
            self._need("(")
            wanted = [_plain(self._literal())]
            while self._mark(","):
                wanted.append(_plain(self._literal()))
            self._need(")")
            return lambda item: _plain(read(item)) in wanted
        if word not in _COMPARISONS:
            raise FilterError(f"Unknown operator '{word}' in '{self.text}'.")
        self.advanced |= word in _ADVANCED
        compare, right = _COMPARISONS[word], _plain(self._literal())
        return lambda item: compare(_plain(read(item)), right)

    def _reader(self, name: str) -> Callable[[dict[str, Any]], Any]:
        parts = name.split("/")
        if parts[0] not in self._bound:
            self.names.add(parts[0])

        def read(item: dict[str, Any]) -> Any:
            value: Any = item
            for part in parts:
                value = value.get(part) if isinstance(value, dict) else None
            return value

        return read

    def _literal(self) -> Any:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind in ("date", "guid"):
            return text
        if kind == "name" and text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        raise FilterError(f"'{text}' is not a value in '{self.text}'.")

    def _next(self) -> tuple[str, str]:
        if self.position >= len(self.tokens):
            raise FilterError(f"'{self.text}' ends too early.")
        self.position += 1
        return self.tokens[self.position - 1]

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise FilterError(f"Unexpected '{text}' in '{self.text}'.")
        return text

    def _need(self, mark: str) -> None:
        if not self._mark(mark):
            raise FilterError(f"'{mark}' is missing in '{self.text}'.")

    def _mark(self, mark: str) -> bool:
        return self._skip(("mark", mark))

    def _word(self, word: str) -> bool:
        return self._skip(("name", word))

    def _skip(self, token: tuple[str, str]) -> bool:
        if self.position < len(self.tokens) and self.tokens[self.position] == token:
            self.position += 1
            return True
        return False


def _plain(value: Any) -> Any:
    """Text compares without case, as it does in Graph's directory."""
    return value.casefold() if isinstance(value, str) else value
