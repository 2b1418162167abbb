"""Throw-away certificates for the servers of the stand-in trust: one authority, one certificate a server.

Everything is made new for each run, lives for two days, and is written readable by its owner only (0600, folder
0700). Keys are P-256, which are made in a millisecond; the key of an application's own certificate is RSA, since
Microsoft's token endpoint takes no other and none under 2048 bits.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=2)
# Clocks of two containers on one machine may differ by a little; a certificate "not yet valid" helps nobody.
SKEW = datetime.timedelta(minutes=5)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A throw-away authority. `cert_path` is what a client gets as its CA file (PEM)."""

    cert_path: Path
    key_path: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_ca(directory: Path, name: str) -> CertificateAuthority:
    """Make an authority called `name`; writes `<name>.pem` and `<name>.key` into `directory` (made if absent)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = _write(directory, name, certificate, key)
    return CertificateAuthority(cert_path, key_path, certificate, key)


def issue(
    directory: Path, ca: CertificateAuthority, names: Iterable[str], ips: Iterable[str] = ()
) -> tuple[Path, Path]:
    """Make a server certificate for DNS `names` and addresses `ips`, signed by `ca`.

    Gives (certificate path, key path), both PEM, named after the first name or address.
    Raises ValueError when there is neither a name nor an address, or when an address is not one.
    """
    dns, addresses = list(names), [ipaddress.ip_address(ip) for ip in ips]
    if not dns and not addresses:
        raise ValueError("A server certificate needs at least one name or address.")
    first = dns[0] if dns else str(addresses[0])
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    alternatives += [x509.IPAddress(address) for address in addresses]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, first[:64])])
    certificate = (
        _builder(subject, ca.certificate.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(_key_usage(digital_signature=True, key_agreement=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return _write(directory, first, certificate, key)


def make_app_certificate(directory: Path, name: str, bits: int = 2048) -> tuple[Path, Path]:
    """Make the self-signed certificate with which an application proves itself to the token endpoint.

    Gives (certificate path, key path), both PEM. `bits` under 2048 is for testing the refusal.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    certificate = (
        _builder(subject, subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _write(directory, name, certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    key_agreement: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _write(directory: Path, name: str, certificate: x509.Certificate, key: PrivateKey) -> tuple[Path, Path]:
    """Write certificate and key (PEM) as `<name>.pem` and `<name>.key`; a name never leaves the folder."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "certificate"
    cert_path, key_path = directory / f"{stem}.pem", directory / f"{stem}.key"
    _write_private(cert_path, certificate.public_bytes(serialization.Encoding.PEM))
    _write_private(
        key_path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return cert_path, key_path


def _write_private(path: Path, content: bytes) -> None:
    """Write `content` to a file that only its owner may read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
