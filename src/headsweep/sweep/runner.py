"""A sweep from beginning to end: prepare once, let workers train, say what came out."""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from headsweep.errors import UserError, without_secrets
from headsweep.identity import override_key
from headsweep.store import paths
from headsweep.store.members import MemberIndex
from headsweep.store.repair import missing_seeds, remove_damage
from headsweep.store.runs import write_command
from headsweep.store.specification import claim_sweep
from headsweep.store.tracking.tracker import Tracker
from headsweep.sweep.compose import Sweep
from headsweep.sweep.equal_jobs import merge_equal
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.inputs import Inputs
from headsweep.sweep.internals import JobsLoader
from headsweep.sweep.job import found_words
from headsweep.sweep.launched import Launched, launched
from headsweep.sweep.launching import Launch
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.order import Order
from headsweep.sweep.overrides import as_written
from headsweep.sweep.plan import Plan, distinct, plan_sweep
from headsweep.sweep.prepare import inputs_spec, prepare, selection_lines
from headsweep.sweep.progress import GridProgress
from headsweep.sweep.queue import Queue
from headsweep.sweep.rates import RateTrials
from headsweep.sweep.rounds import Look, Rounds
from headsweep.sweep.worker_pool import WorkerPool
from headsweep.terminal import console, following, preparing, print_table

if TYPE_CHECKING:
    from headsweep.sweep.search.progress import SearchProgress


def run_sweep(loader: ConfigLoader, master: DictConfig, look: Look) -> None:
    """Run the sweep that a composed configuration describes, or go on with it.

    Args:
        loader: Hydra's.
        master: The configuration, with its node ``hydra``.
        look: Of ``seeds=auto`` at the verdicts.

    Raises:
        UserError: Something cannot be used, or the name belongs to another sweep.
        KeyboardInterrupt: Ctrl-C; what is finished and how to go on has been said.
        SystemExit: With code 1, where a job of a grid or all trials of a search failed.
    """
    started = time.monotonic()
    sweep = Sweep(JobsLoader.of(loader), master)
    plan = plan_sweep(sweep)
    with launched(Path(master.root), _launch(master)) as elsewhere:
        if (trials := RateTrials.of(plan)) is not None:
            plan = _with_rates(plan, trials, elsewhere)
        with preparing(console()) as report:
            inputs = prepare(plan, report)
        spec, lines = {**plan.spec, "inputs": inputs_spec(inputs)}, plan.lines
        if plan.search is None:
            plan, inputs, lines = merge_equal(plan, inputs)
            spec = plan.spec
        lines = [*lines, *selection_lines(plan, inputs)]
        print("\n".join(lines), end="\n" if lines else "")
        assert plan.folder is not None
        rounds = Rounds(plan.folder, look, master.budget, started) if "looks" in plan.spec else None
        progress = _train(sweep, plan, inputs, spec, rounds, elsewhere)
    if code := progress.conclude():
        raise SystemExit(code)


def _launch(master: DictConfig) -> Launch | None:
    """How to launch the workers of a sweep; None where they are local processes.

    Raises:
        UserError: The command line has a secret, which nothing that is launched may know.
    """
    if master.hydra.runtime.choices["hydra/launcher"] == "basic" and master.workers > 0:
        return None
    for override in _overrides(master):
        if without_secrets(override) != override:
            raise UserError(
                f"{without_secrets(override)}: workers on other machines are told no secrets; "
                "leave it out and set a variable such as PGPASSWORD, or write "
                f"'{override_key(override)}=${{oc.env:NAME}}' and set NAME"
            )
    given = as_written(master.hydra.overrides)["hydra"]
    return Launch(
        overrides=[o for o in given if not o.startswith("hydra.mode=")],
        config_dir=_config_dir(master),
        sweeps=master.hydra.runtime.choices.sweeps,
        root=master.root,
        name=master.name,
        first=0,
        count=master.workers,
    )


def _with_rates(plan: Plan, trials: RateTrials, elsewhere: Launched | None) -> Plan:
    """The plan of a sweep with the learning rates that trials choose, which are trained first."""
    while True:
        print(trials.words())
        own = trials.plan()
        with preparing(console()) as report:
            inputs = prepare(own, report)
        merged, distinct_inputs, _ = merge_equal(own, inputs)
        trained = _train(trials.sweep, merged, distinct_inputs, merged.spec, None, elsewhere)
        values = trials.values([found.job_key for found in inputs])
        wider = trials.continued(values)
        if wider == trials:
            break
        trials = wider
    assert isinstance(trained, GridProgress)
    trained.print_failures()
    print_table(*trials.table(values))
    return trials.applied(plan, values)


def _train(
    sweep: Sweep,
    plan: Plan,
    inputs: Sequence[Inputs],
    spec: Mapping[str, Any],
    rounds: Rounds | None,
    elsewhere: Launched | None,
) -> "GridProgress | SearchProgress":
    """Claim the folder, and let workers train all that is missing; returns what came of it."""
    folder = plan.folder
    assert folder is not None
    numbers = _numbers(claim_sweep(folder, spec), inputs)
    write_command(folder, _command(sweep.master))
    command = Process.of(os.getpid())
    leases = Leases(folder, command, command)
    config, root = plan.jobs[0].config, Path(sweep.master.root)
    queue, progress, entries = _open(sweep, plan, inputs, numbers, leases)
    first = plan.spec.get("first", [])
    order = Order(
        _overrides(sweep.master), _config_dir(sweep.master), folder, entries, command, first
    )
    try:
        with Tracker(config, folder):
            _work(order, leases, queue, progress, config.workers, elsewhere)
            while rounds is not None and (seeds := rounds.next_seeds()):
                assert isinstance(queue, GridQueue)
                assert isinstance(progress, GridProgress)
                queue = _with_seeds(queue, config.seed, seeds, root)
                progress = GridProgress(queue, progress.labels, progress.before)
                order = replace(order, entries=[*queue.entries.values()])
                _work(order, leases, queue, progress, config.workers, elsewhere)
    except KeyboardInterrupt:
        print(f"{progress.words()}; go on with:", file=sys.stderr)
        print(f"  {_command(sweep.master)}", file=sys.stderr)
        raise
    return progress


def _work(
    order: Order,
    leases: Leases,
    queue: Queue,
    progress: "GridProgress | SearchProgress",
    workers: int,
    elsewhere: Launched | None,
) -> None:
    """Let workers train what is left, under a progress bar."""
    if elsewhere is not None:
        with following(lambda: elsewhere.told(progress.state()), console()):
            elsewhere.work(order, leases, queue, progress.left)
        return
    with following(progress.state, console()):
        places = [str(place) for place in range(min(workers, progress.left()))]
        WorkerPool(order, places, leases, queue.collect).run()


def _with_seeds(queue: GridQueue, first: int, seeds: Mapping[int, int], root: Path) -> GridQueue:
    """The queue of a grid in which some jobs have so many seeds, by their numbers."""
    index = MemberIndex(root)
    entries = []
    for number, entry in queue.entries.items():
        if number in seeds:
            own = [o for o in entry.overrides if override_key(o) != "seeds"]
            wanted = [*range(first, first + seeds[number])]
            entry = replace(entry, overrides=[*own, f"seeds={len(wanted)}"], seeds=wanted)
            missing = missing_seeds(queue.job_folder(number), entry.key, wanted)
            entry = replace(entry, found=index.find(entry.key, missing))
        entries.append(entry)
    return GridQueue(queue.folder, entries, queue.leases, queue.max_retries)


def _open(
    sweep: Sweep, plan: Plan, inputs: Sequence[Inputs], numbers: Sequence[int], leases: Leases
) -> "tuple[Queue, GridProgress | SearchProgress, list[Entry] | None]":
    """The queue of a grid or a search, its progress, and the jobs of a grid."""
    assert plan.folder is not None
    if plan.search is None:
        grid = _open_grid(sweep, plan, inputs, numbers, leases)
        labels = dict(zip(numbers, distinct(plan.jobs), strict=True))
        return grid, GridProgress(grid, labels), [*grid.entries.values()]
    from headsweep.sweep.search.progress import SearchProgress
    from headsweep.sweep.search.queue import SearchQueue
    from headsweep.sweep.search.taking import copy_taken

    _remove_damaged_trials(plan.folder, leases)
    copy_taken(sweep, plan.search, plan.folder, leases)
    study = SearchQueue.of(sweep, plan.search, plan.folder, leases)
    return study, SearchProgress(study), None


def _numbers(spec: Mapping[str, Any], inputs: Sequence[Inputs]) -> list[int]:
    """Number of each job of a grid, which never changes when the grid grows."""
    numbers = {key: number for number, key in enumerate(spec.get("keys", ()))}
    return [numbers[found.job_key] for found in inputs] if numbers else []


def _open_grid(
    sweep: Sweep, plan: Plan, inputs: Sequence[Inputs], numbers: Sequence[int], leases: Leases
) -> GridQueue:
    """The queue of a grid: without damage, and with the members that were trained elsewhere."""
    folder = plan.folder
    assert folder is not None
    entries = [
        Entry(number, batch, found.job_key, list(job.seeds))
        for number, batch, job, found in zip(numbers, plan.batches, plan.jobs, inputs, strict=True)
    ]
    entries.sort(key=lambda entry: entry.number)
    retries, root = sweep.master.worker.max_retries, sweep.master.root
    queue = GridQueue(folder, entries, leases, retries)
    for line in queue.reset():
        print(line, file=sys.stderr)
    index = MemberIndex(Path(root))
    entries = [replace(e, found=index.find(e.key, queue.missing(e.number))) for e in entries]
    if found := sum(len(entry.found) for entry in entries):
        print(found_words(found, root))
    return GridQueue(folder, entries, leases, retries)


def _remove_damaged_trials(folder: Path, leases: Leases) -> None:
    """Remove the trials of which something is damaged or missing; the search trains them again."""
    with leases.lock():
        for path in sorted((folder / paths.JOBS).glob("[0-9]*")):
            for line in remove_damage(path, None):
                print(line, file=sys.stderr)


def _config_dir(master: DictConfig) -> str | None:
    """The user's own folder of configuration (``--config-dir``)."""
    sources = master.hydra.runtime.config_sources
    own = [s.path for s in sources if s.provider == "command-line" and s.schema == "file"]
    return own[0] if own else None


def _overrides(master: DictConfig) -> list[str]:
    """Overrides of the command line, from which a worker composes the sweep again."""
    given = as_written(master.hydra.overrides)
    hydra = [o for o in given["hydra"] if not o.startswith("hydra.mode=")]
    return [*given["task"], *hydra]


def _command(master: DictConfig) -> str:
    """The command line that goes on with a sweep, without secrets: it is shown and kept."""
    overrides = [without_secrets(o) for o in _overrides(master) if override_key(o) != "name"]
    file = master.hydra.runtime.choices.sweeps
    if file != master.name:  # else it has its name from its file
        overrides.insert(0, f"name={master.name}")
    own = _config_dir(master)
    options = ["-m"] if file is None else []
    options += [] if own is None else ["--config-dir", own]
    return shlex.join(["headsweep", "train", *options, *overrides])
