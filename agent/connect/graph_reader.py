"""Reading Microsoft Graph: batches, pages, waits and retries. No third-party library: a `Wire` carries each request."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

from agent.connect.graph_answers import SHORT, WAITED, clean, judge, next_link, retry_after
from agent.facts.m365.protocol import Answer, More, Request
from agent.facts.protocol import Limits
from agent.model import Partial, Reason, Unknown

BATCH = 20
"""Requests in one $batch, Graph's own limit."""
TRIES = 5
"""Times one request is sent when Graph says that it is busy."""
SLOW = 1.05
"""Seconds between reads of conditional access and risk data: the tenant's limit is one a second, all apps together."""
AT_ONCE = 8
"""Requests under way at a time. Pages of one list follow each other; lists need not wait for one another."""
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
    _resume: dict[str, float] = field(default_factory=dict)
    """By workload (first name of the path): when Graph wants to be asked again."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _jitter: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._deadline = self.clock.now() + self.limits.seconds
        self._bearer = self.token()

    def get(self, requests: Sequence[Request], more: More | None = None) -> list[Answer]:
        """Read all requests and what `more` asks for on top; see `Graph.get`."""
        work = _Work(self, more)
        work.add(requests)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                work.run(pool)
            except BaseException:
                self._deadline = float("-inf")  # what is still under way ends, and the pool with it
                raise
        return [work.answers[r] for r in requests]

    def read(self, request: Request, first: Reply | None) -> Answer:
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
        url: str | None = self.base_of(request) + request.url(top)
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
            items += map(request.thin, page)
            if request.first:
                break
            url = next_link(reply.body, self.base, seen)
        return Answer(items, tuple(ids)), False

    def batch(self, requests: Sequence[Request]) -> list[Reply | None]:
        """First pages by one $batch; None for an item that must be asked for by itself.

        Graph does not retry the items of a batch by itself: those that it throttled travel again, in one batch, after
        the longest pause that any of them asked for.
        """
        out: list[Reply | None] = [None] * len(requests)
        pending = list(range(len(requests)))
        for attempt in range(1, TRIES + 1):
            busy, pause = self._one_batch(requests, pending, out)
            if not busy:
                break
            pending = busy
            if attempt == TRIES or not self._pause(pause, attempt, "$batch"):
                trouble = Unknown(Reason.THROTTLED, "Graph keeps answering that it is busy")
                for n in busy:
                    out[n] = Reply(429, {}, None, trouble)
                break
        return out

    def _one_batch(
        self, requests: Sequence[Request], numbers: Sequence[int], out: list[Reply | None]
    ) -> tuple[list[int], float | None]:
        """Send one $batch of the numbered requests and keep their answers → (numbers that were throttled, pause)."""
        items = [
            {"id": str(n), "method": "GET", "url": requests[n].url()}
            | ({"headers": dict(requests[n].headers)} if requests[n].headers else {})
            for n in numbers
        ]
        envelope = self._send("POST", f"{self.base_of(requests[numbers[0]])}/$batch", {}, {"requests": items})
        usable = envelope.trouble is None and isinstance(envelope.body, dict)
        replies = envelope.body.get("responses") if usable else None
        if envelope.status != 200 or not isinstance(replies, list):
            return [], None  # asked one by one, each gives its own reason
        busy: list[int] = []
        pause: float | None = None
        for item in replies:
            number = item.get("id") if isinstance(item, dict) else None
            if not isinstance(number, str) or not number.isdecimal() or int(number) not in numbers:
                continue
            status = item.get("status")
            headers = item.get("headers") if isinstance(item.get("headers"), dict) else {}
            if status in WAITED:
                busy.append(int(number))
                if (asked := retry_after(headers)) is not None:
                    pause = max(pause or 0.0, asked)
            elif isinstance(status, int) and status not in (*SHORT, 401, 424):
                trouble = None if isinstance(item.get("body"), dict) else _NO_JSON
                lower = {str(k).lower(): str(v) for k, v in headers.items()}
                out[int(number)] = Reply(status, lower, item.get("body"), trouble)
        return sorted(set(busy)), pause

    def base_of(self, request: Request) -> str:
        """The address with the version that a request is for."""
        return f"{self.base.rpartition('/')[0]}/beta" if request.option == "beta" else self.base

    def _ask(self, url: str, request: Request) -> Reply:
        if request.slow:
            pause = self._last_slow + SLOW - self.clock.now()
            if 0 < pause <= self._left():
                self.clock.sleep(pause)
            self._last_slow = self.clock.now()
        return self._send("GET", url, dict(request.headers), None, slow=request.slow)

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Any, *, slow: bool = False) -> Reply:
        """Send until there is an answer to keep: waits when Graph is busy, retries what may pass, renews once."""
        renewed, shorts, place = False, 0, self._workload(url)
        reply = Reply(0, {}, None, Unknown(Reason.TIMED_OUT, _OVER))
        for attempt in range(1, TRIES + 1):
            self._wait_for(place)
            if self._left() <= 0:
                return reply
            bearer = self._bearer
            sent = {**headers, "Authorization": f"Bearer {bearer}"}
            reply, size = self.wire.send(method, url, sent, body, self._left(), self.limits.bytes - self._bytes)
            with self._lock:
                self._bytes += size
            if slow:
                self._last_slow = self.clock.now()
            if reply.status == 401 and not renewed:
                self._renew(bearer)
                renewed = True
            elif reply.status in WAITED:
                if attempt == TRIES or not self._pause(retry_after(reply.headers), attempt, place):
                    return replace(reply, trouble=Unknown(Reason.THROTTLED, f"Graph keeps answering {reply.status}"))
            elif (reply.again or reply.status in SHORT) and shorts < 2:
                shorts += 1
                if not self._pause(None, shorts, ""):
                    return reply
            else:
                return reply
        return reply

    def _renew(self, old: str) -> None:
        """A new token in place of `old`, unless another request has just brought one."""
        with self._lock:
            if self._bearer == old:
                self._bearer = self.token()

    def _workload(self, url: str) -> str:
        """What Graph throttles together, as far as a path tells: its first name."""
        return urlsplit(url).path[len(urlsplit(self.base).path) :].strip("/").split("/", 1)[0]

    def _wait_for(self, place: str) -> None:
        """Wait while Graph has asked for a pause in this workload, whichever request it said that to."""
        pause = self._resume.get(place, 0.0) - self.clock.now()
        if 0 < pause <= self._left():
            self.clock.sleep(pause)

    def _pause(self, asked: float | None, attempt: int, place: str) -> bool:
        """Wait as long as asked, else 2, 4, 8 seconds with jitter; False when the time left is too short for it."""
        seconds = asked if asked is not None else 2.0**attempt + self._jitter.uniform(0.0, 0.5)
        if seconds >= self._left():
            return False
        if place:
            with self._lock:
                self._resume[place] = max(self._resume.get(place, 0.0), self.clock.now() + seconds)
        self.clock.sleep(seconds)
        return True

    def _left(self) -> float:
        return self._deadline - self.clock.now()


@dataclass(slots=True)
class _Work:
    """What is still to be read in one call of `Reader.get`: batches of quick reads, and one slow read at a time."""

    reader: Reader
    more: More | None
    answers: dict[Request, Answer] = field(default_factory=dict)
    _known: set[Request] = field(default_factory=set)
    _quick: tuple[deque[Request], deque[Request]] = field(default_factory=lambda: (deque(), deque()))
    """Of v1.0, and of beta."""
    _slow: deque[Request] = field(default_factory=deque)

    def add(self, requests: Sequence[Request]) -> None:
        """Take in requests, each once."""
        for request in requests:
            if request in self._known:
                continue
            self._known.add(request)
            if request.option and request.option not in self.reader.options:
                why = Unknown(Reason.BY_CHOICE, f"trust.yml does not set {request.option}: true for this tenant")
                self._settle(request, Answer(why))
            elif request.slow:
                self._slow.append(request)
            else:  # a batch is of one version
                self._quick[request.option == "beta"].append(request)

    def run(self, pool: ThreadPoolExecutor) -> None:
        """Read until nothing is left. Raises what the connection raises."""
        running: set[Future[list[tuple[Request, Reply | Answer | None]]]] = set()
        slow: Future[list[tuple[Request, Reply | Answer | None]]] | None = None
        while running or any(self._quick) or self._slow:
            for quick in self._quick:
                while quick:
                    part = [quick.popleft() for _ in range(min(BATCH, len(quick)))]
                    running.add(pool.submit(self._first, part))
            if self._slow and slow is None:
                slow = pool.submit(self._whole, self._slow.popleft(), None)
                running.add(slow)
            done, running = wait(running, return_when=FIRST_COMPLETED)
            if slow in done:
                slow = None
            for request, got in [pair for future in done for pair in future.result()]:
                if isinstance(got, Answer):
                    self._settle(request, got)
                else:
                    running.add(pool.submit(self._whole, request, got))

    def _settle(self, request: Request, answer: Answer) -> None:
        self.answers[request] = answer
        if self.more is not None:
            self.add(self.more(request, answer))

    def _first(self, part: Sequence[Request]) -> list[tuple[Request, Reply | Answer | None]]:
        """First pages. What is whole with its first page is an answer already."""
        if len(part) == 1:
            return [*self._whole(part[0], None)]
        out: list[tuple[Request, Reply | Answer | None]] = []
        for request, reply in zip(part, self.reader.batch(part), strict=True):
            body = reply.body if reply is not None else None
            more_pages = isinstance(body, dict) and "@odata.nextLink" in body
            whole = reply is not None and reply.status != 504 and not more_pages
            out.append((request, self.reader.read(request, reply) if whole else reply))
        return out

    def _whole(self, request: Request, first: Reply | None) -> list[tuple[Request, Reply | Answer | None]]:
        return [(request, self.reader.read(request, first))]


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
