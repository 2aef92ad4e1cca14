"""Identity of runs: short names in place of module paths, for good."""

import json

import pytest

from headsweep.identity import identity, run_key
from headsweep.sweep.plan import make_plan

CHOICES = [
    [],
    ["head=direct_projection"],
    ["backbone=truth"],
    ["data=hepattn", "data.source.path=x"],
    ["data=acts", "data.source.path=x"],
]


@pytest.mark.parametrize("overrides", CHOICES)
def test_no_module_path_is_part_of_an_identity(overrides: list[str]) -> None:
    job = make_plan(overrides, multirun=False).jobs[0]
    assert "headsweep." in json.dumps(job.resolved)
    assert "headsweep." not in json.dumps(identity(job.resolved))


def test_the_key_of_the_default_run_never_changes() -> None:
    """A release that changes it makes all finished runs anew: raise NUMERICS instead."""
    job = make_plan([], multirun=False).jobs[0]
    assert run_key(job.resolved, "data", "checkpoint") == "cd91d62bc4acce28"


def test_a_head_of_a_user_is_known_by_its_path() -> None:
    job = make_plan([], multirun=False).jobs[0]
    own = job.resolved | {"head": {"_target_": "mine.heads.Head"}}
    assert identity(own)["head"] == {"_target_": "mine.heads.Head"}
    assert identity(job.resolved)["head"]["_target_"] == "mlp"
