"""Bundles as they are written: golden files, order, exceptions, what stays out, and that writing is all or nothing."""

from __future__ import annotations

import re
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from agent.errors import ConfigError, SpiritlevelError, UsageError
from agent.files import Name
from agent.model import Verdict
from agent.plan import Selection
from agent.remediate import MARK, TRUST, bundle
from agent.remediate.gather import asked
from agent.render.bundle import files, inert, site
from agent.render.bundle_content import Content, Host, Manual, Step
from agent.render.bundle_readme import prose, readme, span
from agent.store import Store
from agent.yamlfile import Unsafe, dump
from tests.remediate import world

Golden = Callable[[str, str], None]


def texts(folder: Path) -> dict[str, str]:
    """Relative path → text of every file."""
    return {str(p.relative_to(folder)): p.read_bytes().decode() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_whole_bundle(tmp_path: Path, golden: Golden) -> None:
    (info,) = world.built(tmp_path / "t")
    shown = "".join(f"===== {name}\n{text}" for name, text in texts(info.folder).items())
    golden("remediate/bundle.txt", shown.replace(str(tmp_path), "/trust").replace(sys.executable, "/python"))


def test_same_findings_same_bytes(tmp_path: Path) -> None:
    (one,) = world.built(tmp_path / "t", out=tmp_path / "1")
    planner = world.load(tmp_path / "t")
    with Store.open(planner.trust.hidden) as store:
        (two,) = bundle(planner, store, Selection(), tmp_path / "2", world.TODAY)
    assert texts(one.folder) == texts(two.folder)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    (info,) = world.built(tmp_path / "t")
    for path in (info.folder, *info.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_no_credential_and_no_template_of_the_inventory_comes_along(tmp_path: Path) -> None:
    (info,) = world.built(tmp_path / "t")
    found = texts(info.folder)
    assert "NOT_SET_ANYWHERE" not in "".join(found.values())
    assert "nowhere" not in found["inventory.yml"]
    assert "asset_tag" not in found["inventory.yml"]
    assert "`ansible_become_password` (a credential)" in found["README.md"]
    assert "`ansible_remote_tmp` (a template" in found["README.md"]


def test_low_risk_first_reboot_last(tmp_path: Path) -> None:
    (info,) = world.built(tmp_path / "t")
    assert [s.control for s in info.content.steps] == ["linux.own-files", "linux.own-words", "linux.own-reboot"]
    plays = yaml.load((info.folder / "site.yml").read_text(), Loader=yaml.SafeLoader)
    assert [p["hosts"] for p in plays] == [
        "all",
        "fix_linux_own_files",
        "fix_linux_own_words",
        "fix_linux_own_reboot",
        "all",
    ]
    assert all(p["become"] for p in plays[1:-1])


def test_only_failing_hosts(tmp_path: Path) -> None:
    found = [
        world.fail("linux.own-words", "oak/web2"),
        replace(world.fail("linux.own-words", "oak/web1"), verdict=Verdict.PASS),
        replace(world.fail("linux.own-words", "oak/web3"), verdict=Verdict.UNKNOWN),
    ]
    (info,) = world.built(tmp_path / "t", found)
    assert [h.name for h in info.content.hosts] == ["web2"]


def test_a_selection_narrows(tmp_path: Path) -> None:
    planner = world.make(tmp_path / "t")
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, [*world.USUAL, world.fail("linux.own-words", "elm/lib1")])

        def names(**selection: object) -> list[tuple[str | None, list[str]]]:
            infos = bundle(planner, store, Selection(**selection), tmp_path / "out", world.TODAY)  # type: ignore[arg-type]
            return [(i.school, [s.control for s in i.content.steps]) for i in infos]

        assert {s for s, _ in names()} == {"oak", "elm"}
        assert names(schools=("elm",)) == [("elm", ["linux.own-words"])]
        assert names(targets=("web3",)) == [("oak", ["linux.own-words"])]
        assert names(controls=("linux.own-files", "linux.own-words"), limit="pilot") == [
            ("oak", ["linux.own-files", "linux.own-words"])
        ]
        with pytest.raises(UsageError):
            names(schools=("nowhere",))


def test_exceptions_cover_findings_and_single_offenders(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    world.make(folder)
    (folder / "exceptions.yml").write_text("""\
- {control: linux.own-words, school: oak, target: web1, reason: agreed with the head, owner: IT, expires: 2027-01-01}
- {control: linux.own-words, school: oak, target: web2, reason: this one has expired, owner: IT, expires: 2026-11-23}
- {control: linux.own-files, school: oak, offenders: [/srv/a], reason: agreed with us, owner: IT, expires: 2027-01-01}
""")
    planner = world.load(folder)
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
        (info,) = bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)
    steps = {s.control: s for s in info.content.steps}
    assert steps["linux.own-words"].hosts == ("web2", "web3")
    assert steps["linux.own-files"].offenders["web2"] == ("/srv/b",)


def test_what_was_cut_off_is_said(tmp_path: Path) -> None:
    (info,) = world.built(tmp_path / "t", [world.fail("linux.own-files", "oak/web2", "/a", "/b", count=5000)])
    assert "On `web2` the first 2 of 5000 items" in (info.folder / "README.md").read_text()


def test_a_new_bundle_replaces_the_old_one_whole(tmp_path: Path) -> None:
    planner = world.make(tmp_path / "t")
    out = tmp_path / "out"
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
        (info,) = bundle(planner, store, Selection(), out, world.TODAY)
        (info.folder / "left-behind").write_text("x")
        bundle(planner, store, Selection(controls=("linux.own-words",)), out, world.TODAY)
        assert not (info.folder / "left-behind").exists()
        assert not (info.folder / "tasks/own/files.yml").exists()
        assert [p.name for p in info.folder.parent.iterdir()] == ["oak"]
        # nothing is left to mend: a bundle of yesterday would be a lie
        world.save(planner, store, [replace(f, verdict=Verdict.PASS, offenders=(), digest="p") for f in world.USUAL])
        assert bundle(planner, store, Selection(), out, world.TODAY) == []
        assert not info.folder.exists()


def test_a_folder_that_is_not_ours_stays(tmp_path: Path) -> None:
    precious = tmp_path / "out/remediation/oak/thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(SpiritlevelError, match="is no bundle"):
        world.built(tmp_path / "t", out=tmp_path / "out")
    assert precious.read_text() == "years of work"
    assert MARK not in {p.name for p in precious.parent.iterdir()}


def test_a_failure_half_way_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planner = world.make(tmp_path / "t")
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
        (info,) = bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)
        before = texts(info.folder)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("agent.remediate._put", full)
        with pytest.raises(OSError, match="No space"):
            bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)
    assert texts(info.folder) == before
    assert [p.name for p in info.folder.parent.iterdir()] == ["oak"]


@pytest.mark.parametrize("name", ["own/nothing.yml", "../../etc/passwd", "/etc/x.yml", "own/../x.yml"])
def test_a_task_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "t"
    world.make(folder)
    path = folder / "controls/linux/own-words.yml"
    path.write_text(path.read_text().replace("own/words.yml", name))
    planner = world.load(folder)
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, world.USUAL)
        with pytest.raises(ConfigError, match=r"own-words.yml:\d+: fix.playbook: "):
            bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)


def test_a_host_whose_name_means_more_than_itself_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    world.make(folder)
    planner = world.load(folder)
    targets = planner.targets()
    odd = replace(next(t for t in targets if t.name == "web1"), name="{{ x }}\n[1:9]")
    targets.append(odd)
    with Store.open(planner.trust.hidden) as store:
        world.save(planner, store, [*world.USUAL, world.fail("linux.own-words", odd.id)])
        (info,) = bundle(planner, store, Selection(), tmp_path / "out", world.TODAY)
    found = texts(info.folder)
    assert "{{ x }}" not in found["inventory.yml"] + found["site.yml"]
    assert "## Left out" in found["README.md"]
    assert not re.search(r"\{\{ x \}\}\n", found["README.md"])


def test_the_folder_of_the_trust_is_no_schools() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(TRUST)


# ------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("text", [*world.HOSTILE, "", " ", "`", "``` a ````", "\r\n\t", "x" * 5000, "\ud800"])
def test_a_code_span_holds_whatever_it_holds(text: str) -> None:
    out = span(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", out)
    fence = re.match(r"`+", out)
    assert fence is not None
    inside = out[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall(r"`+", inside), "the fence stands inside"
    assert inside
    assert inside[0] != "`"
    assert inside[-1] != "`"
    out.encode()


@pytest.mark.parametrize("text", world.HOSTILE)
def test_prose_has_no_markup(text: str) -> None:
    out = prose(text)
    assert "\n" not in out
    assert not re.search(r"(?<!\\)[<>`*_\[\]{}|]", out)


@pytest.mark.parametrize("text", [*world.HOSTILE, *" ~ 12:30:00 2026-01-01 1e3 << = 0x1f off .5".split(" ")])
def test_the_same_text_comes_back(text: str) -> None:
    class Loader(yaml.SafeLoader):
        """Ansible's way: what stands under !unsafe is resolved as if it were plain."""

    def unsafe(loader: Loader, node: yaml.ScalarNode) -> object:
        tag = loader.resolve(yaml.ScalarNode, node.value, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, node.value))

    Loader.add_constructor("!unsafe", unsafe)
    written = dump({"a": [Unsafe(text)], "b": text})
    assert yaml.load(written, Loader=Loader) == {"a": [text], "b": text}  # noqa: S506 - a safe loader with one more tag
    assert written.isascii()
    if "{{" in text or "{%" in text:
        assert "!unsafe" in written


def test_templates_of_the_baseline_are_data() -> None:
    assert type(inert({"a": ["{{ x }}"]})["a"][0]) is Unsafe
    assert type(inert("{code}")) is str


STEP = Step("linux.a-b", "T", "W", "low", "low", 1, False, "", "", "linux/x.yml", "linux", {"h": {}}, {})


def test_true_and_one_are_not_the_same_value() -> None:
    step = replace(STEP, variables={"a": {"sl_x": True}, "b": {"sl_x": 1}})
    out = files(Content("T", (Host("a", {}), Host("b", {})), (step,), ()))
    assert out["host_vars/a.yml"].endswith("sl_linux_a_b_x: true\n")
    assert out["host_vars/b.yml"].endswith("sl_linux_a_b_x: 1\n")


def test_windows_need_no_become() -> None:
    text = site(Content("T", (Host("h", {}),), (replace(STEP, platform="windows"),), ()))
    assert "become" not in text


def test_only_manual_steps() -> None:
    manual = Manual("ad.x", "Stale accounts are off", "W", "ad", "Disable them.", "low", 5, False, "", ("a`b",), 3)
    text = readme(Content("Trust", (), (), (manual,)))
    assert "Nothing here can be mended by a playbook; 1 thing to do by hand." in text
    assert "- [ ] ``a`b``" in text
    assert "and 2 more" in text
    assert "ansible-playbook" not in text


def test_what_a_task_file_asks_for() -> None:
    text = "- a:\n    x: '{{ sl_in }} {{ sl_made }} {{ sl_reg.rc }}'\n  register: sl_reg\n- set_fact:\n    sl_made: 1\n"
    assert asked(text) == {"sl_in"}
