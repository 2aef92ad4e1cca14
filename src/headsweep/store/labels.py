"""Names of the jobs of a sweep: by what differs among them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from headsweep.config import RUNTIME_KEYS, LossConfig
from headsweep.errors import DataError
from headsweep.files import MEND, short_key
from headsweep.identity import learnt, override_key
from headsweep.store import paths, runs
from headsweep.store.outcome import Outcome

BEFORE = {"loss": "smooth_l1"}
"""Choices of jobs from before there was one."""

FOLD_KEYS = ("data.split.fold", "data.split.seed")
"""Keys in which the jobs of one cross-validation differ."""


LossKey = str
"""Target and kind of a training's losses; they are comparable within one alone."""


def loss_key(config: Mapping[str, Any]) -> LossKey:
    """The ``LossKey`` of a resolved configuration."""
    return json.dumps(learnt(config), sort_keys=True)


def has_zero(key: LossKey) -> bool:
    """Whether no loss is below 0: only then a ratio of two means anything."""
    return bool(json.loads(key).get("loss", {}).get("name") != "gaussian")


def loss_words(key: LossKey) -> tuple[str, str]:
    """Target and loss in words, such as ``log_pt`` and ``gaussian, charge=bce``."""
    known = json.loads(key)
    target = known["target"]
    loss = {"name": LossConfig.name, **known.get("loss", {})}
    return ", ".join(_words(target)), ", ".join(_words(loss))


def _words(node: Mapping[str, Any]) -> Iterator[str]:
    """The name of a target or loss, and its other keys that are set."""
    yield node["name"]
    for key, value in node.items():
        if key != "name" and value is not False:
            yield key if value is True else f"{key}={word(value)}"


class Block(NamedTuple):
    """The part of the data that a training of a cross-validation is scored on."""

    split_seed: int
    fold: int


@dataclass(frozen=True)
class StoredJob:
    """A job folder as far as a comparison needs it.

    Attributes:
        folder: Where it is.
        choices: Config groups and overridden keys, with the value they have in this job.
        cache_key: Its frozen features.
        loss: What its losses are of.
        folds: k of a cross-validation, or None.
        block: The same for every job without cross-validation.
        seeds: Seeds that the job has or will have: those of its last command and of the sweep,
            and every other that has a result.
        failed: Reason by seed of those that failed, alone or with the whole job.
        missing: Seeds that are not trained yet.
    """

    folder: Path
    choices: dict[str, str]
    cache_key: str
    loss: LossKey
    folds: int | None
    block: Block
    seeds: frozenset[int]
    failed: Mapping[int, str]
    missing: frozenset[int]

    def problems(self) -> list[str]:
        """A line for each reason for which seeds failed, and one for those not trained yet."""
        where = f"split seed {self.block[0]}, fold {self.block[1]}, " if self.folds else ""
        by_reason: dict[str, list[str]] = {}
        for seed, reason in self.failed.items():
            by_reason.setdefault(reason, []).append(str(seed))
        lines = [
            f"{where}seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}: {reason}"
            for reason, seeds in by_reason.items()
        ]
        if self.missing:
            lines.append(f"{where}no result of {len(self.missing)} of {len(self.seeds)} seeds")
        return lines


def read_jobs(folder: Path, numbers: Sequence[int] | None = None) -> list[StoredJob]:
    """The jobs below a sweep folder, or the one given.

    Args:
        folder: The sweep's, or that of one job.
        numbers: Only these jobs of the sweep, in this order; None for all.

    Raises:
        DataError: Something that a job's name rests on is missing or damaged; or of a grid, the
            control is missing, or a folder holds another job than ``spec.yaml`` says.
    """
    if numbers is None:
        folders = runs.find_jobs(folder)
    else:
        folders = [paths.job_folder(folder, number) for number in numbers]
    configs = [runs.read_config(path) for path in folders]
    abouts = [runs.read_job(path) or {} for path in folders]
    spec = runs.read_spec(folder)
    _check_keys(folders, abouts, spec)
    spec_seeds = int(spec.get("seeds", 1))
    keys = list(dict.fromkeys(key for about in abouts for key in _overridden(about)))
    jobs = []
    for path, config, about in zip(folders, configs, abouts, strict=True):
        split, results = config["data"]["split"], runs.read_results(path)
        seeds = planned_seeds(about, spec_seeds, results)
        jobs.append(
            StoredJob(
                folder=path,
                choices=about["labels"]
                | BEFORE
                | about["labels"]
                | {key: _value(config, key) for key in keys},
                cache_key=about["cache_key"],
                loss=loss_key(config),
                folds=split["folds"],
                block=Block(split["seed"], split["fold"]) if split["folds"] else Block(0, 0),
                seeds=seeds,
                failed=(failed := failed_seeds(path, seeds, results)),
                missing=seeds - results.keys() - failed.keys(),
            )
        )
    return jobs


def _check_keys(
    folders: Sequence[Path], abouts: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]
) -> None:
    """Refuse jobs in the place of others, of which a table would say what is not true."""
    keys = dict(enumerate(spec.get("keys", ())))
    for path, about in zip(folders, abouts, strict=True):
        if keys and about.get("job_key") != keys.get(int(path.name)):
            raise DataError(f"{path}: is not the job {path.name} of {paths.SPEC}; {MEND}")
    kind = spec.get("design", {}).get("kind")
    if keys and folders and folders[0].name != "0" and kind != "claims":
        missing = folders[0].with_name("0")
        raise DataError(f"{missing}: missing, the control of all comparisons; {MEND}")


def planned_seeds(
    about: Mapping[str, Any], sweep_seeds: int, results: Iterable[int]
) -> frozenset[int]:
    """Seeds that a job has or will have.

    Args:
        about: Its ``job.json``, as its last training wrote it.
        sweep_seeds: Number of seeds that the sweep asks for by now.
        results: Seeds with a result, which an earlier command may have asked for.
    """
    first, count = about["seeds"]
    return frozenset(range(first, first + max(count, sweep_seeds))).union(results)


def failed_seeds(
    folder: Path, seeds: Iterable[int], results: Mapping[int, Mapping[str, Any]]
) -> dict[int, str]:
    """Reason by seed of the members that failed; those of a failed job have no result.

    Args:
        folder: Of the job.
        seeds: Those that it has or will have.
        results: Its results, by seed.
    """
    outcome = Outcome.read(folder)
    whole = outcome.reason if outcome is not None and outcome.state == "failed" else None
    reasons = {
        seed: whole if result is None else result["reason"]
        for seed in sorted(seeds)
        if (result := results.get(seed)) is None or result["status"] == "failed"
    }
    return {
        seed: str(reason).removeprefix(f"seed {seed}: ")
        for seed, reason in reasons.items()
        if reason is not None
    }


def group_rows(jobs: Sequence[StoredJob]) -> dict[str, list[StoredJob]]:
    """Label and jobs of each row of a comparison.

    Jobs of one cross-validation that differ only in fold and split seed share a row; every other
    job has its own. A label holds what differs among the rows: the choice of a group
    (``simpler``), or a key and its value (``dropout=0.1``); of arms it is their name, of a single
    row the head.
    """
    rows: dict[object, list[StoredJob]] = {}
    for job in jobs:
        shared = tuple(sorted(_own_choices(job).items()))
        rows.setdefault((shared, job.folds) if job.folds else job.folder, []).append(job)
    first = [_own_choices(row[0]) for row in rows.values()]
    keys = [key for key in dict.fromkeys(k for c in first for k in c) if _differs(key, first)]
    arms = {c.get("arm") for c in first}
    if len(first) > 1 and len(arms) == len(first) and None not in arms:
        keys = ["arm"]  # an arm says all that its head and other keys say
    labels = [" ".join(_name(k, c[k]) for k in keys if k in c) or c["head"] for c in first]
    counts = Counter(labels)
    return {
        label if counts[label] == 1 else f"{label} (job {row[0].folder.name})": row
        for label, row in zip(labels, rows.values(), strict=True)
    }


def path_rows(jobs: Sequence[StoredJob], trial: int) -> dict[str, list[StoredJob]]:
    """Label and job of each row of a path to a trial of a search: what it changes.

    Args:
        jobs: Its jobs in their order. The first is a preset and has its name.
        trial: Number of the trial that the last one is.
    """
    rows = {jobs[0].choices["head"]: [jobs[0]]}
    for before, job in pairwise(jobs):
        changed = {k: v for k, v in job.choices.items() if before.choices.get(k) != v}
        label = f"+ {' '.join(_name(key, value) for key, value in changed.items())}"
        rows[f"{label} (trial {trial})" if job is jobs[-1] else label] = [job]
    return rows


def choices_only(job: StoredJob) -> StoredJob:
    """A job that is labelled by its choices of groups alone, not by keys."""
    return replace(job, choices={key: v for key, v in job.choices.items() if "." not in key})


def _chosen(about: Mapping[str, Any]) -> dict[str, str]:
    """Choices of groups, in the order of the job's; the later ones of an older job behind them."""
    own: dict[str, str] = about["labels"]
    return own | BEFORE | own


def _overridden(about: Mapping[str, Any]) -> list[str]:
    """Keys of a job's overrides that decide results and choose no group."""
    keys = (override_key(override) for override in about["overrides"])
    ignored = (*about["labels"], *RUNTIME_KEYS, "seed", "seeds")
    return [key for key in keys if key not in ignored]


def _value(config: Mapping[str, Any], key: str) -> str:
    """A dotted key's value as a word; empty where the configuration has no such key."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return ""
        node = node[part]
    return word(node)


def word(value: object) -> str:
    """A value of a key as labels show it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _own_choices(job: StoredJob) -> dict[str, str]:
    """Choices that tell a job's row from others; without folds where the row holds all of them."""
    return {k: v for k, v in job.choices.items() if not (job.folds and k in FOLD_KEYS)}


def _differs(key: str, choices: Sequence[Mapping[str, str]]) -> bool:
    return len({c.get(key) for c in choices}) > 1


def _name(key: str, value: str) -> str:
    return f"{short_key(key)}={value}" if "." in key else value
