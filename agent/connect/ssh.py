"""SSH by paramiko: one connection, strict host keys, one command, hard bounds. The only home of paramiko.

Nothing is decided by trust on first use: a host whose key is not in known_hosts is not talked to. Host key types
offered are narrowed to those that are known, as OpenSSH does, so that a host with several keys shows the right one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.connect import known_hosts
from agent.connect.ssh_options import Login, clean, hint, login, place, why
from agent.errors import Broken, CredentialRefused, IdentityError, SecretError, TargetError, Unreachable
from agent.facts.protocol import Limits, Output
from agent.model import Target

if TYPE_CHECKING:
    import paramiko

CONNECT_SECONDS = 15.0
"""For the TCP connection and for the key exchange, each; the limit of the whole target ends both sooner."""
STDERR_BYTES = 64 << 10
"""Kept of stderr: enough for a login's noise and an error sentence."""
TRIES = 5
"""Keys tried on one connection: sshd ends it after six by default (MaxAuthTries), which would hide the reason."""
LEARN = "If this is right, run `spiritlevel doctor --learn-host-keys`, which shows the fingerprints and asks."

_FAST_KEX = ("curve25519-sha256@libssh.org", "mlkem768x25519-sha256")  # the first costs half of the second
_LOG = "spiritlevel.ssh"

Secret = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class HostKey:
    """A host key as shown on the wire: type, `SHA256:…`, and the line for known_hosts."""

    type: str
    fingerprint: str
    line: str


@contextlib.contextmanager
def open_ssh(target: Target, secret: Secret, limits: Limits) -> Iterator[SshShell]:
    """Log in to a device → a shell that runs commands; everything ends `limits.seconds` after this call.

    Raises `Unreachable`, `IdentityError`, `CredentialRefused` or `Broken`; `SecretError` where there is no key or
    password to try; and what `secret` raises.
    """
    want = login(target.name, target.settings)
    with _Link(want.host, want.port, time.monotonic() + limits.seconds) as link:
        _greet(link, want)
        _authenticate(link, want, secret)
        yield SshShell(link)


def fingerprints(
    host: str, port: int = 22, seconds: float = CONNECT_SECONDS, settings: Mapping[str, Any] | None = None
) -> list[HostKey]:
    """The keys that a host shows, one handshake per type; for `doctor`, which asks a person before it believes them.

    `settings` may hold the connection's variables: `HostKeyAlias` decides the name on the line. Raises
    `Unreachable` when nothing answers, `Broken` when what answers is not SSH.
    """
    alias = login(host, {"ansible_host": host, "ansible_port": port, **(settings or {})}).key_name
    found: list[HostKey] = []
    trouble: TargetError | None = None
    for types in (
        ("ssh-ed25519",),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
        ("rsa-sha2-512", "rsa-sha2-256"),
    ):
        with _Link(host, port, time.monotonic() + seconds) as link:
            try:
                key = link.handshake(types)
            except _NoCommonKey:
                continue
            except Broken as error:
                trouble = error
                continue
            blob = key.asbytes()
            found.append(
                HostKey(
                    key.get_name(),
                    known_hosts.fingerprint(blob),
                    known_hosts.line_for(alias, port, key.get_name(), blob),
                )
            )
    if not found:
        raise trouble or Broken(f"{place(host, port)} shows no host key of a kind that is still safe.")
    return found


class _NoCommonKey(Exception):
    """The host has no key of the types that we would believe."""


class _Link:
    """One TCP connection with its transport, and the clock that ends both. Use as a context manager."""

    def __init__(self, host: str, port: int, deadline: float) -> None:
        self.host, self.port, self.deadline = host, port, deadline
        self.place = place(host, port)
        self.expired = False
        self._socket: socket.socket | None = None
        self._transport: paramiko.Transport | None = None
        self._clock = threading.Timer(max(deadline - time.monotonic(), 0.0), self._expire)
        self._clock.daemon = True

    def __enter__(self) -> _Link:
        self._clock.start()
        try:
            self._socket = socket.create_connection((self.host, self.port), min(CONNECT_SECONDS, self.left()))
        except OSError as error:
            self._clock.cancel()
            raise Unreachable(f"{self.place} cannot be reached: {why(error)}.", hint(error)) from error
        except UnicodeError as error:
            self._clock.cancel()
            raise Unreachable(f"{self.place} is not a host name.", "Correct ansible_host in the inventory.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._clock.cancel()
        self._close()

    @property
    def transport(self) -> paramiko.Transport:
        """The transport; there is one after `handshake`."""
        assert self._transport is not None  # noqa: S101 - for the type checker
        return self._transport

    def left(self) -> float:
        """Seconds until this target's time is up; at least a moment, so that waits end by themselves."""
        return max(self.deadline - time.monotonic(), 0.01)

    def _expire(self) -> None:
        # Closing under the feet of whatever waits is the only bound that a stalling or trickling host cannot stretch.
        self.expired = True
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(OSError, EOFError):
                self._transport.close()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def handshake(self, key_types: tuple[str, ...]) -> paramiko.PKey:
        """Key exchange → the host's key. Empty `key_types`: any safe type. Raises `_NoCommonKey` or `TargetError`."""
        import paramiko

        log = logging.getLogger(_LOG)
        if not log.handlers:  # paramiko logs tracebacks of what a hostile host does to it; nobody should see them
            log.addHandler(logging.NullHandler())
            log.propagate = False
        assert self._socket is not None  # noqa: S101 - for the type checker
        try:
            transport = self._transport = paramiko.Transport(self._socket)
            transport.set_log_channel(_LOG)
            transport.daemon = True
            transport.banner_timeout = transport.handshake_timeout = min(CONNECT_SECONDS, self.left())
            transport.auth_timeout = min(30.0, self.left())
            options = transport.get_security_options()
            known = set(options.kex)
            options.kex = tuple(k for k in _FAST_KEX if k in known) + tuple(
                k for k in options.kex if k not in _FAST_KEX
            )
            safe = [c for c in options.ciphers if "cbc" not in c and "3des" not in c]
            # AES-GCM needs no separate MAC, which paramiko would compare byte by byte in Python.
            options.ciphers = tuple(sorted(safe, key=lambda c: "gcm" not in c))
            if key_types:
                usable = tuple(t for t in key_types if t in options.key_types)
                if not usable:
                    raise _NoCommonKey
                options.key_types = usable
            transport.start_client(timeout=min(CONNECT_SECONDS, self.left()))
            if not transport.initial_kex_done:
                raise Unreachable(f"{self.place} did not finish the key exchange in time.", "Is the host overloaded?")
            return transport.get_remote_server_key()
        except paramiko.ssh_exception.IncompatiblePeer as error:
            if key_types and "key" in str(error).lower():
                raise _NoCommonKey from error
            raise Broken(
                f"{self.place} shares no safe SSH algorithm with us: {clean(error)}.", "Update the SSH server there."
            ) from error
        except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
            raise self.failure(error, "answered, but not with SSH") from error

    def failure(self, error: BaseException, sentence: str) -> TargetError:
        """What an exception of the library means, as one sentence."""
        if self.expired:
            return Unreachable(f"{self.place} used up its time.", "Raise the time limit, or look at the host.")
        if isinstance(error, TimeoutError):
            return Unreachable(f"{self.place} timed out.", "Is the host overloaded?")
        return Broken(f"{self.place} {sentence}: {clean(error)}.")


def _greet(link: _Link, want: Login) -> None:
    """Key exchange and the check that the host is the one that we know."""
    known = known_hosts.lookup(want.known_hosts, want.key_name, link.port)
    wanted = tuple(t for name in known.types for t in _signatures(name))
    try:
        key = link.handshake(wanted)
    except _NoCommonKey as error:
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


def _signatures(key_type: str) -> tuple[str, ...]:
    """Signature algorithms for a known key type: RSA keys sign with SHA-2 only."""
    return ("rsa-sha2-512", "rsa-sha2-256") if key_type == "ssh-rsa" else (key_type,)


def _authenticate(link: _Link, want: Login, secret: Secret) -> None:
    """Keys first (the file named, the agent's, the usual ones), then the password if there is one."""
    import paramiko

    transport, tried, unread = link.transport, 0, ""
    try:
        for key in _keys(want, secret, link):
            if isinstance(key, str):
                unread = key
                continue
            if tried == TRIES:
                break
            tried += 1
            try:
                left_over = transport.auth_publickey(want.user, key)
            except paramiko.BadAuthenticationType:
                break
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    break
                continue
            if not left_over:
                return
        if want.password and transport.is_active():
            tried += 1
            with contextlib.suppress(paramiko.AuthenticationException):
                if not transport.auth_password(want.user, secret(want.password)):
                    return
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        raise link.failure(error, "broke off the login") from error
    if link.expired:
        raise link.failure(TimeoutError(), "")
    if tried == 0:
        raise SecretError(  # nobody was asked, so nobody refused: this must not count towards the limit of three
            f"There is no key or password to log in to {link.place} as {clean(want.user)}. {unread}".strip(),
            "Set ansible_ssh_private_key_file in the inventory.",
        )
    raise CredentialRefused(
        f"{link.place} refused to let {clean(want.user)} in ({tried} tried). {unread}".strip(),
        "Check the user, its key in authorized_keys, and that the account is not locked.",
    )


def _keys(want: Login, secret: Secret, link: _Link) -> Iterator[paramiko.PKey | str]:
    """Private keys in the order in which they are tried; a sentence instead of a key that cannot be used."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    word = secret(want.passphrase).encode() if want.passphrase else None
    named = want.key_files
    for file in named or want.usual_key_files:
        try:
            yield paramiko.PKey.from_path(file, word)  # type: ignore[arg-type]  # bytes is what its backend takes
        except FileNotFoundError:
            if named:
                yield f"The key file {file} is not there."
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm, paramiko.SSHException):
            # Text of these errors is about the key's inside: the name of the file is all that helps.
            if named:
                yield f"The key file {file} cannot be used (unreadable, or its passphrase is missing or wrong)."
    if not want.identities_only:
        agent = None
        try:
            agent = paramiko.Agent()
            yield from agent.get_keys()
        except (paramiko.SSHException, OSError) as error:
            yield f"The SSH agent cannot be used: {clean(error)}."
        finally:
            if agent is not None:
                agent.close()


class SshShell:
    """Runs commands over one logged-in connection (`agent.facts.protocol.Shell`)."""

    def __init__(self, link: _Link) -> None:
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


__all__ = ["HostKey", "SshShell", "fingerprints", "open_ssh"]
