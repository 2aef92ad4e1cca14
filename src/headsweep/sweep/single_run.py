"""Training of one configuration: its cache, its members, and what was done."""

import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from headsweep.errors import without_secrets
from headsweep.store import paths
from headsweep.store.runs import read_results
from headsweep.sweep.job import open_folder, run_job
from headsweep.sweep.plan import Plan
from headsweep.sweep.prepare import prepare, selection_lines
from headsweep.sweep.progress import JobProgress, print_figures
from headsweep.terminal import console, following, preparing


def train_single(plan: Plan, argv: Sequence[str]) -> int:
    """Train one configuration: build its cache, train its missing seeds, say what was done.

    Args:
        plan: The validated job.
        argv: The arguments of ``train``, to say how to go on.

    Returns:
        The exit code: 0, or 1 where no member finished.

    Raises:
        UserError: The data cannot be used.
        KeyboardInterrupt: Ctrl-C; how to go on has been said.
    """
    terminal = console()
    [job] = plan.jobs
    with preparing(terminal) as report:
        [inputs] = prepare(plan, report)
    for line in selection_lines(plan, [inputs]):
        print(line)
    folder = paths.run_folder(Path(job.config.root), inputs.job_key)
    found = open_folder(job, inputs, folder)
    progress = JobProgress(folder, job.seeds, inputs.job_key)
    before = progress.done()
    try:
        with following(partial(progress.state, time.time()), terminal):
            run_job(job, inputs, folder, found)
    except KeyboardInterrupt:
        print(f"{_counts(progress, before)}; go on with:", file=sys.stderr)
        print(f"  {without_secrets(shlex.join(['headsweep', 'train', *argv]))}", file=sys.stderr)
        raise
    print(_counts(progress, before))
    results = [r for seed, r in read_results(folder).items() if seed in job.seeds]
    failed = [result["reason"] for result in results if result["status"] == "failed"]
    for reason in failed:
        print(reason, file=sys.stderr)
    print(f"results: {folder}")
    print_figures(folder)
    return int(len(failed) == len(results))


def _counts(job: JobProgress, before: int) -> str:
    results = [r for seed, r in read_results(job.folder).items() if seed in job.seeds]
    failed = sum(result["status"] == "failed" for result in results)
    words = f"{job.done()} of {len(job.seeds)} members are done, {before} of them were there before"
    return f"{words}; {failed} of them failed" if failed else words
