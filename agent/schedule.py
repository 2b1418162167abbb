"""The unattended audit's surroundings: whom to tell, and how the machine is told to run it every night."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import shutil
import smtplib
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.connect import secrets
from agent.errors import SecretError, SpiritlevelError, UsageError
from agent.trust import Trust

MAIL = ("localhost", 25)
"""The mail server that notices go through: the machine's own, which knows where the trust's mail goes."""
WAIT = 30.0
"""Seconds for a mail server or a webhook."""
UNIT = "spiritlevel"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told after a night: a subject, a sentence, and a few lines. No person's name is ever in it."""

    subject: str
    sentence: str
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        """Plain text."""
        return "\n".join([self.sentence, "", *self.lines, ""])


def notify(trust: Trust, notice: Notice, mail: tuple[str, int] = MAIL) -> list[str]:
    """Tell whom trust.yml names. Gives one sentence per notice that did not go out; never raises for that."""
    settings, problems = trust.file.notify, []
    if settings and settings.email:
        try:
            send_mail(settings.email, notice, mail)
        except (OSError, smtplib.SMTPException) as error:
            problems.append(f"The email to {settings.email} was not sent: {_words(error)}.")
    if settings and settings.teams_webhook:
        try:
            send_teams(secrets.resolve(settings.teams_webhook, trust.folder), notice)
        except SecretError as error:
            problems.append(f"The Teams message was not sent: {error}")
        except (OSError, ValueError, UsageError) as error:
            problems.append(f"The Teams message was not sent: {_words(error)}.")
    return problems


def _words(error: BaseException) -> str:
    """What went wrong, without the address: a webhook's address is a secret."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the webhook answered {error.code}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    if isinstance(error, UsageError):
        return error.message.rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return type(error).__name__


def send_mail(to: str, notice: Notice, mail: tuple[str, int] = MAIL) -> None:
    """Send a notice. Raises OSError or `smtplib.SMTPException`."""
    message = EmailMessage()
    message["From"] = f"spiritlevel@{socket.getfqdn()}"
    message["To"] = " ".join(to.split())
    message["Subject"] = " ".join(notice.subject.split())
    message.set_content(notice.text())
    with smtplib.SMTP(mail[0], mail[1], timeout=WAIT) as server:
        server.send_message(message)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook that sends us elsewhere gets nothing."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Follow none."""
        return


def send_teams(address: str, notice: Notice) -> None:
    """Post an adaptive card to a Teams workflow. Raises OSError, ValueError or `UsageError`."""
    parts = urlsplit(address.strip())
    if parts.scheme != "https" and not (parts.scheme == "http" and _loopback(parts.hostname or "")):
        raise UsageError("its address is not https://.")
    blocks: list[Mapping[str, Any]] = [
        {"type": "TextBlock", "text": _plain(notice.subject), "weight": "Bolder", "size": "Medium", "wrap": True},
        {"type": "TextBlock", "text": _plain(notice.sentence), "wrap": True},
        *({"type": "TextBlock", "text": _plain(line), "wrap": True, "spacing": "Small"} for line in notice.lines),
    ]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": blocks,
    }
    body = {
        "type": "message",
        "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": card}],
    }
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked above
        address.strip(), json.dumps(body).encode(), {"Content-Type": "application/json", "User-Agent": "spiritlevel"}
    )
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=WAIT) as answer:
        answer.read(1 << 16)


def _plain(text: str) -> str:
    """Text that the card shows as it stands: it reads some Markdown."""
    return re.sub(r"([\\*_\[\]()`#<>~|])", r"\\\1", text)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -------------------------------------------------------------------------------------------------------------- timers


@dataclass(frozen=True, slots=True)
class Plan:
    """How the nightly audit gets started: `files` to write, then `commands` to run; or, for cron, the `line`.

    `why_not` says why it cannot be installed from here."""

    kind: str
    files: Mapping[Path, str]
    commands: tuple[tuple[str, ...], ...] = ()
    line: str = ""
    why_not: str = ""

    def shown(self) -> str:
        """What would be done, for people."""
        if self.kind == "cron":
            return f"{self.line}\n"
        parts = [f"# {path}\n{text}" for path, text in self.files.items()]
        return "\n".join([*parts, *(f"# then: {shlex.join(c)}" for c in self.commands)]) + "\n"


def clock(text: str) -> tuple[int, int]:
    """`02:30` → (2, 30). Raises `UsageError`."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise UsageError(f"{text!r} is no time of day; write one such as 02:30.")
    return int(match[1]), int(match[2])


def program() -> list[str]:
    """The command as a timer has to call it: by its whole path, as timers have no PATH worth the name."""
    beside = Path(sys.executable).parent / "spiritlevel"
    return [str(beside)] if beside.is_file() else [sys.executable, "-m", "agent"]


def systemd(trust: Trust, at: tuple[int, int], *, root: bool, home: Path) -> Plan:
    """A systemd timer: the machine's for root, else the user's own."""
    folder = Path("/etc/systemd/system") if root else home / ".config/systemd/user"
    name = f"{UNIT}-{slug(trust.folder.name)}"
    command = " ".join(_unit_word(w) for w in [*program(), "-C", str(trust.folder), "nightly"])
    service = f"""\
[Unit]
Description=spiritlevel: nightly audit of {_unit_text(trust.name)}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart={command}
EnvironmentFile=-{_unit_text(str(trust.folder / "secrets" / "nightly.env"))}
TimeoutStartSec=6h
UMask=0077
"""
    timer = f"""\
[Unit]
Description=spiritlevel: every night at {at[0]:02}:{at[1]:02}

[Timer]
OnCalendar=*-*-* {at[0]:02}:{at[1]:02}:00 {trust.file.timezone}
Persistent=true

[Install]
WantedBy=timers.target
"""
    control = ["systemctl", *([] if root else ["--user"])]
    commands = [[*control, "daemon-reload"], [*control, "enable", "--now", f"{name}.timer"]]
    if not root:
        commands.append(["loginctl", "enable-linger"])  # else the timer sleeps while nobody is logged in
    why_not = "" if shutil.which("systemctl") and Path("/run/systemd/system").is_dir() else "systemd does not run here."
    return Plan(
        "systemd",
        {folder / f"{name}.service": service, folder / f"{name}.timer": timer},
        tuple(tuple(c) for c in commands),
        why_not=why_not,
    )


def cron(trust: Trust, at: tuple[int, int]) -> Plan:
    """A line for the user's crontab; secrets of env: references come from secrets/nightly.env, if there is one."""
    env = shlex.quote(str(trust.folder / "secrets" / "nightly.env"))
    command = shlex.join([*program(), "-C", str(trust.folder), "-q", "nightly"])
    line = f"{at[1]} {at[0]} * * * if [ -r {env} ]; then set -a; . {env}; set +a; fi; {command}".replace("%", "\\%")
    why_not = "" if shutil.which("crontab") else "there is no crontab here."
    return Plan("cron", {}, (("crontab", "-"),), f"{line}  # {_mark(trust)}", why_not)


def install(plan: Plan, trust: Trust) -> None:
    """Do what the plan says; a timer of an earlier call is replaced. Raises `SpiritlevelError`, OSError."""
    if plan.why_not:
        raise SpiritlevelError(f"It cannot be installed: {plan.why_not}", "Use --print and install it by hand.")
    if plan.kind == "cron":
        have = subprocess.run(["crontab", "-l"], capture_output=True, text=True, timeout=WAIT, check=False)
        lines = (
            [ln for ln in have.stdout.splitlines() if not ln.endswith(f"# {_mark(trust)}")]
            if not have.returncode
            else []
        )
        _run(("crontab", "-"), "\n".join([*lines, plan.line]) + "\n")
        return
    for path, text in plan.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in plan.commands:
        _run(command)


def _run(command: Sequence[str], given: str | None = None) -> None:
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=WAIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise SpiritlevelError(f"{command[0]} did not run.", "Use --print and install it by hand.") from None
    if done.returncode:
        why = " ".join(done.stderr.split())[:200] or f"code {done.returncode}"
        raise SpiritlevelError(f"{shlex.join(command)} failed: {why}.", "Use --print and install it by hand.")


def _mark(trust: Trust) -> str:
    return f"spiritlevel {str(trust.folder).encode('unicode_escape').decode()}"


def slug(text: str) -> str:
    """A name fit for a unit."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "trust"


def _unit_text(text: str) -> str:
    return " ".join(text.split()).replace("%", "%%")


def _unit_word(word: str) -> str:
    """One word of ExecStart (systemd.service(5), COMMAND LINES): quoted, with % and $ doubled."""
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{quoted}"' if re.search(r"[\s'\";\\]", word) else quoted
