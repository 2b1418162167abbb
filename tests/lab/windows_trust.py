"""A trust whose one school is a lab of Windows machines, and what a scan of it found."""

from __future__ import annotations

import json
from pathlib import Path

from agent import trust as trusts
from agent.baseline import load_policy
from agent.facts.protocol import Limits
from agent.model import Evidence, Finding
from agent.plan import Planner, Selection
from agent.scan import Options, scan
from agent.store import Store
from tests.lab.windows import SITE_PARAMETERS


class World:
    """A school around an inventory. `scan` fills `evidence` and `findings`, by machine."""

    def __init__(self, inventory: Path, folder: Path) -> None:
        self.folder = folder
        self.evidence: dict[str, Evidence] = {}
        self.findings: dict[str, dict[str, Finding]] = {}
        (folder / "profiles").mkdir(parents=True)
        profile = {"id": "lab", "extends": ["core"], "parameters": SITE_PARAMETERS}
        (folder / "profiles/lab.yml").write_text(json.dumps(profile), encoding="utf-8")
        schools = {"lab": {"name": "Lab School", "inventory": str(inventory)}}
        text = {"name": "Lab Trust", "profile": "lab", "schools": schools}
        (folder / "trust.yml").write_text(json.dumps(text), encoding="utf-8")

    def scan(self, selection: Selection, limits: Limits) -> None:
        """Scan a part of the school, and read what was kept."""
        planner = Planner(trusts.load(self.folder), load_policy(self.folder))
        with Store.open(planner.trust.hidden) as store:
            outcome = scan(planner, store, selection, Options(limits=limits))
            assert outcome.faults == []
            self.evidence |= {name.partition("/")[2]: store.evidence(name) for name in outcome.states}
            for kept in store.findings():
                finding = kept.finding
                self.findings.setdefault(finding.target.partition("/")[2], {})[finding.control] = finding
