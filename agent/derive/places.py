"""Where things are in a directory: the base, a school's OUs, the OUs that parameters name. Pure."""

from __future__ import annotations

from agent import dn as names
from agent.derive import View
from agent.model import Reason, School, Unknown


def base_dn(view: View) -> str | None:
    """The directory's base: as trust.yml sets it, else as the domain calls itself. None when neither is known."""
    chosen = view.settings.get("base_dn")
    if chosen:
        return str(chosen)
    domain = view.get("domain")
    found = domain.get("dn") if isinstance(domain, dict) else None
    return found if isinstance(found, str) else None


def filled(text: str, view: View, school: School | None = None) -> str | None:
    """A DN with its placeholders put in, normalised; None when the base is needed and not known."""
    base = base_dn(view)
    if base is None and "{base_dn}" in text:
        return None
    text = text.replace("{base_dn}", base or "")
    if school is not None:
        suffix = str(school.directory.get("upn_suffix") or "")
        text = text.replace("{code}", school.code).replace("{upn_suffix}", suffix)
    return names.normal(text)


def school_units(school: School, view: View) -> list[str] | None:
    """The school's OUs as normalised DNs; empty when it names none, None when they cannot be worked out."""
    chosen = school.directory.get("ou") or []
    units = [filled(str(text), view, school) for text in ([chosen] if isinstance(chosen, str) else chosen)]
    found = [u for u in units if u is not None]
    return found if len(found) == len(units) else None


def seen_units(view: View) -> tuple[set[str], Unknown | None]:
    """Normalised DNs of all OUs that are shown, and why there may be more."""
    items, why = view.items("ous")
    return {names.normal(o["dn"]) for o in items if isinstance(o, dict) and isinstance(o.get("dn"), str)}, why


def named(view: View, parameter: str) -> str | Unknown:
    """The OU that a parameter names, normalised; unknown unless it is seen: what cannot be seen is not empty."""
    value = view.parameters.get(parameter)
    if not value:
        return Unknown(Reason.NOT_COLLECTED, f"{parameter} is not set")
    place = filled(str(value), view)
    if place is None:
        return Unknown(Reason.NOT_COLLECTED, "the directory's base name")
    seen, why = seen_units(view)
    if place in seen:
        return place
    return why or Unknown(Reason.PERMISSION, f"see {place}, which is not there or may not be read")
