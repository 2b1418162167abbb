"""A TLS socket that reads the wire in large pieces. No ldap3 here.

`ssl.SSLSocket` costs two system calls and a turn through Python per TLS record, and a directory server often puts one
entry in one record: with 60,000 objects that is more than reading them. Here the plain socket is read 256 KB at a time
and what has come is decrypted in memory. Certificate and name (addresses too) are checked by Python's own ssl.
"""

from __future__ import annotations

import hashlib
import socket
import ssl

PIECE = 1 << 18
"""Bytes taken from the plain socket at a time, and the most that one `recv` gives."""
RECORD = 1 << 14
"""The most that one TLS record holds (RFC 8446 section 5.1)."""


class TlsSocket:
    """TLS over an open socket, with as much of a socket's manners as ldap3 and the reader ask for.

    The handshake happens here. Raises `ssl.SSLCertVerificationError` for who cannot prove who it is, other errors of
    `ssl` and `OSError` for a line that breaks, `ValueError` for a name that no certificate can hold.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._plain = plain
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._room = memoryview(bytearray(PIECE))
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                self._flush()  # the alert that says why
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if data := self._out.read():
            self._plain.sendall(data)

    def _fill(self) -> bool:
        """Take what the wire holds, waiting for something; False at its end."""
        data = self._plain.recv(PIECE)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        return bool(data)

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        self._tls.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        """What has come, at most `size` bytes; waits only where nothing has. Empty at the end of the stream.

        A stream that ends without TLS's own goodbye raises `ssl.SSLEOFError`: somebody may have cut it short.
        """
        size = min(size, PIECE)
        place = 0
        while place < size:
            try:
                got = self._tls.read(min(RECORD, size - place), self._room[place:])
            except ssl.SSLWantReadError:
                if self._out.pending:
                    self._flush()
                if place:
                    break
                self._fill()
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                if place:
                    break  # what came before the end counts; the next call meets the end again
                raise
            if not got:
                break
            place += int(got)
        return bytes(self._room[:place])

    def binding(self) -> bytes:
        """Channel binding of this connection: `tls-server-end-point` (RFC 5929 section 4)."""
        from cryptography import x509

        shown = self._tls.getpeercert(True)
        if shown is None:
            return b""
        used = x509.load_der_x509_certificate(shown).signature_hash_algorithm
        # Certificates signed in ways that name no hash (Ed25519) and by broken ones count as SHA-256.
        name = used.name if used is not None and used.name not in ("md5", "sha1") else "sha256"
        return b"tls-server-end-point:" + hashlib.new(name, shown).digest()

    def getpeercert(self, binary_form: bool = False) -> object:
        """The server's certificate, as `ssl.SSLSocket.getpeercert` gives it."""
        return self._tls.getpeercert(binary_form)

    def settimeout(self, seconds: float | None) -> None:
        """Bound each wait for the wire."""
        self._plain.settimeout(seconds)

    def getpeername(self) -> object:
        """The server's address."""
        return self._plain.getpeername()

    def fileno(self) -> int:
        """The plain socket's number."""
        return self._plain.fileno()

    def shutdown(self, how: int) -> None:
        """End the plain socket's traffic: whoever waits for it wakes up."""
        self._plain.shutdown(how)

    def close(self) -> None:
        """Close the plain socket."""
        self._plain.close()
