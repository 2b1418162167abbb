"""What the grant block of a conditional access policy really demands of a sign-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent.model import Unknown

# Ways to sign in that by themselves count as two factors (Microsoft's built-in strength "multifactor authentication").
STRONG = frozenset(
    "windowsHelloForBusiness fido2 x509CertificateMultiFactor deviceBasedPush temporaryAccessPassOneTime "
    "temporaryAccessPassMultiUse federatedMultiFactor".split()
)
# The second half of a pair such as `password,sms`; two knowledge factors would be no pair.
PASSWORDS = frozenset({"password", "federatedSingleFactor", "x509CertificateSingleFactor", "qrCodePin"})
# Built-in strengths: multifactor, passwordless, phishing-resistant.
BUILT_IN = frozenset(f"00000000-0000-0000-0000-00000000000{n}" for n in (2, 3, 4))
PHISHING_RESISTANT = "00000000-0000-0000-0000-000000000004"
RESISTANT = frozenset({"windowsHelloForBusiness", "fido2", "x509CertificateMultiFactor"})
GRANTS = frozenset(
    "block mfa compliantDevice domainJoinedDevice approvedApplication compliantApplication passwordChange "
    "riskRemediation".split()
)


def is_strong(combinations: Sequence[str]) -> bool:
    """Whether every way that a strength accepts is two factors."""

    def two(combination: str) -> bool:
        parts = combination.split(",")
        if len(parts) == 1:
            return parts[0] in STRONG
        return any(p in STRONG for p in parts) or sum(p in PASSWORDS for p in parts) == 1

    return bool(combinations) and all(two(c) for c in combinations)


def demands(
    policy: Mapping[str, Any], controls: frozenset[str], enough: Callable[[str, Sequence[str]], bool | None]
) -> bool | None:
    """Whether the grant lets nobody in without one of `controls`, or without a strength that is `enough` (given its
    id and what it accepts), or lets nobody in at all; None when that cannot be told."""
    held, operator = policy.get("grant_controls"), policy.get("grant_operator")
    strength, accepted = policy.get("strength"), policy.get("strength_combinations")
    extras = (policy.get("terms_of_use"), policy.get("custom_factors"))
    if any(isinstance(v, Unknown) for v in (held, operator, strength, accepted, *extras)) or not isinstance(held, list):
        return None
    if "block" in held:
        return True
    parts: list[bool | None] = [True if c in controls else False if c in GRANTS else None for c in held]
    parts += [False for extra in extras for _ in range(int(extra or 0))]
    if strength:
        parts.append(enough(strength, accepted or ()))
    if not parts:
        return False
    if operator == "OR" or len(parts) == 1:
        return False if False in parts else None if None in parts else True
    if operator == "AND":
        return True if True in parts else None if None in parts else False
    return None


def demands_mfa(policy: Mapping[str, Any]) -> bool | None:
    """Whether nobody gets in without MFA. To change the password proves only the old one, so that alone is no MFA."""
    return demands(policy, frozenset({"mfa"}), lambda id, ways: is_strong(ways) if ways else id in BUILT_IN or None)


def demands_phishing_resistant(policy: Mapping[str, Any]) -> bool | None:
    """Whether nobody gets in without a key, a passkey, Windows Hello or a smart card."""

    def enough(strength: str, ways: Sequence[str]) -> bool | None:
        if ways:
            return RESISTANT.issuperset(ways)
        return strength == PHISHING_RESISTANT if strength in BUILT_IN else None

    return demands(policy, frozenset(), enough)


def demands_managed_device(policy: Mapping[str, Any]) -> bool | None:
    """Whether nobody gets in from a device that the trust does not manage."""
    return demands(policy, frozenset({"compliantDevice", "domainJoinedDevice"}), lambda id, ways: False)


def demands_protected_app(policy: Mapping[str, Any]) -> bool | None:
    """Whether nobody gets in but with an app that Intune protects."""
    return demands(policy, frozenset({"compliantApplication", "approvedApplication"}), lambda id, ways: False)


def demands_new_password(policy: Mapping[str, Any]) -> bool | None:
    """Whether nobody gets in without changing the password."""
    return demands(policy, frozenset({"passwordChange", "riskRemediation"}), lambda id, ways: False)


def blocks(policy: Mapping[str, Any]) -> bool | None:
    """Whether the grant is: block."""
    value = policy.get("blocks")
    return value if isinstance(value, bool) else None
