"""Collect a directory lab over its real LDAPS port and judge it by the shipped controls, school by school."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agent.baseline import Policy
from agent.connect.ldap import open_ldap
from agent.controls import load_control, rule
from agent.evaluate import Case, judge
from agent.facts import ad
from agent.facts.protocol import Collected, Limits
from agent.files import SiteParametersFile
from agent.model import Evidence, Finding, Kind, School, Target
from agent.resources import data_dir
from agent.yamlfile import model, read
from tests.lab.samba import SambaLab


def directory_policy() -> Policy:
    """The shipped controls of directories alone."""
    shipped = data_dir("baselines")
    site = model(read(shipped / "site-parameters.yml", "site-parameters.yml"), SiteParametersFile).parameters
    controls = [
        load_control(read(path, path.name), site) for path in sorted((shipped / "controls" / "ad").glob("*.yml"))
    ]
    return Policy({c.id: c for c in controls}, {}, site)


def target(lab: SambaLab, bind: str) -> Target:
    """The lab's directory as trust.yml would describe it; its password reference is `env:LAB`."""
    settings = {"url": lab.ldaps_url, "bind": bind, "password": "env:LAB", "ca_file": str(lab.ca_file)}
    return Target("trust-ad", Kind.DIRECTORY, "ad", None, settings)


def collect(lab: SambaLab, bind: str, password: str) -> Collected:
    """Everything that the directory's facts can hold."""
    limits = Limits()
    with open_ldap(target(lab, bind), {"env:LAB": password}.__getitem__, limits) as directory:
        return ad.collect(directory, list(ad.FACTS), limits)


def schools(lab: SambaLab) -> list[School]:
    """The trust's schools with their part of the directory."""
    return [
        School(
            s["code"].lower(),
            s["name"],
            s["code"],
            directory={
                "use": "trust-ad",
                "ou": f"OU={s['code']},OU=Schools,{{base_dn}}",
                "upn_suffix": s["upn_suffix"],
            },
        )
        for s in lab.schools
    ]


def judged(lab: SambaLab, collected: Collected, policy: Policy | None = None) -> dict[str, list[Finding]]:
    """Findings by control id: one of the trust, or one per school and one for what no school claims."""
    policy = policy or directory_policy()
    all_schools = schools(lab)
    settings = {"base_dn": lab.base_dn}
    fills: dict[str, Any] = {"base_dn": lab.base_dn, "codes": [s.code for s in all_schools]}
    evidence = Evidence(target(lab, ""), collected.state, datetime.now(UTC), collected.facts)
    case = Case(evidence, all_schools, settings)
    out: dict[str, list[Finding]] = {}
    for cid, control in policy.controls.items():
        if control.platform != "ad":
            continue
        values: Mapping[str, Any] = {
            **{n: p.default for n, p in control.file.parameters.items() if p.has_default},
            **{n: lab.SITE_PARAMETERS[n] for n in control.uses if n in lab.SITE_PARAMETERS},
        }
        owners: list[School | None] = [None, *all_schools] if control.file.scope == "items" else [None]
        for owner in owners:
            mine = dict(fills)
            if owner is not None:
                mine |= {"code": owner.code, "upn_suffix": str(owner.directory["upn_suffix"])}
            made = rule(control, values, mine, policy.site)
            if owner is None and control.file.scope == "items" and _per_school(control, values):
                continue
            out.setdefault(cid, []).extend(judge(case, [made], owner))
    return out


def _per_school(control: Any, values: Mapping[str, Any]) -> bool:
    words = str(control.file.check) + str({n: values[n] for n in control.uses})
    return "{code}" in words or "{upn_suffix}" in words
