"""Records what the collector's script writes on the lab's machine kinds: tests/fixtures/windows.

    python -m tests.lab.capture_windows

Needs the Windows lab and the engine. What it writes is read by tests/facts/test_windows.py, in any checkout.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.baseline import load_policy
from agent.facts import windows as facts
from agent.facts.protocol import Limits
from agent.facts.windows.answer import program
from tests.lab.windows import WindowsLab

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "windows"
NONCE = "0123456789abcdef01234567"
SOURCE = (
    "written by the project's script on the PowerShell engine (7.6.9, 5.1-like JSON) before stand-in cmdlets and "
    "classes; their properties and types are those that Microsoft documents for them. Never a real machine"
)
CASES: dict[str, tuple[str, str]] = {
    "win10-22h2": ("win10-22h2", ""),
    "win11-24h2": ("win11-24h2", ""),
    "win11-25h2": ("win11-25h2", ""),
    "win11-de": ("win11-de", ""),
    "win11-entra": ("win11-entra", ""),
    "srv2016": ("srv2016", ""),
    "srv2019": ("srv2019", ""),
    "srv2022": ("srv2022", ""),
    "srv2025": ("srv2025", ""),
    "dc2022": ("dc2022", ""),
    "core2022": ("core2022", ""),
    "no-bitlocker": ("srv2022", "no-bitlocker"),
    "no-defender": ("win11-24h2", "defender-absent"),
    "no-smb-cmdlets": ("srv2019", "no-smb-cmdlets"),
    "no-accounts": ("win11-24h2", "no-accounts"),
    "no-tpm-cmdlet": ("win11-24h2", "no-tpm-cmdlet"),
    "denied": ("win11-24h2", "denied"),
    "constrained": ("win11-24h2", "clm"),
    "orphan": ("win11-de", "admin-orphan guest-renamed"),
    "lie": ("win11-24h2", "lie"),
    "drifted": (
        "win11-24h2",
        "bitlocker-suspended av-effective av-sigs-never pua-audit maps-basic av-exclude-process asr-audit smb1-quiet"
        " guest-local nla-policy ntlm-string edge-doh-number laps-intune-off cached-50 fw-policy-off time-policy"
        " dns-second applocker-audit reboot-pending update-order",
    ),
}
"""Fixture to machine kind and what is planted there."""


def wanted() -> list[str]:
    """Facts that the whole shipped baseline reads."""
    controls = load_policy().controls.values()
    return sorted({f for control in controls if control.platform == "windows" for f in control.reads})


def main() -> int:
    """Make the machines, run the script on each, and write what it said."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    asked = wanted()
    (FOLDER / "wanted.txt").write_text("".join(f"{name}\n" for name in asked), encoding="utf-8")
    sections, asking = facts.questions(asked)
    script = program({*sections, "ids"}, asking, NONCE, Limits().seconds)
    with WindowsLab({f"f{n:03d}": (kind, items.split()) for n, (kind, items) in enumerate(CASES.values(), 1)}) as lab:
        for n, (name, (kind, items)) in enumerate(CASES.items(), 1):
            text = lab.run(f"f{n:03d}", script).decode()
            case: dict[str, Any] = {
                "source": SOURCE,
                "kind": kind,
                "planted": items,
                "as_of": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "fails": sorted(lab.truth.get(f"f{n:03d}", set())),
                "unknown": sorted(lab.unknown.get(f"f{n:03d}", (set(), set()))[0]),
                "answer": text.splitlines(),
            }
            (FOLDER / f"{name}.json").write_text(json.dumps(case, indent=1) + "\n", encoding="utf-8")
            print(name, len(text))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
