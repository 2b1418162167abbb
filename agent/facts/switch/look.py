"""One reading of a switch: commands are asked once, when a fact first needs them."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.facts.switch.answer import missing
from agent.facts.switch.blocks import Block, CutOff, Text, tree
from agent.facts.switch.protocol import Reply, Terminal
from agent.facts.switch.schema import CONFIG, PRIVILEGE
from agent.model import Reason, Unknown


class Missing(Exception):
    """What a reader needs is not there; `why` becomes the fact's value."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail)
        self.why = Unknown(reason, detail)


COMMENTS = {"ios": "!", "aoscx": "!", "procurve": ";"}


@dataclass(slots=True)
class Look:
    """A switch and what it has said so far."""

    terminal: Terminal
    _replies: dict[str, Reply] = field(default_factory=dict)
    _config: tuple[Block, Text] | None = None

    @property
    def platform(self) -> str:
        """`ios`, `aoscx` or `procurve`."""
        return self.terminal.platform

    @property
    def silent(self) -> Unknown | None:
        """Why nothing at all was answered, where that is so: the login worked, and no prompt came."""
        replies = list(self._replies.items())
        if not replies or any(not (r.timed_out or r.cut_off) for _, r in replies):
            return None
        return missing(replies[0][1], "the prompt")

    def reply(self, command: str) -> Reply:
        """The bare reply."""
        if command not in self._replies:
            self._replies[command] = self.terminal.ask(command)
        return self._replies[command]

    def text(self, command: str) -> str:
        """The answer to a command. Raises `Missing` with the reason where there is none."""
        reply = self.reply(command)
        why = missing(reply, command)
        if why is None:
            return reply.text
        if why.reason is Reason.COMMAND_MISSING and command.startswith(CONFIG):
            # Every switch has this command: an account that may not run it is told that there is no such thing.
            raise Missing(Reason.PERMISSION, PRIVILEGE)
        raise Missing(why.reason, PRIVILEGE if why.reason is Reason.PERMISSION and CONFIG in command else why.detail)

    def first(self, *commands: str) -> str:
        """The answer to the first of several commands that the switch knows. Raises `Missing` for the first."""
        why: Missing | None = None
        for command in commands:
            try:
                return self.text(command)
            except Missing as error:
                if error.why.reason is not Reason.COMMAND_MISSING:
                    raise
                why = why or error
        assert why is not None  # noqa: S101 - there is at least one command
        raise why

    def config(self) -> Block:
        """The running configuration. Raises `Missing` where it did not come whole."""
        return self._parsed()[0]

    def taken(self) -> Text:
        """Text that was in the running configuration and is none of it."""
        return self._parsed()[1]

    def _parsed(self) -> tuple[Block, Text]:
        if self._config is None:
            self._config = parsed(self.text(CONFIG), self.platform)
        return self._config


def parsed(text: str, platform: str, command: str = CONFIG) -> tuple[Block, Text]:
    """A configuration as text → its tree. Raises `Missing` where it is not whole."""
    try:
        root, taken = tree(text, COMMENTS[platform])
    except CutOff:
        raise Missing(Reason.TRUNCATED, f"{command} ends inside a text") from None
    except ValueError as error:
        raise Missing(Reason.UNREADABLE, f"{command}: {error}") from None
    if platform == "ios":
        # IOS closes every configuration with this word; without it the rest is missing.
        if not root.children or root.children[-1].line != "end":
            raise Missing(Reason.TRUNCATED, f"{command} without its end")
        root.children.pop()
        # An account of a lower privilege, or with a view, is shown the lines that it may set, and `end` after them.
        if not root.has(r"hostname \S+") or not root.has(r"line (?:con|console|vty) .*"):
            raise Missing(Reason.PERMISSION, PRIVILEGE)
    if len(root.children) < MIN_LINES:
        raise Missing(Reason.UNREADABLE, f"{command} is nearly empty")
    return root, taken


MIN_LINES = 3
"""A switch that has nothing set still shows its name and its VLAN 1."""
