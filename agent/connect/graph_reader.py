"""Reading Microsoft Graph: batches, pages, waits and retries. No third-party library: a `Wire` carries each request."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from agent.connect.graph_answers import SHORT, WAITED, clean, judge, next_link, retry_after
from agent.facts.m365.protocol import Answer, Request
from agent.facts.protocol import Limits
from agent.model import Partial, Reason, Unknown

BATCH = 20
"""Requests in one $batch, Graph's own limit."""
TRIES = 5
"""Times one request is sent when Graph says that it is busy."""
SLOW = 1.05
"""Seconds between reads of conditional access and risk data: the tenant's limit is one a second, all apps together."""
LEAST_TOP = 10
"""Page size below which a 504 is no longer answered by halving."""


@dataclass(slots=True)
class Clock:
    """Time, so that tests need not wait: `now` is monotonic seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Reply:
    """One HTTP answer, or one of a batch: `body` is parsed JSON; `trouble` says why there is no usable one.

    `headers` names are in lower case. `again`: the trouble may pass (cut off, connection lost).
    """

    status: int
    headers: Mapping[str, str]
    body: Any = None
    trouble: Unknown | None = None
    again: bool = False


class Wire(Protocol):
    """Carries one request, once."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, seconds: float, most: int
    ) -> tuple[Reply, int]:
        """(answer, bytes of its body). `seconds` and `most` (bytes) are what is left. Raises `TargetError`."""


@dataclass(slots=True)
class Reader:
    """Reads Graph for one tenant; see `Graph`. `base` ends with the version; `token` gives a fresh access token;
    `options` are those that the trust has switched on."""

    wire: Wire
    base: str
    token: Callable[[], str]
    limits: Limits
    clock: Clock = field(default_factory=Clock)
    options: frozenset[str] = frozenset()
    _bearer: str = ""
    _deadline: float = 0.0
    _bytes: int = 0
    _last_slow: float = float("-inf")
    _jitter: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._deadline = self.clock.now() + self.limits.seconds
        self._bearer = self.token()

    def get(self, requests: Sequence[Request]) -> list[Answer]:
        """Read all requests: quick ones in batches first, then the ones that share the slow limit."""
        answers = {
            n: Answer(Unknown(Reason.BY_CHOICE, f"trust.yml does not set {r.option}: true for this tenant"))
            for n, r in enumerate(requests)
            if r.option and r.option not in self.options
        }
        for beta in (False, True):  # a batch is of one version
            quick = [
                n for n, r in enumerate(requests) if n not in answers and not r.slow and (r.option == "beta") is beta
            ]
            for start in range(0, len(quick), BATCH):
                part = quick[start : start + BATCH]
                first = self._batch([requests[n] for n in part]) if len(part) > 1 else [None] * len(part)
                for n, reply in zip(part, first, strict=True):
                    answers[n] = self._read(requests[n], reply)
        for n, request in enumerate(requests):
            if request.slow and n not in answers:
                answers[n] = self._read(request, None)
        return [answers[n] for n in range(len(requests))]

    def _read(self, request: Request, first: Reply | None) -> Answer:
        """One request with all its pages; `first` is its first page if a batch brought it."""
        top = request.top
        while True:
            answer, timed_out = self._pages(request, top, first)
            if not timed_out or top <= LEAST_TOP:
                return answer
            # 504 means that a page took too long to make: ask for half as much, from the start.
            top, first = max(LEAST_TOP, top // 2), None

    def _pages(self, request: Request, top: int, first: Reply | None) -> tuple[Answer, bool]:
        """(what the pages gave, whether one of them ended in 504)."""
        url: str | None = self._base(request) + request.url(top)
        items: list[Any] = []
        ids: list[str] = []
        seen: set[str] = set()
        while url is not None:
            reply = first if first is not None else self._ask(url, request)
            first = None
            if value := reply.headers.get("request-id"):
                ids.append(clean(value, 60))
            why = reply.trouble or judge(reply.status, reply.body, request)
            if why is None and reply.status == 404 and seen:  # what vanishes between its pages was there
                why = Unknown(Reason.UNREADABLE, "a page was not there any more")
            if why is None and reply.status != 404 and not isinstance(reply.body, dict):
                why = Unknown(Reason.UNREADABLE, "the answer is no JSON object")
            if why is not None:
                value_ = Partial(tuple(items), why) if seen else why
                return Answer(value_, tuple(ids)), reply.status == 504
            if reply.status == 404:
                return Answer(None, tuple(ids)), False
            page = reply.body.get("value")
            if not isinstance(page, list):
                if seen:
                    lost = Unknown(Reason.UNREADABLE, "a page is no list")
                    return Answer(Partial(tuple(items), lost), tuple(ids)), False
                return Answer(reply.body, tuple(ids)), False
            items += page
            if request.first:
                break
            url = next_link(reply.body, self.base, seen)
        return Answer(items, tuple(ids)), False

    def _batch(self, requests: Sequence[Request]) -> list[Reply | None]:
        """First pages by one $batch; None for an item that must be asked for by itself."""
        out: list[Reply | None] = [None] * len(requests)
        body = {
            "requests": [
                {"id": str(n), "method": "GET", "url": r.url(), "headers": dict(r.headers)}
                if r.headers
                else {"id": str(n), "method": "GET", "url": r.url()}
                for n, r in enumerate(requests)
            ]
        }
        envelope = self._send("POST", f"{self._base(requests[0])}/$batch", {}, body)
        usable = envelope.trouble is None and isinstance(envelope.body, dict)
        replies = envelope.body.get("responses") if usable else None
        if envelope.status != 200 or not isinstance(replies, list):
            # Asked one by one, each gives its own reason.
            return out
        busy, wait = False, 0.0
        for item in replies:
            number = item.get("id") if isinstance(item, dict) else None
            if not isinstance(number, str) or not number.isdecimal() or int(number) >= len(out):
                continue
            status = item.get("status")
            headers = item.get("headers") if isinstance(item.get("headers"), dict) else {}
            if isinstance(status, int) and status not in (*WAITED, *SHORT, 401, 424):
                trouble = None if isinstance(item.get("body"), dict) else _NO_JSON
                lower = {str(k).lower(): str(v) for k, v in headers.items()}
                out[int(number)] = Reply(status, lower, item.get("body"), trouble)
            elif status in WAITED:
                busy, wait = True, max(wait, retry_after(headers) or 0.0)
        if busy:
            # Graph does not retry the items of a batch by itself: those are asked for again, one by one, after a pause.
            self._pause(wait or None, 1)
        return out

    def _base(self, request: Request) -> str:
        """The address with the version that a request is for."""
        return f"{self.base.rpartition('/')[0]}/beta" if request.option == "beta" else self.base

    def _ask(self, url: str, request: Request) -> Reply:
        if request.slow:
            wait = self._last_slow + SLOW - self.clock.now()
            if 0 < wait <= self._left():
                self.clock.sleep(wait)
            self._last_slow = self.clock.now()
        return self._send("GET", url, dict(request.headers), None, slow=request.slow)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any, *, slow: bool = False) -> Reply:
        """Send until there is an answer to keep: waits when Graph is busy, retries what may pass, renews once."""
        renewed, shorts = False, 0
        reply = Reply(0, {}, None, Unknown(Reason.TIMED_OUT, _OVER))
        for attempt in range(1, TRIES + 1):
            if self._left() <= 0:
                return reply
            sent = {**headers, "Authorization": f"Bearer {self._bearer}"}
            reply, size = self.wire.send(method, url, sent, body, self._left(), self.limits.bytes - self._bytes)
            self._bytes += size
            if slow:
                self._last_slow = self.clock.now()
            if reply.status == 401 and not renewed:
                self._bearer, renewed = self.token(), True
            elif reply.status in WAITED:
                if attempt == TRIES or not self._pause(retry_after(reply.headers), attempt):
                    return replace(reply, trouble=Unknown(Reason.THROTTLED, f"Graph keeps answering {reply.status}"))
            elif (reply.again or reply.status in SHORT) and shorts < 2:
                shorts += 1
                if not self._pause(None, shorts):
                    return reply
            else:
                return reply
        return reply

    def _pause(self, asked: float | None, attempt: int) -> bool:
        """Wait as long as asked, else 2, 4, 8 seconds with jitter; False when the time left is too short for it."""
        seconds = asked if asked is not None else 2.0**attempt + self._jitter.uniform(0.0, 0.5)
        if seconds >= self._left():
            return False
        self.clock.sleep(seconds)
        return True

    def _left(self) -> float:
        return self._deadline - self.clock.now()


_OVER = "the time for this tenant is over"
_NO_JSON = Unknown(Reason.UNREADABLE, "the answer is no JSON object")


def parsed(status: int, headers: Mapping[str, str], raw: bytes) -> Reply:
    """Parse a body. A page of a web filter comes as 200 too, so nothing is believed that is not JSON."""
    if status == 204 or (not raw and status >= 400):
        return Reply(status, headers)
    try:
        return Reply(status, headers, json.loads(raw))
    except (ValueError, RecursionError):
        pass
    if status in (*WAITED, *SHORT, 504):
        return Reply(status, headers)
    if 300 <= status < 400:
        return Reply(status, headers, None, Unknown(Reason.UNREADABLE, "Graph answers with a redirection"))
    page = "html" in headers.get("content-type", "").lower() or raw.lstrip()[:1] == b"<"
    what = "a web page came instead of Graph's answer (a web filter or proxy?)" if page else "the answer is no JSON"
    return Reply(status, headers, None, Unknown(Reason.UNREADABLE, what))
