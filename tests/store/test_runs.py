"""Run folders: members that are complete or do not count, tables, and specifications of sweeps."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.errors import UserError
from headsweep.store import runs
from helpers.run_folders import PROCESSES, claim, make_job, write_for_ever

pytestmark = pytest.mark.slow


def test_member_is_read_back_exactly(tmp_path: Path) -> None:
    job = make_job(tmp_path / "0", finished=[3], failed=[4])
    result = runs.read_result(job / "seed_3")
    assert result is not None
    assert result["schema"] == runs.RUN_SCHEMA
    assert result["metrics"] == {"val_qoverpt_r68": 0.13, "steps_to_95": None}
    assert "NaN" not in (job / "seed_3" / "result.json").read_text()
    weights = runs.load_weights(job / "seed_3" / "head.safetensors")
    torch.testing.assert_close(weights["regression_head.0.weight"], torch.full((4, 3), 3.0))
    history = pd.read_csv(job / "seed_3" / "history.csv")
    assert history["val_loss"][2] == np.random.default_rng(3).random((3, 3))[2, 2]
    predictions = pd.read_parquet(job / "seed_3" / "predictions_val.parquet")
    assert list(predictions["event"]) == [1, 2]
    results = runs.read_results(job)
    assert list(results) == [3, 4]
    assert results[4]["reason"] == "loss is NaN at step 70"


def test_weights_may_be_slices_of_a_stack_that_trains(tmp_path: Path) -> None:
    stack = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
    weights = {"a": stack[1].T, "b": stack[1, 0]}
    runs.write_member(tmp_path / "seed_0", {"status": "finished"}, weights=weights)
    read = runs.load_weights(tmp_path / "seed_0" / "head.safetensors")
    assert torch.equal(read["a"], stack[1].T)
    assert torch.equal(read["b"], stack[1, 0])


@pytest.mark.parametrize("content", ['{"schema": 99}', "{}"])
def test_other_schema_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(UserError, match=rf"schema (99|None), .* reads {runs.RUN_SCHEMA}"):
        runs.read_result(tmp_path)


@pytest.mark.parametrize("content", [None, b"not weights"])
def test_unreadable_weights_name_the_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "head.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"head\.safetensors: .*; delete this seed folder"):
        runs.load_weights(path)


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.027, 0.041])
def test_a_kill_leaves_a_complete_member_or_none(tmp_path: Path, delay: float) -> None:
    folder = tmp_path / "seed_0"
    process = PROCESSES.Process(target=write_for_ever, args=(folder,))
    process.start()
    while not (folder / "result.json").exists():
        assert process.is_alive()
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    result = runs.read_result(folder)
    if result is not None:
        assert pd.read_csv(folder / "history.csv")["step"].unique() == [result["round"]]
        weights = runs.load_weights(folder / "head.safetensors")
        assert weights["w"].unique() == result["round"]


def test_progress(tmp_path: Path) -> None:
    assert runs.read_progress(tmp_path) is None
    runs.write_progress(tmp_path, {"phase": "training", "step": 3, "val": float("nan")})
    assert runs.read_progress(tmp_path) == {"phase": "training", "step": 3, "val": None}


def test_jobs_are_found_in_number_order(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    numbers = [make_job(root / "sweeps" / "b" / "jobs" / str(n)) for n in (10, 9, 0)][::-1]
    other = make_job(root / "sweeps" / "a" / "jobs" / "0")
    single = make_job(root / "runs" / "0f3a")
    assert runs.find_jobs(root) == [other, *numbers, single]
    assert runs.find_jobs(root / "sweeps" / "b") == numbers
    assert runs.find_jobs(root / "runs") == [single]
    assert runs.find_jobs(single) == [single]
    assert runs.find_jobs(tmp_path / "nowhere") == []


def test_frame_has_one_row_a_member(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "presets"
    make_job(sweep / "jobs" / "0", finished=[0, 1])
    make_job(
        sweep / "jobs" / "1",
        head={"regression_num_layers": 1},
        overrides=["head=direct_projection", "optim.lr=0.01"],
        failed=[0],
    )
    (sweep / "jobs" / "1" / "seed_1").mkdir()
    table = runs.frame(sweep)
    assert table[["job", "seed"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert list(table["head"]) == ["conservative", "conservative", "direct_projection"]
    assert list(table["head.regression_num_layers"]) == [3, 3, 1]
    assert list(table["status"]) == ["finished", "finished", "failed"]
    assert list(table["data.source.pt_edges"]) == ["5,10"] * 3
    np.testing.assert_array_equal(table["val_qoverpt_r68"], [0.1, 0.11, np.nan])
    assert table["steps_to_95"].isna().all()
    assert table["steps_to_95"].dtype == float
    assert set(table["params_total"]) == {65476}
    assert set(table["aggregated_dim"]) == {288}
    assert set(table["sweep"]) == {"presets"}
    assert Path(table["folder"][1]) == sweep / "jobs" / "0" / "seed_1"


def test_frame_of_single_runs_and_of_nothing(tmp_path: Path) -> None:
    assert len(runs.frame(tmp_path)) == 0
    assert "member_key" in runs.frame(tmp_path)
    make_job(tmp_path / "runs" / "0f3a", finished=[0])
    row = runs.frame(tmp_path).iloc[0]
    assert row["job"] == "0f3a"
    assert pd.isna(row["sweep"])


SPEC = {"overrides": ["head=a,b"], "data": {"split": {"val": 0.2}}, "seeds": 5}


def test_claim_is_repeatable_and_refuses_another_spec(tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "mine"
    assert runs.claim_sweep(folder, SPEC) == SPEC
    assert runs.claim_sweep(folder, SPEC) == SPEC
    before = (folder / "spec.yaml").read_bytes()
    other = {"overrides": ["head=a"], "data": {"split": {"val": 0.3}}, "seeds": 5, "extra": 1}
    with pytest.raises(UserError) as error:
        runs.claim_sweep(folder, other)
    assert str(error.value).splitlines()[1:] == [
        "  data.split.val: 0.2 there, 0.3 here",
        "  extra: (not set) there, 1 here",
        "  overrides: ['head=a,b'] there, ['head=a'] here",
        "keep both with name=mine-2",
    ]
    assert (folder / "spec.yaml").read_bytes() == before


def test_seeds_rise_and_never_fall(tmp_path: Path) -> None:
    for seeds, standing in ((5, 5), (8, 8), (3, 8)):
        assert runs.claim_sweep(tmp_path, {**SPEC, "seeds": seeds})["seeds"] == standing
        assert yaml.safe_load((tmp_path / "spec.yaml").read_text())["seeds"] == standing


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.tuples(inner)
                | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=3,
    )
)
def test_any_plain_spec_can_be_claimed_twice(
    tmp_path_factory: pytest.TempPathFactory, spec: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("sweep")
    spec.pop("seeds", None)
    runs.claim_sweep(folder, spec)
    runs.claim_sweep(folder, spec)


def test_only_one_of_many_processes_claims(tmp_path: Path) -> None:
    with PROCESSES.Pool(4) as pool:
        outcomes = pool.starmap(claim, [(tmp_path / "sweep", n) for n in range(8)])
    assert sorted(outcomes) == ["claimed"] + ["refused"] * 7


@pytest.mark.parametrize(
    "content", [b"{}", b"step,val_loss\n1,x\n", b"lr\n0.1\n", b"step\n1\n", b"\xff", b""]
)
def test_a_damaged_history_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"history\.csv: .*delete this seed folder"):
        runs.read_history(tmp_path)
