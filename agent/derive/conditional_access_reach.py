"""Who is reached by what: a derived fact for each thing that conditional access should enforce."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from agent.derive import View
from agent.derive.conditional_access import (
    AZURE,
    EXCHANGE,
    OPTIONAL,
    PARAMETERS,
    POLICIES,
    PRIVILEGED,
    REACH,
    READS,
    SHAREPOINT,
    SYNC_ROLE,
    reach,
)
from agent.derive.m365_coverage import Region
from agent.derive.m365_grants import (
    blocks,
    demands_managed_device,
    demands_mfa,
    demands_new_password,
    demands_phishing_resistant,
    demands_protected_app,
)
from agent.derive.m365_people import GUEST_TYPES, Crowd
from agent.facttypes import derived
from agent.model import Unknown

KINDS = ("member", *(f"guest:{t}" for t in GUEST_TYPES))
LEGACY = ("exchangeActiveSync", "other")
MODERN = ("browser", "mobileAppsAndDesktopClients")


def _who_is(tags: Iterable[str], **more: str) -> list[Region]:
    extra = {dimension: frozenset({tag}) for dimension, tag in {"action": "sign-in", **more}.items()}
    return [Region({"who": frozenset({t}), **extra}) for t in tags]


def _declare(
    name: str,
    doc: str,
    compute: Callable[[View, Crowd], Any],
    *,
    schools: bool = False,
    reads: tuple[str, ...] = (),
    parameters: tuple[str, ...] = (),
) -> None:
    derived(
        f"conditional_access.{name}",
        REACH,
        "m365",
        reads=(*READS, *reads),
        optional=(*OPTIONAL, *reads),
        parameters=(*PARAMETERS, *parameters),
        schools=schools,
        doc=doc,
    )(lambda view: compute(view, Crowd.of(view, PRIVILEGED, frozenset({SYNC_ROLE}))))


_declare(
    "legacy_auth_blocked",
    "Who cannot sign in with old protocols (ActiveSync, IMAP, POP, SMTP and the like), which cannot ask for MFA.",
    lambda v, c: reach(v, [r for client in LEGACY for r in _who_is(KINDS, client=client)], blocks, c),
)
_declare(
    "device_code_blocked",
    "Who cannot sign in by a code shown on another device, a favourite of phishing.",
    lambda v, c: reach(
        v, [r for client in MODERN for r in _who_is(KINDS, client=client, flow="deviceCodeFlow")], blocks, c
    ),
)
_declare(
    "mfa_everyone",
    "Who gets in nowhere without MFA, of members and guests.",
    lambda v, c: reach(v, _who_is(KINDS), demands_mfa, c),
)
_declare(
    "mfa_guests",
    "Which guests get in nowhere without MFA.",
    lambda v, c: reach(v, _who_is(KINDS[1:]), demands_mfa, c),
)
_declare(
    "mfa_admins",
    "Which privileged roles get in nowhere without MFA.",
    lambda v, c: reach(v, _who_is(f"role:{r}" for r in PRIVILEGED), demands_mfa, c),
)


_declare(
    "phishing_resistant_admins",
    "Which privileged roles get in nowhere without a method that cannot be phished.",
    lambda v, c: reach(v, _who_is(f"role:{r}" for r in PRIVILEGED), demands_phishing_resistant, c),
)
_declare(
    "phishing_resistant_everyone",
    "Who gets in nowhere without a method that cannot be phished.",
    lambda v, c: reach(v, _who_is(KINDS), demands_phishing_resistant, c),
)
_declare(
    "mfa_azure_management",
    "Who cannot manage Azure without MFA.",
    lambda v, c: reach(v, _who_is(KINDS, app=AZURE), demands_mfa, c),
)
_declare(
    "auth_transfer_blocked",
    "Who cannot carry a session from one device to another.",
    lambda v, c: reach(
        v, [r for client in MODERN for r in _who_is(KINDS, client=client, flow="authenticationTransfer")], blocks, c
    ),
)
_declare(
    "sign_in_risk",
    "Who is blocked, or must pass MFA, when a sign-in looks highly risky.",
    lambda v, c: reach(v, _who_is(KINDS, sign_in_risk="high"), demands_mfa, c),
)
_declare(
    "user_risk",
    "Who is blocked, or must change the password, when the account looks highly risky.",
    lambda v, c: reach(v, _who_is(KINDS, user_risk="high"), demands_new_password, c),
)
_declare(
    "unknown_platforms_blocked",
    "Who cannot sign in from a device whose system cannot be told.",
    lambda v, c: reach(v, _who_is(KINDS, platform="none"), blocks, c),
)


def _staff(
    wanted: Callable[[Mapping[str, Any]], bool | None], among: Sequence[Mapping[str, str]] = ({},)
) -> Callable[[View, Crowd], Any]:
    """Of the staff, in each of the circumstances `among`."""

    def compute(view: View, crowd: Crowd) -> Any:
        staff = crowd.declared(view, "staff_groups", by_all=True)
        pupils = crowd.declared(view, "pupil_groups", by_all=False)
        excused = frozenset(("who", f"group:{g}") for g in pupils or ())
        people = [f"group:{g}" for g in staff] if staff else ["member"]
        return reach(view, [r for more in among for r in _who_is(people, **more)], wanted, crowd, excused)

    return compute


_declare(
    "mfa_staff",
    "Who of the staff gets in nowhere without MFA: the schools' staff groups, or every member that is in no pupil "
    "group where a school names no staff groups.",
    _staff(demands_mfa),
    schools=True,
)
_declare(
    "managed_device_staff",
    "Who of the staff gets in from managed devices only.",
    _staff(demands_managed_device),
    schools=True,
)


def _outside(regions: Iterable[Region], places: Iterable[str]) -> list[Region]:
    """The regions, without the sign-ins from some named places."""
    away = frozenset(places)
    return [Region(r.on, {**r.off, "place": away}) for r in regions]


def _excluded(view: View, field: str) -> set[str]:
    """Everything that policies in force leave out, of one kind."""
    found: set[str] = set()
    for policy in view.items(POLICIES)[0]:
        held = policy.get(field) if isinstance(policy, Mapping) and policy.get("state") == "enabled" else None
        found.update(str(v) for v in held or () if isinstance(held, list))
    return found


def _portals(view: View, crowd: Crowd) -> Any:
    # Whoever holds a role is an administrator: leaving roles out is what the policy is for.
    roles = frozenset(("who", f"role:{r}") for r in _excluded(view, "exclude_roles"))
    return reach(view, _who_is(KINDS, app="MicrosoftAdminPortals"), blocks, crowd, roles)


_declare("admin_portals_blocked", "Who, without a role, cannot open Microsoft's administration pages.", _portals)


def _registration(view: View, crowd: Crowd) -> Any:
    locations, why = view.items("named_locations")
    known = [x for x in locations if isinstance(x, Mapping)]
    trusted = [str(x.get("id")) for x in known if x.get("trusted") is True]
    regions = _outside(_who_is(KINDS, action="urn:user:registersecurityinfo"), ["AllTrusted", *trusted])
    got = reach(view, regions, demands_managed_device, crowd)
    # A place that is left out may be a trusted one, for all that is known.
    return why if why is not None and isinstance(got, Mapping) and got["reaches"] != "everyone" else got


_declare(
    "registration_guarded",
    "Who can register ways to sign in only from a managed device or a trusted place.",
    _registration,
    reads=("named_locations",),
)
_declare(
    "device_registration_mfa",
    "Who joins or registers a device only after MFA.",
    lambda v, c: reach(v, _who_is(KINDS, action="urn:user:registerdevice"), demands_mfa, c),
)


def _short(view: View, crowd: Crowd) -> Any:
    most = view.parameters.get("admin_session_hours")

    def wanted(policy: Mapping[str, Any]) -> bool | None:
        hours = policy.get("sign_in_hours")
        return None if isinstance(hours, Unknown) else isinstance(hours, int) and hours <= int(most or 0)

    return reach(view, _who_is(f"role:{r}" for r in PRIVILEGED), wanted, crowd)


_declare(
    "admin_sessions_short",
    "Which privileged roles must sign in again before `admin_session_hours` are over.",
    _short,
    parameters=("admin_session_hours",),
)


def _is(field: str, value: object) -> Callable[[Mapping[str, Any]], bool | None]:
    def wanted(policy: Mapping[str, Any]) -> bool | None:
        held = policy.get(field)
        return None if isinstance(held, Unknown) else held == value

    return wanted


_declare(
    "admin_browsers_forget",
    "Which privileged roles are signed out when the browser closes.",
    lambda v, c: reach(v, _who_is(f"role:{r}" for r in PRIVILEGED), _is("persistent_browser", "never"), c),
)
_declare(
    "phones_protected",
    "Who of the staff opens school data on a phone or tablet only in apps that Intune protects.",
    _staff(
        demands_protected_app,
        [
            {"app": app, "platform": platform, "client": client}
            for app in (EXCHANGE, SHAREPOINT)
            for platform in ("android", "iOS")
            for client in MODERN
        ],
    ),
    schools=True,
)
_declare(
    "unmanaged_limited",
    "Who gets limited access to mail and files from devices that the trust does not manage.",
    lambda v, c: reach(
        v,
        [r for app in (EXCHANGE, SHAREPOINT) for client in MODERN for r in _who_is(KINDS, app=app, client=client)],
        _is("app_restrictions", True),
        c,
    ),
)
_declare(
    "elsewhere_blocked",
    "Who cannot sign in from places that no policy leaves out.",
    lambda v, c: reach(v, _outside(_who_is(KINDS), ["AllTrusted", *_excluded(v, "exclude_locations")]), blocks, c),
)
