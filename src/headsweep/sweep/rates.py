"""Learning rates by the tool (``rates=auto``): each is tried before the jobs of a sweep train.

The trials are a sweep of their own, ``NAME-rates``, with seeds that no comparison uses. So they are
killed, resumed, reported and copied like any other, and a report finds the rates that were tried.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from statistics import fmean

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.identity import override_key
from headsweep.store import paths, runs
from headsweep.store.labels import FOLD_KEYS
from headsweep.sweep.compose import CHOSEN_RATE, Job, Sweep
from headsweep.sweep.plan import Plan, distinct

METRIC = "val_qoverpt_r68"
"""What a learning rate is chosen by, the mean over the seeds of its trials."""

MOST_MORE = 3
"""Rates beyond the list, at most, that are tried for a configuration."""

OWN = ("seed", "seeds", "budget", "design.split", "optim.steps", *FOLD_KEYS)
"""Keys of a job in which a trial of a rate has values of its own."""


@dataclass(frozen=True)
class Rated:
    """A configuration whose rate is chosen.

    Attributes:
        label: What it is called in the table of rates.
        jobs: Places of its jobs in the plan; several where it is cross-validated.
        trial: Overrides of a trial, without its rate.
        table: Its rate in the table.
        rates: Those that are tried, in rising order.
    """

    label: str
    jobs: tuple[int, ...]
    trial: list[str]
    table: float
    rates: tuple[float, ...]

    def continued(self, values: Mapping[float, float]) -> "Rated":
        """The same with one more rate beyond the best, where that lies at an end.

        Args:
            values: Of each rate.
        """
        best = lowest(values)
        first, last = self.rates[:2], self.rates[-2:]
        if best == self.rates[0]:
            return replace(self, rates=(_rounded(first[0] ** 2 / first[1]), *self.rates))
        if best == self.rates[-1]:
            return replace(self, rates=(*self.rates, _rounded(last[1] ** 2 / last[0])))
        return self


@dataclass(frozen=True)
class RateTrials:
    """The trials of rates of a sweep.

    Attributes:
        sweep: From which they are composed.
        folder: Of their own sweep.
        rated: The configurations.
    """

    sweep: Sweep
    folder: Path
    rated: tuple[Rated, ...]

    @classmethod
    def of(cls, plan: Plan) -> "RateTrials | None":
        """The trials that a plan needs; None where every rate is given or of the table.

        Args:
            plan: Of a sweep, without chosen rates.

        Raises:
            UserError: The seeds of the trials are among those of the comparison.
        """
        if plan.sweep is None or not plan.batches or not plan.sweep.master.rates.tried:
            return None
        sweep, labels = plan.sweep, distinct(plan.jobs)
        config, configurations = sweep.master.rates, _configurations(plan)
        if not configurations:
            return None
        _check_seeds(range(config.seed, config.seed + config.seeds), plan.jobs)
        rated = []
        for places in configurations:
            job = plan.jobs[places[0]]
            words = " ".join(_without_fold(labels[places[0]].split()))
            unused = 1 + max(plan.jobs[place].config.data.split.seed for place in places)
            trial = _trial(job, plan.batches[places[0]], unused)
            rated.append(Rated(words, places, trial, job.config.optim.lr, tuple(config.tried)))
        name = f"{sweep.master.name}-rates"
        return cls(sweep, paths.sweep_folder(Path(sweep.master.root), name), tuple(rated))

    def plan(self) -> Plan:
        """The plan of the trials."""
        batches = [
            [*rated.trial, f"optim.lr={rate!r}"] for rated in self.rated for rate in rated.rates
        ]
        config = self.sweep.master.rates
        spec = {"seed": config.seed, "seeds": config.seeds, "design": asdict(DesignConfig())}
        jobs = [self.sweep.compose(batch) for batch in batches]
        return Plan(jobs, self.folder, spec=spec, batches=batches, sweep=self.sweep)

    def values(self, keys: Sequence[str]) -> list[dict[float, float]]:
        """What came out: of each configuration, ``METRIC`` by rate.

        Args:
            keys: Of the jobs of ``plan``, in their order.

        Returns:
            Means over the seeds; infinite where a seed failed, NaN where one is not trained.
        """
        folders = {}
        for folder in runs.find_jobs(self.folder):
            folders[(runs.read_job(folder) or {}).get("job_key")] = folder
        seeds = self.sweep.master.rates.seeds
        of_job = iter([_mean(folders.get(key), seeds) for key in keys])
        return [{rate: next(of_job) for rate in rated.rates} for rated in self.rated]

    def continued(self, values: Sequence[Mapping[float, float]]) -> "RateTrials":
        """With one more rate for each configuration whose best lies at an end."""
        most = len(self.sweep.master.rates.tried) + MOST_MORE
        found = [
            own.continued(of_rate) if len(own.rates) < most else own
            for own, of_rate in zip(self.rated, values, strict=True)
        ]
        return replace(self, rated=tuple(found))

    def words(self) -> str:
        """What is tried, as one line."""
        config, rates = (
            self.sweep.master.rates,
            sorted({r for own in self.rated for r in own.rates}),
        )
        tried = ", ".join(f"{rate:g}" for rate in rates)
        many = "1 configuration" if len(self.rated) == 1 else f"{len(self.rated)} configurations"
        last = config.seed + config.seeds - 1
        seeds = f"seed {last}" if config.seeds == 1 else f"seeds {config.seed} to {last}"
        return (
            f"rates=auto: {many}, learning rates {tried}, {seeds}, {config.share:.0%} of the steps"
        )

    def applied(self, plan: Plan, values: Sequence[Mapping[float, float]]) -> Plan:
        """The plan of the sweep with the best rates; that of the table where all trials failed."""
        batches, jobs = [*plan.batches], [*plan.jobs]
        for rated, found in zip(self.rated, values, strict=True):
            rate = rated.table if (best := lowest(found)) is None else best
            for place in rated.jobs:
                batches[place] = [*batches[place], f"{CHOSEN_RATE}={rate!r}"]
                jobs[place] = self.sweep.compose(batches[place])
        return replace(plan, batches=batches, jobs=jobs)

    def table(self, values: Sequence[Mapping[float, float]]) -> tuple[list[str], list[list[str]]]:
        """Heads and rows of what was tried and what is taken."""
        rates = sorted({rate for found in values for rate in found})
        rows = []
        for rated, found in zip(self.rated, values, strict=True):
            best = lowest(found)
            cells = [_cell(found[rate]) if rate in found else "" for rate in rates]
            words = f"{rated.table:g} (table; all failed)" if best is None else f"{best:g}"
            rows.append([rated.label, *cells, words])
        return ["learning rate", *(f"{rate:g}" for rate in rates), "taken"], rows


def lowest(values: Mapping[float, float]) -> float | None:
    """The rate with the lowest value; None where no value is finite."""
    finite = {rate: value for rate, value in values.items() if math.isfinite(value)}
    return min(finite, key=lambda rate: finite[rate], default=None)


def _configurations(plan: Plan) -> list[tuple[int, ...]]:
    """Places of the jobs of each configuration whose rate may be chosen; folds share it."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in _places(plan):
        if not plan.jobs[place].given_rate:
            groups.setdefault(tuple(_without_fold(plan.batches[place])), []).append(place)
    return [tuple(places) for places in groups.values()]


def _without_fold(overrides: Sequence[str]) -> list[str]:
    return [o for o in overrides if override_key(o) not in FOLD_KEYS]


def _trial(job: Job, overrides: Sequence[str], split_seed: int) -> list[str]:
    """Overrides of the trials of a job's rate: on a split of their own, where it has folds."""
    config = job.config
    rates = config.rates
    own = [
        *(o for o in overrides if override_key(o) not in OWN),
        *(f"seed={rates.seed}", f"seeds={rates.seeds}", "budget=null"),
        "design.split=dev",  # rates are read on val; nobody looks at test
        f"optim.steps={ceil(rates.share * config.optim.steps)}",
    ]
    if config.data.split.folds is not None:
        own += ["data.split.fold=0", f"data.split.seed={split_seed}"]
    return own


def _places(plan: Plan) -> range:
    """Places of the jobs whose rate may be chosen: those of a search's trials are fixed."""
    if plan.finalists is None:
        return range(len(plan.jobs))
    path = "why" in plan.spec
    return range(0 if path else len(plan.jobs) - len(plan.finalists.best))


def _check_seeds(own: range, jobs: Sequence[Job]) -> None:
    """Refuse to choose a rate on seeds that a verdict uses."""
    used = {seed for job in jobs for seed in job.all_seeds}
    if shared := sorted(used.intersection(own)):
        raise UserError(
            f"rates.seed={own.start}: seed {shared[0]} is one of this sweep's, and no rate may be "
            f"chosen on it; write rates.seed={max(used) + 1}, or rates=tuned for the table"
        )


def _mean(folder: Path | None, seeds: int) -> float:
    """Mean of ``METRIC`` over so many seeds of a job."""
    results = {} if folder is None else runs.read_results(folder)
    if len(results) < seeds:
        return math.nan
    found = [
        math.inf if result["status"] == "failed" else result["metrics"].get(METRIC, math.inf)
        for result in results.values()
    ]
    return fmean(found)


def _cell(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "failed"


def _rounded(rate: float) -> float:
    """A rate without the last bits of a division."""
    return float(f"{rate:.6g}")
