"""What a switch's answer to a command is worth: the answer, or why it is none. Pure."""

from __future__ import annotations

import re

from agent.facts.switch.protocol import Reply
from agent.model import Reason, Unknown

# In the vendors' own words: Cisco IOS; AOS-CX; ProVision.
_NO_RIGHT = re.compile(
    r"(?im)^\s*%?\s*(command )?(authori[sz]ation (failed|denied)|permission denied|access denied|not authori[sz]ed"
    r"|this command is not authori[sz]ed|insufficient (privilege|permission)s?)"
    r"|command not allowed|not (authori[sz]ed|allowed|permitted) to (run|execute|use)"
)
_NO_COMMAND = re.compile(
    r"(?im)^\s*(% ?(invalid (input|command)|unknown command|unrecognized command|incomplete command|ambiguous command"
    r"|command incomplete|bad (host|ip)|error in)|(invalid|incomplete|ambiguous|unknown) (input|command)\b)"
)
MAX_REFUSAL = 8
"""Lines of the longest refusal; a configuration that quotes one in a banner is longer."""


def missing(reply: Reply, command: str) -> Unknown | None:
    """Why a reply is no answer, if it is none."""
    if reply.timed_out:
        return Unknown(Reason.TIMED_OUT, command)
    if reply.cut_off:
        return Unknown(Reason.TRUNCATED, command)
    lines = [line for line in reply.text.split("\n") if line.strip()]
    if len(lines) <= MAX_REFUSAL:
        if _NO_RIGHT.search(reply.text):
            return Unknown(Reason.PERMISSION, command)
        if _NO_COMMAND.search(reply.text):
            return Unknown(Reason.COMMAND_MISSING, command)
    return None


def clean(text: str, limit: int = 120) -> str:
    """A switch's word, fit to be kept: no control characters, not endless."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()[:limit]


_SECRET = re.compile(r"(?i)\b(pass(?:word|wd|phrase)?|pwd|pw|secret|key|psk|community|pin)\b\s*(?:is|[:=])?\s*(\S+)")


BANNER = 500
"""Characters kept of a text at the login."""


def redact(text: str, limit: int = 80) -> str:
    """A description or a banner without what follows words such as `password` in it."""
    return clean(_SECRET.sub(lambda m: f"{m[1]} ***", text), limit)
