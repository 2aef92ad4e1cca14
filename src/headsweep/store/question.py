"""The question of a sweep, as its file states it."""

import re
import shlex
from pathlib import Path

from headsweep.config import config_root


def question(command: str) -> str:
    """The question of the sweep's file that a command names; empty where it names none."""
    arguments = shlex.split(command)
    names = [a.removeprefix("sweeps=") for a in arguments if a.startswith("sweeps=")]
    own = [Path(arguments[i + 1]) for i, a in enumerate(arguments[:-1]) if a == "--config-dir"]
    for folder in (*own, config_root()):
        for name in names[-1:]:
            file = folder / "sweeps" / f"{name}.yaml"
            if file.is_file():
                return _question(file.read_text(encoding="utf-8"))
    return ""


def _question(text: str) -> str:
    """From ``# Question:`` to the next comment that begins with a word and a colon."""
    found = re.search(r"^# Question: *(.*(?:\n#(?! ?\w+:).*)*)", text, re.MULTILINE)
    return " ".join(re.sub(r"\n# *", " ", found[1]).split()) if found else ""
