"""Derived facts about administrators beyond who they are: roles without an end, apps with roles, licences, methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.derive import View, as_items
from agent.derive.conditional_access import GROUPS, PRIVILEGED
from agent.derive.m365 import GLOBAL
from agent.facttypes import BOOL, STR, Field, ListOf, Record, derived
from agent.model import Partial, Reason, Unknown


def _declared(view: View) -> set[str]:
    """Ids of the emergency accounts, of declared groups, and of the people in those."""
    declared = {str(a).lower() for a in view.parameters.get("break_glass_accounts") or ()}
    held = view.get("role_holders")
    groups = list(view.items(GROUPS)[0])
    holders = as_items(held.get("active"))[0] if isinstance(held, Mapping) else ()
    out = set(declared)
    for group, key in [*((g, "id") for g in groups), *((h, "principal") for h in holders)]:
        if isinstance(group, Mapping) and group.get(key) in declared:
            out.update(m for m in as_items(group.get("members"))[0] if isinstance(m, str))
    return out


@derived(
    "standing_roles",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "name": Field(STR, "who holds it"),
                "role": Field(STR, "name of the role"),
                "break_glass": Field(BOOL, "a declared emergency account"),
            },
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=("role_schedule", GROUPS, "role_holders"),
    optional=(GROUPS, "role_holders"),
    parameters=("break_glass_accounts",),
)
def standing_roles(view: View) -> Any:
    """Privileged roles that are in force for ever, not switched on for a while."""
    items, why = view.items("role_schedule")
    declared = _declared(view)
    out: list[Any] = []
    for item in items:
        if isinstance(item, Unknown):
            why = why or item
            continue
        doubt = next((v for v in (item.get(k) for k in ("role", "switched_on", "end")) if isinstance(v, Unknown)), None)
        if doubt is not None:
            why = why or doubt
        elif item["role"] in PRIVILEGED and not item["switched_on"] and item["end"] is None:
            out.append(
                {
                    "id": item["id"],
                    "name": item["name"],
                    "role": PRIVILEGED[item["role"]],
                    "break_glass": item["principal"] in declared,
                }
            )
    return Partial(tuple(out), why) if why else out


@derived(
    "eligible_roles",
    ListOf(
        Record(
            {"id": Field(STR), "name": Field(STR, "who may switch it on"), "role": Field(STR, "name of the role")},
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=("role_holders",),
)
def eligible_roles(view: View) -> Any:
    """Privileged roles that people may switch on for a while (PIM)."""
    held = view.get("role_holders").get("eligible", Unknown(Reason.NOT_COLLECTED))
    if isinstance(held, Unknown):
        return held
    items, why = as_items(held)
    out: list[Any] = []
    for item in items:
        role = item if isinstance(item, Unknown) else item.get("role")
        if isinstance(role, Unknown):
            why = why or role
        elif role in PRIVILEGED:
            out.append({"id": item["id"], "name": item["name"], "role": PRIVILEGED[role]})
    return Partial(tuple(out), why) if why else out


@derived(
    "apps_with_global_administrator",
    ListOf(
        Record(
            {"id": Field(STR, "of the service principal"), "name": Field(STR), "through": Field(STR, "a group", True)},
            key="id",
            label="name",
        )
    ),
    "m365",
    reads=("role_holders", "service_principals"),
    optional=("service_principals",),
)
def apps_with_global_administrator(view: View) -> Any:
    """Applications that are Global Administrator, by themselves or through a group."""
    held = view.get("role_holders")
    names = {a.get("id"): a.get("name") for a in view.items("service_principals")[0] if isinstance(a, Mapping)}
    found: dict[str, dict[str, Any]] = {}
    why: Unknown | None = None
    for part in ("active", "eligible"):
        holders, missing = as_items(held.get(part, Unknown(Reason.NOT_COLLECTED)))
        why = why or missing
        for holder in holders:
            if isinstance(holder, Unknown):
                why = why or holder
                continue
            role, kind, principal = (holder.get(k) for k in ("role", "kind", "principal"))
            doubt = next((v for v in (role, principal) if isinstance(v, Unknown)), None)
            if doubt is not None or (role == GLOBAL and isinstance(kind, Unknown)):
                why = why or doubt or kind
            elif role == GLOBAL and kind == "service_principal":
                found[principal] = {"id": principal, "name": holder.get("name"), "through": None}
            elif role == GLOBAL and kind == "group":
                inside, missing = as_items(holder.get("apps", Unknown(Reason.NOT_COLLECTED)))
                why = why or missing
                for app in inside:
                    name = names.get(app, app)
                    found.setdefault(app, {"id": app, "name": name, "through": holder.get("name")})
    out = [found[key] for key in sorted(found)]
    return Partial(tuple(out), why) if why else out


@derived(
    "admin_licences",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "products": Field(ListOf(STR), "part numbers of what it is licensed for"),
            },
            key="id",
            label="upn",
        )
    ),
    "m365",
    reads=("admins", "users", "subscriptions"),
    optional=("users",),
    parameters=("break_glass_accounts",),
)
def admin_licences(view: View) -> Any:
    """People in a privileged role, with the products that their accounts are licensed for."""
    people, why = view.items("admins")
    users, users_why = view.items("users")
    held = {u.get("id"): u.get("products") for u in users if isinstance(u, Mapping)}
    bought, bought_why = view.items("subscriptions")
    names = {b.get("id"): b.get("name") for b in bought if isinstance(b, Mapping)}
    unseen = users_why or Unknown(Reason.UNREADABLE, "not in the list of users")
    out: list[Any] = []
    for person in people:
        if isinstance(person, Unknown):
            why = why or person
            continue
        products = held.get(person.get("id"), unseen)
        if isinstance(products, (list, tuple)):
            # A product that is not among the subscriptions any more goes by its id.
            products = [n if isinstance(n := names.get(p), str) else p for p in products]
            if bought_why is not None and any(p not in names for p in held[person.get("id")] or ()):
                products = bought_why
        out.append({"id": person.get("id"), "upn": person.get("upn"), "products": products})
    return Partial(tuple(out), why) if why else out


@derived(
    "admin_methods",
    ListOf(
        Record(
            {
                "id": Field(STR),
                "upn": Field(STR),
                "enabled": Field(BOOL),
                "methods": Field(ListOf(STR), "ways to sign in that it has registered"),
            },
            key="id",
            label="upn",
        )
    ),
    "m365",
    reads=("mfa_registration", "users"),
    optional=("users",),
)
def admin_methods(view: View) -> Any:
    """Administrators, as Microsoft's report of registered methods knows them, with whether their accounts are on."""
    details, why = view.items("mfa_registration")
    users, users_why = view.items("users")
    enabled = {u.get("id"): u.get("enabled") for u in users if isinstance(u, Mapping)}
    unseen = users_why or Unknown(Reason.UNREADABLE, "not in the list of users")
    out: list[Any] = []
    for item in details:
        admin = item if isinstance(item, Unknown) else item.get("admin")
        if isinstance(admin, Unknown):
            why = why or admin
        elif admin:
            out.append(
                {**{k: item.get(k) for k in ("id", "upn", "methods")}, "enabled": enabled.get(item["id"], unseen)}
            )
    return Partial(tuple(out), why) if why else out
