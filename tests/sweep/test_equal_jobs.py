"""Jobs that a command line lists twice are trained once and counted once."""

from headsweep.sweep.equal_jobs import merge_equal
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.plan import make_plan
from helpers.command import SMALL


def test_equal_jobs_count_once_and_keep_their_labels() -> None:
    plan = make_plan([*SMALL, "name=e", "head.dropout=0.1,0.2,0.10"], multirun=True)
    merged, inputs, lines = merge_equal(plan, [find_inputs(job) for job in plan.jobs])
    assert [job.resolved["head"]["dropout"] for job in merged.jobs] == [0.1, 0.2]
    assert merged.spec["keys"] == [found.job_key for found in inputs]
    assert len(merged.batches) == 2
    (line,) = lines
    assert line.startswith("head.dropout=0.1 is the same job as head.dropout=0.1:")
    assert merged.spec["same"] == {"head.dropout=0.1": 0}


def test_a_width_of_its_own_is_that_width() -> None:
    """Half of the inputs, 9 times the 32 of the transformer; of one layer it does nothing."""
    widths = "head.regression_hidden_dim=null,144,96"
    plan = make_plan([*SMALL, "name=e", widths], multirun=True)
    merged, inputs, lines = merge_equal(plan, [find_inputs(job) for job in plan.jobs])
    assert len(merged.jobs) == 2
    assert lines[0].endswith("head.regression_hidden_dim=null is 144 in it; it counts once")
    half = make_plan([*SMALL, "name=e", widths, "pooling.width=half"], multirun=True)
    keys = {find_inputs(job).job_key for job in half.jobs}
    assert len({*keys, *(found.job_key for found in inputs)}) == 5
    one = make_plan([*SMALL, "name=e", widths, "head.regression_num_layers=1"], multirun=True)
    _, inputs, lines = merge_equal(one, [find_inputs(job) for job in one.jobs])
    assert len(inputs) == 1
    assert lines[0].endswith("head.regression_hidden_dim has no effect in it; it counts once")


def test_different_jobs_are_all_kept() -> None:
    plan = make_plan([*SMALL, "name=e", "head.dropout=0.1,0.2"], multirun=True)
    merged, _, lines = merge_equal(plan, [find_inputs(job) for job in plan.jobs])
    assert (merged.jobs, lines) == (plan.jobs, [])
    assert "same" not in merged.spec
