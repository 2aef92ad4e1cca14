"""Which jobs may be trained in one stack."""

import pytest

from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.plan import make_plan
from headsweep.sweep.stack import shape
from helpers.command import SMALL

FITS = (
    *("optim.lr=0.3", "optim.weight_decay=0.5", "optim.clip=0.1", "head.dropout=0.5", "seeds=3"),
    *(
        "optim.schedule=constant",
        "loss.weights.eta=3",
        "loss.scale.pt=2",
        "loss.beta=0.1",
        "seed=9",
    ),
    "head.regression_hidden_dim=144",  # what null means here
)
DIFFERS = (
    *("optim.steps=5", "optim.batch_size=17", "head.regression_hidden_dim=8", "pooling.width=half"),
    *("head.regression_num_layers=4", "head.layer_norm=false", "loss=gaussian", "loss.charge=bce"),
    *("target=log_pt", "features=document", "data.split.seed=3", "threads=2", "head=dense"),
)


def of(*overrides: str) -> str:
    (job,) = make_plan([*SMALL, *overrides], multirun=False).jobs
    return shape(job, find_inputs(job))


@pytest.mark.parametrize("override", FITS)
def test_what_is_of_each_member_leaves_the_shape(override: str) -> None:
    assert of(override) == of()


@pytest.mark.parametrize("override", DIFFERS)
def test_what_all_members_share_makes_another_shape(override: str) -> None:
    assert of(override) != of()
