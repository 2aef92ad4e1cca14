"""Finalists: the best trials of a finished search, which a confirmation trains on fresh seeds.

They are chosen once, when the confirmation begins, and stand in its specification.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headsweep import files
from headsweep.errors import UserError
from headsweep.identity import identity, override_key
from headsweep.store import paths, runs
from headsweep.store.names import is_name
from headsweep.store.outcome import Outcome, best_trials, pooled
from headsweep.store.trials import Trials

PRESET = ("head", "arm", "optim.lr")
"""Keys of a preset that the fixed overrides of the search do not replace."""

SEEDS = ("seed", "seeds")

_RESOLVER = re.compile(r"\$\{[^{}$]*:")
"""An interpolation that asks a function, such as ``${oc.env:NAME}``, and not another key."""


@dataclass(frozen=True)
class Finalist:
    """One of the best trials.

    Attributes:
        number: Of the trial.
        overrides: Those that make it, without seeds.
        searched: Keys that the search chose.
        config: Its resolved configuration.
        job_key: Its key.
        seeds: The first objective of each of its seeds.
    """

    number: int
    overrides: list[str]
    searched: list[str]
    config: dict[str, Any]
    job_key: str
    seeds: dict[int, float]


@dataclass(frozen=True)
class Finalists:
    """The best trials of a search.

    Attributes:
        study: Name of the search.
        metric: Its first objective.
        seeds: Those that its trials used.
        best: Its best trials of different configurations, best first.
    """

    study: str
    metric: str
    seeds: range
    best: list[Finalist]

    def spec(self, first: int) -> dict[str, Any]:
        """The finalists as plain values, for the specification of the confirmation.

        Args:
            first: Number of the first job that trains a trial.
        """
        trials = {
            first + i: {"trial": finalist.number, "seeds": finalist.seeds}
            for i, finalist in enumerate(self.best)
        }
        return {"study": self.study, "metric": self.metric, "jobs": trials}

    def batches(self, presets: Sequence[Sequence[str]], own: Sequence[str]) -> list[list[str]]:
        """The overrides of each job, presets first: all on what the search had fixed.

        Args:
            presets: Overrides of each preset.
            own: Overrides that all jobs of the command line share, which come last.

        Raises:
            UserError: An override of the search's folder would read the environment. Whoever gave
                the folder could have what stands there written into the results.
        """
        for finalist in self.best:
            for override in _merged(finalist.overrides, own):
                if override not in own and _RESOLVER.search(override):
                    key = override_key(override)
                    raise UserError(
                        f"trial {finalist.number} of {self.study}: {override} is not resolved from "
                        f"a folder; add {key}=VALUE, or the same again, to this command"
                    )
        first = self.best[0]
        fixed = [o for o in first.overrides if override_key(o) not in first.searched]
        common = [o for o in fixed if not override_key(o).startswith(PRESET)]
        return [
            *(_merged(common, preset) for preset in presets),
            *(_merged(finalist.overrides, own) for finalist in self.best),
        ]

    def path(self, presets: Sequence[Sequence[str]], own: Sequence[str]) -> list[list[str]]:
        """The overrides of each step from a preset to the best trial, one searched key at a time.

        Args:
            presets: Overrides of the preset, one.
            own: As for ``batches``.

        Raises:
            UserError: There is more than one preset or trial; or as ``batches``.
        """
        if len(presets) != 1 or len(self.best) != 1:
            raise UserError(
                f"study={self.study} with design.kind=path: goes from one preset to one trial; "
                "give one head, such as head=conservative, and top=1"
            )
        [best] = self.best
        batches = [self.batches(presets, own)[0]]
        for override in best.overrides:
            key = override_key(override)
            if key in best.searched or key.startswith(PRESET):
                batches.append(_merged(batches[-1], [override]))
        return batches

    def with_file(self, job: Mapping[str, Any], own: Sequence[str]) -> "Finalists":
        """The same with what the file of the search fixes, such as ``optim.steps``, as overrides.

        Args:
            job: Resolved configuration of the best trial's job without them.
            own: Overrides that all jobs of the command line share; their keys stay as they are.
        """
        there, here = (files.flat(identity(c)) for c in (self.best[0].config, job))
        given = {override_key(override) for override in own}
        more = [
            f"{key}={_word(value)}"
            for key, value in there.items()
            if value != here.get(key, value)
            and key not in given
            and not key.startswith(PRESET)
            and isinstance(value, bool | int | float | None)
        ]
        best = [replace(one, overrides=[*more, *one.overrides]) for one in self.best]
        return replace(self, best=best)

    def check(self, jobs: Sequence[Mapping[str, Any]], seeds: range) -> None:
        """Refuse jobs that are not what the search trained, or not on fresh seeds.

        Args:
            jobs: Resolved configurations of the trials' jobs, best first.
            seeds: Those of the confirmation.

        Raises:
            UserError: The message says what differs.
        """
        if shared := sorted({*seeds} & {*self.seeds}):
            raise UserError(
                f"seed={seeds[0]}: the search {self.study} has used seed {shared[0]}; a "
                f"confirmation needs fresh ones: seed={max(seeds[-1], self.seeds[-1]) + 1}"
            )
        for finalist, job in zip(self.best, jobs, strict=True):
            there, here = (files.flat(identity(c)) for c in (finalist.config, job))
            differences = [
                f"{key}={there.get(key)} there, {here.get(key)} here"
                for key in sorted({*there, *here})
                if there.get(key) != here.get(key)
            ]
            if differences:
                raise UserError(
                    f"trial {finalist.number} of {self.study} was trained with other settings: "
                    f"{'; '.join(differences)}. Give what its search had in the command line"
                )

    def check_data(self, keys: Sequence[str]) -> None:
        """Refuse other data than the search's, given the keys of all jobs, the trials' last.

        Raises:
            UserError: The message says which.
        """
        for finalist, key in zip(self.best, keys[-len(self.best) :], strict=True):
            if key != finalist.job_key:
                raise UserError(
                    f"trial {finalist.number} of {self.study} was trained on other data, with "
                    "another checkpoint or by another version of headsweep; search again"
                )


def choose(root: Path, study: str, top: int) -> Finalists:
    """The best trials of a finished search, without repetitions of a configuration.

    Args:
        root: The folder of all output.
        study: Name of the search.
        top: How many.

    Raises:
        UserError: There is no such search, or it is not finished, or has too few trials.
    """
    if top < 1:
        raise UserError(f"top={top}: must be at least 1")
    folder, found = paths.sweep_folder(root, study), find_search(root, study, f"study={study}")
    if len(found.outcomes) < found.total:
        gone = sorted({*range(max(found.outcomes, default=0))} - found.outcomes.keys())
        what = f"trial {gone[0]} is missing, " if gone else ""
        raise UserError(
            f"study={study}: not finished, {what}{len(found.outcomes)} of {found.total} trials are "
            f"done; go on with: {runs.read_command(folder)}"
        )
    points = pooled(found.outcomes)
    best: dict[str, Finalist] = {}
    for number in best_trials(found.outcomes, found.directions):
        if len(best) < top:
            finalist = _read(paths.job_folder(folder, number), points[number])
            best.setdefault(finalist.job_key, finalist)
    if len(best) < top:
        kind = "different complete trials" if len(found.objectives) == 1 else "on its Pareto front"
        raise UserError(f"top={top}: {study} has {len(best)} {kind}; take top={len(best) or 1}")
    spec = runs.read_spec(folder)
    used = [seed for outcome in found.outcomes.values() for seed in outcome.seeds]
    last = max([spec["first_seed"] + spec["seeds_per_trial"] - 1, *used])
    seeds = range(spec["first_seed"], last + 1)
    return Finalists(study, found.objectives[0], seeds, [*best.values()])


def find_search(root: Path, study: str, where: str) -> Trials:
    """The trials of a search.

    Args:
        root: The folder of all output.
        study: Its name.
        where: The key that names it, with its value.

    Raises:
        UserError: There is no such search.
    """
    found = Trials.read(paths.sweep_folder(root, study)) if is_name(study) else None
    if found is None:
        specs = {path.name: runs.read_spec(path) for path in paths.sweep_folders(root)}
        known = [name for name, spec in specs.items() if spec]
        searches = [name for name in known if "search" in specs[name]]
        what = "is not a search" if study in known else "there is no such sweep"
        raise UserError(
            f"{where}: {what}; searches below {root}: {', '.join(searches) or 'none yet'}"
        )
    return found


def _read(folder: Path, outcome: Outcome) -> Finalist:
    about = runs.read_job(folder)
    if about is None:
        raise UserError(f"{folder}/job.json is damaged; the search must train this trial again")
    return Finalist(
        number=int(folder.name),
        overrides=[o for o in about["overrides"] if override_key(o) not in SEEDS],
        searched=list(outcome.params),
        config=runs.read_config(folder),
        job_key=about["job_key"],
        seeds={seed: values[0] for seed, values in outcome.seeds.items()},
    )


def _word(value: bool | float | None) -> str:
    """A value in Hydra's words."""
    return "null" if value is None else repr(value)


def _merged(first: Sequence[str], last: Sequence[str]) -> list[str]:
    """All overrides; of a key that both have, that of ``last``."""
    keys = {override_key(override) for override in last}
    return [*(o for o in first if override_key(o) not in keys), *last]
