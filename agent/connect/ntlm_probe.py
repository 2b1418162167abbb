"""A login by NTLM that cannot succeed, to learn whether a server asks for channel binding.

Windows looks at the binding before it looks at who is there (MS-NLMP 3.2.5.1.2, KB4034879): a login that carries none
fails with another code where binding is asked for. The account cannot exist and its proof is random, so no secret is
involved and nothing can lock. Messages are those of MS-NLMP 2.2.1. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import secrets
import struct

SIGNATURE = b"NTLMSSP\0"
# NEGOTIATE_UNICODE, REQUEST_TARGET, NTLM, ALWAYS_SIGN, EXTENDED_SESSIONSECURITY, TARGET_INFO (MS-NLMP 2.2.2.5).
FLAGS = 0x1 | 0x4 | 0x200 | 0x8000 | 0x80000 | 0x800000
_HEAD = 64
MISSING_BINDING = "80090346"
"""SEC_E_BAD_BINDINGS, as Windows writes it into its refusal."""
WRONG_NAME = "data 52e"
"""What Windows says of a name or password that is wrong: it got as far as looking."""


def negotiate() -> bytes:
    """The first message: what this side can do."""
    return SIGNATURE + struct.pack("<II", 1, FLAGS) + bytes(16)


def target_information(challenge: bytes) -> bytes:
    """What the server says of itself in its challenge (MS-NLMP 2.2.1.2). Raises `ValueError`."""
    try:
        if challenge[:8] != SIGNATURE or struct.unpack_from("<I", challenge, 8)[0] != 2:
            raise ValueError("no challenge")
        length, _, place = struct.unpack_from("<HHI", challenge, 40)
    except struct.error as problem:
        raise ValueError("a challenge is cut short") from problem
    if place + length > len(challenge):
        raise ValueError("a challenge is cut short")
    return challenge[place : place + length]


def authenticate(challenge: bytes) -> bytes:
    """The answer of somebody who does not exist, without a binding. Raises `ValueError` for what is no challenge."""
    told = target_information(challenge)
    user = f"spiritlevel-probe-{secrets.token_hex(8)}".encode("utf-16-le")
    proof = (
        secrets.token_bytes(16) + b"\1\1" + bytes(6) + bytes(8) + secrets.token_bytes(8) + bytes(4) + told + bytes(4)
    )
    parts = (bytes(24), proof, b"", user, b"", b"")  # LM, NT, domain, user, workstation, session key
    fields, place = b"", _HEAD
    for part in parts:
        fields += struct.pack("<HHI", len(part), len(part), place)
        place += len(part)
    return SIGNATURE + struct.pack("<I", 3) + fields + struct.pack("<I", FLAGS) + b"".join(parts)
