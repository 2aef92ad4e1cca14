"""Check of plain values, as a file has them, against the schema: keys, types and ranges."""

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from headsweep.config.experiment import SCHEMAS, Config
from headsweep.config.ranges import check
from headsweep.errors import UserError

_BUILT = ("source", "backbone", "head")
"""Keys of what is built, by one of our schemas or by the user's own code."""

_BY_TARGET: dict[str, Any] = {schema._target_: schema for _, _, schema in SCHEMAS}


def check_stored(config: object) -> None:
    """Check a resolved configuration that was read from a file.

    Composing checks what a command line gives. A file may have been edited, and its checksum says
    only that it was written whole.

    Raises:
        UserError: A key is unknown, or a value is of another type or out of its range.
    """
    _check_node(config, Config, "")


def completed(node: Mapping[str, Any]) -> dict[str, Any]:
    """A stored ``_target_`` and its keys, with the defaults of those that were not known yet."""
    schema = _BY_TARGET.get(node["_target_"])
    return {**node} if schema is None else asdict(schema(**node))


def _check_node(node: object, schema: Any, key: str) -> None:
    """Check one part of a configuration, and all parts of it."""
    if not isinstance(node, Mapping):
        raise UserError(f"{key or 'the file'}={node!r}: must be keys with values")
    hints = _hints(schema)
    for name, value in node.items():
        where = f"{key}.{name}".lstrip(".")
        if name not in hints:
            raise UserError(f"{where}: no such key")
        hint = hints[name]
        if name in _BUILT:
            target = value.get("_target_") if isinstance(value, Mapping) else None
            check(isinstance(target, str), where, value, "keys with a _target_")
            hint = _BY_TARGET.get(str(target), Any)
        if is_dataclass(hint):
            _check_node(value, hint, where)
        else:
            check_type(where, value, hint)
    schema(**node)  # ranges, and what keys must be together


def check_type(key: str, value: object, hint: Any) -> None:
    """Refuse a value that does not fit an annotation."""
    if not _fits(value, hint):
        raise UserError(f"{key}={value!r}: must be {getattr(hint, '__name__', hint)}")


def _fits(value: Any, hint: Any) -> bool:
    """True if a value fits an annotation; every value fits an annotation that is no plain type."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, parts[1]) for item in value.values())
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, list, dict) else True


@cache
def _hints(schema: type) -> dict[str, Any]:
    """Annotations of a part of the schema; finding them takes longer than all checks."""
    return get_type_hints(schema)
