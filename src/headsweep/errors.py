"""The border to foreign errors: what a user can mend is one line, without a traceback.

A block that reads a foreign file stands in ``reading``; what is left at the end of a command goes
through ``from_outside``, and whatever that does not take is a fault of headsweep. What is printed
or kept has no secret in it: errors and ``files`` go through ``without_secrets``.
"""

import errno
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MASK = "***"
"""Stands for a token in an address in all that is printed or kept; a password is left out."""

_SECRETS = (
    (re.compile(r"(://[^:/?#\s'\"]*):\S*@"), r"\1@"),
    (re.compile(r"(https?://)(?!\*\*\*@)[^:/?#@\s'\"]+@"), rf"\1{MASK}@"),
    (
        re.compile(
            r"([?&;][\w.-]*(?:pass|pwd|secret|token|key|credential|signature)[\w.-]*=)[^&;#\s'\"]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
)
"""Password behind a user, user of a web address, which may be a token, and parameters."""


class UserError(ValueError):
    """A mistake in a command, a configuration or an input file.

    The message says what is wrong, where, and how to mend it.
    """

    def __str__(self) -> str:
        return str(without_secrets(super().__str__()))


class DataError(UserError):
    """Input data that cannot be used; the message names file, event and column."""


class DamagedError(DataError):
    """A file of ours that is not what was written, by its checksum, or is gone."""


class MissingError(UserError, FileNotFoundError):
    """A file that is not there, for callers to which that is no mistake."""


SPACE = "free some space, or choose another root"
_SYSTEM = {
    errno.ENOSPC: ("the disk is full", SPACE),
    errno.EDQUOT: ("the quota of the disk is used up", SPACE),
    errno.EFBIG: ("the file is larger than the disk allows", SPACE),
    errno.EACCES: ("no permission", "choose a place of your own, or change its permissions"),
    errno.EPERM: ("not permitted", "choose a place of your own, or change its permissions"),
    errno.EROFS: ("the disk may only be read", "choose a root that can be written"),
    errno.ENAMETOOLONG: ("a name is too long", "shorten it"),
    errno.ELOOP: ("symbolic links that lead in a circle", "remove them"),
    errno.EISDIR: ("a folder where a file should be", "remove it or name a file"),
    errno.ENOTDIR: ("a file where a folder should be", "remove it or name a folder"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.EEXIST: ("exists already", "remove it or choose another name"),
    errno.EMFILE: ("too many open files", "raise the limit, `ulimit -n`"),
    errno.EIO: ("the disk reports an error", "check the disk, or choose another root"),
    errno.ESTALE: ("the network disk has lost it", "run the command again"),
    errno.ENOMEM: ("not enough memory", "free some, or ask for less at once"),
}
"""What the operating system refuses, in words, and how to mend it."""

_LIBRARIES = {
    "csv": {"_csv", "csv"},
    "h5py": {"h5py"},
    "json": {"json", "orjson"},
    "MLflow": {"mlflow", "sqlalchemy", "sqlite3"},
    "Optuna": {"optuna"},
    "Parquet": {"pandas", "pyarrow"},
    "safetensors": {"safetensors", "safetensors_rust"},
    "lock": {"filelock"},
    "the configuration": {"hydra", "omegaconf", "yaml"},
}
"""Libraries whose own errors tell of a file, not of a fault of ours."""

_OF_OS = (os.__file__, "<frozen os>")
"""File of Python's ``os`` in tracebacks; a KeyError from there is of ``os.environ``."""


@contextmanager
def reading(path: Path | str, mend: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Turn every error of a block that reads a foreign file into one that names the file.

    The block should do nothing else than to read, as its own mistakes would pass for the file's.

    Args:
        path: The file or folder that is read.
        mend: How to mend it, as a clause: ``delete it and train again``.
        kind: Class of the error.

    Raises:
        UserError: The block failed; of a missing file a ``MissingError``.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise MissingError(f"{path}: {reason(error, path)}; {mend}") from error
    except Exception as error:
        raise kind(f"{path}: cannot be read ({reason(error, path)}); {mend}") from error


def from_outside(error: BaseException) -> UserError | None:
    """An error that no block has named, as one of the user; None for a fault of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return UserError(f"{place}{reason(error, error.filename)}; {mend(error)}")
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # of pathlib
        return UserError(f"{reason(error)}; {_SYSTEM[errno.ELOOP][1]}")
    if isinstance(error, MemoryError):
        return UserError(f"{reason(error)}; {_SYSTEM[errno.ENOMEM][1]}")
    if isinstance(error, UnicodeError):
        return UserError(f"{reason(error)}; is it a text file, and is the locale UTF-8?")
    if isinstance(error, KeyError) and _raised_in(error) in _OF_OS:
        return UserError(f"the environment variable {error.args[0]} is not set; set it")
    origins = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    for name, modules in _LIBRARIES.items():
        if origins & modules:
            return UserError(f"{name}: {reason(error)}; HEADSWEEP_TRACEBACK=1 shows where")
    return None


def _raised_in(error: BaseException) -> str:
    """File of the code that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def mend(error: OSError) -> str:
    """How to mend what the operating system refuses, as a clause."""
    return _SYSTEM.get(error.errno or 0, ("", "check the disk and the permissions"))[1]


def reason(error: BaseException, path: object = None) -> str:
    """An error in few words, on one line.

    Args:
        error: Of any library.
        path: File that the message names anyway; another one of the error is said.
    """
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        words, _ = _SYSTEM[error.errno]
        other = error.filename if path is not None and str(error.filename) != str(path) else None
        return f"{words}: {other}" if other is not None else words
    if isinstance(error, UnicodeDecodeError):
        return f"not text in {error.encoding.upper()}, at byte {error.start}"
    if isinstance(error, UnicodeEncodeError):
        letter = ascii(error.object[error.start])
        return f"the letter {letter} cannot be written in {error.encoding.upper()}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is missing"
    text = " ".join(str(error).split())
    return text if text else type(error).__name__


def without_secrets(value: Any) -> Any:
    """The same without passwords, tokens and keys in addresses (``scheme://..``).

    Args:
        value: A text, or nested mappings and lists, which are copied; what is no text stays.
    """
    if isinstance(value, str):
        if "://" in value:
            for secret, masked in _SECRETS:
                value = secret.sub(masked, value)
        return value
    if isinstance(value, Mapping):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value
