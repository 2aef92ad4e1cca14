"""Names of sweeps: what may be a folder's name, and the nearest one that may."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsweep.errors import UserError
from headsweep.store.names import LONGEST, RULE, check_alike, check_name, is_name

GOOD = ["presets", "v1.2-x", "größe", "日本", "_x", "5", "हिन्दी", "a..b", "x" * LONGEST]
BAD = {
    "../x": "_x",
    "a/b": "a_b",
    "a b": "a_b",
    "-x": "x",
    ".hidden": "hidden",
    "a.": "a",
    "a ": "a_",
    "..": "sweep",
    "[x]": "_x_",
    "x" * 300: "x" * LONGEST,
    "gro\u0308ße": "größe",
    "a\nb": "a_b",
    "a\x00b": "a_b",
    "😀": "_",
    "\u0308a": "a",
}
"""Names that cannot be, and the nearest that can."""


@pytest.mark.parametrize("name", GOOD)
def test_a_name_has_letters_of_any_language(name: str, tmp_path: Path) -> None:
    check_name("name", name)
    (tmp_path / name).mkdir()  # on this disk, too
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", BAD)
def test_another_name_is_refused_with_the_rule_and_the_nearest(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(UserError) as caught:
        check_name("name", name)
    message = str(caught.value)
    assert message.isprintable()  # is one line
    assert RULE in message
    assert message.endswith(f"; the nearest is name={BAD[name]}")
    assert len(message) < 400


@given(st.text())
def test_the_nearest_name_can_be_one(text: str) -> None:
    if text and not is_name(text):
        with pytest.raises(UserError) as caught:
            check_name("name", text)
        if "the nearest is " in str(caught.value):
            assert is_name(str(caught.value).rpartition("name=")[2])


@given(st.text(st.characters(categories=["L", "M", "N"]), min_size=1, max_size=LONGEST))
def test_a_name_fits_a_folder(text: str) -> None:
    if is_name(text):
        assert len(text.encode()) <= 255
        assert unicodedata.is_normalized("NFC", text)


@pytest.mark.parametrize("name", ["report", "Jobs", "sweeps", "0123456789abcdef"])
def test_names_that_mean_something_else_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"take another name, such as name={name}-2"):
        check_name("name", name)
    check_name("name", f"{name}-2")


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(UserError, match="study=: is empty; leave study out"):
        check_name("study", "")


def test_names_that_a_disk_may_not_tell_apart_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps/Größe").mkdir(parents=True)
    for same in ("größe", "GRÖSSE", "Gro\u0308ße"):
        with pytest.raises(UserError, match="differs from the sweep Größe"):
            check_alike(tmp_path, same)
    for name in ("Größe", "größer"):
        check_alike(tmp_path, name)
    check_alike(tmp_path / "new", "größe")
