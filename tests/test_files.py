"""Files that are complete or absent, locks, JSON and YAML, and dotted keys."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from headsweep import files
from headsweep.errors import DamagedError, DataError, UserError
from headsweep.files import (
    SEAL,
    atomic_dir,
    check_seal,
    flat,
    locked,
    locked_within,
    read_json,
    read_sealed,
    seal,
    short_key,
    write_atomic,
    write_json,
    write_sealed,
)


def test_write_atomic_replaces_the_whole_file_and_makes_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.bin"
    write_atomic(path, b"long content")
    write_atomic(path, b"x", sync=False)
    assert path.read_bytes() == b"x"
    assert [p.name for p in path.parent.iterdir()] == ["b.bin"]


def test_write_atomic_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"folder: .* \(a folder where a file should be\)"):
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


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def by_numpy(path: Path) -> None:
    with atomic_dir(path) as folder:
        np.save(folder / "a.npy", np.ones(2**18))


def by_bytes(path: Path) -> None:
    write_atomic(path, bytes(2**21))


@pytest.mark.parametrize("write", [by_numpy, by_bytes])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with pytest.raises(UserError, match=r"disk/key: .* \(the disk is full\); free"):
            write(disk / "key")
        assert not list(disk.iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota"),
        (errno.EROFS, "the disk may"),
    ],
)
def test_what_the_disk_refuses_is_named(tmp_path: Path, number: int, words: str) -> None:
    def build() -> None:
        with atomic_dir(tmp_path / "key"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=rf"key: cannot be written \({words}.*\); "):
        build()
    assert not list(tmp_path.iterdir())


HOLDER = """
import sys, time
from pathlib import Path
from headsweep.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until its input is closed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(lock)], **pipes) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_waits_for_a_lock_says_for_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "a.lock"
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.1)
    with holder(lock) as process:
        seen = []

        def warn(text: str, *values: object) -> None:
            seen.append(text % values)
            if len(seen) == 1:
                os.kill(process.pid, signal.SIGSTOP)
            else:
                os.kill(process.pid, signal.SIGKILL)

        monkeypatch.setattr(files.log, "warning", warn)
        start = time.monotonic()
        with locked(lock):
            assert len(seen) == 2
    assert seen[0].startswith(f"waiting for {lock}, which process {process.pid} (")
    assert f"kill -CONT {process.pid}" in seen[1]
    assert time.monotonic() - start < 10
    seen.clear()
    with locked(lock):
        assert not seen


def test_a_lock_is_not_waited_for_longer_than_wanted(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    with (
        holder(lock) as process,
        pytest.raises(TimeoutError, match=rf"a\.lock, which process {process.pid} \("),
        locked_within(lock, 0.1),
    ):
        pass
    with locked_within(lock, 0.1):
        pass


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/a\.lock: cannot be written"),
        locked(tmp_path / "file" / "a.lock"),
    ):
        pass


def test_a_sealed_folder_holds_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b"):
        (tmp_path / name).write_text("content")
    seal(tmp_path)
    check_seal(tmp_path)
    seal(tmp_path)  # the checksums themselves are not among them
    check_seal(tmp_path)
    for spoil in (Path.unlink, lambda path: path.write_text("Content")):
        spoil(tmp_path / "deep" / "b")
        with pytest.raises(DataError, match="deep/b is missing or not what was written"):
            check_seal(tmp_path)
    seal(tmp_path)
    sums = (tmp_path / SEAL).read_text()
    for damage in (
        "",
        "{}",
        "[1]",
        sums[:-9],
        sums.replace("deep", "\\u0000"),
        '{"a": 1}',
        '{"": "a"}',
    ):
        (tmp_path / SEAL).write_text(damage)
        with pytest.raises(DataError, match=str(tmp_path)):
            check_seal(tmp_path)


def test_json_has_no_numpy_scalars_and_no_infinities(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": np.float32(0.5), "b": np.int64(3), "c": np.inf, "d": (np.nan, 1.0)})
    assert read_json(path) == {"a": 0.5, "b": 3, "c": None, "d": [None, 1.0]}


@pytest.mark.parametrize("content", [None, b"", b'{"schema": 1, "st', b"[1]", b"\xff"])
def test_missing_or_damaged_json_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "value.json").write_bytes(content)
    assert read_json(tmp_path / "value.json") is None


@pytest.mark.parametrize("name", ["value.json", "value.yaml"])
def test_a_sealed_file_is_read_back_or_refused_after_any_change(tmp_path: Path, name: str) -> None:
    path, value = tmp_path / name, {"a": [1, 0.1, None], "b": {"sha256": "of a file"}}
    assert read_sealed(path) is None
    write_sealed(path, value, bound="here")
    assert read_sealed(path, bound="here") == value
    whole = path.read_bytes()
    for bad in (
        *(whole[:n] for n in range(len(whole))),
        *(whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))),
        whole + b"\n",
    ):
        path.write_bytes(bad)
        with pytest.raises(DamagedError, match=f"{name}: damaged"):
            read_sealed(path, bound="here")
    path.write_bytes(whole)
    with pytest.raises(DamagedError):
        read_sealed(path, bound="there")


def test_a_sealed_file_is_plain_json_or_yaml_for_others(tmp_path: Path) -> None:
    write_sealed(tmp_path / "value.json", {"a": float("nan")})
    seen = json.loads((tmp_path / "value.json").read_text())
    assert seen.pop("sha256") == hashlib.sha256(b'{\n "a": null,\n').hexdigest()
    assert seen == {"a": None}
    write_sealed(tmp_path / "value.yaml", {"b": 1, "a": "x"})
    assert (tmp_path / "value.yaml").read_text().startswith("b: 1\na: x\n# sha256: ")


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
        ("loss.weights.pt", "weights.pt"),
        ("loss.scale.pt", "scale.pt"),
        ("loss.beta", "beta"),
    ],
)
def test_labels_show_the_last_part_of_a_key(key: str, short: str) -> None:
    assert short_key(key) == short
