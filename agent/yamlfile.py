"""Reading the YAML that people write: YAML 1.2 values, duplicate keys rejected, every value's line known.

PyYAML (its C parser where there is one) only splits the text into nodes here. What a plain word means is decided
below by the YAML 1.2 core schema, so that `no` stays the word that sshd uses, and `0640` is never 416.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from agent.errors import ConfigError
from agent.errors import suggest as suggest  # re-exported: whoever reads files names near misses

M = TypeVar("M", bound=BaseModel)
MAX_BYTES = 4 << 20
MAX_NODES = 200_000
"""Far above any file that a person writes; below what aliases of aliases could make of a small one."""

MAX_DIGITS = 4000
"""Longer ones stay words: Python refuses to read them as numbers."""
MAX_DEPTH = 60
SHALLOW = 4096
"""Characters below which no nesting can be deep enough to matter (each level takes one)."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z|0o[0-7]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A file's plain data, and the line (from 1) of every place in it, by path of keys and indexes."""

    data: Any
    file: str
    lines: dict[Path_, int]

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a place, or of the nearest place around it that is written down."""
        place = tuple(path)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, message: str, path: Sequence[str | int] = (), hint: str = "") -> ConfigError:
        """A `ConfigError` that points at `path`."""
        return ConfigError(message, hint, file=self.file, line=self.line(path), key=dotted(path))


def dotted(path: Sequence[str | int]) -> str:
    """`("schools", "oak", 0)` → `schools.oak[0]`."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def read(path: Path, shown: str = "") -> Document:
    """Read one YAML file. Raises `ConfigError` with file and line for anything that is not plain YAML 1.2."""
    name = shown or str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError("there is no such file.", file=name) from None
    except OSError as e:
        raise ConfigError(f"cannot be read: {e.strerror}.", file=name) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError("is larger than 4 MiB; no policy file is.", file=name)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise ConfigError("is not UTF-8 text.", file=name, line=raw[: e.start].count(b"\n") + 1) from None
    return parse(text, name)


def parse(text: str, name: str = "<text>") -> Document:
    """Parse YAML 1.2 text. Raises `ConfigError`."""
    try:
        _bounded(text, name)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as e:
        line = e.problem_mark.line + 1 if e.problem_mark else 0
        raise ConfigError(f"is not valid YAML: {e.problem or e.context}.", file=name, line=line) from None
    except yaml.YAMLError as e:
        raise ConfigError(f"is not valid YAML: {str(e).splitlines()[0]}.", file=name) from None
    except RecursionError:
        raise ConfigError("is nested too deeply.", file=name) from None
    lines: dict[Path_, int] = {}
    data = None if node is None else _build(node, (), lines, name)
    return Document(data, name, lines)


def _bounded(text: str, name: str) -> None:
    """Refuse text nested so deeply that the C parser, which recurses without a limit, would take the process down."""
    if len(text) < SHALLOW:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                raise ConfigError("is too large or nested too deeply.", file=name, line=mark.line + 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _build(node: Any, path: Path_, lines: dict[Path_, int], name: str) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if len(lines) > MAX_NODES or len(path) > MAX_DEPTH:
        raise ConfigError("is too large or nested too deeply.", file=name, line=line)
    if isinstance(node, yaml.MappingNode):
        _tag(node, ("tag:yaml.org,2002:map",), path, name)
        out: dict[str, Any] = {}
        for knode, vnode in node.value:
            key = _key(knode, path, name)
            if key in out:
                raise ConfigError(
                    f"the key {key!r} stands here twice.", file=name, line=knode.start_mark.line + 1, key=dotted(path)
                )
            out[key] = _build(vnode, (*path, key), lines, name)
            lines[*path, key] = knode.start_mark.line + 1
        return out
    if isinstance(node, yaml.SequenceNode):
        _tag(node, ("tag:yaml.org,2002:seq",), path, name)
        return [_build(v, (*path, i), lines, name) for i, v in enumerate(node.value)]
    return _scalar(node, path, name)


def _key(node: Any, path: Path_, name: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError("a key must be a word.", file=name, line=node.start_mark.line + 1, key=dotted(path))
    return str(node.value)


def _scalar(node: Any, path: Path_, name: str) -> Any:
    text: str = node.value
    if node.style:  # the C parser says "" for a plain word, the Python one None
        _tag(node, ("tag:yaml.org,2002:str",), path, name)
        return text
    # The tags below are those that YAML 1.1 gives a plain word; the word itself decides, by YAML 1.2.
    _tag(
        node,
        tuple(f"tag:yaml.org,2002:{t}" for t in ("null", "bool", "int", "float", "str", "timestamp", "merge", "value")),
        path,
        name,
    )
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _HEX.match(text):
        return int(text, 0)
    if _FLOAT.match(text) and math.isfinite(number := float(text)):
        return number
    return text


def _tag(node: Any, allowed: tuple[str, ...], path: Path_, name: str) -> None:
    if node.tag not in allowed:
        raise ConfigError(
            f"the tag {node.tag} is not allowed.",
            "Write a plain value, or a reference such as env:NAME.",
            file=name,
            line=node.start_mark.line + 1,
            key=dotted(path),
        )


def model(doc: Document, kind: type[M], path: Sequence[str | int] = ()) -> M:
    """Check a document against its type. Raises `ConfigError` for the first thing wrong, with the nearest name."""
    data = doc.data
    for p in path:
        data = data[p]
    try:
        return kind.model_validate(data)
    except ValidationError as e:
        problems = e.errors(include_url=False)
        problem = problems[0]
        if problem["type"] == "missing":  # a key that is misspelt is both missing and unknown: the latter helps
            around = problem["loc"][:-1]
            odd = (p for p in problems if p["type"] == "extra_forbidden" and p["loc"][:-1] == around)
            problem = next(odd, problem)
        loc = (*path, *problem["loc"])
        hint = ""
        if problem["type"] == "extra_forbidden":
            hint = suggest(str(loc[-1]), _fields(kind, problem["loc"][:-1]))
            raise doc.error("there is no such key.", loc, hint) from None
        message = str(problem["msg"]).removeprefix("Value error, ").rstrip(".")
        raise doc.error(f"{message[:1].lower()}{message[1:]}.", loc, hint) from None


def _fields(kind: Any, path: Sequence[str | int]) -> list[str]:
    """Field names (aliases first) of the model that `path` leads to; empty where it can't be told."""
    for step in path:
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        if not isinstance(step, str):
            continue
        info = next((f for n, f in kind.model_fields.items() if step in (n, f.alias)), None)
        inner = _models(info.annotation) if info else []
        if not inner:
            continue
        kind = inner[0]
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return []
    return [f.alias or n for n, f in kind.model_fields.items()]


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]


# ------------------------------------------------------------------------------------------------------- writing


class Unsafe(str):
    """Text that somebody else may have chosen: written for Ansible so that it is never a template, and stays text."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Lists indented under their key, as ansible-lint wants; no anchors, so that every place can be read alone."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    # What only one of YAML 1.1 and 1.2 takes for a number or a truth is quoted: the dumper itself knows 1.1 alone.
    plain = not (text in _WORDS or _INT.match(text) or _HEX.match(text) or _FLOAT.match(text))
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_Dumper.add_representer(str, _text)


def _unsafe(dumper: Any, text: str) -> Any:
    # In quotes and escaped, a tagged scalar cannot end early and shows no control character to a terminal. Ansible
    # reads what stands under its tag as if it were plain, quotes or not: `!unsafe "0640"` is 416. Words that mean
    # something when plain hold no template, so they need no tag, and without one the quotes count.
    plain = dumper.resolve(yaml.ScalarNode, str(text), (True, False))
    tag = "!unsafe" if plain == dumper.DEFAULT_SCALAR_TAG else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, str(text), style='"')


_Dumper.add_representer(Unsafe, _unsafe)


def dump(data: Any) -> str:
    """Plain data (str, int, float, bool, None, list, dict, `Unsafe`) → YAML that YAML 1.1 and 1.2 read alike.

    Keys stay in their order; `---` stands first. The same data gives the same bytes.
    """
    text: str = yaml.dump(
        data,
        Dumper=_Dumper,
        explicit_start=True,
        default_flow_style=False,
        sort_keys=False,
        allow_unicode=False,
        width=140,
    )
    return text


def edited(text: str, key: str, change: Callable[[list[Any]], None]) -> str:
    """YAML text with the list under `key` changed in place by `change`; comments, order and quotes stay.

    The list may also be the whole file; a file without one gets it. New entries are plain dicts. The caller checks the
    result before it is written. Raises `ConfigError` for text that is no YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedSeq
    from ruamel.yaml.error import YAMLError

    yaml_ = YAML()  # round trip, YAML 1.2
    yaml_.preserve_quotes = True
    yaml_.width = 1 << 16  # lines stay as long as they were written
    if re.search(r"^ +- ", text, re.MULTILINE) or not re.search(r"^- ", text, re.MULTILINE):
        yaml_.indent(mapping=2, sequence=4, offset=2)
    try:
        data = yaml_.load(text)
    except YAMLError as e:
        raise ConfigError(f"is not valid YAML: {str(e).splitlines()[0]}.") from None
    if data is None:  # nothing but comments: they stay above
        text = f"{text.rstrip()}\n{key}: []\n".lstrip("\n")
        data = yaml_.load(text)
    found: Any = data.get(key) if isinstance(data, dict) else data
    if not found and isinstance(data, dict):
        found = data[key] = CommentedSeq()
    elif not found:
        found.fa.set_block_style()
    change(found)
    if not found:
        found.fa.set_flow_style()
    out = io.StringIO()
    yaml_.dump(data, out)
    return out.getvalue()


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside it first, then renamed over it. Keeps its mode. Raises OSError."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
