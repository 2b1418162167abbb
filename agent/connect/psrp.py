"""PowerShell remoting by pypsrp: one runspace on a Windows host, scripts in, text out. pypsrp's only home.

WinRM and PSRP of an inventory come here alike: it is one endpoint. PowerShell's own protocol is spoken on it, since it
takes a script of any length as an object (a command line of WinRM's other shell ends at 8,191 characters), works with
endpoints that are narrowed down, and starts no second PowerShell beside the one that answers.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from agent.connect.psrp_http import Flood, Http, Late
from agent.connect.psrp_options import Endpoint, endpoint
from agent.connect.ssh_options import clean
from agent.errors import Broken, NotAllowed, SecretError, SpiritlevelError, TargetError, Unreachable
from agent.facts.protocol import Limits, Output, PowerShell
from agent.model import Target

if TYPE_CHECKING:
    from pypsrp.powershell import RunspacePool

STDERR_BYTES = 64 << 10
OPERATION_SECONDS = 20
"""How long the host holds an answer back while there is nothing to tell; then it is asked again."""
IDLE_SECONDS = 120
"""After which the host drops a session that nobody asks any more: ours, where the way there was cut."""
CLOSE_SECONDS = 5.0
WIRE = 3
"""Bytes on the wire per byte of text: base64 (4/3), and PowerShell's XML, which writes a line break in seven."""
SLACK = 4 << 20
"""Bytes beside the answer: envelopes, and asking again while a script works."""
# Codes of WSManFault, as wsmerror.h numbers them.
_DENIED = frozenset({5, 0x80070005})
_QUOTA = frozenset({0x8033803F, *range(0x803381A5, 0x803381A9), 0x803381AB, *range(0x803381E4, 0x803381E9)})
_NO_ENDPOINT = frozenset({0x80338002, 0x8033803B})


@contextlib.contextmanager
def open_psrp(target: Target, secret: Callable[[str], str], limits: Limits) -> Iterator[PowerShell]:
    """Log in to a Windows host → a PowerShell that runs scripts; everything ends `limits.seconds` after this call.

    Raises `NoAnswer`, `Unreachable`, `IdentityError`, `CredentialRefused`, `NotAllowed` or `Broken`; `SecretError`
    where there is no password, or a certificate that cannot be used; and what `secret` raises.
    """
    deadline = time.monotonic() + limits.seconds
    end = endpoint(target.name, target.settings)
    password = secret(end.password) if end.password and end.auth != "certificate" else None
    if password is None and end.auth in ("ntlm", "basic"):
        raise SecretError(f"{end.place} has no password.", "Set ansible_password to a reference (env:NAME, …).")
    with Http(end, password, deadline, limits.bytes * WIRE + SLACK) as http:
        session = Session(end, http)
        session.open()
        try:
            yield session
        finally:
            session.close()


class Session:
    """One open runspace (`agent.facts.protocol.PowerShell`)."""

    def __init__(self, end: Endpoint, http: Http) -> None:
        self._end, self._http = end, http
        self._pool: RunspacePool | None = None
        self._whole = False
        """No answer is under way that nobody has read."""

    def open(self) -> None:
        """Make the runspace. Raises `TargetError`."""
        from pypsrp.powershell import RunspacePool, RunspacePoolWarning
        from pypsrp.wsman import WSMan

        # A host's words would go to standard error as Python's own warnings.
        warnings.filterwarnings("ignore", category=RunspacePoolWarning)
        wsman = WSMan("localhost", auth="basic", username="-", password="-", operation_timeout=self._operation())  # noqa: S106
        wsman.transport = self._http  # type: ignore[assignment]  # its own is never used; see psrp_http
        pool = RunspacePool(wsman, configuration_name=self._end.configuration, idle_timeout=IDLE_SECONDS)
        try:
            self._told(pool.open)
        except Flood as error:
            raise Broken(f"{self._end.place} floods the line before anything was asked.") from error
        self._pool, self._whole = pool, True

    def script(self, text: str, limits: Limits) -> Output:
        """Run one script → what it wrote, as UTF-8; strings on lines of their own.

        Ends at `limits`, at the latest at the end of the target's time; what came before stays. Raises `TargetError`
        when the connection dies, `NotAllowed` where the endpoint runs no scripts.
        """
        from pypsrp.complex_objects import PSInvocationState
        from pypsrp.powershell import PowerShell as Pipeline

        if self._pool is None:
            raise Broken(f"{self._end.place} has no open session.")
        end = min(time.monotonic() + limits.seconds, self._http.deadline)
        pipeline = Pipeline(self._pool)
        pipeline.add_script(text)
        seen, size, truncated, late = 0, 0, False, False
        self._whole = False
        try:
            self._told(pipeline.begin_invoke)
            while pipeline.state == PSInvocationState.RUNNING:
                left = end - time.monotonic()
                if left <= 0:
                    late = True
                    break
                self._told(pipeline.poll_invoke, min(OPERATION_SECONDS, max(1, math.floor(left))))
                size += sum(len(str(item)) for item in pipeline.output[seen:])
                seen = len(pipeline.output)
                if size > limits.bytes:
                    truncated = True
                    break
            self._whole = not (late or truncated)
        except Flood:
            truncated = True
        except Late:
            late = True
        data = "".join(f"{item}\n" for item in pipeline.output).encode("utf-8", "replace")
        truncated = truncated or len(data) > limits.bytes
        errors = list(pipeline.streams.error)
        if any("ScriptsNotAllowed" in str(getattr(e, "fq_error", "")) for e in errors):
            raise NotAllowed(
                f"the endpoint {clean(self._end.configuration)} of {self._end.place} runs no scripts.",
                "Name one that does with ansible_psrp_configuration_name; `spiritlevel doctor --kit` writes one.",
            )
        done = not (late or truncated)
        code = {PSInvocationState.COMPLETED: 0, PSInvocationState.FAILED: 1}.get(pipeline.state) if done else None
        if done and code is None:
            raise Broken(f"{self._end.place} stopped the script before its end.", "Did somebody end its session?")
        said = "\n".join(str(e) for e in errors).encode("utf-8", "replace")[:STDERR_BYTES]
        return Output(data[: limits.bytes], said, code, truncated, late)

    def close(self) -> None:
        """Tell the host that we are done, where that can still be told; else it finds out by itself."""
        if self._pool is None or not self._whole or self._http.expired:
            return
        self._http.deadline = min(self._http.deadline, time.monotonic() + CLOSE_SECONDS)
        with contextlib.suppress(TargetError, Flood):
            self._told(self._pool.close)

    def _operation(self) -> int:
        return min(OPERATION_SECONDS, max(1, math.floor(self._http.left())))

    def _told(self, ask: Callable[..., Any], *words: Any) -> Any:
        """Have pypsrp ask something; what it trips over is the host's doing, and becomes a sentence."""
        from pypsrp.exceptions import WinRMTransportError, WSManFaultError

        try:
            return ask(*words)
        except (SpiritlevelError, Flood):
            raise
        except WSManFaultError as error:
            raise self._fault(error) from error
        except WinRMTransportError as error:
            raise Broken(
                f"{self._end.place} answered with an error that is no SOAP fault.", "Is that WinRM?"
            ) from error
        except Exception as error:  # it trusts the form of what a host sends: wrong XML, fragments, numbers, depth
            raise Broken(
                f"{self._end.place} answers, but not as PowerShell remoting says: {type(error).__name__}.",
                "Try again; if it stays, look at that host's WinRM.",
            ) from error

    def _fault(self, error: Any) -> TargetError:
        """A SOAP fault in words. Its own text is in the host's language, so numbers decide."""
        place, said = self._end.place, clean(error.reason or error.provider_fault or f"code {error.code}")
        code = error.code if isinstance(error.code, int) else 0
        if code in _DENIED:
            return NotAllowed(
                f"{place} lets this account in, and not into PowerShell: {said}.",
                "Put it into the host's group Remote Management Users (S-1-5-32-580), or Administrators; "
                "`spiritlevel doctor --kit` writes how.",
            )
        if code in _QUOTA:
            return Unreachable(
                f"{place} allows no further session now: {said}.", "End sessions that hang there, or scan again later."
            )
        if code in _NO_ENDPOINT:
            return Broken(
                f"{place} has no endpoint {clean(self._end.configuration)}: {said}.",
                "Correct ansible_psrp_configuration_name, or run Enable-PSRemoting there.",
            )
        return Broken(f"{place} refused what was asked: {said}.", "Look at that host's WinRM.")


__all__ = ["Session", "open_psrp"]
