"""Queue of the trials of a search.

The run folders are the truth. A trial's folder appears whole, by one rename, with its outcome in
it; then the storage is told. After a kill in between, the folder is found and told again. Where the
storage and the folders differ, the storage is written anew from them, and a trial without outcome
is trained again.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from headsweep.errors import DataError as DamagedError
from headsweep.errors import UserError
from headsweep.identity import identity, stable_hash
from headsweep.store import paths
from headsweep.store.names import free_name
from headsweep.store.outcome import Outcome
from headsweep.store.trials import Outcomes
from headsweep.sweep.inputs import with_width
from headsweep.sweep.leases import Lease, Leases
from headsweep.sweep.queue import Compose, Fits, NoTask, Task, drop_attempts, move, new_attempt
from headsweep.sweep.search.mirror import POINT, STATES, beginning, difference, restored, told
from headsweep.sweep.search.rules import NOTES, Search
from headsweep.sweep.search.storage import Storage

if TYPE_CHECKING:
    from headsweep.sweep.compose import Sweep

log = logging.getLogger(__name__)


def tell(trial: Trial, state: str, values: Sequence[float] | None) -> dict[str, Any]:
    """End a replica's trial; returns the notes of its sampler and pruner for later trials."""
    # The value of a pruned trial Optuna takes from its last report.
    given = list(values) if values and state == "complete" else None
    frozen = trial.study.tell(trial, given, state=STATES[state])
    return dict(frozen.system_attrs)


class SearchQueue:
    """The trials of one search.

    Args:
        folder: The sweep's folder, ``root/sweeps/<name>``.
        search: Its rules.
        leases: Those of this process.
        max_retries: How many deaths of its worker a trial survives.
        compose: Gives the resolved configuration of overrides.
    """

    def __init__(
        self, folder: Path, search: Search, leases: Leases, max_retries: int, compose: Compose
    ) -> None:
        self.folder, self.search, self.leases = folder, search, leases
        self.max_retries, self.compose = max_retries, compose
        with leases.lock():
            root = folder.parents[1]
            self.storage = Storage(folder, search.storage, root, search.directions)
            self._agree()

    @classmethod
    def of(cls, sweep: "Sweep", search: Search, folder: Path, leases: Leases) -> "SearchQueue":
        """The queue of a composed sweep's search."""

        def compose(overrides: list[str]) -> dict[str, Any]:
            return sweep.compose(overrides).resolved

        return cls(folder, search, leases, sweep.master.worker.max_retries, compose)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.leases.lock():
            if self.storage.repair():
                self._agree()
            yield

    def _agree(self, again: Sequence[int] = ()) -> None:
        """Write the storage anew where it does not say what the folders say.

        Args:
            again: Numbers of running trials that it does not have right.
        """
        outcomes, trials = self._outcomes(), self.storage.trials()
        what = self.storage.damage or difference(trials, outcomes)
        if what is None and again:
            what = f"trial {again[0]} has other parameters in it than its search gives it"
        # A lease is there before its trial is, and stays until the trial is done.
        running = [t.number for t in trials if t.state == TrialState.RUNNING]
        nobodys = [n for n in running if n not in outcomes and self.leases.read(n) is None]
        if what is None and nobodys:
            what = f"trial {nobodys[0]} runs in it, and nobody trains it"
        again = [*again, *nobodys]
        if what is not None:
            fresh = not trials and self.storage.damage is None  # as after trials were taken
            self.storage.renew(restored(trials, outcomes, again))
            if fresh and {*outcomes} <= {*range(len(self.search.taken))}:
                return
            words = "it was written anew from the folders of the trials"
            log.warning("%s: %s; %s", self.storage, what, words)

    def _outcomes(self) -> Outcomes:
        """All outcomes by number, but those that are damaged: their trials are trained again."""
        found = {}
        for path in (self.folder / paths.JOBS).glob("[0-9]*"):
            with suppress(DamagedError):
                if (outcome := Outcome.read(path)) is not None:
                    found[int(path.name)] = outcome
        return dict(sorted(found.items()))

    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number."""
        with self._locked():
            return self.storage.trials()

    def take(self, fits: Fits | None = None) -> Task | NoTask:
        """Take the next trial that may begin, or say why there is none.

        Trials begin in their order: with ``fits`` the next one, if it fits.
        """
        with self._locked():
            self._collect()
            while True:
                trials = self.storage.trials()
                if (end := self._end(trials)) is not None:
                    return end
                number = _next(trials)
                unfinished = [t for t in trials if not t.state.is_finished()]
                if any(t.number < self.search.horizon(number) for t in unfinished):
                    return NoTask.WAIT
                return self._begin(number, trials, fits)

    def side_by_side(self, most: int) -> int:
        """Number of trials that may run at the same time, counted up to ``most``."""
        finished = sum(trial.state.is_finished() for trial in self.trials())
        return min(most, self.search.n_trials - finished, self.search.lag + 1)

    def is_done(self) -> bool:
        """True when no trial is left to be trained, and none is being trained."""
        return self._end(self.trials()) is NoTask.DONE

    def _end(self, trials: Sequence[FrozenTrial]) -> NoTask | None:
        """The answer where no further trial may begin; None where one may, now or later."""
        number = _next(trials)
        if number < self.search.n_trials and not self.search.broken(number, trials):
            return None
        running = any(trial.state == TrialState.RUNNING for trial in trials)
        return NoTask.WAIT if running else NoTask.DONE

    def _begin(self, number: int, trials: list[FrozenTrial], fits: Fits | None) -> Task | NoTask:
        trial, overrides = self._suggest(number, trials)
        before = self.leases.read(number)
        if fits is not None and not ((before is None or before.stacks) and fits(overrides)):
            return NoTask.WAIT
        if number < len(trials) and trials[number].params not in ({}, trial.params):
            self._forget(trials[number], trial.params, trials)
            trials = self.storage.trials()
        # Only now: a worker that dies above, in a user's own code, has begun with nothing.
        lease = self.leases.claim(number)
        if number == len(trials):
            frozen = create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
            )
            self.storage.optuna.create_new_trial(self.storage.study, template_trial=frozen)
        else:
            self._begin_again(self._trial(number), trial)
        folder = new_attempt(self.folder, lease)
        return Task(number, overrides, folder, lease, trial=trial)

    def _suggest(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[Trial, list[str]]:
        """A trial of a replica with its parameters, and the overrides that make it.

        A point that earlier trials have had is trained on the seeds that come after theirs.
        """
        trial = self.search.replica(number, trials)
        overrides = self.search.suggest(trial, self.compose)
        try:
            config = self.compose(overrides)
            point = stable_hash(identity(with_width(config)))
        except UserError:  # which the training says again, for this trial
            return trial, overrides
        times = sum(other.user_attrs.get(POINT) == point for other in trials[:number])
        trial.set_user_attr(POINT, point)
        if times:
            overrides = [*overrides, f"seed={config['seed'] + times * config['seeds']}"]
        return trial, overrides

    def _forget(
        self, old: FrozenTrial, params: Mapping[str, Any], trials: Sequence[FrozenTrial]
    ) -> None:
        """Write the storage without the beginning of a trial that the search would begin otherwise.

        Raises:
            UserError: It is not the storage that is wrong, but the search is another one.
        """
        known = old.number < len(self.search.first)
        if not known and not self._reproduces(trials[: old.number]):
            raise UserError(
                f"{self.folder}: trial {old.number} was begun with {old.params}, and would now "
                f"have {dict(params)}; the search cannot be continued exactly, take another name, "
                f"such as name={free_name(self.folder.parents[1], self.folder.name)}"
            )
        self._agree([old.number])

    def _begin_again(self, identifier: int, trial: Trial) -> None:
        storage, distributions = self.storage.optuna, trial.distributions
        for key, value in trial.params.items():
            inner = distributions[key].to_internal_repr(value)
            storage.set_trial_param(identifier, key, inner, distributions[key])
        for key, note in trial.user_attrs.items():
            storage.set_trial_user_attr(identifier, key, note)
        storage.set_trial_state_values(identifier, TrialState.RUNNING)

    def _reproduces(self, trials: Sequence[FrozenTrial]) -> bool:
        """Whether the search still gives its last finished trial the parameters that it had."""
        own = trials[len(self.search.first) :]
        done = [trial for trial in own if trial.state.is_finished() and trial.params]
        return bool(done) and self._suggest(done[-1].number, trials)[0].params == done[-1].params

    def broken(self) -> str | None:
        """Reason why the search ended before its last trial; None where it did not."""
        trials = self.trials()
        number = _next(trials)
        return None if number >= self.search.n_trials else self.search.broken(number, trials)

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Take over the folder of a trained trial; False where the lease was lost."""
        assert task.trial is not None
        if task.number < len(self.search.taken):  # is as it would be if it were copied
            outcome = replace(outcome, attrs={})
        replace(outcome, **beginning(task.trial)).write(task.folder)
        written = Outcome.read(task.folder)  # as every reader finds it, and before others see it
        assert written is not None
        with self._locked():
            if not self.leases.is_mine(task.lease):
                return False
            move(task.folder, self._folder(task.number))
            self._finish(task.number, written)
        return True

    def give_back(self, task: Task, alone: bool = False) -> None:
        """Put back a trial that was broken off."""
        with self._locked():
            if self.leases.is_mine(task.lease):
                self._requeue(task.lease, alone=alone)

    def collect(self) -> None:
        """Requeue the trials of dead workers; fail those that killed a worker too often."""
        with self._locked():
            self._collect()

    def _collect(self) -> None:
        trials = self.storage.trials()
        for lease in self.leases.all():
            if lease.number < len(trials) and trials[lease.number].state.is_finished():
                self.leases.remove(lease.number)  # a kill came before this
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue
            number = trial.number
            lease = self.leases.read(number) or Lease(number, attempt=0)
            if not self.leases.is_dead(lease):
                continue
            if (outcome := Outcome.read(self._folder(number))) is not None:
                self._finish(number, outcome)
                continue
            deaths = lease.deaths + self.leases.died_alone(lease)
            if deaths > self.max_retries:
                reason = f"its worker was killed {deaths} times, perhaps for want of memory"
                outcome = Outcome("failed", reason, **beginning(trial))
                outcome.write(self._folder(number))
                self._finish(number, outcome)
            else:
                self._requeue(lease, deaths - lease.deaths)

    def _requeue(self, lease: Lease, deaths: int = 0, alone: bool = False) -> None:
        self.leases.free(lease, deaths, alone)
        self.storage.optuna.set_trial_state_values(self._trial(lease.number), TrialState.WAITING)

    def _finish(self, number: int, outcome: Outcome) -> None:
        """Write the outcome of a trial's folder into the storage."""
        storage, trial, end = self.storage.optuna, self._trial(number), told(outcome)
        with self.storage.together():
            for key, value in end.system_attrs.items():
                storage.set_trial_system_attr(trial, key, value)
            for key, note in end.user_attrs.items():
                if key in NOTES:
                    storage.set_trial_user_attr(trial, key, note)
            for step, point in end.intermediate_values.items():
                storage.set_trial_intermediate_value(trial, step, point)
            storage.set_trial_state_values(trial, end.state, end.values)
        drop_attempts(self.folder, number)
        self.leases.remove(number)

    def _trial(self, number: int) -> int:
        return self.storage.optuna.get_trial_id_from_study_id_trial_number(
            self.storage.study, number
        )

    def _folder(self, number: int) -> Path:
        return paths.job_folder(self.folder, number)


def _next(trials: Sequence[FrozenTrial]) -> int:
    """Number of the trial that is to begin next."""
    waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
    return min(waiting, default=len(trials))
