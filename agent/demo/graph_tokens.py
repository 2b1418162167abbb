"""The token endpoint of the stand-in for Microsoft Graph: client credentials with a secret or a signed assertion.

Messages and numbers are those of Microsoft's AADSTS errors. A token is a JWT that carries the permissions that the
app had when it was issued, as real ones do: granting one more changes nothing until a new token is asked for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from agent.demo.graph_data import Client, TenantData

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRAPH_AUDIENCE = "https://graph.microsoft.com"
# What Microsoft's endpoint demands of a certificate's RSA key.
LEAST_RSA_BITS = 2048
_HEADER = b'{"typ":"JWT","alg":"HS256"}'


class TokenRefused(Exception):
    """The token endpoint says no: HTTP status, OAuth error and AADSTS number, with their text."""

    def __init__(self, status: int, error: str, number: int, text: str) -> None:
        super().__init__(text)
        self.status, self.error, self.number, self.text = status, error, number, text

    def body(self) -> dict[str, Any]:
        """The answer's JSON, in Microsoft's shape."""
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        return {
            "error": self.error,
            "error_description": f"AADSTS{self.number}: {self.text} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {stamp}",
            "error_codes": [self.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.number}",
        }


@dataclass(slots=True)
class TokenService:
    """Issues and checks tokens for one tenant. `lifetime` is in seconds; 3599 is what Microsoft gives."""

    tenant: TenantData
    lifetime: int = 3599
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def openid_configuration(self, authority: str) -> dict[str, Any]:
        """The discovery document of `authority` (`https://host/tenant`), as far as MSAL reads it."""
        return {
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{authority}/oauth2/v2.0/devicecode",
            "issuer": f"{authority}/v2.0",
            "jwks_uri": f"{authority}/discovery/v2.0/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": "EU",
        }

    def issue(self, form: dict[str, str], authority: str, graph_url: str) -> dict[str, Any]:
        """Answer a token request. Raises TokenRefused."""
        if form.get("grant_type") != "client_credentials":
            raise TokenRefused(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        client_id = form.get("client_id", "")
        client = self.tenant.clients.get(client_id)
        if client is None:
            raise TokenRefused(
                400,
                "unauthorized_client",
                700016,
                f"Application with identifier '{client_id}' was not found in the directory.",
            )
        if form.get("scope", "") not in (f"{GRAPH_AUDIENCE}/.default", f"{graph_url}/.default"):
            raise TokenRefused(
                400, "invalid_scope", 1002012, "The provided value for scope is not valid. Ask for '/.default'."
            )
        if "client_assertion" in form:
            self._check_assertion(form, client_id, client, authority)
        else:
            self._check_secret(form.get("client_secret", ""), client_id, client)
        return {
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "ext_expires_in": self.lifetime,
            "access_token": self._sign(client_id, client),
        }

    def revoke(self) -> None:
        """Make every token issued so far worthless."""
        self._key = secrets.token_bytes(32)

    def check(self, header: str | None) -> tuple[str, list[str]] | None:
        """(client id, permissions) for a good `Authorization` header; None for any other."""
        scheme, _, token = (header or "").partition(" ")
        head, dot, signature = token.rpartition(".")
        if scheme.lower() != "bearer" or not dot:
            return None
        expected = _encode(hmac.new(self._key, head.encode(), hashlib.sha256).digest())
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            return None
        claims = _decode_json(head.partition(".")[2])
        if claims is None or claims["exp"] <= time.time():
            return None
        return claims["appid"], claims["roles"]

    def _sign(self, client_id: str, client: Client) -> str:
        now = int(time.time())
        claims = {
            "aud": GRAPH_AUDIENCE,
            "iss": f"https://sts.windows.net/{self.tenant.tenant_id}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime,
            "appid": client_id,
            "app_displayname": client.name,
            "idtyp": "app",
            "roles": list(client.roles),
            "tid": self.tenant.tenant_id,
            "ver": "1.0",
            "uti": secrets.token_urlsafe(12),
        }
        head = f"{_encode(_HEADER)}.{_encode(json.dumps(claims).encode())}"
        return f"{head}.{_encode(hmac.new(self._key, head.encode(), hashlib.sha256).digest())}"

    def _check_secret(self, secret: str, client_id: str, client: Client) -> None:
        if not secret:
            raise TokenRefused(
                401,
                "invalid_client",
                7000216,
                "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
            )
        if not client.secret or not hmac.compare_digest(secret.encode(), client.secret.encode()):
            raise TokenRefused(
                401,
                "invalid_client",
                7000215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
                f"value, not the client secret ID, for a secret added to app '{client_id}'.",
            )
        if client.secret_expired:
            raise TokenRefused(
                401,
                "invalid_client",
                7000222,
                f"The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal to create "
                "new keys for your app.",
            )

    def _check_assertion(self, form: dict[str, str], client_id: str, client: Client, authority: str) -> None:
        """Check a signed client assertion: kind, certificate, signature, audience, issuer, life."""
        reason = self._assertion_fault(form, client_id, client, authority)
        if reason:
            raise TokenRefused(
                401,
                "invalid_client",
                700027,
                f"The certificate with identifier used to sign the client assertion is not accepted for application "
                f"'{client_id}': {reason}",
            )

    def _assertion_fault(self, form: dict[str, str], client_id: str, client: Client, authority: str) -> str:
        """What is wrong with the assertion; empty when nothing is."""
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            return "client_assertion_type is not jwt-bearer."
        if not client.certificate:
            return "the key was not found: no certificate is registered for the app."
        signed, _, signature = form["client_assertion"].rpartition(".")
        header, claims = _decode_json(signed.partition(".")[0]), _decode_json(signed.partition(".")[2])
        if header is None or claims is None:
            return "the assertion is not a JWT."
        certificate = x509.load_pem_x509_certificate(client.certificate.encode())
        der = certificate.public_bytes(serialization.Encoding.DER)
        # SHA-1 is what `x5t` is defined with (RFC 7515, 4.1.7); it names the certificate and guards nothing.
        prints = {
            "x5t#S256": _encode(hashlib.sha256(der).digest()),
            "x5t": _encode(hashlib.sha1(der, usedforsecurity=False).digest()),
        }
        named = [key for key in prints if key in header]
        if not named or any(str(header[key]).rstrip("=") != prints[key] for key in named):
            return "the thumbprint is not that of a registered certificate."
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < LEAST_RSA_BITS:
            return f"the key must be RSA of at least {LEAST_RSA_BITS} bits."
        scheme: padding.AsymmetricPadding
        if header.get("alg") == "PS256":
            scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
        elif header.get("alg") == "RS256":
            scheme = padding.PKCS1v15()
        else:
            return "the algorithm must be PS256 or RS256."
        try:
            key.verify(_decode(signature), signed.encode(), scheme, hashes.SHA256())
        except (InvalidSignature, binascii.Error):
            return "the signature does not match."
        if claims.get("aud") not in (f"{authority}/oauth2/v2.0/token", f"{authority}/v2.0"):
            return "the audience is not this token endpoint."
        if claims.get("iss") != client_id or claims.get("sub") != client_id:
            return "issuer and subject must be the app's id."
        # Five minutes either way is the clock skew that Microsoft allows.
        now, skew = time.time(), 300
        if claims.get("exp", 0) < now - skew or claims.get("nbf", 0) > now + skew:
            return "the assertion is not within its valid time range."
        return ""


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Decode base64url without padding. Raises binascii.Error."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decode_json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(_decode(text))
    except (binascii.Error, ValueError):
        return None
    return value if isinstance(value, dict) else None
