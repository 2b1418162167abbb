"""Making text from a target fit to be shown: what it holds is data, and must neither act nor hide.

Shared by every format. Nothing here escapes for HTML, XML or JSON: their writers do that.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, datetime

# C0 and C1 controls (tab and newline are layout), DEL; marks that reorder or hide text (bidirectional controls,
# zero-width characters, soft hyphen, byte order mark, tag characters); line separators; lone surrogates;
# the two non-characters that XML refuses.
_HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Every character that would act on a terminal or reader instead of being seen, written out as `\\u202e`.

    Tab and newline stay. The result holds only characters that XML 1.0 and UTF-8 allow.
    """
    return _HIDDEN.sub(lambda m: f"\\u{ord(m[0]):04x}" if ord(m[0]) < 0x10000 else f"\\U{ord(m[0]):08x}", text)


def one_line(text: str) -> str:
    """`visible` text on one line: runs of white space become one space. For terminals."""
    return " ".join(visible(text).split())


def shorten(text: str, limit: int = 400) -> str:
    """At most `limit` characters, and how many more there were: a page stays a page."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()}… ({len(text) - limit:,} more characters)"


def slug(text: str) -> str:
    """A name for a file or an anchor, made of a-z, 0-9, dot, dash and underscore. Different texts give different slugs.

    Text that is such a name already is kept; anything else is rewritten and gets eight digits of its hash.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*", text) and len(text) <= 80:
        return text
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-") or "x"
    return f"{plain}--{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def day(value: date | datetime) -> str:
    """`24 November 2026`."""
    return f"{value.day} {value:%B %Y}"


def stamp(value: datetime) -> str:
    """`2026-11-24T01:00:00Z`: the exchange formats' time. The value is aware and in UTC."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def count(number: int, one: str, many: str = "") -> str:
    """`1 check`, `2 checks`, `1,200 checks`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listing(words: list[str], limit: int = 4) -> str:
    """`a, b and c`; beyond `limit`, `a, b, c, d and 3 more`."""
    if len(words) > limit:
        return f"{', '.join(words[:limit])} and {len(words) - limit} more"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
