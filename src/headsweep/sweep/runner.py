"""A sweep from beginning to end: prepare once, let workers train, say what came out."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from headsweep.config import Config
from headsweep.errors import UserError
from headsweep.store.runs import claim_sweep, write_command
from headsweep.store.tracking.sync import Tracker
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.leases import Leases, Process
from headsweep.sweep.plan import Plan, Sweep, distinct, plan_sweep
from headsweep.sweep.prepare import prepare
from headsweep.sweep.progress import GridState
from headsweep.sweep.queue import Queue
from headsweep.sweep.worker import search_queue
from headsweep.sweep.worker_pool import Crew
from headsweep.terminal import console, following, preparing

if TYPE_CHECKING:
    from headsweep.sweep.search.progress import SearchState

PASSWORD = re.compile(r"(://[^:/]*):.*@")
"""Of a URL, with the user before it; PGPASSWORD or ~/.pgpass gives one to PostgreSQL."""


def run_sweep(loader: ConfigLoader, master: DictConfig) -> None:
    """Run the sweep that a composed configuration describes, or go on with it.

    Args:
        loader: Hydra's.
        master: The configuration, with its node ``hydra``.

    Raises:
        UserError: Something cannot be used, or the name belongs to another sweep.
        KeyboardInterrupt: Ctrl-C; what is finished and how to go on has been said.
        SystemExit: With code 1, where a job of a grid or all trials of a search failed.
    """
    launcher = master.hydra.launcher._target_
    if not launcher.endswith("BasicLauncher"):
        raise UserError(
            f"hydra/launcher: {launcher} is not used; a sweep runs in workers=N local processes, "
            "and more machines that share its folder may run the same command"
        )
    sweep = Sweep(loader, master)
    plan = plan_sweep(sweep)
    assert plan.folder is not None
    with preparing(console()) as report:
        keys, inputs = prepare(plan, report)
    config = plan.jobs[0].config
    claim_sweep(plan.folder, {**plan.spec, "inputs": inputs})
    write_command(plan.folder, _command(master))
    code = _run(sweep, plan, config, keys)
    if code:
        raise SystemExit(code)


def _run(sweep: Sweep, plan: Plan, config: Config, keys: Sequence[str]) -> int:
    folder = plan.folder
    assert folder is not None
    command = Process.of(os.getpid())
    leases = Leases(folder, command, command)
    entries: list[dict[str, Any]] | None = None
    queue: Queue
    state: GridState | SearchState
    if plan.search is None:
        found = _entries(plan, keys)
        entries = [asdict(entry) for entry in found]
        grid = GridQueue(folder, found, leases, config.worker.max_retries)
        grid.reset()
        queue, state = grid, GridState(grid, distinct(plan.jobs))
    else:
        from headsweep.sweep.search import progress

        study = search_queue(folder, plan.search, leases, sweep)
        queue, state = study, progress.SearchState(study)
    order = {
        "overrides": _overrides(sweep.master),
        "config_dir": _config_dir(sweep.master),
        "folder": str(folder),
        "entries": entries,
        "command": asdict(command),
    }
    workers = min(config.workers, state.left())
    try:
        with Tracker(config, folder), following(state.look, console()):
            Crew(order, workers, leases, queue.collect).run()
    except KeyboardInterrupt:
        print(f"{state.words()}; go on with:", file=sys.stderr)
        print(f"  {_command(sweep.master)}", file=sys.stderr)
        raise
    return state.conclude()


def _entries(plan: Plan, keys: Sequence[str]) -> list[Entry]:
    return [
        Entry(batch, key, list(range(job.config.seed, job.config.seed + job.config.seeds)))
        for batch, job, key in zip(plan.batches, plan.jobs, keys, strict=True)
    ]


def _config_dir(master: DictConfig) -> str | None:
    """The user's own folder of configuration (``--config-dir``)."""
    sources = master.hydra.runtime.config_sources
    own = [s.path for s in sources if s.provider == "command-line" and s.schema == "file"]
    return own[0] if own else None


def _overrides(master: DictConfig) -> list[str]:
    """What the command line set, as a worker composes it again."""
    hydra = [o for o in master.hydra.overrides.hydra if not o.startswith("hydra.mode=")]
    return [*master.hydra.overrides.task, *hydra]


def _command(master: DictConfig) -> str:
    """The command line that goes on with a sweep, without passwords: it is shown and kept."""
    overrides = [re.sub(PASSWORD, r"\1@", override) for override in _overrides(master)]
    file, name = master.hydra.runtime.choices.sweeps, f"name={master.name}"
    overrides = [override for override in overrides if override != name]
    if file != master.name:  # else it has its name from its file
        overrides.insert(0, name)
    own = _config_dir(master)
    options = ["-m"] if file is None else []
    options += [] if own is None else ["--config-dir", own]
    return shlex.join(["headsweep", "train", *options, *overrides])
