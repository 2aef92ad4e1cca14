"""From events to run folder to predictions, with the shipped transformer and nothing replaced."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headsweep.errors import UserError
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.features import cache, other_events
from headsweep.report import scoring
from headsweep.store import runs
from headsweep.sweep.inputs import find_inputs
from headsweep.sweep.job import objective, run_job
from headsweep.sweep.plan import make_plan

EVENTS, SEED = 60, 1
OVERRIDES = ["data=tiny", f"data.source.events={EVENTS}", f"data.source.seed={SEED}"]
OVERRIDES += ["optim.steps=5", "optim.batch_size=16", "seeds=2", "tracking=false"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a finished job, and its root."""
    root = tmp_path_factory.mktemp("root")
    job = make_plan([*OVERRIDES, f"root={root}"], multirun=False).jobs[0]
    inputs = find_inputs(job)
    folder = root / "runs" / inputs.job_key
    run_job(job, inputs, folder)
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
    found = scoring.apply(folder, tmp_path)
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
