"""Files that are complete or absent: atomic writes, locks, JSON and YAML, and checksums."""

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson
import psutil
import yaml
from filelock import BaseFileLock, FileLock, Timeout

from headsweep.errors import (
    DamagedError,
    DataError,
    UserError,
    mend,
    reading,
    reason,
    without_secrets,
)

log = logging.getLogger(__name__)

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Those in C are ten times faster, which `headsweep list` shows with many jobs."""

_LAST_LINE = re.compile(rb'(?: "sha256": "([0-9a-f]{64})"\n\}|# sha256: ([0-9a-f]{64}))\n\Z')
"""Last line of a sealed file, JSON or YAML: the checksum of all that stands before it."""

MEND = "give the command that trained it again, which trains anew what is damaged"

LOCK_SECONDS = 2.0
"""After this long a process that waits for a lock says so, and again when the holder changes."""

LITTLE_SPACE = 2**20
"""A disk with fewer free bytes is full."""

CacheKind = Literal["data", "features"]
"""Events of a source, or frozen features of a backbone."""

TEMPORARY = ".tmp-"
"""Prefix of every temporary file and folder; what a kill leaves behind is found by it."""

SEAL = "checksums.json"
"""File of a cache with the SHA-256 of each of its other files."""


def cache_folder(root: Path, kind: CacheKind) -> Path:
    """Folder below a root that holds all caches of a kind, each under its key."""
    return root / "cache" / kind


def write_atomic(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    The parent folder is created where it is missing.

    Args:
        path: The file.
        data: Its whole content.
        sync: Also wait until the disk has it; without, only a crash of the machine can lose it.

    Raises:
        UserError: The disk is full, or nobody may write there.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if sync:
                sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_dir(path: Path) -> Iterator[Path]:
    """Build a folder under a temporary name and give it its own only when it is complete.

    An error inside leaves nothing behind. An existing folder is replaced; a lock around it is the
    caller's matter where two may build the same one.

    Args:
        path: The folder to build; missing parents are created.

    Yields:
        The temporary folder, beside ``path``, to write into.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            for item in (temporary, *temporary.rglob("*")):
                sync_folder(item)
            if path.exists():
                old = _temporary(path)
                os.rename(path, old)
                os.rename(temporary, path)
                shutil.rmtree(old)
            else:
                os.rename(temporary, path)
            sync_folder(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def seal(folder: Path) -> None:
    """Write the checksums of all files of a folder into it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
    sums = {path.relative_to(folder).as_posix(): digest(path) for path in files}
    write_atomic(folder / SEAL, json.dumps(sums, indent=1).encode())


def check_seal(folder: Path) -> None:
    """Check the files of a sealed folder; those that this process has checked, by their dates.

    Raises:
        DataError: A file is gone or is not what was written; the message names it.
    """
    sums = read_json(folder / SEAL)
    if not sums:
        raise DataError(f"{folder / SEAL} is missing or damaged")
    for name, wanted in sums.items():
        path = folder / name
        with suppress(OSError, ValueError):
            if digest(path) == wanted:
                continue
        raise DataError(f"{path} is missing or not what was written")


def digest(path: Path) -> str:
    """SHA-256 of a file; of one whose date, size and inode are as before, read once a process."""
    found = path.stat()
    return _digest(path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=2**16)
def _digest(path: Path, modified: int, size: int, inode: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into an error with the path, the reason and what to do."""
    try:
        yield
    except OSError as error:
        cause = OSError(errno.ENOSPC, "") if _is_full(path, error) else error
        text = f"{path}: cannot be written ({reason(cause)}); {mend(cause)}"
        raise UserError(text) from error


def _is_full(path: Path, error: OSError) -> bool:
    """True if a write failed for want of space, which numpy and HDF5 do not say by number."""
    place = next(place for place in path.absolute().parents if place.exists())
    return error.errno is None and shutil.disk_usage(place).free < LITTLE_SPACE


@contextmanager
def locked(path: Path, poll_interval: float = 0.05) -> Iterator[None]:
    """Hold a lock that one process can have at a time; the kernel frees it when its holder ends.

    Who waits longer than ``LOCK_SECONDS`` is told for which file and which process.

    Args:
        path: File of the lock; it and its folder are made where they are missing, and stay.
        poll_interval: Seconds between two attempts.

    Raises:
        UserError: The file cannot be made.
    """
    with writing(path):
        lock = _acquire(path, poll_interval, math.inf)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def locked_within(path: Path, seconds: float) -> Iterator[None]:
    """Hold a lock as ``locked`` does, or give up after some seconds.

    Raises:
        OSError: The file cannot be made; a ``TimeoutError`` says which process holds it for longer.
    """
    lock = _acquire(path, 0.05, seconds)
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, poll_interval: float, seconds: float) -> BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, said = FileLock(path, poll_interval=poll_interval), ""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            # Without a timeout, as only so filelock refuses a thread that holds it already.
            lock.acquire(cancel_check=_after(min(LOCK_SECONDS, left)))
            return lock
        except Timeout:
            words = _holder(path)
            if left > LOCK_SECONDS and words != said:
                log.warning("waiting for %s, which %s", path, words)
            said = words
    raise TimeoutError(f"waited {seconds:g} s for {path}, which {_holder(path)}")


def _after(seconds: float) -> Callable[[], bool]:
    """A question that is answered with yes once the seconds are over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _holder(path: Path) -> str:
    """Process that holds a lock file as words, from the kernel's list where there is one."""
    try:
        number = path.stat().st_ino
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        (pid,) = {int(row[4]) for row in rows if row[5].endswith(f":{number}") and row[1] != "->"}
        process = psutil.Process(pid)
        name, stopped = process.name(), process.status() == psutil.STATUS_STOPPED
    except (OSError, ValueError, IndexError, psutil.Error):
        return "another process holds, here or on another machine"
    if stopped:
        return (
            f"process {pid} ({name}) holds; it is suspended: let it go on (kill -CONT {pid}) "
            f"or end it (kill -9 {pid})"
        )
    return f"process {pid} ({name}) holds"


def check_output(path: Path, force: bool) -> None:
    """Refuse a file that cannot be written or stands already, before any work is done for it.

    Args:
        path: The file that is to be written.
        force: Replace an older file.

    Raises:
        UserError: It is a folder, or its folder cannot be made or written, or it is there.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    if path.exists() and not force:
        raise UserError(f"{path} exists; choose another file, or replace it with --force")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _temporary(path: Path) -> Path:
    return path.with_name(TEMPORARY + secrets.token_hex(8))


def sync_folder(path: Path) -> None:
    """Wait until the disk has a file, or which names are in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(value: Any) -> Any:
    """JSON-able form: numpy scalars as Python's, NaN and infinity as None, without secrets."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        return without_secrets(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Mapping[str, Any], *, sync: bool = True) -> None:
    """Write an object as JSON; NaN and infinity become null."""
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", sync=sync)


def read_json(path: Path) -> dict[str, Any] | None:
    """An object, or None where the file is missing or was damaged (it is then written anew).

    Raises:
        UserError: It is there and cannot be read.
    """
    try:
        with reading(path, "remove it; it is then written anew"):
            data = path.read_bytes()
        value = json.loads(data)
    except (FileNotFoundError, RecursionError, ValueError) as error:
        if isinstance(error, UserError) and not isinstance(error, FileNotFoundError):
            raise
        return None
    return value if isinstance(value, dict) else None


def checksum(data: bytes) -> str:
    """SHA-256 of a file's content, in hex."""
    return hashlib.sha256(data).hexdigest()


def write_sealed(path: Path, value: Mapping[str, Any], *, bound: str = "") -> None:
    """Write an object as YAML or JSON, by the file's ending; its last line is a checksum.

    Args:
        path: The file.
        value: The object, of at least one key; NaN and infinity become null in JSON.
        bound: What else the checksum covers, such as the place of the file: in another place its
            content is damaged.
    """
    if path.suffix == ".yaml":
        body = yaml.dump(without_secrets(dict(value)), Dumper=_DUMPER, sort_keys=False).encode()
        text = b"%s# sha256: %s\n"
    else:
        body = json.dumps(plain(value), indent=1, allow_nan=False).encode()[:-2] + b",\n"
        text = b'%s "sha256": "%s"\n}\n'
    write_atomic(path, text % (body, checksum(bound.encode() + body).encode()))


def read_sealed(path: Path, *, bound: str = "") -> dict[str, Any] | None:
    """An object that ``write_sealed`` wrote, without its checksum; None where there is no file.

    Raises:
        DamagedError: It is not what was written there.
    """
    try:
        with reading(path, MEND):
            data = path.read_bytes()
    except FileNotFoundError:
        return None
    seal = _LAST_LINE.search(data, max(0, len(data) - 100))  # all of it takes long
    if seal is None or checksum(bound.encode() + data[: seal.start()]) != (
        seal[1] or seal[2]
    ).decode("ascii"):
        raise DamagedError(f"{path}: damaged, its checksum does not match; {MEND}")
    value: dict[str, Any]
    if path.suffix == ".yaml":
        value = yaml.load(data, Loader=_LOADER)
    else:
        value = orjson.loads(data)
        del value["sha256"]
    return value


def is_sealed(path: Path) -> bool:
    """True where a file ends as ``write_sealed`` ends it, whether the checksum is right or not."""
    return _LAST_LINE.search(path.read_bytes()) is not None


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping with dotted keys; an empty mapping is kept as a value."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        found |= flat(item, f"{name}.") if isinstance(item, Mapping) and item else {name: item}
    return found


def short_key(key: str) -> str:
    """Last part of a dotted key, as labels show it: ``dropout`` of ``head.dropout``.

    The prefix ``regression_`` of a head's keys is left out. ``data.split.seed`` keeps two parts, as
    ``seed`` alone would be the seed of a training, and so does ``loss.weights.pt``.
    """
    parts = key.split(".")
    two = parts[-1] == "seed" or parts[:-1] in (["loss", "weights"], ["loss", "scale"])
    return ".".join(parts[-2:]) if two else parts[-1].removeprefix("regression_")
