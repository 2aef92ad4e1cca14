"""Training of one configuration: cache, training, and what was done."""

import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from headsweep.store.runs import read_results
from headsweep.sweep.hydra_app import start
from headsweep.sweep.plan import Plan
from headsweep.sweep.prepare import prepare
from headsweep.sweep.progress import Followed, look
from headsweep.terminal import console, following, preparing


def launch(plan: Plan, argv: Sequence[str]) -> int:
    """Train one configuration: build its cache and the database, train, say what was done.

    Args:
        plan: The validated job.
        argv: The arguments of ``train``.

    Returns:
        The exit code: 0, or 1 where no member finished.

    Raises:
        UserError: The data cannot be used.
        KeyboardInterrupt: Ctrl-C; how to go on has been said.
    """
    terminal = console()
    [job] = plan.jobs
    with preparing(terminal) as report:
        [key], _ = prepare(plan, report)
    seeds = range(job.config.seed, job.config.seed + job.config.seeds)
    followed = Followed(Path(job.config.root) / "runs" / key, "run", seeds, key)
    before = followed.done()
    try:
        with following(partial(look, followed, time.time()), terminal):
            start(argv)
    except KeyboardInterrupt:
        print(f"{_counts(followed, before)}; go on with:", file=sys.stderr)
        print(f"  {shlex.join(['headsweep', 'train', *argv])}", file=sys.stderr)
        raise
    print(_counts(followed, before))
    results = [r for s, r in read_results(followed.folder).items() if s in seeds]
    failed = [result["reason"] for result in results if result["status"] == "failed"]
    for reason in failed:
        print(reason, file=sys.stderr)
    print(f"results: {followed.folder}")
    print(f"report: headsweep report {key}")
    return int(len(failed) == len(results))


def _counts(job: Followed, before: int) -> str:
    results = [r for seed, r in read_results(job.folder).items() if seed in job.seeds]
    failed = sum(result["status"] == "failed" for result in results)
    words = f"{job.done()} of {len(job.seeds)} members are done, {before} of them were there before"
    return f"{words}; {failed} of them failed" if failed else words
