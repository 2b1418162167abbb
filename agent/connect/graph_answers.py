"""What answers of Microsoft Graph and its token endpoint mean. Pure: no network, no third-party library.

Rules go by status and code, not by message, except for the licence refusals that have no code of their own.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from agent.errors import Broken, CredentialRefused, TargetError
from agent.facts.m365.protocol import Request
from agent.model import Reason, Unknown

# login address, Graph address; both from Microsoft's page on national cloud deployments.
CLOUDS = {
    "global": ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "gcc": ("https://login.microsoftonline.com", "https://graph.microsoft.com"),
    "gcc-high": ("https://login.microsoftonline.us", "https://graph.microsoft.us"),
    "dod": ("https://login.microsoftonline.us", "https://dod-graph.microsoft.us"),
    "china": ("https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn"),
}
WAITED = (429, 503)
"""Statuses after which the same request is worth asking again, after a pause."""
SHORT = (500, 502)
"""Statuses that are retried twice."""

_LICENCE_CODES = {
    "Authentication_RequestFromNonPremiumTenantOrB2CTenant": "Entra ID P1",
    "AadPremiumLicenseRequired": "Entra ID P2",
}
_LICENCE_TEXTS = (
    ("request not applicable to target tenant", "Intune"),
    ("does not have a spo license", "SharePoint"),
    ("tenant is not licensed", ""),
    ("tenant doesn't have premium license", "Entra ID P1"),
)
_APP_PAGE = "Entra admin center, App registrations"
_TOKEN_ERRORS: dict[str, tuple[str, str]] = {
    "7000215": (
        "The client secret is wrong.",
        f"Copy the secret's value (not its id) from {_APP_PAGE}, Certificates & secrets.",
    ),
    "7000222": (
        "The client secret has expired.",
        f"Make a new one in {_APP_PAGE}, Certificates & secrets, and put it where trust.yml points.",
    ),
    "7000216": ("The sign-in carried no secret.", "Check what the reference in trust.yml gives: it is empty."),
    "700016": (
        "There is no app registration with this client_id in the tenant.",
        f"Compare client_id in trust.yml with the Application (client) ID in {_APP_PAGE}.",
    ),
    "90002": (
        "There is no such tenant.",
        "Compare tenant_id in trust.yml with the Directory (tenant) ID on the Entra overview page.",
    ),
    "900023": ("tenant_id is neither an id nor a domain.", "Use the Directory (tenant) ID of the Entra overview page."),
    "700027": (
        "The certificate is not accepted for this app.",
        f"Upload its public part in {_APP_PAGE}, Certificates & secrets; it must be RSA of 2048 bits or more, "
        "and not expired.",
    ),
    "7000112": ("The app registration is disabled.", "Enable it under Enterprise applications, Properties."),
    "7000229": (
        "The app has no service principal in this tenant.",
        "Grant admin consent once: that makes it.",
    ),
    "53003": (
        "A conditional access policy blocks this app's own sign-in.",
        "Leave the scanner's service principal out of policies for workload identities, or allow its address.",
    ),
    "1002012": ("The scope is refused.", "graph_url in trust.yml does not belong to this authority."),
}


def clean(text: object, limit: int = 120) -> str:
    """A short text from outside on one line, without control characters or anything but plain print."""
    return re.sub(r"[^\x20-\x7e]+", " ", str(text))[:limit].strip()


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds asked for by Retry-After: whole or decimal seconds, or an HTTP date; None when absent or nonsense."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def error_of(body: Any) -> tuple[str, str]:
    """(code, message) of an error body; empty strings where it has none."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", ""
    return str(error.get("code") or ""), str(error.get("message") or "")


def judge(status: int, body: Any, request: Request) -> Unknown | None:
    """What a final status means for one request: None for an answer to use, else why it cannot be used.

    Raises `CredentialRefused` when the tenant refuses the app as a whole.
    """
    if 200 <= status < 300:
        return None
    code, message = error_of(body)
    if licence := licence_missing(status, code, message):
        return licence
    word = clean(code, 60)
    if status == 403 and code == "insufficient_claims":
        raise token_error("53003")
    match status:
        case 401:
            raise CredentialRefused(
                "Graph refuses the access token, also a fresh one.",
                "Check that the app belongs to this cloud and that graph_url and authority fit together.",
            )
        case 403:
            return Unknown(Reason.PERMISSION, request.permission)
        case 404 if request.absent_ok:
            return None
        case 404:
            return Unknown(Reason.UNREADABLE, f"Graph has nothing at {request.path}")
        case 429 | 503:
            return Unknown(Reason.THROTTLED, f"Graph keeps answering {status}")
        case 504:
            return Unknown(Reason.TIMED_OUT, "Graph answers 504, with small pages too")
        case _:
            return Unknown(Reason.UNREADABLE, f"Graph answers {status}" + (f" ({word})" if word else ""))


def licence_missing(status: int, code: str, message: str) -> Unknown | None:
    """`Unknown` with reason "not licensed" when an error is one of the licence refusals, which differ by service."""
    if status not in (400, 401, 403):
        return None
    if code in _LICENCE_CODES:
        return Unknown(Reason.NOT_LICENSED, _LICENCE_CODES[code])
    text = message.lower()
    for part, plan in _LICENCE_TEXTS:
        if part in text:
            return Unknown(Reason.NOT_LICENSED, plan)
    return None


def token_error(text: str) -> TargetError:
    """The error for a refused sign-in; `text` holds an AADSTS number, or is one."""
    number = match[1] if (match := re.search(r"(?:AADSTS)?(\d{5,7})", text)) else ""
    if number in _TOKEN_ERRORS:
        sentence, hint = _TOKEN_ERRORS[number]
        return CredentialRefused(sentence, hint)
    words = f"AADSTS{number}" if number else clean(text, 80) or "no reason given"
    return CredentialRefused(
        f"The tenant refuses the sign-in ({words}).", "Look the number up at login.microsoftonline.com/error."
    )


def next_link(body: Mapping[str, Any], base: str, seen: set[str]) -> str | None:
    """The link to the next page, whole; None on the last page.

    Raises `Broken` for a link to another host (a token is never sent there), and for links that go in a ring.
    """
    link = body.get("@odata.nextLink")
    if link is None:
        return None
    if not isinstance(link, str):
        raise Broken("Graph's link to the next page is not text.")
    ours, theirs = urlsplit(base), urlsplit(link)
    if (theirs.scheme, theirs.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
        raise Broken(
            f"Graph's link to the next page leads to another host ({clean(theirs.netloc, 60)}); it was not followed.",
            "Something between here and Microsoft changes answers: look at the web filter or proxy.",
        )
    if link in seen:
        raise Broken("Graph's pages go in a ring.", "Scan again; if it stays so, send Microsoft the request ids.")
    seen.add(link)
    return link


def split_pem(text: str) -> tuple[str, str]:
    """(private key, certificates) of a PEM file that holds both. Raises `CredentialRefused`."""
    blocks = re.findall(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", text, re.DOTALL)
    parts = {name: match[0] for name in set(blocks) if (match := _block(name, text))}
    key = next((parts[name] for name in sorted(parts) if name.endswith("PRIVATE KEY")), "")
    if "ENCRYPTED" in key.splitlines()[0] if key else False:
        raise CredentialRefused(
            "The certificate file's private key is encrypted.", "Store it without a passphrase, readable by its owner."
        )
    certificates = "\n".join(_block("CERTIFICATE", text))
    if not key or not certificates:
        missing = "private key" if not key else "certificate"
        raise CredentialRefused(
            f"The certificate file holds no {missing}.", "Put both, as PEM, into the file that trust.yml names."
        )
    return key + "\n", certificates + "\n"


def _block(name: str, text: str) -> list[str]:
    pattern = rf"-----BEGIN {re.escape(name)}-----.+?-----END {re.escape(name)}-----"
    return re.findall(pattern, text, re.DOTALL)
