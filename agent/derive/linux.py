"""Derived facts of Linux hosts: support dates, a site's required packages, who may become root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
OUTSTANDING = Record(
    {
        "package": Field(STR, "name of the package"),
        "version": Field(STR, "version that waits"),
        "released": Field(TIME, "when it came out, where the source says"),
        "released_by": Field(TIME, "it was out by then"),
        "late": Field(BOOL, "whether it has waited longer than is allowed; unknown where its dates do not tell"),
    },
    key="package",
    label="package",
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


@derived("administrators", ListOf(ADMINISTRATOR), "linux", reads=("groups", "os", "sudo"), optional=("os", "sudo"))
def administrators(view: View) -> Any:
    """Accounts other than root in a group that may become root."""
    groups, why = view.items("groups")
    found: dict[str, list[str]] = {}
    for group in groups:
        members = [name for name in group["members"] if name != "root"]
        if group["name"] not in ADMIN_GROUPS or not members:
            continue
        rights = _becomes_root(view, group["name"])
        if isinstance(rights, Unknown):
            why = why or rights
        elif rights:
            for name in members:
                found.setdefault(name, []).append(group["name"])
    items = [{"name": name, "groups": sorted(found[name])} for name in sorted(found)]
    return items if why is None else Partial(tuple(items), why)


def _becomes_root(view: View, group: str) -> bool | Unknown:
    """Whether a group of that name counts: `sudo` and `admin` are groups like any other where packages are rpm's,
    unless sudoers there says otherwise."""
    system = view.get("os")
    if group == "wheel" or isinstance(system, Unknown) or system["packages"] != "rpm":
        return True
    rules = view.get("sudo")
    if rules is None or isinstance(rules, Unknown):
        return rules or False
    grants, why = as_items(rules["grants"])
    return any(g["who"] == f"%{group}" and g["commands"] == "ALL" for g in grants) or why or False


@derived(
    "outstanding_updates",
    ListOf(OUTSTANDING),
    "linux",
    reads=("security_updates",),
    parameters=("security_update_days",),
    clock=True,
)
def outstanding_updates(view: View) -> Any:
    """Security updates that are not installed; not known whole where the list is older than they may be.

    A list made on a day holds everything that came out before it: if it is younger than the days that are allowed, and
    names nothing, nothing has waited longer than them.
    """
    updates = view.get("security_updates")
    items, why = as_items(updates["waiting"])
    allowed = timedelta(days=view.parameters["security_update_days"])

    def late(item: Any) -> Any:
        if view.as_of - _moment(item["released_by"]) >= allowed:
            return True
        released = item["released"]
        return released if isinstance(released, Unknown) else view.as_of - _moment(released) >= allowed

    listed = updates["listed"]
    age = view.as_of - _moment(listed)
    if age >= allowed:
        why = why or Unknown(Reason.NOT_SUPPORTED, f"the list of security updates is of {listed[:10]}")
    elif age < -timedelta(days=1):
        why = why or Unknown(Reason.UNREADABLE, f"the list of security updates is dated {listed[:10]}")
    found = [item | {"late": late(item)} for item in items]
    return found if why is None else Partial(tuple(found), why)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
