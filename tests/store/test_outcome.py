"""Outcomes of trials: written and read back, and the best of them against the definition."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsweep.store.outcome import Outcome, best_trials, pooled

DIRECTIONS = ("minimize", "maximize")


def outcome(*values: float, state: str = "complete") -> Outcome:
    return Outcome(state, values=list(values), params={"optim.lr": 0.123456})


def test_an_outcome_is_read_back_with_its_numbers_as_keys(tmp_path: Path) -> None:
    assert Outcome.read(tmp_path) is None
    written = Outcome(
        "complete",
        values=[0.1, 5.0],
        spread=[0.01, 0.0],
        seeds={3: [0.09, 5.0], 10: [0.11, 5.0]},
        intermediate={0: 0.5, 50: 0.2},
        params={"head.dropout": 0.1},
        attrs={"note": [1, 2]},
    )
    written.write(tmp_path)
    assert Outcome.read(tmp_path) == written


def front(values: Sequence[Sequence[float]], directions: Sequence[str]) -> set[int]:
    """The front by its definition: no other is as good in all and better in one."""
    signs = np.array([1 if direction == "minimize" else -1 for direction in directions])
    costs = np.array(values).reshape(len(values), len(signs)) * signs
    return {
        i
        for i, cost in enumerate(costs)
        if not any((other <= cost).all() and (other < cost).any() for other in costs)
    }


COLUMNS = st.integers(1, 3).flatmap(
    lambda size: st.tuples(
        st.lists(st.sampled_from(DIRECTIONS), min_size=size, max_size=size),
        st.lists(st.lists(st.integers(0, 4).map(float), min_size=size, max_size=size), max_size=12),
    )
)


@given(COLUMNS)
def test_the_best_are_the_pareto_front_or_in_order(
    case: tuple[list[str], list[list[float]]],
) -> None:
    directions, values = case
    found = best_trials(dict(enumerate(outcome(*row) for row in values)), directions)
    assert len(set(found)) == len(found)
    if len(directions) > 1:
        assert set(found) == front(values, directions)
        study = optuna.create_study(directions=directions)
        for row in values:
            study.add_trial(optuna.trial.create_trial(values=row))
        assert set(found) == {trial.number for trial in study.best_trials}
    else:
        sign = 1 if directions == ["minimize"] else -1
        assert found == sorted(range(len(values)), key=lambda i: (sign * values[i][0], i))


def test_only_complete_trials_are_good() -> None:
    outcomes = {
        0: outcome(5.0),
        1: outcome(1.0, state="pruned"),
        2: outcome(state="failed"),
        3: outcome(4.0),
    }
    assert best_trials(outcomes, ["minimize"]) == [3, 0]
    assert best_trials(outcomes, ["maximize"]) == [0, 3]
    assert best_trials({1: outcomes[1]}, ["minimize"]) == []


def test_trials_of_one_point_count_once_with_all_their_seeds() -> None:
    def trial(point: str, seeds: dict[int, float]) -> Outcome:
        values = [sum(seeds.values()) / len(seeds)]
        kept = {seed: [value] for seed, value in seeds.items()}
        return Outcome("complete", values=values, spread=[0.0], seeds=kept, point=point)

    outcomes = {
        0: trial("a", {0: 1.0, 1: 3.0}),
        1: trial("b", {0: 1.8, 1: 1.9}),
        2: trial("a", {2: 1.1}),
        3: Outcome("pruned", values=[9.0], point="a"),
        4: trial("a", {3: 2.1}),
    }
    found = pooled(outcomes)
    assert [*found] == [0, 1, 3]
    assert found[0].seeds == {0: [1.0], 1: [3.0], 2: [1.1], 3: [2.1]}
    assert found[0].values == [pytest.approx(np.mean([1.0, 3.0, 1.1, 2.1]))]
    assert found[0].spread == [pytest.approx(np.std([1.0, 3.0, 1.1, 2.1], ddof=1))]
    assert (found[1], found[3]) == (outcomes[1], outcomes[3])
    assert pooled(found) == found
    # Trial 2 alone would be the best: the luckiest seed of a point.
    assert best_trials(outcomes, ["minimize"]) == [0, 1]
    assert best_trials(outcomes, ["maximize"]) == [1, 0]
