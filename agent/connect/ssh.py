"""SSH by paramiko: one connection, strict host keys, one command, hard bounds. The only home of paramiko.

Nothing is decided by trust on first use: a host whose key is not in known_hosts is not talked to. Host key types
offered are narrowed to those that are known, as OpenSSH does, so that a host with several keys shows the right one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.connect import become, known_hosts, ssh_legacy
from agent.connect.ssh_keys import Secret, authenticate
from agent.connect.ssh_link import CONNECT_SECONDS, Link, NoCommonKey
from agent.connect.ssh_options import Login, login, place
from agent.errors import Broken, IdentityError, NoAnswer, SecretError, TargetError, Unreachable
from agent.facts.protocol import Limits, Output, Shell
from agent.model import Target

if TYPE_CHECKING:
    import paramiko

STDERR_BYTES = 64 << 10
"""Kept of stderr: enough for a login's noise and an error sentence."""
LEARN = "If this is right, run `spiritlevel doctor --learn-host-keys`, which shows the fingerprints and asks."

GREETINGS = 5
"""Logins under way at one jump host at a time: sshd begins to drop them at ten (MaxStartups)."""

_hops: dict[tuple[str, int], threading.BoundedSemaphore] = {}
_hops_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key as shown on the wire: type, `SHA256:…`, and the line for known_hosts."""

    type: str
    fingerprint: str
    line: str


@contextlib.contextmanager
def open_ssh(target: Target, secret: Secret, limits: Limits) -> Iterator[Shell]:
    """Log in to a device → a shell that runs commands; everything ends `limits.seconds` after this call.

    Raises `Unreachable`, `IdentityError`, `CredentialRefused` or `Broken`; `SecretError` where there is no key or
    password to try; and what `secret` raises. Where the inventory gives a password for sudo, `run` may raise
    `CredentialRefused` and `SecretError` too.
    """
    want = replace(login(target.name, target.settings), legacy=ssh_legacy.NONE)
    with open_link(want, secret, limits) as link:
        shell: Shell = SshShell(link)
        if word := become.reference(target.settings):
            shell = become.SudoShell(shell, word, secret, link.place)
        yield shell


@contextlib.contextmanager
def open_link(want: Login, secret: Secret, limits: Limits, *, keys: bool = True) -> Iterator[Link]:
    """A connection to a host that is the right one and has let us in. Raises as `open_ssh` does.

    `keys=False`: only the password is tried, where each key would count as a wrong login.
    """
    with _reach(want, secret, time.monotonic() + limits.seconds) as link:
        _greet(link, want)
        authenticate(link, want, secret, keys=keys)
        yield link


@contextlib.contextmanager
def _reach(want: Login, secret: Secret, deadline: float) -> Iterator[Link]:
    """A connection to a host, not greeted yet, over all the jump hosts before it. Says which of them fails."""
    if want.via is None:
        with Link(want.host, want.port, deadline, proxy=want.proxy, legacy=want.legacy) as link:
            yield link
        return
    with ExitStack() as stack:
        try:
            before = stack.enter_context(_reach(want.via, secret, deadline))
            turn = _turn(want.via)
            if not turn.acquire(timeout=before.left()):
                raise before.failure(TimeoutError(), "")
            try:
                _greet(before, want.via)
                authenticate(before, want.via, secret)
            finally:
                turn.release()
        except (TargetError, SecretError) as error:
            # a jump host that is down says nothing of whether the host behind it is
            kind = Unreachable if isinstance(error, NoAnswer) else type(error)
            raise kind(
                f"the jump host on the way to {place(want.host, want.port)} failed: {error.message}", error.hint
            ) from error
        yield stack.enter_context(Link(want.host, want.port, deadline, via=before, legacy=want.legacy))


def _turn(hop: Login) -> threading.BoundedSemaphore:
    with _hops_lock:
        return _hops.setdefault((hop.host, hop.port), threading.BoundedSemaphore(GREETINGS))


def _no_secret(_: str) -> str:
    raise SecretError("no password is read while host keys are only looked at.", "Use a key for the jump host.")


def fingerprints(
    host: str, port: int = 22, seconds: float = CONNECT_SECONDS, settings: Mapping[str, Any] | None = None
) -> list[HostKey]:
    """The keys that a host shows, one handshake per type; for `doctor`, which asks a person before it believes them.

    `settings` may hold the connection's variables: `HostKeyAlias` decides the name on the line, and jump hosts are
    taken, whose own keys must be known. Raises `Unreachable` when nothing answers, `Broken` when what answers is not
    SSH, and what a jump host brings about.
    """
    want = login(host, {"ansible_host": host, "ansible_port": port, **(settings or {})})
    found: list[HostKey] = []
    trouble: TargetError | None = None
    for types in (
        ("ssh-ed25519",),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
        ("rsa-sha2-512", "rsa-sha2-256", *want.legacy.host_keys),
    ):
        with _reach(want, _no_secret, time.monotonic() + seconds) as link:
            try:
                key = link.handshake(types)
            except NoCommonKey:
                continue
            except Broken as error:
                trouble = error
                continue
            blob = key.asbytes()
            found.append(
                HostKey(
                    key.get_name(),
                    known_hosts.fingerprint(blob),
                    known_hosts.line_for(want.key_name, want.key_port, key.get_name(), blob),
                )
            )
    if not found:
        raise trouble or Broken(f"{place(want.host, want.port)} shows no host key of a kind that is still safe.")
    return found


def _greet(link: Link, want: Login) -> None:
    """Key exchange and the check that the host is the one that we know."""
    known = known_hosts.lookup(want.known_hosts, want.key_name, want.key_port)
    if want.alias and not known.keys:  # ssh files an alias without a port; earlier versions of this client did not
        known = known_hosts.lookup(want.known_hosts, want.key_name, want.port)
    wanted = tuple(t for name in known.types for t in _signatures(name, want))
    try:
        key = link.handshake(wanted)
    except NoCommonKey as error:
        raise IdentityError(
            f"{link.place} has none of the host keys that are known for it ({', '.join(known.types)}).", LEARN
        ) from error
    blob, shown = key.asbytes(), f"{key.get_name()} {known_hosts.fingerprint(key.asbytes())}"
    for revoked in known.revoked:
        if revoked.blob == blob:
            raise IdentityError(
                f"{link.place} shows a host key that {revoked.place} marks as revoked: {shown}.",
                "Give the host a new key.",
            )
    if any(k.blob == blob for k in known.keys):
        return
    if not known.keys:
        raise IdentityError(f"{link.place} is not in known_hosts; it shows {shown}.", LEARN)
    was = next((k for k in known.keys if k.type == key.get_name()), known.keys[0])
    raise IdentityError(
        f"{link.place} shows another host key than the one known: it shows {shown}, "
        f"and {was.place} has {was.fingerprint}.",
        f"Find out why before going on: a new machine, or somebody in between. {LEARN}",
    )


def _signatures(key_type: str, want: Login) -> tuple[str, ...]:
    """Signature algorithms for a known key type: RSA keys sign with SHA-2 only, unless the inventory allows SHA-1."""
    return ("rsa-sha2-512", "rsa-sha2-256", *want.legacy.host_keys) if key_type == "ssh-rsa" else (key_type,)


class SshShell:
    """Runs commands over one logged-in connection (`agent.facts.protocol.Shell`)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def run(self, command: str, stdin: bytes, limits: Limits) -> Output:
        """Run one command with `stdin`; ends at `limits`, at the latest at the end of the target's time.

        Raises `Broken` when the connection dies before anything came, `Unreachable` when no session opens in time.
        """
        import paramiko

        link, end = self._link, min(time.monotonic() + limits.seconds, self._link.deadline)
        try:
            channel = link.transport.open_session(timeout=max(end - time.monotonic(), 0.01))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise link.failure(error, "opened no session") from error
        clock = threading.Timer(max(end - time.monotonic(), 0.0), _shut, (channel,))
        clock.daemon = True
        clock.start()
        noise = _Drain(channel)
        out, truncated = bytearray(), False
        try:
            channel.settimeout(max(end - time.monotonic(), 0.01))
            channel.exec_command(command)
            noise.start()
            if stdin:
                channel.sendall(stdin)
            channel.shutdown_write()
            while data := channel.recv(1 << 16):
                out += data
                if len(out) > limits.bytes:
                    del out[limits.bytes :]
                    truncated = True
                    break
            if not truncated:
                channel.status_event.wait(max(end - time.monotonic(), 0.0))
        except (paramiko.SSHException, OSError, EOFError) as error:
            # What came before stays: sections that are proven complete are worth keeping.
            if not out and time.monotonic() < end and not link.expired:
                raise link.failure(error, "broke off the command") from error
        finally:
            clock.cancel()
            late = time.monotonic() >= end or link.expired
            status = channel.exit_status if channel.status_event.is_set() else -1
            _shut(channel)
            noise.stop()
        done = status >= 0 and not truncated
        return Output(bytes(out), bytes(noise.kept), status if done else None, truncated, late and not done)


def open_terminal(link: Link, width: int, height: int) -> paramiko.Channel:
    """An interactive session with a terminal of that size, as switches want it. Raises what `Link.failure` gives."""
    import paramiko

    try:
        channel = link.transport.open_session(timeout=link.left())
        channel.settimeout(link.left())
        channel.get_pty("vt100", width, height)
        channel.invoke_shell()
        return channel
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise link.failure(error, "opened no session") from error


def _shut(channel: paramiko.Channel) -> None:
    """Close a channel whose connection may be closing at the same moment."""
    import paramiko

    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        channel.close()


class _Drain(threading.Thread):
    """Empties stderr beside stdout: a full stderr window would stall both. Keeps the first `STDERR_BYTES`."""

    def __init__(self, channel: paramiko.Channel) -> None:
        super().__init__(daemon=True)
        self._channel = channel
        self.kept = bytearray()

    def run(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while data := self._channel.recv_stderr(1 << 15):
                self.kept += data[: STDERR_BYTES - len(self.kept)]

    def stop(self) -> None:
        """Wait for the end, which closing the channel brings."""
        if self.ident is not None:
            self.join(5)


__all__ = ["HostKey", "SshShell", "fingerprints", "open_link", "open_ssh", "open_terminal"]
