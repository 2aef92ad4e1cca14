"""Keys of the schema with their ranges, and the check of a value."""

import math
from dataclasses import field, fields
from typing import Any

from omegaconf import MISSING, DictConfig

from headsweep.errors import UserError


def within(default: Any, interval: str) -> Any:
    """A key with its default, and the interval that a value must be in, such as ``[0, 1)``."""
    return field(default=default, metadata={"interval": interval})


def one_of(*known: str) -> Any:
    """A key that must be one of some words, of which the first is the default."""
    return field(default=known[0], metadata={"known": known})


def open_keys() -> Any:
    """An empty mapping to which a user adds keys, on the command line too."""
    return DictConfig({}, flags={"struct": False})


def check(ok: bool, key: str, value: object, must: str) -> None:
    """Refuse a value that is not ``ok``."""
    if not ok:
        raise UserError(f"{key}={value}: must be {must}")


def check_each(group: str, node: Any) -> None:
    """Check every key of a part of the schema by what stands beside its default."""
    for item in fields(node):
        value, key = getattr(node, item.name), f"{group}.{item.name}".lstrip(".")
        if "known" in item.metadata:
            known = item.metadata["known"]
            check(value in known, key, value, f"one of {', '.join(known)}")
        if "interval" in item.metadata and value not in (None, MISSING):
            _check_within(key, value, item.metadata["interval"])


def _check_within(key: str, value: float, interval: str) -> None:
    """Check a number; without an upper limit it must be finite."""
    check(not isinstance(value, int) or value < 2**63, key, value, "below 2^63, as files have it")
    low, high = (float(end) for end in interval[1:-1].split(", "))
    above = low < value or (interval[0] == "[" and low == value)
    below = value < high or (interval[-1] == "]" and value == high)
    finite = "" if isinstance(value, int) else " and finite"
    least = f"{'at least' if interval[0] == '[' else 'above'} {low:g}{finite}"
    check(above and below, key, value, least if high == math.inf else f"in {interval}")
