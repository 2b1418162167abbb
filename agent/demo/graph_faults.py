"""Faults that a test injects into the stand-in for Microsoft Graph: what real networks, proxies and services do."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# What a school's web filter sends in place of an answer: status 200, and a page.
PROXY_PAGE = (
    "<!DOCTYPE html><html><head><title>Access blocked</title></head><body><h1>Oakfield Web Filter</h1>"
    "<p>Sign in to continue to this site.</p></body></html>"
)
# Intune wraps some refusals twice: the message is JSON in a string, whose own Message is JSON in a string again.
INTUNE_REFUSAL = (
    '{\\r\\n  \\"_version\\": 3,\\r\\n  \\"Message\\": \\"{\\\\\\"ErrorCode\\\\\\":\\\\\\"Forbidden\\\\\\",'
    '\\\\\\"Message\\\\\\":\\\\\\"Application is not authorized to perform this operation.\\\\\\"}\\"\\r\\n}'
)


@dataclass(slots=True)
class Fault:
    """One fault. It applies to requests whose `path?query` (decoded, with the version) matches `pattern`.

    `status`, `headers` and `body` replace the answer; with none of `status` and `body` the ordinary answer is made
    and then spoilt: `next_link` replaces or adds the link to the next page, `cut` sends only so many bytes of the body,
    `delay` (seconds) waits first. `after` lets so many matching requests through first; `times` counts what is left.
    """

    pattern: re.Pattern[str]
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    times: int = 1
    after: int = 0
    method: str | None = None
    delay: float = 0.0
    cut: int | None = None
    next_link: str | None = None

    @property
    def replaces(self) -> bool:
        """Whether the whole answer is the fault's own."""
        return self.status is not None or self.body is not None


class Faults:
    """The faults that wait; thread-safe. The first one that matches is used up by one."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        path_regex: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        times: int = 1,
        after: int = 0,
        method: str | None = None,
        delay: float = 0.0,
        cut: int | None = None,
        next_link: str | None = None,
    ) -> Fault:
        """Let the next `times` requests that match go wrong; see `Fault`. A dict body is sent as JSON, a str as is."""
        fault = Fault(
            re.compile(path_regex), status, dict(headers or {}), body, times, after, method, delay, cut, next_link
        )
        with self._lock:
            self._waiting.append(fault)
        return fault

    def throttle(self, path_regex: str, *, retry_after: str | None = None, times: int = 1) -> Fault:
        """429, with Retry-After as given: whole or decimal seconds, an HTTP date, or none at all."""
        body = {"error": {"code": "TooManyRequests", "message": "Too Many Requests"}}
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return self.add(path_regex, status=429, headers=headers, body=body, times=times)

    def proxy_page(self, path_regex: str, *, times: int = 1) -> Fault:
        """200 with a web filter's HTML page."""
        return self.add(
            path_regex, status=200, headers={"Content-Type": "text/html; charset=utf-8"}, body=PROXY_PAGE, times=times
        )

    def intune_error(self, path_regex: str, *, status: int = 403, times: int = 1) -> Fault:
        """Intune's error whose message is JSON in a string, twice."""
        body = '{"error":{"code":"UnknownError","message":"' + INTUNE_REFUSAL + '"}}'
        return self.add(path_regex, status=status, headers={"Content-Type": "application/json"}, body=body, times=times)

    def take(self, method: str, target: str) -> Fault | None:
        """The fault for this request, used up by one; None when there is none. `target` is `path?query`, decoded."""
        with self._lock:
            for fault in self._waiting:
                if fault.times <= 0 or (fault.method and fault.method != method) or not fault.pattern.search(target):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def clear(self) -> None:
        """Forget every fault that waits."""
        with self._lock:
            self._waiting.clear()
