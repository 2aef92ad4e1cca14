"""From events to run folder to predictions, with the shipped transformer and nothing replaced."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from headsweep.errors import UserError
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.features import cache, other_events
from headsweep.report import scoring
from headsweep.report.predictions import ScoredCache
from headsweep.store import runs
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import objective, run_job
from headsweep.sweep.plan import make_plan
from headsweep.training.loop import Split
from headsweep.training.loss import Loss

EVENTS, SEED = 60, 1
OVERRIDES = ["data=tiny", f"data.source.events={EVENTS}", f"data.source.seed={SEED}"]
OVERRIDES += ["optim.steps=5", "optim.batch_size=16", "seeds=2", "tracking=false"]


def train(root: Path, *overrides: str) -> Path:
    """The folder of a finished job."""
    job = make_plan([*OVERRIDES, f"root={root}", *overrides], multirun=False).jobs[0]
    inputs = find_inputs(job)
    folder = root / "runs" / inputs.job_key
    run_job(job, inputs, folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a finished job, and its root."""
    root = tmp_path_factory.mktemp("root")
    folder = train(root)
    job = make_plan([*OVERRIDES, f"root={root}"], multirun=False).jobs[0]
    values = [r["metrics"]["val_qoverpt_r68"] for r in runs.read_results(folder).values()]
    assert objective(job, folder) == pytest.approx(np.mean(values))
    return folder, root


def test_saved_weights_give_the_saved_predictions(trained):
    folder, root = trained
    for seed, result in runs.read_results(folder).items():
        tracks, loss = scoring.score(folder, seed, "val", root)
        saved = pd.read_parquet(folder / f"seed_{seed}" / "predictions_val.parquet")
        pd.testing.assert_frame_equal(pd.DataFrame(tracks.columns()), saved, rtol=1e-6)
        assert loss == pytest.approx(result["metrics"]["val_loss"], rel=1e-6)


def test_other_events_are_treated_as_the_cache_was(trained, tmp_path):
    """The very events of the training, read from a folder, give the very predictions."""
    folder, root = trained
    write_hepattn(tmp_path, simulate_chunks(EVENTS, SEED))
    found = scoring.apply(folder, tmp_path).tracks
    assert list(found) == [0, 1]
    for seed, tracks in found.items():
        dev, _ = scoring.score(folder, seed, "dev", root)
        rows = np.isin(tracks.event, dev.event)
        assert rows.sum() == len(dev) > 0
        np.testing.assert_allclose(tracks.kappa[rows], dev.kappa, rtol=1e-4)
        np.testing.assert_allclose(tracks.pt_true[rows], dev.pt_true)


def test_a_cache_that_is_gone_names_the_way_back(trained):
    folder, root = trained
    caches = root / "cache" / "features"
    hidden = caches.rename(root / "hidden")
    try:
        with pytest.raises(UserError, match="run the training command again"):
            scoring.apply(folder, root)
    finally:
        hidden.rename(caches)


def test_a_folder_that_is_no_job(tmp_path):
    with pytest.raises(UserError, match="is not the folder of a job"):
        scoring.apply(tmp_path, tmp_path)


def test_another_checkpoint_is_refused(trained, tmp_path):
    folder, root = trained
    meta = cache.open_cache(root, runs.read_job(folder)["cache_key"]).meta
    other = make_plan([*OVERRIDES, "backbone=truth"], multirun=False).jobs[0]
    inputs = find_inputs(other)
    events = inputs.source.load(tmp_path)
    with pytest.raises(UserError, match="not the one that the head was trained on"):
        list(other_events.features_of_events(meta, inputs.backbone, events, tmp_path))


ESTIMATED = ["backbone=truth", "backbone.purity=0.9", "data.source.events=700", "target=log_pt"]
ESTIMATED += ["target.relative=true", "pooling.analytic=true"]
"""With enough tracks to calibrate the formula on."""


@pytest.fixture(scope="module")
def estimated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Jobs that are given the analytic estimate, the second combined with it, and their root."""
    root = tmp_path_factory.mktemp("root")
    return train(root, *ESTIMATED), train(root, *ESTIMATED, "target.analytic=true"), root


def test_a_head_is_given_the_estimate_of_the_reference(estimated) -> None:
    """Its last inputs, decoded as outputs are, and whether they are usable."""
    folder, _, root = estimated
    config, key = runs.read_config(folder), runs.read_job(folder)["cache_key"]
    reference = ScoredCache.open(root, key, "dev").references["analytic estimate"]
    opened = cache.open_cache(root, key)
    train, dev = opened.load("train"), opened.load("dev")
    loss = Loss.fit(config, train.truth, train.axis)
    split = Split.of(dev, loss.target)
    population = scoring._trained(folder, config, [0], split, loss, "head")
    seen = {}
    own = population.template.head.stacked
    population.template.head.stacked = lambda p, x, drop: seen.update(x=x) or own(p, x, drop)
    population.predict(split.hits, torch.arange(len(split)))
    inputs = seen["x"][0].numpy()
    assert inputs.shape[1] == 288 + 5
    given = reference.usable
    assert 0.2 < given.mean() < 1
    np.testing.assert_array_equal(inputs[:, -1], given)
    assert not inputs[~given, -5:].any()
    tracks = loss.decode(inputs[:, -5:-1], dev.truth, dev.axis, dev.event)
    for name in ("eta", "phi", "pt", "kappa"):
        got, want = getattr(tracks, name)[given], getattr(reference, name)[given]
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_the_estimate_is_taken_where_it_is_usable_and_else_the_head(estimated) -> None:
    alone, combined, root = estimated
    key = runs.read_job(alone)["cache_key"]
    reference = ScoredCache.open(root, key, "dev").references["analytic estimate"].columns()
    usable = np.isfinite(cache.open_cache(root, key).load("dev").analytic).all(1)
    assert 0.2 < usable.mean() < 1
    for seed in (0, 1):
        head, head_loss = scoring.score(alone, seed, "dev", root)
        both, loss = scoring.score(combined, seed, "dev", root)
        assert loss == head_loss
        for name, values in both.columns().items():
            np.testing.assert_array_equal(values[usable], reference[name][usable])
            np.testing.assert_array_equal(values[~usable], head.columns()[name][~usable])


def test_other_events_have_their_estimates(estimated, tmp_path) -> None:
    _, folder, root = estimated
    write_hepattn(tmp_path, simulate_chunks(700, SEED))
    tracks = scoring.apply(folder, tmp_path).tracks[1]
    dev, _ = scoring.score(folder, 1, "dev", root)
    rows = np.isin(tracks.event, dev.event)
    assert rows.sum() == len(dev) > 0
    np.testing.assert_allclose(tracks.kappa[rows], dev.kappa, rtol=1e-4)


@pytest.mark.parametrize("key", ["pooling.analytic", "target.analytic"])
def test_data_without_an_estimate_are_refused(tmp_path, key: str) -> None:
    with pytest.raises(UserError, match=f"{key}=true: no training track has an analytic estimate"):
        train(tmp_path, "backbone=truth", f"{key}=true")
