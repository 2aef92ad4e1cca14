"""Queue of the trials of a search.

The run folders are the truth. A trial's folder appears whole, by one rename, with its outcome in
it; then the storage is told. After a kill in between, the folder is found and told again.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from headsweep.errors import UserError
from headsweep.store import paths
from headsweep.store.outcome import Outcome
from headsweep.store.runs import root_id
from headsweep.sweep.leases import Lease, Leases
from headsweep.sweep.queue import Compose, NoTask, Task, drop_attempts, move, new_attempt
from headsweep.sweep.search.rules import Search
from headsweep.sweep.search.storage import Storage

if TYPE_CHECKING:
    from headsweep.sweep.compose import Sweep

STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


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
            self.storage = Storage(folder, search.storage, folder.parents[1])
            self._id = self._find_study()

    @classmethod
    def of(cls, sweep: "Sweep", search: Search, folder: Path, leases: Leases) -> "SearchQueue":
        """The queue of a composed sweep's search."""

        def compose(overrides: list[str]) -> dict[str, Any]:
            return sweep.compose(overrides).resolved

        return cls(folder, search, leases, sweep.master.worker.max_retries, compose)

    def _find_study(self) -> int:
        name = self.folder.name
        if self.search.storage is not None:  # others may keep their searches there too
            name = f"{name} {root_id(self.folder.parents[1])}"
        optuna.create_study(
            storage=self.storage.optuna,
            study_name=name,
            directions=self.search.directions,
            load_if_exists=True,
        )
        return self.storage.optuna.get_study_id_from_name(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self.leases.lock():
            self.storage.repair()
            yield

    def trials(self) -> list[FrozenTrial]:
        """All trials that have begun, by number; the lock is not needed."""
        return self.storage.optuna.get_all_trials(self._id, deepcopy=False)

    def take(self) -> Task | NoTask:
        """Take the next trial that may begin, or say why there is none."""
        with self._locked():
            self._collect()
            while True:
                trials = self.trials()
                unfinished = [t for t in trials if not t.state.is_finished()]
                number = _next(trials)
                if number >= self.search.n_trials or self.search.broken(number, trials):
                    running = [t for t in unfinished if t.state == TrialState.RUNNING]
                    return NoTask.WAIT if running else NoTask.DONE
                if any(t.number < self.search.horizon(number) for t in unfinished):
                    return NoTask.WAIT
                task = self._begin(number, trials)
                if Outcome.read(self._folder(number)) is None:
                    return task
                self._finish(number)  # the storage had lost what the folder has

    def _begin(self, number: int, trials: list[FrozenTrial]) -> Task:
        trial = self.search.replica(number, trials)
        overrides = self.search.suggest(trial, self.compose)
        frozen = create_trial(
            state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
        )
        # Only now: a worker that dies above, in a user's own code, has begun with nothing.
        lease = self.leases.claim(number)
        if number == len(trials):
            self.storage.optuna.create_new_trial(self._id, template_trial=frozen)
        else:
            if trials[number].params != trial.params:
                raise UserError(
                    f"{self.folder}: trial {number} was begun with {trials[number].params}, and "
                    f"would now have {trial.params}; the search cannot be continued exactly, take "
                    f"another name, such as name={self.folder.name}-2"
                )
            self.storage.optuna.set_trial_state_values(self._trial(number), TrialState.RUNNING)
        folder = new_attempt(self.folder, lease)
        return Task(number, overrides, folder, lease, trial=trial)

    def broken(self) -> str | None:
        """Reason why the search ended before its last trial; None where it did not."""
        trials = self.trials()
        number = _next(trials)
        return None if number >= self.search.n_trials else self.search.broken(number, trials)

    def hand_in(self, task: Task, outcome: Outcome) -> bool:
        """Take over the folder of a trained trial; False where the lease was lost."""
        outcome.write(task.folder)
        with self._locked():
            if not self.leases.is_mine(task.lease):
                return False
            move(task.folder, self._folder(task.number))
            self._finish(task.number)
        return True

    def give_back(self, task: Task) -> None:
        """Put back a trial that was broken off on purpose."""
        with self._locked():
            if self.leases.is_mine(task.lease):
                self._requeue(task.lease)

    def collect(self) -> None:
        """Requeue the trials of dead workers; fail those that killed a worker too often."""
        with self._locked():
            self._collect()

    def _collect(self) -> None:
        trials = self.trials()
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
            if Outcome.read(self._folder(number)) is not None:
                self._finish(number)
                continue
            deaths = lease.deaths + self.leases.died_alone(lease)
            if deaths > self.max_retries:
                reason = f"its worker was killed {deaths} times, perhaps for want of memory"
                Outcome("failed", reason, params=trial.params).write(self._folder(number))
                self._finish(number)
            else:
                self._requeue(lease, deaths - lease.deaths)

    def _requeue(self, lease: Lease, deaths: int = 0) -> None:
        self.leases.free(lease, deaths)
        self.storage.optuna.set_trial_state_values(self._trial(lease.number), TrialState.WAITING)

    def _finish(self, number: int) -> None:
        """Write the outcome in a trial's folder into the storage."""
        outcome = Outcome.read(self._folder(number))
        assert outcome is not None
        storage, trial = self.storage.optuna, self._trial(number)
        notes = {"reason": outcome.reason, "spread": outcome.spread, "seeds": outcome.seeds}
        with self.storage.together():
            for key, value in outcome.attrs.items():
                storage.set_trial_system_attr(trial, key, value)
            for key, note in notes.items():
                if note:
                    storage.set_trial_user_attr(trial, key, note)
            for step, value in outcome.intermediate.items():
                storage.set_trial_intermediate_value(trial, step, value)
            values = outcome.values or None
            storage.set_trial_state_values(trial, STATES[outcome.state], values)
        drop_attempts(self.folder, number)
        self.leases.remove(number)

    def _trial(self, number: int) -> int:
        return self.storage.optuna.get_trial_id_from_study_id_trial_number(self._id, number)

    def _folder(self, number: int) -> Path:
        return paths.job_folder(self.folder, number)


def _next(trials: Sequence[FrozenTrial]) -> int:
    """Number of the trial that is to begin next."""
    waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
    return min(waiting, default=len(trials))
