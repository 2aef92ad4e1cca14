"""Text of a YAML file: what is refused, with line and mend, and where a key stands."""

import re
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.sweep.yaml_text import check_text, describe, line_of


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: 2\na: 3\n", ":1: a stands twice"),
        (b"x: {a: 1, a: 1}\n", ":1: a stands twice"),
        (b"\xef\xbb\xbfa: 1\n", ": begins with an invisible byte order mark"),
        (b"a:\n\tb: 1\n", ":2: a tab where spaces should be"),
        (b"a: 1\nb: \xe9\n", ":2: not text in UTF-8, at byte 8"),
        (b"hello\n", ": is a single value"),
        (b"- a\n", ": is a list"),
        (b"a: 1\n---\nb: 2\n", ":2: no YAML: but found another document"),
        (b"a: [1\n", ":2: no YAML: expected ',' or ']'"),
        (b"a: *b\n", ":1: no YAML: found undefined alias 'b'"),
        (b"a: 010\n", ":1: YAML reads 010 in base 8"),
        (b"a:\n  - 1:30\n", ":2: YAML reads 1:30 in base 60"),
        (b"on: 1\n", ":1: the key on is no text"),
        (b"? [a]\n: 1\n", ":1: the key a list or mapping is no text"),
        (b"a: !!python/object/apply:os.system [x]\n", ":1: the tag .*os.system is not read"),
        (b"[" * 3000, ": nested too deeply|no YAML"),
    ],
)
def test_what_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}({said})") as caught:
        check_text(path)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder where a file should be"):
        check_text(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"# only words\n", b"a: 0o17\nb: 1e-5\nc: 0\nd: '010'\n", b"a: &x {b: 1}\nc: {<<: *x}\n"],
)
def test_what_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    check_text(path)


def test_the_line_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("# head\na:\n  b: 1\n  c.d: {e: 2}\n")
    assert line_of(path, ["a"]) == 2
    assert line_of(path, ["a", "b"]) == 3
    assert line_of(path, ["a", "c", "d", "e"]) == 4
    assert line_of(path, ["a", "z"]) is None
    assert line_of(path, ["a", "b", "c"]) is None


def test_an_error_without_a_place_keeps_its_words() -> None:
    assert describe(ValueError("odd")) == ": odd"
