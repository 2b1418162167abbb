"""Derived facts: pure functions of (facts, parameters, schools, as_of), computed while judging, never stored.

Each module here declares its facts with `agent.facttypes.derived` and gets a `View`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from agent.conform import conform
from agent.facttypes import REGISTRY, FactSpec
from agent.model import NOT_COLLECTED, Facts, Partial, Reason, School, Unknown


@dataclass(slots=True)
class View:
    """What one judgement may look at: facts (raw and derived), parameters, schools and the time of collection.

    `get` and `items` never raise for missing data: they give `Unknown`. Results of derived facts are kept for the
    life of `shared`.
    """

    platform: str
    facts: Facts
    as_of: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schools: Sequence[School] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the target, for placeholders: `base_dn` for a directory."""
    shared: dict[Any, Any] = field(default_factory=dict)
    """Results of derived facts, by name and the parameter values behind them: views of one target share it."""

    def get(self, name: str) -> Any:
        """A fact's value by full name (`sshd`, `sysctl[net.ipv4.ip_forward]`): a value, None (absent) or Unknown."""
        reading = self.facts.get(name)
        if reading is not None:
            return reading.value
        spec = REGISTRY.specs.get((self.platform, name))
        if spec is None or spec.derive is None:
            return NOT_COLLECTED.value
        key = (name, *(repr(self.parameters.get(p)) for p in parameters_behind(spec)))
        if key not in self.shared:
            self.shared[key] = _compute(spec, self)
        return self.shared[key]

    def items(self, name: str) -> tuple[Sequence[Any], Unknown | None]:
        """A list fact as (items, why it may lack some); an unknown or absent list gives no items and the reason."""
        return as_items(self.get(name))


@lru_cache(maxsize=1024)
def _behind(platform: str, name: str) -> tuple[str, ...]:
    spec = REGISTRY.specs.get((platform, name))
    if spec is None or spec.derive is None:
        return ()
    return tuple(sorted({*spec.derive.parameters, *(p for r in spec.derive.reads for p in _behind(platform, r))}))


def parameters_behind(spec: FactSpec) -> tuple[str, ...]:
    """Parameters that a derived fact uses, through other derived facts too."""
    return _behind(spec.platform, spec.name)


def as_items(value: Any) -> tuple[Sequence[Any], Unknown | None]:
    """A list value as (items, why it may lack some)."""
    if isinstance(value, Unknown):
        return (), value
    if isinstance(value, Partial):
        return value.items, value.why
    return (value or ()), None


def _compute(spec: FactSpec, view: View) -> Any:
    """A derived fact whose inputs are wholly unknown is unknown for the first such reason, without being run,
    unless it calls that input optional.

    Inputs that are only partly known (a field, a `Partial` list) are the function's to weigh. What it gives is held to
    its declared type, and a fault in it makes this one fact unknown: it must not cost a school its night.
    """
    assert spec.derive is not None  # noqa: S101 - for the type checker
    for name in spec.derive.reads:
        value = view.get(name)
        if isinstance(value, Unknown) and name not in spec.derive.optional:
            return value
    try:
        value = spec.derive.compute(view)
    except Exception as e:
        return Unknown(Reason.UNREADABLE, f"{spec.name} could not be worked out ({type(e).__name__})")
    return conform(value, spec.type, spec.may_be_absent, spec.name)


def load_all() -> None:
    """Import every module of this package, so that its facts are declared."""
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
