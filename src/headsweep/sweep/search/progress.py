"""Progress of a search, for the progress bar and the last lines of a command."""

import sys
from typing import TYPE_CHECKING

from headsweep.store import paths
from headsweep.store.outcome import best_trials, pooled
from headsweep.store.runs import read_spec
from headsweep.store.trials import OutcomeReader, describe, failures, usable
from headsweep.sweep.progress import lines_of, running
from headsweep.terminal import State

if TYPE_CHECKING:
    from headsweep.sweep.search.queue import SearchQueue


class SearchProgress:
    """Progress of a search.

    Args:
        study: Its queue.
    """

    def __init__(self, study: "SearchQueue") -> None:
        self.study, self.search = study, study.search
        self.finished = OutcomeReader(study.folder)
        self.before = len(self.finished.read())

    def left(self) -> int:
        """Number of unfinished trials in the storage; a kill may have come before it was told."""
        begun = self.study.trials()[: self.search.n_trials]
        return self.search.n_trials - sum(trial.state.is_finished() for trial in begun)

    def state(self) -> State:
        """State for the progress bar."""
        outcomes, at_work = self.finished.read(), running(self.study.folder)
        best = best_trials(outcomes, self.search.directions)
        words = (
            f", best {pooled(outcomes)[best[0]].values[0]:.4f} (trial {best[0]})" if best else ""
        )
        work = len(outcomes) + sum(share for _, share, _ in at_work)
        begun = len(outcomes) > self.before
        lines = lines_of(self.study.leases, at_work, "trial", {}, begun)
        waiting = [f"trial {line}" for line in self.study.leases.stopped()]
        summary = f"{len(outcomes)} of {self.search.n_trials} trials{words}"
        return State(summary, min(work / self.search.n_trials, 1.0), lines, waiting)

    def words(self) -> str:
        """Counts of trials as one clause."""
        done = len(self.finished.read())
        total = max(done, self.search.n_trials)  # an earlier command may have asked for more
        return f"{done} of {total} trials are done, {self.before} were there before"

    def conclude(self) -> int:
        """Print what is done, what failed and the next command; returns the exit code."""
        outcomes, names = self.finished.read(), self.search.objectives
        print(self.words())
        print(usable(outcomes))
        if (reason := self.search.cannot_prune()) is not None:
            print(f"no trial could be pruned: {reason}")
        for line in failures(outcomes):
            print(line, file=sys.stderr)
        broken = self.study.broken()
        if broken is not None:
            print(
                f"stopped: {broken}. Mend the ranges or the data and take another "
                "name, or go on with hydra.sweeper.max_failures=null",
                file=sys.stderr,
            )
        best = best_trials(outcomes, self.search.directions)
        for number in best if len(names) > 1 else best[:1]:
            print(f"best: {describe(number, pooled(outcomes)[number], names)}")
        folder = self.study.folder
        asked = read_spec(folder).get("n_trials", 0)
        if max(self.search.n_trials, len(outcomes)) < asked:
            print(f"an earlier command asked for hydra.sweeper.n_trials={asked}")
        print(f"more: {paths.command('study', folder.parents[1], folder.name)}")
        return int(not best or broken is not None)
