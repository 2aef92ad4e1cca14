"""The naive loop of the benchmark of the step has the project's own outputs and first update."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headsweep.config import PoolingConfig
from headsweep.features.cache import Features
from headsweep.heads.mlp import MLPHead
from headsweep.training.direct import autograd
from headsweep.training.loop import Split
from headsweep.training.loss import Loss
from headsweep.training.members import Population, build_member
from helpers.dense import ragged

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks/step"))

import naive
import run


def events() -> Features:
    """Tracks of which one to three share an event; one has no hits."""
    split = ragged([4, 9, 0, 3, 7, 1, 6, 2], inputs=23, dim=32)
    rng = np.random.default_rng(1)
    truth = np.abs(rng.normal(size=(8, 4))).astype(np.float32)
    return replace(split, truth=truth, event=np.array([0, 0, 3, 3, 3, 5, 6, 6]))


def test_the_naive_loop_has_the_outputs_and_gradients_of_the_project() -> None:
    split, config = events(), PoolingConfig()
    loss = Loss.fit({"target": {"name": "plain"}}, split.truth, split.axis)
    data = Split.of(split, loss.target)
    head = lambda a, o: MLPHead(a, o, 144, 3, 0.0, True)  # noqa: E731
    population = Population(lambda: build_member(config, 23, 32, 4, head), config, [3])
    model = naive.Naive(23, 32, 4)
    model.load_state_dict(population.member_weights(0))
    dataset = naive.Events(split, data.targets, np.array([12, 0, 9, 40]))
    *inputs, target, there = naive.collate([dataset[i] for i in range(len(dataset))])
    assert inputs[0].shape == (4, 40, 23)
    assert inputs[2].shape == (4, 3, 40)
    assert torch.equal(target[there], data.targets)
    outputs = model.eval()(*inputs)[there]
    everything = torch.arange(8)
    want = population.predict(data.hits, everything)[0]
    torch.testing.assert_close(outputs, want, rtol=1e-5, atol=1e-5)
    torch.nn.functional.smooth_l1_loss(outputs, target[there]).backward()
    _, grads = autograd(population, data.hits, data.targets, loss, everything[None])
    for name, value in population.named(grads).items():
        found = model.get_parameter(name).grad
        torch.testing.assert_close(found, value[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("members", [1, 2])
def test_both_variants_of_the_step_learn_the_same(members: int) -> None:
    split, hits = run.padded(64)
    assert (np.diff(split.offsets) >= 20).all()
    assert (hits == 600).all()
    ours, autograd = (run.Ours(split, members, 32) for _ in range(2))
    for _ in range(2):
        ours.step()
        autograd.autograd()
    assert torch.equal(ours.population.weights, autograd.population.weights)
    assert autograd.population.kept is None
