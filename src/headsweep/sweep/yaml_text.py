"""Text of a YAML file: what is read as something else than it says, and where a key stands."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from headsweep.errors import UserError, reading

BOM = b"\xef\xbb\xbf"
"""Three invisible bytes with which some editors begin a file."""

_STANDARD = "tag:yaml.org,2002:"
_NUMBERS = (f"{_STANDARD}int", f"{_STANDARD}float")
_NO_KEYS = (f"{_STANDARD}null", f"{_STANDARD}bool")
_OTHER_BASES = (
    (re.compile(r"[-+]?0[0-7_]+"), 8, "leading zeros"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), 60, "colons"),
)


def check_text(path: Path) -> None:
    """Refuse a file of configuration that is no mapping, or whose numbers are read as others.

    Raises:
        UserError: The message names file, line and mend.
    """
    with reading(path, "it must be a file of text"):
        content = path.read_bytes()
    if content.startswith(BOM):
        raise UserError(
            f"{path}: begins with an invisible byte order mark, behind which its first line is not "
            "read; save it as UTF-8 without BOM"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: not text in UTF-8, at byte {error.start}; save it as UTF-8"
        ) from error
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path}{describe(error)}") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        kind = "list" if isinstance(root, yaml.SequenceNode) else "single value"
        raise UserError(f"{path}: is a {kind}, but must be keys and values, as in `key: value`")
    for node in _nodes(root, set()):
        wrong = _wrong(node)
        if wrong:
            raise UserError(f"{path}:{node.start_mark.line + 1}: {wrong}")


def describe(error: BaseException) -> str:
    """Line and problem of an error of YAML, to follow the name of its file."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return f": {'nested too deeply' if isinstance(error, RecursionError) else error}"
    mark = error.problem_mark or error.context_mark
    line = f":{mark.line + 1}" if mark is not None else ""
    problem = str(error.problem or error.context)
    if "cannot start any token" in problem and "'\\t'" in problem:
        return f"{line}: a tab where spaces should be; indent with spaces"
    if problem.startswith("found duplicate key"):
        return f"{line}: {problem.removeprefix('found ')}: it stands twice; leave one"
    return f"{line}: no YAML: {problem}"


def line_of(path: Path, keys: Sequence[str]) -> int | None:
    """Line of a nested key, counted from 1; None where the file has no such key.

    Args:
        path: A file that ``check_text`` has passed.
        keys: The parts of the key; a key of the file may hold several, joined by dots.
    """
    node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    line = None
    rest = list(keys)
    while rest and isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            parts = str(key.value).split(".")
            if rest[: len(parts)] == parts:
                line, node, rest = key.start_mark.line + 1, value, rest[len(parts) :]
                break
        else:
            return None
    return None if rest else line


def _nodes(node: yaml.Node | None, seen: set[int]) -> Iterator[yaml.Node]:
    """A node and all below it, each once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    yield node
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    for part in parts:
        for child in part if isinstance(part, tuple) else (part,):
            yield from _nodes(child, seen)


def _wrong(node: yaml.Node) -> str | None:
    """What is wrong with a node, if anything is."""
    if not node.tag.startswith(_STANDARD) or node.tag.startswith(f"{_STANDARD}python"):
        return f"the tag {node.tag} is not read; write a plain value"
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag in _NO_KEYS:
                text = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                return f"the key {text or 'null'} is no text to YAML; quote it"
        names = [key.value for key, _ in node.value]
        twice = next((name for name in names if names.count(name) > 1), None)
        return f"{twice} stands twice; leave one of them" if twice is not None else None
    if isinstance(node, yaml.ScalarNode) and node.style is None and node.tag in _NUMBERS:
        for pattern, base, without in _OTHER_BASES:
            if pattern.fullmatch(node.value):
                return (
                    f"YAML reads {node.value} in base {base}; write a number without {without}, "
                    "or quote a text"
                )
    return None
