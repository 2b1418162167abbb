"""Versions compare as the systems that made them compare them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.versions import at_least

PART = st.text(alphabet="019aZ.+~", min_size=0, max_size=5)
DEBIAN = st.builds(
    lambda epoch, upstream, revision: f"{epoch}{upstream}{revision}",
    st.sampled_from(["", "0:", "1:", "10:"]),
    PART.map(lambda t: f"1{t}"),
    st.just("")
    | PART.map(lambda t: f"-0{t}".replace(".", ""))
    | st.sampled_from(["-1", "-1+deb12u3", "-0ubuntu1~22.04"]),
)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not here")
@settings(max_examples=120, deadline=None)
@given(DEBIAN, DEBIAN)
def test_debian_versions_compare_as_dpkg_says(a: str, b: str) -> None:
    done = subprocess.run(["dpkg", "--compare-versions", a, "ge", b], capture_output=True, text=True)
    if "warning" in done.stderr:  # dpkg itself finds it odd
        return
    assert at_least("dpkg", a, b) is (done.returncode == 0), (a, b)


@given(DEBIAN, DEBIAN, DEBIAN)
def test_debian_versions_have_an_order(a: str, b: str, c: str) -> None:
    assert at_least("dpkg", a, a)
    assert at_least("dpkg", a, b) or at_least("dpkg", b, a)
    if at_least("dpkg", a, b) and at_least("dpkg", b, c):
        assert at_least("dpkg", a, c)


# From the test suite of rpm itself (tests/rpmvercmp.at).
RPM = """
1.0 1.0 0|1.0 2.0 -1|2.0.1 2.0.1 0|2.0 2.0.1 -1|2.0.1a 2.0.1a 0|2.0.1a 2.0.1 1|5.5p1 5.5p2 -1|5.5p10 5.5p1 1
10xyz 10.1xyz -1|xyz10 xyz10 0|xyz10 xyz10.1 -1|xyz.4 8 -1|8 xyz.4 1|xyz.4 2 -1|5.5p2 5.6p1 -1|5.6p1 6.5p1 -1
6.0.rc1 6.0 1|10b2 10a1 1|1.0aa 1.0aa 0|1.0a 1.0aa -1|10.0001 10.0001 0|10.0001 10.1 0|10.1 10.0001 0
4.999.9 5.0 -1|20101121 20101122 -1|2_0 2.0 0|a+ a_ 0|+a _a 0|+_+_ _+_+ 0
1.0~rc1 1.0 -1|1.0 1.0~rc1 1|1.0~rc1 1.0~rc2 -1|1.0~rc1~git123 1.0~rc1 -1
1.0^ 1.0 1|1.0 1.0^ -1|1.0^git1 1.0 1|1.0^git1 1.0^git2 -1|1.0^git1 1.01 -1|1.0^20160101 1.0.1 -1
1.0^20160101^git1 1.0^20160102 -1|1.0~rc1^git1 1.0~rc1 1|1.0^git1~pre 1.0^git1 -1
"""


@pytest.mark.parametrize("case", RPM.replace("\n", "|").strip("|").split("|"))
def test_rpm_versions_compare_as_rpm_does(case: str) -> None:
    a, b, sign = case.split()
    assert (at_least("rpm", a, b), at_least("rpm", b, a)) == (int(sign) >= 0, int(sign) <= 0)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("2:1.0-1", "1:9.9-1", True), ("1.0-1.el9", "1.0", True), ("1.0", "1.0-5", True), ("1.0-4", "1.0-5", False)],
)
def test_rpm_epochs_and_releases(a: str, b: str, expected: bool) -> None:
    assert at_least("rpm", a, b) is expected


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("dotted", ""),
        ("dotted", "1."),
        ("dotted", "1.a"),
        ("dotted", "v1"),
        ("dotted", " 1"),
        ("dpkg", ""),
        ("dpkg", "1 0"),
        ("dpkg", "x:1"),
        ("dpkg", "1_0"),
        ("rpm", ""),
        ("rpm", "(none)"),
        ("rpm", "a:1"),
        ("rpm", "1-2-3"),
    ],
)
def test_what_is_no_version_is_refused(scheme: str, text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        at_least(scheme, text, "1")
    with pytest.raises(ValueError, match="not a"):
        at_least(scheme, "1", text)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_dotted_versions_are_numbers(a: list[int], b: list[int]) -> None:
    width = max(len(a), len(b))
    wide = [[*x, *[0] * (width - len(x))] for x in (a, b)]
    assert at_least("dotted", ".".join(map(str, a)), ".".join(map(str, b))) is (wide[0] >= wide[1])
