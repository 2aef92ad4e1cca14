"""Objects from configuration: a ``_target_`` is imported, its keys are checked, it is called."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from headsweep.errors import UserError


def check_node(key: str, node: Any, leading: int = 0) -> None:
    """Check the keys of a node against the arguments of its ``_target_``.

    Args:
        key: Key of the node in the configuration, for messages.
        node: A dataclass of the schema, or the mapping that a user wrote.
        leading: Number of leading arguments that do not come from the node.

    Raises:
        UserError: An argument is unknown, missing or of another type; the message names its key.
    """
    if is_dataclass(node) and not isinstance(node, type):
        if node._target_ == type(node)._target_:  # type: ignore[attr-defined]
            return  # the schema has checked it, without importing torch
        node = asdict(node)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{key}: needs a _target_, the class to build")
    target = locate(str(node["_target_"]))
    parameters = list(inspect.signature(target).parameters.values())[leading:]
    takes = {p.name: p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    given = {str(name): value for name, value in node.items() if name != "_target_"}
    unknown = [name for name in given if name not in takes]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        known = ", ".join(takes) or "none"
        raise UserError(
            f"{key}.{unknown[0]}: {target.__qualname__} takes no such key, only {known}"
        )
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, parameter in takes.items():
        hint = hints.get(name, Any)
        if name not in given:
            if parameter.default is parameter.empty:
                raise UserError(f"{key}.{name} is missing: {target.__qualname__} needs it")
        elif not _fits(given[name], hint):
            must = getattr(hint, "__name__", hint)
            raise UserError(f"{key}.{name}={given[name]!r}: must be {must}")


def _fits(value: Any, hint: Any) -> bool:
    """True if a value fits an annotation; every value fits an annotation that is no plain type."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint) if hint in (bool, str, list, dict) else True


def locate(target: str) -> Any:
    """Import the class or function that a ``_target_`` names.

    Raises:
        UserError: The module or the name in it does not exist.
    """
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"_target_={target}: cannot be imported ({error}); is its folder on PYTHONPATH?"
        ) from error


def make(node: Mapping[str, Any], *args: Any) -> Any:
    """Call the ``_target_`` of a node with the given arguments and the node's other keys."""
    keys = {str(key): value for key, value in node.items() if key != "_target_"}
    return locate(node["_target_"])(*args, **keys)
