"""A trust whose one school is a host lab: every Linux control is on, with the values that a clean host agrees with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Evidence, Finding
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.hosts import HostLab


class World:
    """The lab with a trust around it, and what scans of it found."""

    def __init__(self, lab: HostLab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        (folder / "profiles").mkdir(parents=True)
        profile = {
            "id": "lab",
            "extends": ["core"],
            "controls": ["linux.*", "linux.password-age", "linux.password-max-age"],
            "parameters": dict(lab.SITE_PARAMETERS),
        }
        (folder / "profiles/lab.yml").write_text(json.dumps(profile), encoding="utf-8")
        school = {"name": "Lab School", "inventory": str(lab.inventory)}
        self._trust({"lab": school})

    def _trust(self, schools: Mapping[str, Any]) -> None:
        text = {"name": "Lab Trust", "profile": "lab", "schools": schools}
        (self.folder / "trust.yml").write_text(json.dumps(text), encoding="utf-8")

    def scan(self, selection: Selection, limits: Limits, inventory: Path | None = None) -> dict[str, Evidence]:
        """Scan a part of the lab → evidence by host; `findings` says what was made of it."""
        if inventory is not None:
            self._trust({"lab": {"name": "Lab School", "inventory": str(inventory)}})
        planner = Planner(trusts.load(self.folder), load_policy(self.folder))
        with Store.open(planner.trust.hidden) as store:
            outcome = scan(planner, store, selection, Options(limits=limits))
            assert outcome.faults == []
            return {name.partition("/")[2]: store.evidence(name) for name in outcome.states}

    def findings(self) -> dict[str, dict[str, Finding]]:
        """Host → control → finding that stands now."""
        out: dict[str, dict[str, Finding]] = {}
        with Store.open(self.folder / ".spiritlevel") as store:
            for kept in store.findings():
                finding = kept.finding
                out.setdefault(finding.target.partition("/")[2], {})[finding.control] = finding
        return out
