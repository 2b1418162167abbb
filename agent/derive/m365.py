"""Derived facts of a tenant: who administers it (through groups and eligibility too), who can pass MFA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.derive import View, as_items
from agent.derive.conditional_access import PRIVILEGED
from agent.derive.m365_people import members_of
from agent.facttypes import BOOL, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown

GLOBAL = "62e90394-69f5-4237-9190-012177145e10"

ADMIN = Record(
    {
        "id": Field(STR),
        "upn": Field(STR),
        "roles": Field(ListOf(STR), "names of the privileged roles held, or that may be switched on"),
        "global_administrator": Field(BOOL),
        "break_glass": Field(BOOL, "a declared emergency account"),
        "enabled": Field(BOOL),
        "guest": Field(BOOL),
        "synced": Field(BOOL, "comes from an on-premises directory"),
        "anchored": Field(BOOL, "holds an anchor by which an on-premises account could take it over"),
    },
    key="id",
    label="upn",
)


@derived(
    "admins",
    ListOf(ADMIN),
    "m365",
    reads=("role_holders", "users"),
    optional=("users",),
    parameters=("break_glass_accounts",),
)
def admins(view: View) -> Any:
    """People in a privileged role of the whole tenant: directly, through a group, or eligible; each once."""
    held = view.get("role_holders")
    users, users_why = view.items("users")
    known = {u["id"]: u for u in users if isinstance(u, Mapping) and isinstance(u.get("id"), str)}
    roles: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    declared = {str(a).lower() for a in view.parameters.get("break_glass_accounts") or ()}
    why: Unknown | None = None
    emergency = set(declared)
    for part in ("active", "eligible"):
        holders, missing = as_items(held.get(part, Unknown(Reason.NOT_COLLECTED)))
        why = why or missing
        for holder in holders:
            if isinstance(holder, Unknown):
                why = why or holder
                continue
            role, scope, kind, principal = (holder.get(k) for k in ("role", "scope", "kind", "principal"))
            doubt = next((v for v in (role, scope, kind, principal) if isinstance(v, Unknown)), None)
            if doubt is not None:
                why = why or doubt
            if role not in PRIVILEGED or scope != "/" or not isinstance(principal, str):
                continue
            people = [principal] if kind == "user" else []
            if kind == "group":
                members, missing = as_items(holder.get("members", Unknown(Reason.NOT_COLLECTED)))
                why = why or missing
                people = [m for m in members if isinstance(m, str)]
                if principal in declared:
                    emergency.update(people)
            if kind == "user" and isinstance(holder.get("name"), str):
                names[principal] = holder["name"]
            for person in people:
                roles.setdefault(person, set()).add(str(role))
    unseen = users_why or Unknown(Reason.UNREADABLE, "not in the list of users")
    out = []
    for person, has in sorted(roles.items()):
        user = known.get(person, {})
        out.append(
            {
                "id": person,
                "upn": user.get("upn", names.get(person, person)),
                "roles": sorted(PRIVILEGED[r] for r in has),
                "global_administrator": GLOBAL in has,
                "break_glass": person in emergency,
                **{name: user.get(name, unseen) for name in ("enabled", "guest", "synced", "anchored")},
            }
        )
    return Partial(tuple(out), why) if why else out


@derived(
    "mfa_accounts",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "enabled": Field(BOOL),
                "guest": Field(BOOL),
                "student": Field(BOOL, "by its licences, or by the groups that schools name"),
                "capable": Field(BOOL, "has registered a method: can pass MFA today"),
            },
            key="id",
            label="upn",
        ),
        claims="user",
    ),
    "m365",
    reads=("mfa_registration", "users"),
    schools=True,
)
def mfa_accounts(view: View) -> Any:
    """Accounts with what the report of registered methods says of them."""
    users, why = view.items("users")
    details, details_why = view.items("mfa_registration")
    capable = {d.get("id"): d.get("capable") for d in details if isinstance(d, Mapping)}
    unseen = details_why or Unknown(Reason.UNREADABLE, "not in the report of registered methods yet")
    (staff, _), (pupils, doubt) = (members_of(view, selector) for selector in ("staff_groups", "pupil_groups"))
    out: list[Any] = []
    for user in users:
        if isinstance(user, Unknown):
            why = why or user
            continue
        kept = {name: user[name] for name in ("id", "upn", "enabled", "guest", "student") if name in user}
        if user.get("id") in staff:
            kept["student"] = False
        elif user.get("id") in pupils:
            kept["student"] = True
        elif doubt is not None and kept.get("student") is False:
            kept["student"] = doubt
        out.append({**kept, "capable": capable.get(user.get("id"), unseen)})
    return Partial(tuple(out), why) if why else out
