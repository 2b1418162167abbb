"""Running a bundle of playbooks with Ansible, and what each task said. ansible-runner's only home."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.connect.ansible import tool
from agent.errors import SpiritlevelError
from agent.yamlfile import Unsafe, dump

MAX_DIFF = 20_000
"""Characters of one task's difference that are kept."""
_INSTALLERS = ("apt", "dnf", "yum", "package", "zypper", "apk", "pacman")
_ENVIRONMENT = {
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_HOST_KEY_CHECKING": "true",
    "ANSIBLE_RETRY_FILES_ENABLED": "false",
    "ANSIBLE_DEPRECATION_WARNINGS": "false",
    "ANSIBLE_LOCALHOST_WARNING": "false",
    "PYTHONWARNINGS": "ignore",
}
_KINDS = {
    "runner_on_ok": "ok",
    "runner_on_failed": "failed",
    "runner_on_skipped": "skipped",
    "runner_on_unreachable": "unreachable",
    "runner_item_on_ok": "item",
}


@dataclass(frozen=True, slots=True)
class Task:
    """One task on one host. `outcome`: ok, changed, failed, skipped or unreachable; `diff` as a unified diff."""

    host: str
    play: str
    name: str
    action: str
    outcome: str
    message: str = ""
    diff: str = ""

    @property
    def installs(self) -> bool:
        """Whether it puts packages on a host."""
        return self.action.rsplit(".", 1)[-1] in _INSTALLERS


@dataclass(frozen=True, slots=True)
class PlayResult:
    """What ansible-playbook did. `code` is its own: 0 all went well, 2 a host failed, 4 a host did not answer.

    `error` is its complaint where it never came to a task.
    """

    code: int
    tasks: tuple[Task, ...]
    error: str = ""


def play(
    folder: Path,
    *,
    check: bool,
    limit: str = "",
    tags: Sequence[str] = (),
    skip_tags: Sequence[str] = (),
    credentials: Mapping[str, Mapping[str, str]] | None = None,
    tell: Callable[[Task], None] = lambda _: None,
    timeout: int = 6 * 3600,
    environment: Mapping[str, str] | None = None,
) -> PlayResult:
    """Run `site.yml` of a bundle with its inventory; with `check` nothing is changed and differences are shown.

    `credentials` are connection variables by host, values resolved; they live in a folder of 0700 for the run only.
    `environment` is added to ours. Raises `SpiritlevelError` where Ansible cannot run at all.
    """
    try:
        import ansible_runner
    except ImportError:
        raise SpiritlevelError("ansible-runner is not installed.", "Install spiritlevel again.") from None
    tasks: list[Task] = []

    def event(data: dict[str, Any]) -> bool:
        for task in _tasks(data):
            tasks.append(task)
            tell(task)
        return False  # nothing needs to be kept on disk

    with _private(credentials or {}) as (private, inventories):
        words = [
            "--diff",
            *(["--check"] if check else []),
            *(["--tags", ",".join(tags)] if tags else []),
            *(["--skip-tags", ",".join(skip_tags)] if skip_tags else []),
        ]
        handlers = _handlers()
        try:
            runner = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(folder),
                playbook=str(folder / "site.yml"),
                inventory=[str(folder / "inventory.yml"), *inventories],
                limit=limit or None,
                cmdline=shlex.join(words),
                quiet=True,
                suppress_env_files=True,
                event_handler=event,
                timeout=timeout,
                envvars={**_ENVIRONMENT, "PATH": _path(), **(environment or {})},
            )
        except (OSError, ansible_runner.exceptions.AnsibleRunnerException) as e:
            raise SpiritlevelError(
                f"ansible-playbook could not be run: {_line(str(e))}.",
                "Check that ansible-core is installed beside spiritlevel.",
            ) from None
        finally:
            for number, handler in handlers.items():  # ansible-runner takes Ctrl-C and never gives it back
                signal.signal(number, handler)
        if runner.status == "canceled":
            raise KeyboardInterrupt
        if runner.status == "timeout":
            raise SpiritlevelError(f"ansible-playbook did not end within {timeout // 3600} hours and was stopped.")
        code = runner.rc if isinstance(runner.rc, int) else 1
        error = ""
        if code and not tasks:
            with runner.stdout as said:
                error = _complaint(said.read()) or "it said nothing"
    return PlayResult(code, tuple(tasks), error)


def _handlers() -> dict[int, Any]:
    """The handlers of signals that ansible-runner replaces; it can do so in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _path() -> str:
    """PATH with the folder of our own Ansible first: ansible-runner looks the program up by name."""
    beside = os.path.dirname(tool("ansible-playbook"))
    return os.pathsep.join(filter(None, (beside, os.environ.get("PATH", os.defpath))))


@contextmanager
def _private(credentials: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[Path, list[str]]]:
    private = Path(tempfile.mkdtemp(prefix="spiritlevel-play-"))  # 0700
    try:
        if not credentials:
            yield private, []
            return
        path = private / "credentials.yml"
        hosts = {h: {n: Unsafe(v) for n, v in sorted(c.items())} for h, c in sorted(credentials.items())}
        path.touch(mode=0o600)
        path.write_text(dump({"all": {"hosts": hosts}}), encoding="utf-8")
        yield private, [str(path)]
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _tasks(data: Mapping[str, Any]) -> Iterator[Task]:
    kind = _KINDS.get(str(data.get("event")))
    body = data.get("event_data") or {}
    if kind is None:
        return
    res = body.get("res") or {}
    if kind == "item" and not res.get("diff"):
        return  # the loop's own event follows; items matter for their differences only
    outcome = "changed" if kind in ("ok", "item") and res.get("changed") else "ok" if kind == "item" else kind
    if kind == "failed" and body.get("ignore_errors"):
        outcome = "ok"
    yield Task(
        _line(str(body.get("host", ""))),
        str(body.get("play", "")),
        _line(str(body.get("task", ""))),
        str(body.get("resolved_action") or body.get("task_action", "")),
        outcome,
        _message(res, kind),
        _diff(res.get("diff")),
    )


def _complaint(text: str) -> str:
    """The line that says what is wrong, past usage and warnings."""
    lines = [_line(t) for t in text.splitlines() if t.strip()]
    return next((t for t in lines if re.match(r"(\[?ERROR|.*: error:)", t)), lines[-1] if lines else "")


def _message(res: Mapping[str, Any], kind: str) -> str:
    if kind not in ("failed", "unreachable"):
        return ""
    for item in res.get("results") or ():
        if isinstance(item, Mapping) and item.get("failed"):
            return _message(item, kind)
    words = [str(res.get(k) or "") for k in ("msg", "stderr", "module_stderr")]
    return _line(next((w for w in words if w.strip()), "it did not say why"))


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:500]


def _diff(diffs: Any) -> str:
    out = []
    for diff in diffs if isinstance(diffs, list) else [diffs]:
        if not isinstance(diff, Mapping):
            continue
        if "prepared" in diff:
            out.append(str(diff["prepared"]))
            continue
        sides = (diff.get("before", ""), diff.get("after", ""))
        old, new = ((s if isinstance(s, str) else dump(s)).splitlines() for s in sides)
        was, now = (str(diff.get(f"{side}_header") or side) for side in ("before", "after"))
        out.append("\n".join(difflib.unified_diff(old, new, was, now, lineterm="", n=2)))
    text = "\n".join(filter(None, out))
    return text if len(text) <= MAX_DIFF else text[:MAX_DIFF] + "\n(cut off)"
