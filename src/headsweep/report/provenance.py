"""Provenance of the figures of a report: question, command, versions, keys and seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from headsweep.features.cache import Meta
from headsweep.store import paths, runs
from headsweep.store.labels import StoredJob
from headsweep.store.question import question


@dataclass(frozen=True)
class Origin:
    """The provenance of a report.

    Attributes:
        question: From the first lines of the sweep's file; empty where there is none.
        commands: Make the runs and this report again, in order.
        facts: Name and value of versions, keys, splits and seeds.
        confirm: Trains the best trials on fresh seeds, where the sweep is a search.
    """

    question: str
    commands: tuple[str, ...]
    facts: dict[str, str]
    confirm: str = ""


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
    train = _training(folder, root, jobs)
    report = paths.command("report", root, folder.name)
    confirm = paths.command("train", root, "sweeps=confirm", f"study={folder.name}")
    return Origin(question(train), (train, report), _facts(folder, jobs, metas), confirm)


def _training(folder: Path, root: Path, jobs: Sequence[StoredJob]) -> str:
    """The command behind the jobs."""
    if (folder / paths.COMMAND).exists():
        return runs.read_command(folder)
    about = runs.read_job(jobs[0].folder) or {}
    return paths.command("train", root, *about.get("overrides", ()))


def _facts(folder: Path, jobs: Sequence[StoredJob], metas: Sequence[Meta]) -> dict[str, str]:
    abouts = [runs.read_job(job.folder) or {} for job in jobs]
    configs = [runs.read_config(job.folder)["data"]["split"] for job in jobs]
    times = [at for job in jobs if (at := runs.last_end(runs.read_results(job.folder).values()))]
    newest = datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M UTC") if times else ""
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
        "newest result": newest,
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
