"""A home of pyspnego: logins by NTLM and Kerberos tokens instead of a password on the line.

They travel in SASL's GSS-SPNEGO (MS-ADTS 5.1.1.1.2), always inside TLS, bound to the server's certificate (channel
binding, RFC 5929), and ask for no seal of their own: TLS is the seal, and domain controllers refuse two.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

from agent.connect.ldap_search import clean
from agent.errors import Broken, CredentialRefused, IdentityError, TargetError

IN_PROGRESS = 14
"""saslBindInProgress, RFC 4511 appendix A."""
MAX_STEPS = 8
"""Tokens either way: Kerberos takes one or two, NTLM two."""
# What Kerberos libraries say when the key distribution centre knew the account and refused it.
_REFUSED = re.compile(
    r"preauth|password|revoked|locked|expired|client.*not found|integrity check failed|decrypt integrity", re.IGNORECASE
)

Send = Callable[[bytes], dict[str, Any]]
"""Sends one token in a bind request; gives the result: `result` (code) and `saslCreds` (the server's token)."""


def login(kind: str, name: str, password: str, host: str, binding: bytes, send: Send) -> None:
    """Log in with `kind` (`ntlm`, `kerberos`), as far as the server goes along; its last result says whether it worked.

    Without a password Kerberos uses the ticket cache or key table of whoever runs this. Raises `TargetError` where the
    means are missing, `CredentialRefused`, `IdentityError` for a server that cannot answer for its name, `Broken`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its own imports complain of is not ours to mend
        import spnego
        from spnego.channel_bindings import GssChannelBindings
        from spnego.exceptions import SpnegoError
    errors: tuple[type[Exception], ...] = (SpnegoError, *_kerberos_errors())
    context: Any = None
    code: object = None
    try:
        context = spnego.client(
            name or None,
            password or None,
            hostname=host,
            service="ldap",
            channel_bindings=GssChannelBindings(application_data=binding) if binding else None,
            context_req=spnego.ContextReq.mutual_auth | spnego.ContextReq.no_integrity,
            protocol=kind,
        )
        token = context.step() or b""
        for _ in range(MAX_STEPS):
            answer = send(token)
            code, theirs = answer.get("result"), answer.get("saslCreds")
            if code not in (0, IN_PROGRESS):
                return
            # The last token is the server's own proof: it counts, also when the server says that all is well.
            token = (context.step(theirs) or b"") if theirs and not context.complete else b""
            if code == 0:
                break
        if not context.complete:
            raise IdentityError("The server took the login without proving that it knows the account's key.")
    except ImportError as missing:
        raise TargetError(
            f"A {clean(kind)} login needs a library that is not installed: {clean(missing)}.",
            "Install spiritlevel[kerberos], which needs the system's Kerberos library, or use auth: simple over TLS.",
        ) from missing
    except errors as failed:
        said = clean(getattr(failed, "message", failed))
        raise _why(kind, name, host, said, begun=code is not None) from failed


def _kerberos_errors() -> tuple[type[Exception], ...]:
    """Errors of the Kerberos libraries, which pyspnego lets through; none where they are not installed."""
    try:
        from gssapi.raw.misc import GSSError  # type: ignore[import-not-found, unused-ignore]
        from krb5 import Krb5Error  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return ()
    return GSSError, Krb5Error


def _why(kind: str, name: str, host: str, said: str, *, begun: bool) -> TargetError:
    who = clean(name) or "the account of the ticket cache"
    if begun:
        return IdentityError(f"{host} did not complete the {kind} login of {who}: {said}.", "Is it the right server?")
    if _REFUSED.search(said):
        return CredentialRefused(
            f"Kerberos refused {who}: {said}.", "Check bind and password in trust.yml before the account locks."
        )
    return Broken(
        f"There is no {kind} ticket of {who} for ldap/{host}: {said}.",
        "Kerberos needs the server's name in url, no address, a krb5.conf with its realm, and clocks that agree.",
    )
