"""The algebra of boxes against plain counting: every point of a small space, a few hundred random sets of policies."""

from __future__ import annotations

import itertools
import random

import pytest

from agent.derive.m365_coverage import UNIVERSE, Box, Region, Side, TooMany, remaining, touches

CLIENTS = sorted(UNIVERSE["client"])
RISKS = sorted(UNIVERSE["user_risk"])
PLACES = ("AllTrusted", "place-1")  # may overlap, and a sign-in may be in neither
GROUPS = ("group:a", "group:b", "group:c")
Point = tuple[frozenset[str], str, str, frozenset[str]]


def nobody(on: frozenset[str], off: frozenset[str]) -> bool:
    return False


def some(rng: random.Random, words: tuple[str, ...] | list[str], least: int) -> frozenset[str]:
    return frozenset(rng.sample(words, rng.randint(least, len(words))))


def box(rng: random.Random, number: int) -> Box:
    sides: dict[str, Side] = {}
    for dimension, words in (("who", GROUPS), ("client", CLIENTS), ("user_risk", RISKS), ("place", PLACES)):
        if rng.random() < 0.6:
            inside = None if rng.random() < 0.5 else some(rng, list(words), 1)
            sides[dimension] = Side(inside, some(rng, list(words), 0) if rng.random() < 0.4 else frozenset())
    return Box(str(number), {k: v for k, v in sides.items() if v != Side()})


def points() -> list[Point]:
    subsets = [frozenset(s) for n in range(4) for s in itertools.combinations(GROUPS, n)]
    places = [frozenset(s) for n in range(3) for s in itertools.combinations(PLACES, n)]
    return list(itertools.product(subsets, CLIENTS, RISKS, places))


def caught(point: Point, box: Box) -> bool:
    tags = {"who": point[0], "client": {point[1]}, "user_risk": {point[2]}, "place": point[3]}
    return all(
        (side.inside is None or bool(side.inside & tags[d])) and not side.outside & tags[d]
        for d, side in box.sides.items()
    )


@pytest.mark.parametrize("seed", range(300))
def test_agrees_with_counting(seed: int) -> None:
    rng = random.Random(seed)
    boxes = [box(rng, n) for n in range(rng.randint(1, 6))]
    left = [p for p in points() if not any(caught(p, b) for b in boxes)]
    try:
        regions = remaining([Region()], boxes, frozenset(), nobody)
    except TooMany:
        pytest.skip("too many pieces")
    assert bool(regions) == bool(left)
    for b in boxes:
        assert touches(Region(), b, nobody) == any(caught(p, b) for p in points())


def test_gives_up_rather_than_guessing() -> None:
    boxes = [
        Box(str(n), {d: Side(frozenset({f"{d}-{n}"})) for d in ("who", "app", "place", "device")}) for n in range(20)
    ]
    with pytest.raises(TooMany):
        remaining([Region()], boxes, frozenset(), nobody)
