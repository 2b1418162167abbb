"""Derived facts of Linux hosts: support dates, a site's required packages, who may become root."""

from __future__ import annotations

from typing import Any

from agent.derive import View, as_items, support
from agent.facttypes import BOOL, STR, TIME, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown
from agent.versions import at_least

ADMIN_GROUPS = ("sudo", "wheel", "admin")
"""Groups that sudoers of the usual distributions lets become root (Debian; RHEL and SUSE; old Ubuntu)."""

SUPPORT = Record(
    {
        "ends": Field(TIME, "last moment of security updates; absent for releases without an end", may_be_absent=True),
    }
)
REQUIRED = Record(
    {
        "name": Field(STR, "package that the site requires"),
        "wanted": Field(STR, "lowest version"),
        "installed": Field(STR, "version that is there; absent when none is", may_be_absent=True),
        "fits": Field(BOOL, "whether it is there, and new enough by its own system's rules"),
    },
    key="name",
    label="name",
)
ADMINISTRATOR = Record(
    {
        "name": Field(STR, "login name"),
        "groups": Field(ListOf(STR), "groups through which"),
    },
    key="name",
    label="name",
)


@derived("os_support", SUPPORT, "linux", reads=("os",))
def os_support(view: View) -> Any:
    """Until when this release gets security updates, from the dated table."""
    system = view.get("os")
    return {"ends": support.ends(system["id"], system["version_id"], extended=system.get("extended") is True)}


@derived("required_packages", ListOf(REQUIRED), "linux", reads=("packages",), parameters=("required_packages",))
def required_packages(view: View) -> Any:
    """The site's required packages against what is installed, one item per requirement."""
    wanted = view.parameters.get("required_packages") or {}
    packages = view.get("packages")
    items, why = as_items(packages.get("installed", Unknown(Reason.NOT_COLLECTED)))
    have: dict[str, list[str]] = {}
    for item in items:
        have.setdefault(item["name"], []).append(item["version"])
    out = []
    for name, floor in sorted(wanted.items()):
        versions = have.get(name, [])
        record: dict[str, Any] = {"name": name, "wanted": str(floor)}
        if not versions and why is not None:
            out.append(record | {"installed": why, "fits": why})
            continue
        record["installed"] = versions[-1] if versions else None
        try:
            # Several versions side by side (kernels): one that is new enough is enough.
            record["fits"] = any(at_least(packages["scheme"], v, str(floor)) for v in versions)
        except (ValueError, KeyError):
            record["fits"] = Unknown(Reason.UNREADABLE, f"version of {name}")
        out.append(record)
    return out


@derived("administrators", ListOf(ADMINISTRATOR), "linux", reads=("groups",))
def administrators(view: View) -> Any:
    """Accounts other than root in a group that may become root."""
    groups, why = view.items("groups")
    found: dict[str, list[str]] = {}
    for group in groups:
        if group["name"] in ADMIN_GROUPS:
            for name in group["members"]:
                if name != "root":
                    found.setdefault(name, []).append(group["name"])
    items = [{"name": name, "groups": sorted(found[name])} for name in sorted(found)]
    return items if why is None else Partial(tuple(items), why)
