"""Learning rates against torch, and the points of the curves."""

import pytest
import torch
from torch import nn

from headsweep.training.schedule import evaluation_steps, onecycle


def test_onecycle_equals_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=3e-3, total_steps=101, pct_start=0.1, cycle_momentum=False
    )
    for step in range(100):
        expected = schedule.get_last_lr()[0]
        assert onecycle(step, 101, 3e-3) == pytest.approx(expected)
        optimiser.step()
        schedule.step()


def test_evaluation_steps() -> None:
    points = evaluation_steps(500, 50)
    assert points[:4] == [0, 5, 10, 15]
    assert points[points.index(100) :] == [100, 150, 200, 250, 300, 350, 400, 450, 500]
    assert evaluation_steps(7, 50) == [0, 5, 7]
    assert evaluation_steps(130, 50)[-2:] == [100, 130]
    assert evaluation_steps(3, 1) == [0, 1, 2, 3]
