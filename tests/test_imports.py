"""Arrows point down only, each third-party library has one home, and what decides a verdict does no I/O.

All of it is read from the source, so a forbidden import inside a function is found as well.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Lowest first. A unit is a module or package of agent/; it imports units of lower layers, and of its own where
# that makes no circle and FORBIDDEN does not name it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("model", "versions", "resources", "dn"),
    ("facttypes", "files", "facts.protocol"),
    ("condition", "derive", "conform", "claims", "claims_tenant"),
    ("yamlfile", "connect.secrets"),
    (
        "connect",
        "facts",
        "store",
        "baseline",
        "trust",
        "controls",
        "exceptions",
        "standards",
        "evaluate",
        "change",
        "render",
    ),
    (
        "plan",
        "collect",
        "turns",
        "unseen",
        "assets",
        "scan",
        "results",
        "snapshots",
        "remediate",
        "schedule",
        "examples",
        "doctor",
        "fieldtest",
        "kit",
        "kit_switch",
        "kit_windows",
        "demo",
    ),
    ("cli",),
    ("__main__",),
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}

PROTOCOLS = re.compile(r"agent\.facts\.(\w+\.)*protocol(\.|$)|agent\.facts\.ad\.directory(\.|$)")

# Siblings that never meet.
FORBIDDEN: dict[str, frozenset[str]] = {
    "connect": frozenset("facts store baseline controls standards evaluate change render".split()),
    "facts": frozenset(
        "connect connect.secrets store baseline controls trust standards evaluate change render".split()
    ),
    "store": frozenset("connect facts render".split()),
    "trust": frozenset("connect facts store render evaluate change".split()),
    "baseline": frozenset("connect store render evaluate change".split()),
    "evaluate": frozenset("connect connect.secrets facts store trust render yamlfile".split()),
    "change": frozenset("connect connect.secrets facts store trust render yamlfile".split()),
    "render": frozenset("connect connect.secrets facts store".split()),
}

# Library (top name of the import) -> the modules or packages that may import it.
HOMES: dict[str, tuple[str, ...]] = {
    "paramiko": ("agent.connect.ssh",),
    "netmiko": ("agent.connect.switch",),
    "pypsrp": ("agent.connect.psrp",),
    "spnego": ("agent.connect.psrp", "agent.connect.ldap_bind"),
    "gssapi": ("agent.connect.ldap_bind",),
    "krb5": ("agent.connect.ldap_bind",),
    "ldap3": ("agent.connect.ldap",),
    "pyasn1": ("agent.connect.ldap",),
    "msal": ("agent.connect.graph",),
    "dns": ("agent.connect.dns",),
    "httpx": ("agent.connect.graph",),
    "requests": ("agent.connect.graph",),
    "ansible_runner": ("agent.connect.ansible",),
    "ansible": ("agent.connect.ansible", "agent.connect.secrets"),
    "keyring": ("agent.connect.secrets",),
    "click": ("agent.cli",),
    "rich": ("agent.cli",),
    "jinja2": ("agent.render.html",),
    "sqlalchemy": ("agent.store",),
    "alembic": ("agent.store",),
    "psycopg": ("agent.store",),
    "zstandard": ("agent.store",),
    "yaml": ("agent.yamlfile",),
    "ruamel": ("agent.yamlfile",),
}
# The stand-in trust runs servers, and may use what the connectors use.
NO_HOME_RULE = "agent.demo"

# Slow to import: --help must not pay for them.
HEAVY = tuple(
    "paramiko msal ldap3 sqlalchemy alembic ansible ansible_runner jinja2 httpx requests netmiko pypsrp spnego".split()
)

# A verdict is a function of facts, parameters and as_of: these read no file, no network, no clock, no dice.
PURE = ("condition", "derive", "conform", "claims", "claims_tenant", "evaluate", "change", "model", "assets")
IMPURE_MODULES = frozenset(
    "asyncio glob http io multiprocessing os random requests secrets select shutil signal socket sqlite3 ssl subprocess"
    " sys tempfile threading time urllib uuid".split()
)
PURE_PATHS = frozenset({"PurePath", "PurePosixPath", "PureWindowsPath"})
IMPURE_CALLS = frozenset(
    "open print input eval exec read_text read_bytes write_text write_bytes now utcnow today monotonic".split()
)


class Import(NamedTuple):
    """One import: the absolute dotted name, the name taken from it ("" for a plain import), the line."""

    module: str
    name: str
    line: int


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[Import]:
    """All imports below `tree`, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                yield Import(base, alias.name, node.lineno)


def unit_of(dotted: str) -> str:
    """`agent.connect.secrets.x` -> `connect.secrets`, `agent.render.html` -> `render`; "" for agent itself."""
    if PROTOCOLS.match(dotted):
        return "facts.protocol"
    parts = dotted.split(".")[1:]
    longest = (".".join(parts[:n]) for n in range(len(parts), 1, -1))
    return next((name for name in longest if name in LEVEL), parts[0] if parts else "")


def units_met(found: Import) -> str:
    """Unit that an import of something in agent reaches: `from agent import model` is an import of model."""
    longer = f"{found.module}.{found.name}" if found.name else found.module
    unit = unit_of(longer)
    return unit if unit in LEVEL else unit_of(found.module)


def inside(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or module.startswith((f"{home}.", f"{home}_")) for home in homes)


def problems(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with one module's imports, as sentences with line numbers."""
    tree = ast.parse(source)
    unit, out = unit_of(module), []
    if unit and unit not in LEVEL:
        return [f"{module}: give the unit {unit!r} a layer in tests/test_imports.py"]
    for found in imports(tree, module, is_package):
        where, top = f"{module}:{found.line}", found.module.split(".")[0]
        if top == "agent":
            other = units_met(found)
            if not other or other == unit or not unit:
                continue
            if other not in LEVEL:
                out.append(f"{where}: give the unit {other!r} a layer in tests/test_imports.py")
            elif LEVEL[other] > LEVEL[unit]:
                out.append(f"{where}: {unit} imports {other}, which is above it")
            elif other in FORBIDDEN.get(unit, ()):
                out.append(f"{where}: {unit} must not know {other}")
        elif top in HOMES and not inside(module, HOMES[top]) and not inside(module, (NO_HOME_RULE,)):
            out.append(f"{where}: {top} belongs to {' or '.join(HOMES[top])}")
        if unit in PURE:
            if top in IMPURE_MODULES:
                out.append(f"{where}: {unit} does no I/O, and imports {found.module}")
            elif top == "pathlib" and found.name not in PURE_PATHS:
                out.append(f"{where}: {unit} does no I/O: of pathlib it may take the Pure paths only")
    if unit in PURE:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called in IMPURE_CALLS:
                    out.append(f"{module}:{node.lineno}: {unit} is pure, and calls {called}()")
    for found in imports(ast.Module(top_level(tree.body), []), module, is_package):
        top = found.module.split(".")[0]
        if top in HEAVY and not inside(module, HOMES[top]) and not inside(module, (NO_HOME_RULE,)):
            out.append(f"{module}:{found.line}: {top} is slow to import: import it inside the function that needs it")
    return out


def top_level(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that run when the module is imported: without functions, and without `if TYPE_CHECKING:`."""
    out: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            out += top_level(node.orelse)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            out += top_level(node.body) + top_level(getattr(node, "orelse", []))
            for handler in getattr(node, "handlers", []):
                out += top_level(handler.body)
        else:
            out.append(node)
    return out


def modules() -> list[tuple[str, Path]]:
    """(dotted name, file) of every module of the package."""
    found = []
    for path in sorted((ROOT / "agent").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def test_arrows_point_down_and_libraries_stay_home() -> None:
    found = modules()
    assert len(found) > 5, "the package was not found"
    wrong = [p for name, path in found for p in problems(path.read_text(), name, path.name == "__init__.py")]
    assert not wrong, "\n".join(wrong)


def test_units_import_in_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, path in modules():
        unit = unit_of(name)
        for found in imports(ast.parse(path.read_text()), name, path.name == "__init__.py"):
            if unit and found.module.split(".")[0] == "agent" and units_met(found) not in ("", unit):
                graph.setdefault(unit, set()).add(units_met(found))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"units import one another in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize(
    ("module", "source", "word"),
    [
        ("agent.model", "from agent import store", "above"),
        ("agent.model", "def f():\n    from agent.evaluate import judge", "above"),
        ("agent.render.html", "from ..store import Store", "must not know store"),
        ("agent.render.tables", "import agent.facts.linux", "must not know facts"),
        ("agent.facts.linux", "from agent.connect.ssh import run", "must not know connect"),
        ("agent.connect.ssh", "from agent.connect import secrets\nfrom agent import cli", "cli, which is above"),
        ("agent.scan", "def f():\n    import paramiko", "belongs to agent.connect.ssh"),
        ("agent.scan", "import ldap3.core", "slow to import"),
        ("agent.render.tables", "import click", "belongs to agent.cli"),
        ("agent.evaluate", "import socket", "no I/O"),
        ("agent.change", "from pathlib import Path", "no I/O"),
        ("agent.derive.dates", "from datetime import datetime\nx = datetime.now()", "calls now()"),
        ("agent.condition", "def f(p):\n    return open(p)", "calls open()"),
        ("agent.surprise", "", "give the unit 'surprise' a layer"),
        ("agent.scan", "from agent.surprise import x", "give the unit 'surprise' a layer"),
    ],
)
def test_the_rules_bite(module: str, source: str, word: str) -> None:
    assert any(word in p for p in problems(source, module)), problems(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("agent.cli.scan", "import click\nfrom agent.scan import run"),
        ("agent.connect.ssh", "from .secrets import resolve\n\ndef f():\n    import paramiko"),
        ("agent.connect.graph_session", "def f():\n    import httpx"),
        ("agent.connect.graph", "from agent.facts.m365.protocol import Request"),
        ("agent.demo.hosts", "import paramiko"),
        ("agent.evaluate", "from pathlib import PurePosixPath\nfrom agent.condition import compile_check"),
        ("agent.scan", "from agent import __version__"),
    ],
)
def test_the_rules_allow_what_is_meant(module: str, source: str) -> None:
    assert problems(source, module) == []


@pytest.mark.skipif(
    not ((ROOT / "agent/cli.py").exists() or (ROOT / "agent/cli/__init__.py").exists()), reason="there is no agent.cli"
)
def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['spiritlevel', '--help']\n"
        "try:\n    runpy.run_module('agent', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print('heavy:', *[m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]
