"""TLS for PowerShell remoting: whom to trust, and what ties a login to the connection it was made on."""

from __future__ import annotations

import contextlib
import socket
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.connect.ssh_options import clean
from agent.errors import SecretError


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS that checks certificate and name; made once per set of files, since reading authorities takes time.

    Raises `SecretError` for a file that cannot be used.
    """
    return _tls_context(*(_stamp(p) for p in (ca, certificate, key)))


def _stamp(path: Path | None) -> tuple[str, int]:
    """A file's name and time: a file that is replaced is read again."""
    if path is None:
        return "", 0
    try:
        return str(path), path.stat().st_mtime_ns
    except OSError as error:
        raise SecretError(
            f"the certificate file {path} cannot be read: {error.strerror}.",
            "Its path is relative to the trust's folder.",
        ) from None


@lru_cache(maxsize=64)
def _tls_context(ca: tuple[str, int], certificate: tuple[str, int], key: tuple[str, int]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks names and certificates; takes nothing from elsewhere
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if not ca[0]:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        elif Path(ca[0]).is_dir():
            context.load_verify_locations(capath=ca[0])
        else:
            # A host's own certificate may be named as the one to trust, whoever signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cafile=ca[0])
    except (OSError, ssl.SSLError) as error:
        raise SecretError(
            f"the file of authorities {ca[0]} cannot be used: {clean(getattr(error, 'reason', None) or error)}.",
            "It holds certificates as PEM.",
        ) from None
    if certificate[0]:
        try:
            context.load_cert_chain(certificate[0], key[0], password=lambda: b"")  # never asks at the terminal
        except (OSError, ssl.SSLError) as error:
            raise SecretError(
                f"the certificate {certificate[0]} and its key cannot be used: "
                f"{clean(getattr(error, 'reason', None) or error)}.",
                "Both are PEM, belong together, and the key has no passphrase.",
            ) from None
    return context


def bindings_of(sock: socket.socket | None) -> Any:
    """Ties a login to this TLS connection, so that nobody in between can pass it on (RFC 5929, section 4)."""
    if not isinstance(sock, ssl.SSLSocket):
        return None
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from spnego.channel_bindings import GssChannelBindings

    shown = sock.getpeercert(True) or b""
    kind: hashes.HashAlgorithm = hashes.SHA256()
    with contextlib.suppress(UnsupportedAlgorithm, ValueError):
        own = x509.load_der_x509_certificate(shown).signature_hash_algorithm
        if own is not None and own.name not in ("md5", "sha1"):
            kind = own
    digest = hashes.Hash(kind)
    digest.update(shown)
    return GssChannelBindings(application_data=b"tls-server-end-point:" + digest.finalize())


__all__ = ["bindings_of", "tls_context"]
