"""OData query options of the stand-in for Microsoft Graph: `$select`, `$expand`, `$filter`, `$top`, pages."""

from __future__ import annotations

import base64
import binascii
import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.demo import graph_filter, graph_rules
from agent.demo.graph_data import NAVIGATION, Json
from agent.demo.graph_rules import GraphRefused

# A lookup of what an expanded property leads to: (object, property name) -> object, list, or None.
Follow = Callable[[Json, str], Any]
# Graph expands at most so many members of a list on a directory object, and says nothing about the rest.
MOST_EXPANDED = 20


@dataclass(slots=True)
class Expand:
    """One expanded property, with the options in its brackets."""

    name: str
    select: list[str] = field(default_factory=list)
    expand: list[Expand] = field(default_factory=list)


@dataclass(slots=True)
class Query:
    """The options of one request."""

    select: list[str] = field(default_factory=list)
    expand: list[Expand] = field(default_factory=list)
    filter: graph_filter.Filter | None = None
    top: int | None = None
    count: bool = False
    orderby: str = ""
    offset: int = 0
    follow_up: bool = False
    pairs: list[tuple[str, str]] = field(default_factory=list)


def parse(query_string: str) -> Query:
    """Parse a query string. Raises GraphRefused 400."""
    query = Query(pairs=urllib.parse.parse_qsl(query_string, keep_blank_values=True))
    for key, value in query.pairs:
        match key:
            case "$select":
                query.select = [name.strip() for name in value.split(",") if name.strip()]
            case "$expand":
                query.expand = [_expand(part) for part in _split(value, ",")]
            case "$filter":
                try:
                    query.filter = graph_filter.parse(value)
                except graph_filter.FilterError as error:
                    raise GraphRefused(400, "BadRequest", f"Invalid filter clause: {error}") from error
            case "$top":
                if not re.fullmatch(r"\d{1,9}", value):
                    raise GraphRefused(400, "BadRequest", f"Invalid value '{value}' for $top query option found.")
                query.top = int(value)
            case "$count":
                query.count = value.lower() == "true"
            case "$orderby":
                query.orderby = value
            case "$skiptoken":
                query.offset, query.follow_up = _read_token(value)
            case "$search" | "$apply" | "$compute" | "$deltatoken" | "$skip":
                raise GraphRefused(400, "Request_UnsupportedQuery", f"Query option '{key}' is not supported here.")
    return query


def check(query: Query, type_name: str, consistency: str) -> None:
    """Check names against the type, and advanced queries against their header. Raises GraphRefused 400."""
    graph_rules.check_names(type_name, query.select)
    graph_rules.check_names(type_name, [expand.name for expand in query.expand])
    used = query.filter.names if query.filter else set()
    order = query.orderby.partition(" ")[0]
    graph_rules.check_names(type_name, used | ({order} if order else set()))
    advanced = bool(query.filter and (query.filter.advanced or query.orderby))
    eventual = consistency.lower() == "eventual"
    if type_name in graph_rules.DIRECTORY_TYPES and advanced and not (eventual and query.count):
        raise GraphRefused(
            400,
            "Request_UnsupportedQuery",
            "Operator or query is not supported because the required parameters might be missing. Try adding $count="
            "true query parameter and ConsistencyLevel:eventual header.",
        )


def shape(item: Json, type_name: str, query: Query | Expand, follow: Follow) -> Json:
    """What of an object is shown: the selected or default properties, and what is expanded."""
    if query.select:
        wanted = set(query.select) - NAVIGATION
        shown = {key: value for key, value in item.items() if key in wanted or key.startswith("@odata.type")}
    else:
        default = graph_rules.DEFAULT_PROPERTIES.get(type_name)
        hidden = graph_rules.ONLY_SELECTED.get(type_name, frozenset()) | NAVIGATION
        shown = {
            key: value
            for key, value in item.items()
            if key not in hidden and (default is None or key in default or key.startswith("@odata.type"))
        }
    for expand in query.expand:
        found = follow(item, expand.name)
        if isinstance(found, list):
            directory = type_name in graph_rules.DIRECTORY_TYPES
            kept = found[:MOST_EXPANDED] if directory else found
            shown[expand.name] = [shape(each, "", expand, follow) for each in kept]
        else:
            shown[expand.name] = None if found is None else shape(found, "", expand, follow)
    return shown


@dataclass(frozen=True, slots=True)
class Pager:
    """How lists are cut: `size` items a page at most, and whether an empty page is slipped in before the first."""

    size: int
    empty_first: bool = False


def answer_list(
    items: list[Json], type_name: str, query: Query, pager: Pager | None, link: str, follow: Follow
) -> Json:
    """One page of a list, with `@odata.nextLink` while there is more. `link` is the address without query."""
    found = [item for item in items if query.filter is None or query.filter.matches(item)]
    if query.orderby:
        name, _, direction = query.orderby.partition(" ")
        found.sort(key=lambda item: (item.get(name) is None, str(item.get(name))), reverse=direction == "desc")
    answer: Json = {}
    if query.count and query.offset == 0 and not query.follow_up:
        answer["@odata.count"] = len(found)
    if pager is None:
        page, following = found, None
    elif pager.empty_first and query.offset == 0 and not query.follow_up:
        page, following = [], 0
    else:
        size = min(pager.size, query.top or pager.size)
        page = found[query.offset : query.offset + size]
        following = query.offset + size if query.offset + size < len(found) else None
    if following is not None:
        kept = [(key, value) for key, value in query.pairs if key != "$skiptoken"]
        pairs = [*kept, ("$skiptoken", _make_token(following))]
        answer["@odata.nextLink"] = f"{link}?{urllib.parse.urlencode(pairs, safe='$,()')}"
    answer["value"] = [shape(item, type_name, query, follow) for item in page]
    return answer


def _expand(text: str) -> Expand:
    match = re.fullmatch(r"\s*([\w]+)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise GraphRefused(400, "BadRequest", f"Parsing OData Select and Expand failed: syntax error in '{text}'.")
    expand = Expand(match[1])
    for option in _split(match[2] or "", ";"):
        key, _, value = option.partition("=")
        if key.strip() == "$select":
            expand.select = [name.strip() for name in value.split(",")]
        elif key.strip() == "$expand":
            expand.expand = [_expand(part) for part in _split(value, ",")]
        else:
            raise GraphRefused(400, "BadRequest", f"Query option '{key}' is not supported in $expand here.")
    return expand


def _split(text: str, mark: str) -> list[str]:
    """Split at `mark`, but not inside brackets; blanks are dropped."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == mark and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def _make_token(offset: int) -> str:
    # Opaque on purpose: a client that takes it apart, or counts for itself, is wrong.
    return base64.urlsafe_b64encode(json.dumps(["page", offset]).encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, bool]:
    try:
        mark, offset = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError) as error:
        raise GraphRefused(400, "Directory_ExpiredPageToken", "The specified page token value is not valid.") from error
    if mark != "page" or not isinstance(offset, int):
        raise GraphRefused(400, "Directory_ExpiredPageToken", "The specified page token value is not valid.")
    return offset, True
