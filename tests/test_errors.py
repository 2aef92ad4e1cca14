"""The border: errors of other libraries become one line that names file, place, reason and mend."""

import csv
import errno
import json
import os
import sqlite3
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import orjson
import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock
from omegaconf import OmegaConf
from safetensors.torch import load_file

from headsweep.errors import (
    DataError,
    MissingError,
    UserError,
    from_outside,
    reading,
    reason,
    without_secrets,
)


def _connect(path: Path) -> None:
    sqlite3.connect(path).execute("SELECT * FROM runs")


def _engine(path: Path) -> None:
    from sqlalchemy import create_engine, text

    with create_engine(f"sqlite:///{path}").connect() as connection:
        connection.execute(text("SELECT * FROM runs"))


def _csv(path: Path) -> None:
    with path.open(newline="") as file:
        list(csv.reader(file, strict=True))


READERS: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.read_text(encoding="utf-8"),
    "csv": _csv,
    "h5py": h5py.File,
    "json": lambda path: json.loads(path.read_bytes()),
    "numpy": lambda path: np.load(path, allow_pickle=False),
    "omegaconf": OmegaConf.load,
    "orjson": lambda path: orjson.loads(path.read_bytes()),
    "pandas": lambda path: pd.read_parquet(BytesIO(path.read_bytes())),
    "safetensors": load_file,
    "sqlalchemy": _engine,
    "sqlite3": _connect,
    "torch": lambda path: torch.load(path, weights_only=True),
    "yaml": lambda path: yaml.safe_load(path.read_bytes()),
}
"""Every library that reads a file of ours or of the user's."""

GARBAGE = b'"\xff\x00 {[: \xfe\n' * 40


@pytest.mark.parametrize("library", READERS)
@pytest.mark.parametrize("trouble", ["garbage", "folder", "circle", "long name", "missing"])
def test_every_library_and_every_trouble_names_the_file(
    library: str, trouble: str, tmp_path: Path
) -> None:
    path = tmp_path / ("n" * 300 if trouble == "long name" else "file")
    if trouble == "garbage":
        path.write_bytes(GARBAGE)
    elif trouble == "folder":
        path.mkdir()
    elif trouble == "circle":
        path.symlink_to(path)
    kind = DataError if trouble == "garbage" else UserError
    with pytest.raises(kind) as caught, reading(path, "mend it so", DataError):
        READERS[library](path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith("; mend it so")
    assert "\n" not in message


def test_a_missing_file_can_be_told_from_a_damaged_one(tmp_path: Path) -> None:
    path, words = tmp_path / "x", "no such file or folder; train again"
    with pytest.raises(MissingError, match=words) as caught, reading(path, "train again"):
        path.read_bytes()
    assert isinstance(caught.value, FileNotFoundError)


def test_an_error_that_is_already_named_is_not_named_twice() -> None:
    with pytest.raises(UserError, match=r"^event 3: pt is negative$"), reading("a.h5", "x"):
        raise UserError("event 3: pt is negative")


@pytest.mark.parametrize(
    ("number", "words", "mend"),
    [
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EACCES, "no permission", "a place of your own"),
        (errno.EROFS, "the disk may only be read", "that can be written"),
        (errno.EISDIR, "a folder where a file should be", "remove it"),
    ],
)
def test_what_the_system_refuses_is_said_in_words(number: int, words: str, mend: str) -> None:
    found = from_outside(OSError(number, "anything", "/root/file"))
    assert str(found).startswith(f"/root/file: {words}")
    assert mend in str(found)
    assert "Errno" not in str(found)


@pytest.mark.parametrize("error", [MemoryError(), UnicodeEncodeError("ascii", "ß", 0, 1, "")])
def test_the_machine_s_limits_are_no_fault_of_ours(error: Exception) -> None:
    assert from_outside(error) is not None


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), AssertionError(), RuntimeError()])
def test_a_mistake_in_our_code_is_not_blamed_on_the_user(error: Exception) -> None:
    assert from_outside(error) is None


def test_errors_of_libraries_are_taken_for_the_user_s(tmp_path: Path) -> None:
    for library in ("json", "omegaconf", "sqlite3", "safetensors"):
        path = tmp_path / library
        path.write_bytes(GARBAGE)
        with pytest.raises(UserError) as caught, reading(path, ""):
            READERS[library](path)
        foreign = caught.value.__cause__
        assert foreign is not None
        assert from_outside(foreign) is not None, library
    held, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock", timeout=0)
    with held, pytest.raises(Exception, match="lock") as waited:
        other.acquire()
    assert from_outside(waited.value) is not None


def test_a_key_is_named() -> None:
    assert reason(KeyError("labels")) == "'labels' is missing"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pass@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg://me:p/a@s:s@host:5/db", "postgresql+psycopg://me@host:5/db"),
        ("mysql://:its@host/db", "mysql://@host/db"),
        ("https://token@host/x", "https://***@host/x"),
        ("http://host/?api_key=1&page=2", "http://host/?api_key=***&page=2"),
        ("s3://AK:SE@b and ftp://x:y@z", "s3://AK@b and ftp://x@z"),
        (
            "key='postgresql://h/db?sslpassword=a&x=1'",
            "key='postgresql://h/db?sslpassword=***&x=1'",
        ),
    ],
)
def test_secrets_of_an_address_are_masked(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown
    assert str(UserError(text)) == str(DataError(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        *("postgresql://me@host/db", "http://host:5000/path", "sqlite:///a/b.db", "/a:b@c", "a=b"),
        *("http://host:5000 asked me@cern.ch", "'storage=${oc.env:STORAGE}'"),
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_nested_values_are_masked_in_a_copy() -> None:
    given = {"a": ["http://u:p@h", 3, None], "b": {"c": ("x", 1.5)}}
    assert without_secrets(given) == {"a": ["http://***@h", 3, None], "b": {"c": ["x", 1.5]}}
    assert given["a"] == ["http://u:p@h", 3, None]


def test_links_in_a_circle_are_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(RuntimeError) as caught:
        (tmp_path / "a").resolve()
    found = from_outside(caught.value)
    assert found is not None
    assert str(found).startswith("Symlink loop from")
    assert str(found).endswith("remove them")


def test_a_variable_of_the_environment_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError) as caught:
        os.environ["HEADSWEEP_NOWHERE"]
    assert "HEADSWEEP_NOWHERE is not set" in str(from_outside(caught.value))
    with pytest.raises(KeyError) as caught:
        {}["x"]
    assert from_outside(caught.value) is None
