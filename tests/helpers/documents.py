"""The pages of README and documentation, and what stands in them to be run."""

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

from headsweep.config import config_root

ROOT = config_root()


@cache
def hook(name: str) -> ModuleType:
    """A module of ``docs/``, which MkDocs loads by its path, too."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def pages() -> dict[str, str]:
    """Every page with its text: README, what lies in ``docs/``, and what is made for the site."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    written = {path.relative_to(ROOT).as_posix(): path.read_text() for path in files}
    return written | hook("reference").pages()


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)


def commands(text: str) -> list[str]:
    """Commands in code blocks, and between backticks those that are more than a verb's name."""
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    plain = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    spans = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", plain))
    inline = [span for span in spans if re.match(r"headsweep (?:data )?+\S+ ", span)]
    found = [re.split(r"\s#", line)[0].strip() for line in (*lines, *inline)]
    return [line for line in found if line]


def sessions(text: str) -> list[tuple[str, list[str]]]:
    """Commands of ``console`` blocks, each with the lines that it must print."""
    found = []
    for block in blocks("console", text):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *lines = part.strip().splitlines()
            found.append((command, lines))
    return found


def write_files(text: str, folder: Path) -> None:
    """Write every block that names a file, ``# my_conf/head/mine.yaml``, behind its header."""
    for block in blocks("(?:yaml|python)", text):
        named = re.match(r"(?:# @package \w+\n)?# (my_\w+/\S+)\n", block)
        if named:
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
