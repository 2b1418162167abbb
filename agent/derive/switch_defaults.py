"""What a switch does where its configuration says nothing. The dated table is handed in: this module reads no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.derive import View
from agent.model import Reason, Unknown

Table = Mapping[str, Sequence[Mapping[str, Any]]]


class _Source:
    provider: Callable[[], Table] | None = None


def provide(provider: Callable[[], Table]) -> None:
    """Say where the table comes from: a function that returns entries by platform. Called once, at import."""
    _Source.provider = provider


def default(view: View, name: str) -> Any:
    """The release's default for `name`, or Unknown where the table lacks the release or the value."""
    device = view.get("device")
    if isinstance(device, Unknown):
        return device
    platform, release, family = (
        device.get(k, Unknown(Reason.NOT_COLLECTED)) for k in ("platform", "release", "family")
    )
    if isinstance(release, Unknown):
        return release
    entries = _Source.provider().get(str(platform), ()) if _Source.provider is not None else ()
    for entry in entries:
        if not any(str(release).startswith(m) for m in entry["match"]):
            continue
        if "families" in entry:
            if isinstance(family, Unknown):
                return family
            if family not in entry["families"]:
                continue
        if name in entry:
            return entry[name]
    return Unknown(Reason.NOT_SUPPORTED, f"{platform} {release} is not in the table of defaults for this")


def stated(value: Any, view: View, name: str) -> Any:
    """`value` where the configuration states one, else the release's default."""
    return default(view, name) if value is None else value


def platform(view: View) -> str:
    """`ios`, `aoscx` or `procurve`; empty where not even that is known."""
    device = view.get("device")
    found = "" if isinstance(device, Unknown) else device.get("platform", "")
    return found if isinstance(found, str) else ""
