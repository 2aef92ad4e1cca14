"""Files that are complete or absent, JSON and YAML, and dotted keys."""

from pathlib import Path

import numpy as np
import pytest

from headsweep.errors import UserError
from headsweep.files import (
    atomic_dir,
    flat,
    read_json,
    read_yaml,
    short_key,
    write_atomic,
    write_json,
)


def test_write_atomic_replaces_the_whole_file_and_makes_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_atomic(path, b"long content")
    write_atomic(path, b"x", sync=False)
    assert path.read_bytes() == b"x"
    assert [p.name for p in path.parent.iterdir()] == ["b.bin"]


def test_write_atomic_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / "folder", b"a file cannot replace a folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_files_get_the_users_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_atomic_dir_appears_complete_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "key"
    for content in ("old", "new"):
        with atomic_dir(path) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_text(content)
            assert not path.exists() or (path / "sub" / "file").read_text() == "old"
    assert (path / "sub" / "file").read_text() == "new"
    assert [p.name for p in path.parent.iterdir()] == ["key"]


def test_atomic_dir_leaves_the_old_folder_when_the_build_fails(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with atomic_dir(path) as folder:
        (folder / "file").write_text("old")

    def build() -> None:
        with atomic_dir(path) as folder:
            (folder / "file").write_text("half")
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        build()
    assert (path / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_numpy_scalars_and_no_infinities(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": np.float32(0.5), "b": np.int64(3), "c": np.inf, "d": (np.nan, 1.0)})
    assert read_json(path) == {"a": 0.5, "b": 3, "c": None, "d": [None, 1.0]}


@pytest.mark.parametrize("content", [None, b"", b'{"schema": 1, "st', b"[1]", b"\xff"])
def test_missing_or_damaged_json_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "value.json").write_bytes(content)
    assert read_json(tmp_path / "value.json") is None


@pytest.mark.parametrize("text", ["", "data: {a: 1}\nhalf a lin", "half", "- 1\n", "data: {a"])
def test_damaged_yaml_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: not a mapping"):
        read_yaml(tmp_path / "config.yaml")


def test_nested_keys_become_dotted_ones() -> None:
    nested = {"a": {"b": {"c": 1}, "d": [2, {"e": 3}]}, "f": {}}
    assert flat(nested) == {"a.b.c": 1, "a.d": [2, {"e": 3}], "f": {}}


@pytest.mark.parametrize(
    ("key", "short"),
    [
        ("head.dropout", "dropout"),
        ("head.regression_num_layers", "num_layers"),
        ("regression_hidden_dim", "hidden_dim"),
        ("data.split.seed", "split.seed"),
        ("seed", "seed"),
    ],
)
def test_labels_show_the_last_part_of_a_key(key: str, short: str) -> None:
    assert short_key(key) == short
