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


def test_different_jobs_are_all_kept() -> None:
    plan = make_plan([*SMALL, "name=e", "head.dropout=0.1,0.2"], multirun=True)
    merged, _, lines = merge_equal(plan, [find_inputs(job) for job in plan.jobs])
    assert (merged.jobs, lines) == (plan.jobs, [])
    assert "same" not in merged.spec
