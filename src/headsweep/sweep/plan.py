"""Plan of a command line: the jobs that it runs, each composed and validated.

Wrong keys, types and values are found here, before anything is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil, floor, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.identity import identity, override_key
from headsweep.instantiate import allow
from headsweep.store import paths
from headsweep.store.labels import FOLD_KEYS
from headsweep.store.names import check_alike
from headsweep.sweep.claim_roles import find_roles
from headsweep.sweep.compose import OF_SEARCHES, Job, Sweep, compose_single, load_sweep, open_loader
from headsweep.sweep.hydra_keys import SWEEPER
from headsweep.sweep.internals import grid
from headsweep.sweep.messages import did_you_mean, short_errors
from headsweep.sweep.overrides import (
    as_override,
    as_written,
    chooses_sample,
    parse,
    runtime_values,
    sweep_name,
)
from headsweep.sweep.search.finalists import Finalists, choose

if TYPE_CHECKING:
    from headsweep.sweep.search.rules import Search

MOST_JOBS = 100_000
"""Largest number of jobs of a grid; more is a slip of the pen, and would take hours to compose."""


@dataclass(frozen=True)
class Plan:
    """Jobs of a command line, and what identifies the sweep.

    Attributes:
        jobs: One run, or the jobs of a grid in Hydra's order and numbers, or of a search its fixed
            part and each parameter at the ends of its range.
        folder: The folder of the sweep; None for one run.
        trials: Length of a search, else None.
        spec: What identifies the sweep (``specification.claim_sweep``), of a grid without its jobs
            (``equal_jobs.merge_equal``); empty for one run.
        batches: For each job of a grid the overrides that make it from the sweep.
        search: The rules of a search.
        finalists: Of a confirmation, the trials that its last jobs train again.
        lines: What is said of a search's first trials.
        sweep: From which the jobs are composed; None for one run.
    """

    jobs: list[Job]
    folder: Path | None = None
    trials: int | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    search: "Search | None" = None
    finalists: Finalists | None = None
    lines: list[str] = field(default_factory=list)
    sweep: Sweep | None = None


def make_plan(overrides: Sequence[str], multirun: bool, config_dir: str | None = None) -> Plan:
    """Compose and validate all jobs of a command line.

    Args:
        overrides: Hydra overrides, as the user gave them.
        multirun: Whether they describe a sweep.
        config_dir: One more folder of configuration (``--config-dir``).

    Raises:
        UserError: A key, a type or a value is wrong; the message names the key.
    """
    values = runtime_values(overrides)  # also refuses what Hydra would let pass
    allow(values.get("allow"))
    if values.get("name") and not multirun:
        raise UserError(
            f"name={values['name']}: names a sweep; a single configuration is kept under its key: "
            "leave name out, or make it a sweep with -m or sweeps="
        )
    for override in [] if multirun else parse(overrides):
        if override.is_hydra_override():
            raise UserError(f"{override.input_line}: is for sweeps; add -m, or sweeps=NAME")
    with open_loader(config_dir) as loader:
        if not multirun:
            return Plan(jobs=[compose_single(loader, overrides)])
        name = as_override("name", sweep_name(overrides))
        return plan_sweep(load_sweep(loader, [name, *overrides]))


def distinct(jobs: Sequence[Job]) -> list[str]:
    """Overrides in which each of several jobs differs; of a single job all but its seeds."""
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs[1:]))
    if len(jobs) == 1:
        shared = {o for o in shared if o.startswith("seeds=")}
    return [" ".join(o for o in job.overrides if o not in shared) for job in jobs]


@short_errors()
def plan_sweep(sweep: Sweep) -> Plan:
    """Compose and validate all jobs of a grid, or those that stand for a search's ranges.

    Raises:
        UserError: A key, a type or a value is wrong; the message names the key.
    """
    check_alike(Path(sweep.master.root), str(sweep.master.name))
    arguments = parse(sweep.arguments(), sweep.loader)
    # Hydra's own sweeper has no such key.
    searches = sweep.master.hydra.sweeper.get("n_trials") is not None
    return _plan_search(sweep, arguments) if searches else _plan_grid(sweep, arguments)


def _folder(sweep: Sweep) -> Path:
    return paths.sweep_folder(Path(sweep.master.root), str(sweep.master.name))


def _plan_grid(sweep: Sweep, arguments: list[Override]) -> Plan:
    """Plan of a list of all combinations, and of the trials of a search that it trains again."""
    for override in arguments:
        if override.is_interval_sweep():
            raise UserError(
                f"{override.input_line}: an interval is searched, not listed; give the number of "
                "trials, hydra.sweeper.n_trials=N"
            )
        if override.get_key_element() in ("seed", "seeds") and override.is_sweep_override():
            raise UserError(f"{override.input_line}: use seeds=N, which trains N seeds of a job")
    master, finalists = sweep.master, None
    _check_sweeper(master)
    for key in OF_SEARCHES:
        if master[key]:
            raise UserError(
                f"{key}={master[key]}: is for searches; give the number of trials, "
                "hydra.sweeper.n_trials=N"
            )
    _check_size(arguments)
    if master.study is None:
        arguments = [*arguments, *_blocks(sweep, arguments)]
        _check_size(arguments)
        batches = grid(arguments)
    else:
        own = [o.input_line for o in arguments if not o.is_sweep_override()]
        finalists, batches = _finals(sweep, grid(arguments), [o for o in own if o is not None])
    if any(isinstance(o.value(), Glob) for o in arguments):  # is in alphabetical order
        batches.sort(key=lambda batch: "arm=baseline" not in batch)  # the first is the control
    jobs = [sweep.compose(batch) for batch in batches]
    config = jobs[0].config
    _check_design(jobs)
    spec = {"seed": config.seed, "seeds": config.seeds, "design": asdict(config.design)}
    if jobs[0].auto:
        _check_looks(jobs)
        spec["looks"] = asdict(config.looks)
    if finalists is not None:
        first = len(jobs) - len(finalists.best)
        finalists.check([job.resolved for job in jobs[first:]], jobs[0].all_seeds)
        if config.design.kind == "path":
            spec["why"] = {"study": finalists.study, "trial": finalists.best[0].number}
        else:
            spec["confirm"] = finalists.spec(first)
    return Plan(jobs, _folder(sweep), None, spec, batches, None, finalists, sweep=sweep)


def _finals(
    sweep: Sweep, presets: Sequence[Sequence[str]], own: Sequence[str]
) -> tuple[Finalists, list[list[str]]]:
    """The best trials of a search, and the overrides of each job of their confirmation or path."""
    master = sweep.master
    finalists = choose(Path(master.root), master.study, master.top)
    best = finalists.batches(presets, own)[-len(finalists.best)]
    finalists = finalists.with_file(sweep.compose(best).resolved, own)
    make = finalists.path if master.design.kind == "path" else finalists.batches
    return finalists, make(presets, own)


def _check_sweeper(master: DictConfig) -> None:
    """Refuse keys of a search where our sweeper runs a grid."""
    if master.hydra.sweeper._target_ != SWEEPER:
        return
    for line in as_written(master.hydra.overrides.hydra):
        _, _, key = override_key(line).replace("/", ".").partition("hydra.sweeper.")
        if key and key.partition(".")[0] not in ("n_trials", "params"):
            raise UserError(
                f"{line}: is for searches; give the number of trials, hydra.sweeper.n_trials=N"
            )


def _check_size(arguments: Sequence[Override]) -> None:
    """Refuse a grid without a job, or with more than any machine trains, before it is listed."""
    counts = {str(o.input_line): _count(o) for o in arguments if o.is_sweep_override()}
    empty = next((line for line, count in counts.items() if count == 0), None)
    if empty is not None:
        raise UserError(f"{empty}: there is nothing in it")
    if prod(counts.values()) > MOST_JOBS:
        factors = " x ".join(f"{count:,} of {line}" for line, count in counts.items())
        raise UserError(
            f"{factors}: {prod(counts.values()):,} jobs, but a grid has at most {MOST_JOBS:,}; "
            "give fewer values, or search them with hydra.sweeper.n_trials=N"
        )


def _count(override: Override) -> int:
    """Number of values of a sweep, without listing a range."""
    value = override.value()
    if isinstance(value, RangeSweep):
        start, stop, step = _ends(value)
        return max(0, ceil((stop - start) / step)) if step else 0
    return sum(1 for _ in override.sweep_string_iterator())


def _ends(value: RangeSweep) -> tuple[float, float, float]:
    """Start, stop and step of a range; integers stay integers."""
    start, stop, step = (
        part if isinstance(part, int) else float(part or 0)
        for part in (value.start, value.stop, value.step)
    )
    return start, stop, step


def _blocks(sweep: Sweep, arguments: list[Override]) -> list[Override]:
    """Overrides of a cross-validated grid: all folds of ``data.repeats`` split seeds.

    There are none where the data have no folds, or fold or split seed are given. Unless they are
    given, each fold of a split trains one seed, as more splits say more than more seeds, and the
    report reads dev, as folds leave no test split.
    """
    keys = {o.get_key_element() for o in arguments}
    data = sweep.compose(grid(arguments)[0]).config.data
    if data.split.folds is None or keys & set(FOLD_KEYS):
        return []
    first = data.split.seed
    defaults = {"seeds": 1, "design.split": "dev"}
    return parse(
        [
            f"data.split.fold=range(0,{data.split.folds})",
            f"data.split.seed=range({first},{first + data.repeats})",
            *(f"{key}={value}" for key, value in defaults.items() if key not in keys),
        ]
    )


def _plan_search(sweep: Sweep, arguments: Sequence[Override]) -> Plan:
    """Plan of a search: its fixed part, and each parameter at values that stand for its range."""
    master = sweep.master
    if master.study is not None:
        raise UserError(
            f"study={master.study}: goes with sweeps=confirm or sweeps=why, not with another search"
        )
    ranges = {o.get_key_element(): o for o in arguments if o.is_sweep_override()}
    fixed = {o.get_key_element(): o for o in arguments if not o.is_sweep_override()}
    ranges = {key: value for key, value in ranges.items() if key not in fixed}
    jobs = list(_search_jobs(sweep, ranges, fixed))
    sweeper = master.hydra.sweeper
    if sweeper._target_ != SWEEPER:
        for line in as_written(master.hydra.overrides.task):
            if override_key(line) in OF_SEARCHES:
                raise UserError(f"{line}: only hydra/sweeper=headsweep has first trials")
        return Plan(jobs, _folder(sweep), trials=sweeper.n_trials)
    if jobs[0].auto:
        raise UserError("seeds=auto: is for comparisons; a trial of a search has a number of seeds")
    from headsweep.sweep.search.placing import first_trials  # loads optuna
    from headsweep.sweep.search.taking import take_trials

    search, config = sweep.search(), jobs[0].config
    taken, lines = take_trials(sweep, search)
    first, more = first_trials(sweep, replace(search, first=taken))
    search, lines = replace(search, first=[*taken, *first]), [*lines, *more]
    spec = {
        "n_trials": search.n_trials,
        "first_seed": config.seed,
        "seeds_per_trial": config.seeds,
        **search.spec(),
        "config": identity(jobs[0].resolved),
    }
    return Plan(jobs, _folder(sweep), search.n_trials, spec, search=search, lines=lines)


def _check_design(jobs: Sequence[Job]) -> None:
    design = jobs[0].config.design
    _check_metrics(design.metrics, design.split)
    if design.kind == "claims":
        find_roles([job.resolved for job in jobs])


def _check_looks(jobs: Sequence[Job]) -> None:
    """Refuse ``seeds=auto`` where no look decides single comparisons."""
    design, split = jobs[0].config.design, jobs[0].config.data.split
    if split.folds is not None:
        raise UserError(
            "seeds=auto: not with data.split.folds, where more split seeds say more than more "
            "seeds; raise data.repeats"
        )
    if design.kind == "factorial":
        raise UserError(
            "seeds=auto: not with design.kind=factorial, whose comparisons share all their "
            "jobs; give a number of seeds, `headsweep plan` says which"
        )


def _check_metrics(names: Sequence[str], split: str) -> None:
    if names == DesignConfig().metrics:
        return  # the statistics take a second to import
    from headsweep.stats.metrics import LAST_LOSSES, MARGINS, METRICS, SCORED_LOSSES

    for name in names:
        for losses in (SCORED_LOSSES, LAST_LOSSES):
            if name in losses.values() and name != losses[split]:
                raise UserError(
                    f"design.metrics: {name} is never read, as design.split={split}; "
                    f"write {losses[split]}"
                )
        if name not in MARGINS:
            what = "has no margin" if name in METRICS else "is no metric"
            raise UserError(f"design.metrics: {name} {what}; {did_you_mean(name, [*MARGINS])}")


def _search_jobs(
    sweep: Sweep, ranges: Mapping[str, Override], fixed: Mapping[str, Override]
) -> Iterator[Job]:
    """The fixed part of a search, then each parameter at values that stand for its range."""
    common = [f"{key}={value.get_value_element_as_str()}" for key, value in fixed.items()]

    def compose(*overrides: str) -> Job:
        return sweep.compose([*common, *overrides])

    yield compose()
    for key, override in ranges.items():
        if chooses_sample(key):
            raise UserError(
                f"{override.input_line}: a search would choose the luckiest sample; seeds=N gives "
                "every trial N seeds to average over"
            )
        for value in _samples(override):
            try:
                yield compose(f"{key}={value}")
            except UserError:
                if isinstance(value, float) and _all_fit(compose, key, floor(value), ceil(value)):
                    raise UserError(
                        f"{override.input_line}: samples fractions, but {key} is an integer; use "
                        f"{key}=int(interval(A, B)), or tag(log, int(interval(A, B)))"
                    ) from None
                raise


def _all_fit(compose: Callable[[str], Job], key: str, *values: int) -> bool:
    try:
        return all(compose(f"{key}={value}") for value in values)
    except UserError:
        return False


def _samples(override: Override) -> list[Any]:
    """All values of a choice; of a range its ends, and for fractions a point in between."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        start, end = value.start, value.end
        assert start is not None
        assert end is not None
        if start >= end:
            raise UserError(f"{override.input_line}: the interval must rise")
        between = [round(start + (end - start) * 0.382, 6)] if isinstance(start, float) else []
        return [start, *between, end]
    count = _count(override)
    if count == 0:
        raise UserError(f"{override.input_line}: there is nothing in it")
    if isinstance(value, RangeSweep):
        start, _, step = _ends(value)
        return [start, start + step * (count - 1)]
    return list(override.sweep_string_iterator())
