"""Microsoft Graph, app-only: the one home of msal, requests and httpx.

`open_graph` signs in with a client secret or certificate and gives a reader that follows pages, batches small reads,
waits when told to, and never turns a refusal into an empty list.
"""

from __future__ import annotations

import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.connect.graph_answers import CLOUDS, clean, split_pem, token_error
from agent.connect.graph_reader import Clock, Reader, Reply, parsed
from agent.errors import Broken, CredentialRefused, IdentityError, TargetError, Unreachable
from agent.facts.m365.protocol import Graph
from agent.facts.protocol import Limits
from agent.model import Reason, Target, Unknown

if TYPE_CHECKING:
    import httpx

SILENCE = 30.0
"""Seconds that a connection may stay silent."""


@contextmanager
def open_graph(
    target: Target, secret: Callable[[str], str], limits: Limits, *, clock: Clock | None = None
) -> Iterator[Graph]:
    """Sign in to a tenant and give its `Graph`.

    `target.settings`: `tenant_id`, `client_id`, `secret` or `certificate` (references); `cloud`, or `authority` and
    `graph_url` and `ca_file`; `environment_proxy: true` takes the proxy of HTTPS_PROXY; `beta` and `each_device`, see
    `Option`. Raises `Unreachable`,
    `IdentityError`, `CredentialRefused`, `Broken`, and whatever `secret` raises.
    """
    import httpx

    settings = target.settings
    login, graph_url = CLOUDS.get(str(settings.get("cloud") or "global"), CLOUDS["global"])
    graph_url = str(settings.get("graph_url") or graph_url).rstrip("/")
    verify = _tls(settings.get("ca_file"))
    tokens = _Tokens(settings, secret, login, graph_url, clock or Clock())
    proxy = _proxies(settings).get("https")
    with httpx.Client(
        verify=verify, trust_env=False, proxy=proxy, timeout=SILENCE, follow_redirects=False, headers=_HEADERS
    ) as client:
        options = frozenset(o for o in ("beta", "each_device") if settings.get(o) is True)
        yield Reader(HttpWire(client), f"{graph_url}/v1.0", tokens.token, limits, clock or Clock(), options)


def access_token(target: Target, secret: Callable[[str], str]) -> str:
    """An access token for a tenant, for somebody else's requests. `target.settings` and errors as in `open_graph`."""
    settings = target.settings
    login, graph_url = CLOUDS.get(str(settings.get("cloud") or "global"), CLOUDS["global"])
    graph_url = str(settings.get("graph_url") or graph_url).rstrip("/")
    _tls(settings.get("ca_file"))
    return _Tokens(settings, secret, login, graph_url, Clock()).token()


_HEADERS = {
    "Accept": "application/json",
    "Prefer": "include-unknown-enum-members",
    "x-ms-throttle-priority": "low",
    "User-Agent": "spiritlevel",
}


def _tls(ca_file: Any) -> ssl.SSLContext:
    if not ca_file:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise IdentityError(
            f"The tenant's ca_file cannot be used: {clean(error)}.", "Point ca_file at a PEM file of certificates."
        ) from None


def _proxies(settings: Mapping[str, Any]) -> dict[str, str]:
    """Proxies by scheme; the environment's only where trust.yml says so."""
    if not settings.get("environment_proxy"):
        return {}
    import urllib.request

    found = {k: v for k, v in urllib.request.getproxies().items() if k == "https"}
    return {k: v if "://" in v else f"http://{v}" for k, v in found.items()}


class _Tokens:
    """Access tokens for one app; a fresh msal app for each, as msal caches refusals too."""

    def __init__(
        self, settings: Mapping[str, Any], secret: Callable[[str], str], login: str, graph_url: str, clock: Clock
    ) -> None:
        self._settings, self._graph_url, self._clock = settings, graph_url, clock
        self._custom = bool(settings.get("authority"))
        self._authority = str(settings.get("authority") or f"{login}/{settings.get('tenant_id', '')}").rstrip("/")
        self._credential: str | dict[str, str]
        if settings.get("certificate"):
            key, certificates = split_pem(secret(str(settings["certificate"])))
            self._credential = {"private_key": key, "public_certificate": certificates}
        elif settings.get("secret"):
            self._credential = secret(str(settings["secret"]))
        else:
            raise CredentialRefused(
                "trust.yml gives this tenant neither a secret nor a certificate.", "Add secret: env:NAME to it."
            )

    def token(self) -> str:
        """A new access token. Raises `TargetError`."""
        for attempt in range(3):
            if attempt:
                self._clock.sleep(2.0**attempt)
            answer = self._ask()
            if answer is None:
                continue
            if "access_token" in answer:
                return str(answer["access_token"])
            codes = answer.get("error_codes")
            number = str(codes[0]) if isinstance(codes, list) and codes else ""
            raise token_error(number or f"{answer.get('error_description') or answer.get('error') or ''}")
        raise Unreachable("The sign-in service is busy or out of order.", "Scan again later.")

    def _ask(self) -> dict[str, Any] | None:
        """One sign-in: the token endpoint's answer, or None when asking again may help."""
        import msal
        import requests
        from msal.exceptions import MsalServiceError

        try:
            with _session(self._settings) as session:
                app = msal.ConfidentialClientApplication(
                    str(self._settings.get("client_id", "")),
                    authority=self._authority,
                    client_credential=self._credential,
                    http_client=session,
                    instance_discovery=False if self._custom else None,
                )
                answer = app.acquire_token_for_client(scopes=[f"{self._graph_url}/.default"])
        except requests.exceptions.SSLError as error:
            raise _untrusted(error) from None
        except requests.exceptions.RequestException as error:
            raise Unreachable(
                f"The sign-in service cannot be reached: {_words(error)}.", "Check the network, proxy and authority."
            ) from None
        except MsalServiceError:
            return None
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise _not_msal(error) from None
        if not isinstance(answer, dict):
            return None
        busy = answer.get("error") in ("temporarily_unavailable", "too_many_requests") or answer.get("status") == 429
        return None if busy else answer


def _session(settings: Mapping[str, Any]) -> Any:
    """A requests session that trusts what trust.yml says and nothing in the environment, and that times out."""
    import requests

    class Session(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            kwargs.setdefault("timeout", SILENCE)
            return super().request(*args, **kwargs)

    session = Session()
    # With trust_env on, REQUESTS_CA_BUNDLE would silently override the authority that trust.yml names.
    session.trust_env = False
    session.verify = str(settings["ca_file"]) if settings.get("ca_file") else True
    session.proxies.update(_proxies(settings))
    return session


def _chain(error: BaseException) -> str:
    """The texts of an error and of what caused it: msal hides the endpoint's answer behind its own words."""
    texts, current, seen = [], error, 0
    while current is not None and seen < 8:
        texts.append(str(current))
        following = current.__cause__ or current.__context__
        if following is None:
            break
        current, seen = following, seen + 1
    return " ".join(texts)


def _not_msal(error: Exception) -> TargetError:
    """The error behind one of msal's plain exceptions: unknown tenant, unusable key, an answer that is no JSON."""
    text = _chain(error)
    if "90002" in text or "invalid_tenant" in text:
        return token_error("90002")
    if "AADSTS" in text:
        return token_error(text[text.index("AADSTS") :])
    if isinstance(error, json.JSONDecodeError) or "discovery" in text.lower() or "authority" in text.lower():
        return Broken(
            "The sign-in service's answer could not be understood.",
            "Check authority and tenant_id, and that no web filter answers in its place.",
        )
    return CredentialRefused("The credential cannot be used.", "Check the certificate file or secret in trust.yml.")


def _untrusted(error: object) -> IdentityError:
    return IdentityError(
        f"The certificate shown is not trusted: {_words(error)}.",
        "If a web filter opens TLS here, exempt Microsoft's sign-in and Graph addresses from it.",
    )


def _words(error: object) -> str:
    """The useful end of a library's error text, cleaned."""
    text = clean(error, 1000)
    marks = (
        "certificate verify failed",
        "connection refused",
        "name or service not known",
        "timed out",
        "wrong version",
    )
    found = next((mark for mark in marks if mark in text.lower()), "")
    return found or "the connection failed"


@dataclass(slots=True)
class HttpWire:
    """Carries requests over httpx. `_answered`: whether Graph ever answered on this connection."""

    client: httpx.Client
    _answered: bool = False

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, seconds: float, most: int
    ) -> tuple[Reply, int]:
        """One request, sent once; see `Wire`."""
        import httpx

        content = None if body is None else json.dumps(body).encode()
        sent = {**headers, "client-request-id": str(uuid.uuid4())}
        if body is not None:
            sent["Content-Type"] = "application/json"
        end = time.monotonic() + seconds
        try:
            with self.client.stream(
                method, url, headers=sent, content=content, timeout=min(SILENCE, max(1.0, seconds))
            ) as response:
                self._answered = True
                raw = _take(response, end, most)
        except httpx.ConnectTimeout as error:
            return self._lost(error), 0
        except httpx.TimeoutException:
            return Reply(0, {}, None, Unknown(Reason.TIMED_OUT, "Graph fell silent"), again=True), 0
        except httpx.RemoteProtocolError:
            return Reply(0, {}, None, Unknown(Reason.TRUNCATED, "the answer was cut off"), again=True), 0
        except httpx.DecodingError:
            return Reply(0, {}, None, Unknown(Reason.UNREADABLE, "the answer's compression is broken"), again=True), 0
        except httpx.HTTPError as error:
            return self._lost(error), 0
        except httpx.InvalidURL:
            raise Broken("Graph's link to the next page is no address.", "Scan again.") from None
        if raw is None:
            return Reply(0, {}, None, Unknown(Reason.TRUNCATED, "the tenant's answers pass the byte limit")), most
        return parsed(response.status_code, {k.lower(): v for k, v in response.headers.items()}, raw), len(raw)

    def _lost(self, error: httpx.HTTPError) -> Reply:
        """A connection that failed: fatal if Graph never answered, else trouble of this request."""
        text = _chain(error)
        if "certificate" in text.lower():
            raise _untrusted(text)
        if not self._answered:
            raise Unreachable(
                f"Graph cannot be reached: {_words(text)}.",
                "Check the network, the proxy and graph_url.",
            ) from None
        return Reply(0, {}, None, Unknown(Reason.UNREACHABLE, "the connection to Graph was lost"), again=True)


def _take(response: httpx.Response, end: float, most: int) -> bytes | None:
    """The body, inflated, bounded in bytes and time; None when it is too large. Raises httpx's errors."""
    import httpx

    chunks, size = [], 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            return None
        if time.monotonic() > end:
            raise httpx.ReadTimeout("deadline")
    return b"".join(chunks)
