"""Facts: what each platform can be asked. Importing this declares them all."""

from __future__ import annotations

from agent.facts import ad as ad
from agent.facts import linux as linux
from agent.facts import m365 as m365
from agent.facts import support as support
from agent.facts import switch as switch
from agent.facts import windows as windows
