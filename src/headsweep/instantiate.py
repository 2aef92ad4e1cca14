"""Objects from configuration: a ``_target_`` is allowed, imported, checked and called.

What may be built are our own classes, and classes and functions of modules that the user allowed:
on the command line, or by installing them under the entry point ``headsweep``. A configuration, be
it in a file, a sweep or a run folder, is data: it names code, and never decides that it runs.
"""

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any, get_type_hints

from headsweep.config import SCHEMAS
from headsweep.config.stored import check_type
from headsweep.errors import UserError, reason

OFFERED = frozenset(schema._target_ for _, _, schema in SCHEMAS)
"""Every ``_target_`` of ours that may be built."""

BUILT = ("data.source", "backbone", "head")
"""Places of a configuration that have a ``_target_``."""

_NEVER = {*sys.stdlib_module_names, "headsweep", "hydra", "hydra_plugins", "omegaconf"}
"""Packages that hold no head, source or backbone of a user."""

LIBRARIES = {
    *("torch", "numpy", "numba", "scipy", "pandas", "optuna", "mlflow", "psutil", "typer", "rich"),
    *("safetensors", "h5py", "pyarrow", "orjson", "yaml", "filelock", "matplotlib", "plotly"),
    *("jinja2", "markupsafe"),
}
"""Packages that headsweep is installed with: some of what they hold runs whatever it is given, as
``torch.hub.load``. Of them ``torch.nn`` alone has what a head is built of."""

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")

_allowed: set[str] = set()


def allow(modules: object) -> None:
    """Allow the user's own modules in this process, and none that was allowed before.

    Args:
        modules: Dotted name of a module or package, or several, as the command line has them.

    Raises:
        UserError: One is no name of a module, or of one that no user's code is in.
    """
    names = [modules] if isinstance(modules, str) else modules or []
    if not isinstance(names, list | tuple):
        raise UserError(f"allow={modules}: must be a module, or several: allow=[one,two]")
    for name in names:
        if not isinstance(name, str) or not _MODULE.fullmatch(name):
            raise UserError(f"allow={name}: must be the name of a module, such as my_heads")
        of_library = name.partition(".")[0] in LIBRARIES and not f"{name}.".startswith("torch.nn.")
        if name.partition(".")[0] in _NEVER or of_library:
            raise UserError(f"allow={name}: is for modules of your own, or torch.nn")
    _allowed.clear()
    _allowed.update(names)


def check_allowed(modules: object) -> None:
    """Refuse modules that a configuration allows and the command line did not."""
    names = [modules] if isinstance(modules, str) else modules or []
    if not isinstance(names, list) or not _allowed.issuperset(names):
        raise UserError(
            f"allow={modules}: counts on the command line only, and not in a file: take it out of "
            "there, and add it to the command if you trust the code"
        )


def is_allowed(module: str) -> bool:
    """True for a module that the user allowed or installed, and for all below it."""
    return any(f"{module}.".startswith(f"{known}.") for known in (*_allowed, *_installed()))


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """Modules that installed distributions offer under the entry point ``headsweep``."""
    return tuple(entry.module for entry in entry_points(group="headsweep"))


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
        raise UserError(
            f"{key}: needs a _target_, the class to build; a file of your own begins with it, or "
            f"with `defaults: [schema_NAME, _self_]` for one of ours"
        )
    target = locate(str(node["_target_"]), f"{key}._target_")
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
        else:
            check_type(f"{key}.{name}", given[name], hint)


def locate(target: str, key: str = "_target_") -> Any:
    """The class or function that a ``_target_`` names.

    Args:
        target: Module and name, with dots.
        key: Where it stands, for messages.

    Raises:
        UserError: It may not be built, or does not exist.
    """
    module, _, name = target.rpartition(".")
    if target not in OFFERED:
        _check_allowed(target, module, name, key)
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # a module of the user's own may raise anything
        raise UserError(
            f"{key}={target}: cannot be imported ({reason(error)}); is its folder on PYTHONPATH?"
        ) from error
    if target in OFFERED:
        return found
    home = getattr(found, "__module__", None)
    if not (inspect.isclass(found) or inspect.isfunction(found)) or not is_allowed(str(home)):
        raise UserError(f"{key}={target}: is no class or function that {module} defines")
    return found


def _check_allowed(target: str, module: str, name: str, key: str) -> None:
    """Refuse what is neither ours nor in a module that the user allowed."""
    if not _MODULE.fullmatch(target) or not module or "__" in target or name.startswith("_"):
        raise UserError(f"{key}={target}: must be a module and a class in it, my_heads.MyHead")
    if module.partition(".")[0] in _NEVER:
        raise UserError(
            f"{key}={target}: may not be built from a configuration; one of ours is "
            f"{', '.join(sorted(OFFERED))}"
        )
    if not is_allowed(module):
        raise UserError(
            f"{key}={target}: code of your own runs only where the command line allows it: add "
            f"allow={module} to overrides, or --allow {module} to report and predict"
        )


def make(node: Mapping[str, Any], *args: Any) -> Any:
    """Call the ``_target_`` of a node with the given arguments and the node's other keys.

    The key of a source or backbone of the user's own also says which code made it, as caches and
    runs are found by it.
    """
    keys = {str(key): value for key, value in node.items() if key != "_target_"}
    target = str(node.get("_target_"))
    built = locate(target)(*args, **keys)
    if target not in OFFERED and callable(getattr(built, "key", None)):
        object.__setattr__(built, "key", partial(_key_with_code, built.key, own_code(target)))
    return built


def _key_with_code(key: Any, code: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr([key(), sorted(code.items())]).encode())
    return digest.hexdigest()[:16]


def own_targets(config: Mapping[str, Any]) -> list[str]:
    """Every ``_target_`` of a resolved configuration that is the user's own."""
    nodes = [config["data"]["source"], config["backbone"], config["head"]]
    targets = [node.get("_target_") for node in nodes if isinstance(node, Mapping)]
    return [str(target) for target in targets if target is not None and target not in OFFERED]


def own_code(*targets: str) -> dict[str, str]:
    """Source text of the user's own code, by module.

    Args:
        targets: Each ``_target_`` of the user's own; what its module imports from outside of the
            installed packages belongs to it.
    """
    found: dict[str, str] = {}
    todo = [name for target in targets for name in (target.rpartition(".")[0], _home(target))]
    while todo:
        name = todo.pop()
        file = None if name in found else _file(name)
        if file is None or file.suffix != ".py":
            continue
        own = {target.partition(".")[0] for target in targets} - LIBRARIES
        if name.partition(".")[0] in own or not _is_installed(file):
            found[name] = file.read_text(encoding="utf-8")
            package = name if file.stem == "__init__" else name.rpartition(".")[0]
            todo += [name.rpartition(".")[0], *_imports(package, found[name])]
    return found


def code_digests(code: Mapping[str, str]) -> dict[str, str]:
    """Hash of the text of each module."""
    return {
        name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in sorted(code.items())
    }


def _home(target: str) -> str:
    return str(locate(target).__module__)


def _file(name: str) -> Path | None:
    """File of a module, which need not be imported yet."""
    try:
        spec = find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None  # a name in a module
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _is_installed(file: Path) -> bool:
    folders: set[str | Path] = {
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    folders |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    folders.add(Path(__file__).parent)
    return any(file.is_relative_to(folder) for folder in folders)


def _imports(package: str, text: str) -> Iterator[str]:
    """Modules that the text of a module in a package may import."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
