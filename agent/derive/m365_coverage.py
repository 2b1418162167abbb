"""Who is reached when policies combine: boxes in a space of sign-ins, and what is left of a region after them.

A policy is a box: for every dimension of a sign-in (who, what is done, which app, from what client, platform, place,
device, risk, flow) a set "any of these tags, none of those". A region is for every dimension a set of tags that hold
and a set that do not. Taking a box away from a region leaves up to a handful of smaller regions; policies that together
cover everything leave none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

DIMENSIONS = (
    "who",
    "action",
    "app",
    "client",
    "platform",
    "place",
    "device",
    "sign_in_risk",
    "user_risk",
    "insider_risk",
    "flow",
)
# Where every sign-in has exactly one of these, and Microsoft's schema names them all.
UNIVERSE: Mapping[str, frozenset[str]] = {
    # A policy is for signing in to apps, or for one of the two things that people do with their own account and
    # devices, or for what an app itself asks to be guarded (`context:…`, any number of them).
    "action": frozenset({"sign-in", "urn:user:registersecurityinfo", "urn:user:registerdevice"}),
    "client": frozenset({"browser", "mobileAppsAndDesktopClients", "exchangeActiveSync", "other"}),
    # `none` stands for platforms that Entra cannot tell, which an attacker can claim.
    "platform": frozenset({"android", "iOS", "windows", "windowsPhone", "macOS", "linux", "none"}),
    "sign_in_risk": frozenset({"none", "low", "medium", "high"}),
    "user_risk": frozenset({"none", "low", "medium", "high"}),
    "insider_risk": frozenset({"none", "minor", "moderate", "elevated"}),
    "flow": frozenset({"ordinary", "deviceCodeFlow", "authenticationTransfer"}),
}
MOST_REGIONS = 4000
"""Regions kept while policies are taken away; beyond it the answer is given up as unknown, never guessed."""

Empty = frozenset[str]()


class TooMany(Exception):
    """Policies that cut the space into more pieces than `MOST_REGIONS`."""


@dataclass(frozen=True, slots=True)
class Side:
    """A policy's set in one dimension: `inside` None means everything; `outside` is taken away again."""

    inside: frozenset[str] | None = None
    outside: frozenset[str] = Empty


@dataclass(frozen=True, slots=True)
class Box:
    """One policy: its name, and a `Side` for each dimension that it narrows."""

    name: str
    sides: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Region:
    """Sign-ins for which in each dimension all tags of `on` hold and none of `off`.

    `left_out` are tags of `on` that came from a policy's exclusions, as (dimension, tag).
    """

    on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    off: Mapping[str, frozenset[str]] = field(default_factory=dict)
    left_out: frozenset[tuple[str, str]] = Empty  # type: ignore[assignment]

    def tags(self, dimension: str) -> tuple[frozenset[str], frozenset[str]]:
        """(tags that hold, tags that do not)."""
        return self.on.get(dimension, Empty), self.off.get(dimension, Empty)

    def key(self) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
        """What makes two regions the same."""
        return (
            frozenset((d, t) for d, tags in self.on.items() for t in tags),
            frozenset((d, t) for d, tags in self.off.items() for t in tags),
        )


Impossible = Callable[[frozenset[str], frozenset[str]], bool]
"""Whether nobody can have all of the first tags and none of the second (the dimension `who`)."""


def empty(region: Region, dimension: str, nobody: Impossible) -> bool:
    """Whether no sign-in can be in the region, as far as this dimension shows."""
    on, off = region.tags(dimension)
    if on & off:
        return True
    if dimension == "who":
        return nobody(on, off)
    if dimension == "action":
        return len(on) > 1
    if dimension in UNIVERSE:
        return len(on & UNIVERSE[dimension]) > 1 or off >= UNIVERSE[dimension]
    if dimension == "app":
        # An app has one id; words such as Office365 stand for several apps, and filters for any.
        return len({t for t in on if "-" in t and ":" not in t}) > 1
    return False


def without(region: Region, box: Box, allowed: frozenset[tuple[str, str]], nobody: Impossible) -> list[Region]:
    """What is left of a region after a box: the region itself where they do not meet.

    `allowed` exclusions, as (dimension, tag), count as no hole.
    """
    if not touches(region, box, nobody):
        return [region]
    pieces: list[Region] = []
    for dimension in DIMENSIONS:
        side = box.sides.get(dimension)
        if side is None:
            continue
        on, off = region.tags(dimension)
        if side.inside is not None:
            more = Region(region.on, {**region.off, dimension: off | side.inside}, region.left_out)
            if more.off[dimension] == off:
                return [region]
            if not empty(more, dimension, nobody):
                pieces.append(more)
        for tag in sorted(side.outside):
            if (dimension, tag) in allowed:
                continue
            cut = Region({**region.on, dimension: on | {tag}}, region.off, region.left_out | {(dimension, tag)})
            if tag in on:
                return [region]
            if not empty(cut, dimension, nobody):
                pieces.append(cut)
    return pieces


def remaining(
    regions: Iterable[Region], boxes: Sequence[Box], allowed: frozenset[tuple[str, str]], nobody: Impossible
) -> list[Region]:
    """What the boxes together leave. Raises `TooMany`."""
    left = list(regions)
    # Broad policies first: they leave the fewest pieces.
    for box in sorted(boxes, key=lambda b: (_narrowness(b), b.name)):
        following: dict[object, Region] = {}
        for region in left:
            for piece in without(region, box, allowed, nobody):
                following.setdefault(piece.key(), piece)
        left = list(following.values())
        if len(left) > MOST_REGIONS:
            raise TooMany
        if not left:
            break
    return left


def _narrowness(box: Box) -> int:
    return sum((side.inside is not None) + len(side.outside) for side in box.sides.values())


def touches(region: Region, box: Box, nobody: Impossible) -> bool:
    """Whether a box reaches any sign-in of a region."""
    for dimension, side in box.sides.items():
        on, off = region.tags(dimension)
        ways: Iterable[frozenset[str]] = [Empty] if side.inside is None else [frozenset({tag}) for tag in side.inside]
        out = {dimension: off | side.outside}
        if all(empty(Region({dimension: on | way}, out), dimension, nobody) for way in ways):
            return False
    return True
