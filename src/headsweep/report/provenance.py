"""Provenance of the figures of a report: question, command, versions, keys and seeds."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headsweep.config import config_root
from headsweep.features.cache import Meta
from headsweep.store import paths, runs
from headsweep.store.labels import StoredJob


@dataclass(frozen=True)
class Origin:
    """The provenance of a report.

    Attributes:
        question: From the first lines of the sweep's file; empty where there is none.
        commands: Make the runs and this report again, in order.
        facts: Name and value of versions, keys, splits and seeds.
    """

    question: str
    commands: tuple[str, ...]
    facts: dict[str, str]


def find_origin(
    folder: Path, root: Path, jobs: Sequence[StoredJob], metas: Sequence[Meta]
) -> Origin:
    """The origin of a report on some jobs.

    Args:
        folder: Of the sweep, or of a single run.
        root: The folder of all output.
        jobs: Those that are shown.
        metas: Of their caches.
    """
    train = _training(folder, jobs)
    report = ["headsweep", "report", folder.name]
    report += [] if root == paths.DEFAULT_ROOT else ["--root", str(root)]
    return Origin(question(train), (train, shlex.join(report)), _facts(folder, jobs, metas))


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


def _training(folder: Path, jobs: Sequence[StoredJob]) -> str:
    """The command behind the jobs."""
    if (folder / paths.COMMAND).exists():
        return runs.read_command(folder)
    about = runs.read_job(jobs[0].folder) or {}
    return shlex.join(["headsweep", "train", *about.get("overrides", ())])


def _facts(folder: Path, jobs: Sequence[StoredJob], metas: Sequence[Meta]) -> dict[str, str]:
    abouts = [runs.read_job(job.folder) or {} for job in jobs]
    configs = [runs.read_config(job.folder)["data"]["split"] for job in jobs]
    results = [
        path
        for job in jobs
        for folder in paths.seed_folders(job.folder).values()
        if (path := folder / paths.RESULT).exists()
    ]
    newest = datetime.fromtimestamp(max(path.stat().st_mtime for path in results), UTC)
    environments = [about.get("environment", {}) for about in abouts]
    numerics = runs.read_spec(folder).get("inputs", {}).get("numerics", "")
    seeds = sorted({seed for job in jobs for seed in job.seeds})
    found = {
        "headsweep": _words(about.get("code_version", "") for about in abouts),
        **{name: _words(e.get(name, "") for e in environments) for name in _VERSIONS},
        "rules of computation": f"NUMERICS {numerics}" if numerics else "",
        "data key": _words(meta.data_key for meta in metas),
        "checkpoint key": _words(meta.backbone_key for meta in metas),
        "cache key": _words(meta.key for meta in metas),
        "tracks": _words(_tracks(meta) for meta in metas),
        "split": _words(_split(split) for split in configs),
        "seeds": _ranges(seeds),
        "newest result": newest.strftime("%Y-%m-%d %H:%M UTC"),
    }
    return {name: text for name, text in found.items() if text}


_VERSIONS = ("python", "torch", "numpy", "device", "threads")


def _words(values: Iterable[object]) -> str:
    """Each value once."""
    return ", ".join(dict.fromkeys(text for value in values if (text := str(value))))


def _tracks(meta: Meta) -> str:
    return " / ".join(f"{name} {count:,}" for name, count in meta.n_tracks.items())


def _split(split: dict[str, object]) -> str:
    shown = {k: v for k, v in split.items() if k not in ("folds", "fold") or split["folds"]}
    return " ".join(f"{name}={value}" for name, value in shown.items())


def _ranges(numbers: Sequence[int]) -> str:
    """``0–4, 10–14`` of ascending numbers."""
    starts = [n for i, n in enumerate(numbers) if not i or n != numbers[i - 1] + 1]
    ends = [n for i, n in enumerate(numbers) if i + 1 == len(numbers) or n + 1 != numbers[i + 1]]
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in zip(starts, ends, strict=True))
