"""The quality selection against a loop over tracks and their hits."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headsweep.backbone.base import truth_masks
from headsweep.config import SelectionConfig
from headsweep.errors import UserError
from headsweep.events.base import Events
from headsweep.events.hepattn import read_hepattn
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.selection import selected, true_hits, words
from headsweep.events.simulation import simulate_chunks
from headsweep.features import cache
from helpers.toy_events import passes, toy_events, with_stations

QUALITY = SelectionConfig(9, 0.1, 2.7, 5.0, 3, 3)
LIMIT = st.floats(0, 2.5, width=32)


def by_loop(events: Events, cuts: SelectionConfig) -> list[bool]:
    """True for each track that passes."""
    return [
        passes(events, event, number, cuts)
        for event in range(len(events))
        for number in range(np.diff(events.track_offsets)[event])
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 99),
    st.builds(
        SelectionConfig,
        min_hits=st.integers(0, 12),
        min_abs_eta=LIMIT,
        max_abs_eta=st.none() | st.just(2.6),
        min_pt=st.floats(0, 9),
        min_stations=st.integers(0, 4),
        min_station_hits=st.integers(1, 5),
    ),
)
def test_the_selection_is_that_of_a_loop_over_tracks(seed: int, cuts: SelectionConfig) -> None:
    events = with_stations(toy_events(12, seed, most_tracks=3))
    assert selected(events, cuts).tolist() == by_loop(events, cuts)


def test_simulated_muons(tmp_path: Path) -> None:
    write_hepattn(tmp_path, simulate_chunks(200, 3))
    events = read_hepattn(tmp_path)
    kept = selected(events, QUALITY)
    assert kept.tolist() == by_loop(events, QUALITY)
    assert 0.5 < kept.mean() < 0.9


def test_without_cuts_every_track_counts_even_one_without_hits() -> None:
    events = toy_events(20)
    events = replace(events, hit_track=np.full_like(events.hit_track, -1))
    assert selected(events, SelectionConfig()).all()
    assert not selected(events, SelectionConfig(min_hits=1)).any()
    assert not selected(with_stations(events), SelectionConfig(min_stations=1)).any()


@pytest.mark.parametrize(
    ("cuts", "kept"),
    [
        (SelectionConfig(min_abs_eta=0.1), [True, True, True, False]),
        (SelectionConfig(max_abs_eta=2.7), [True, True, False, True]),
        (SelectionConfig(min_pt=5.0), [True, False, True, True]),
    ],
)
def test_a_bound_belongs_to_what_is_kept(cuts: SelectionConfig, kept: list[bool]) -> None:
    """Bounds are decimals, the truth is float32."""
    events = toy_events(4, most_tracks=1)
    events.tracks[:, 0] = 0.1, -2.7, 2.7001, -0.0999
    events.tracks[:, 2] = 5.0, 4.9999, 5.0, 5.0
    assert selected(events, cuts).tolist() == kept


def test_stations_need_a_column_that_tells_them_apart() -> None:
    with pytest.raises(UserError, match=r"data\.selection\.min_stations=3.*'stationIndex'.*=0, or"):
        selected(toy_events(5), QUALITY)
    events, without = toy_events(20), replace(QUALITY, min_stations=0)
    kept = selected(events, without)
    assert kept.tolist() == by_loop(events, without)
    assert 0 < kept.sum() < len(kept)


def test_true_hits_are_those_of_each_track() -> None:
    events = toy_events(10, most_tracks=3)
    hits, track = true_hits(events)
    want = Counter()
    for event in range(10):
        for number, mask in enumerate(truth_masks(events, event)):
            for hit in np.flatnonzero(mask):
                want[events.hit_offsets[event] + hit, events.track_offsets[event] + number] += 1
    assert Counter(zip(hits, track, strict=True)) == want


@pytest.mark.parametrize(
    ("cuts", "text"),
    [
        (SelectionConfig(), ""),
        (SelectionConfig(min_station_hits=5), ""),
        (SelectionConfig(min_abs_eta=0.1), "0.1 ≤ |eta|"),
        (SelectionConfig(max_abs_eta=2.7), "|eta| ≤ 2.7"),
        (
            QUALITY,
            "at least 9 hits, 0.1 ≤ |eta| ≤ 2.7, pT ≥ 5 GeV, "
            "at least 3 stations with at least 3 hits each",
        ),
    ],
)
def test_words(cuts: SelectionConfig, text: str) -> None:
    assert words(cuts) == text


@pytest.mark.slow
def test_from_the_command_line_to_predictions(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    source = ["data=tiny", "data.source.events=60", "data.source.seed=1", "data/selection=quality"]
    small = ["backbone=truth", "tracking=false", "optim.steps=4", "optim.batch_size=16"]
    code, _, err = command("train", *source, *small)
    assert code == 0, err
    [job] = (tmp_path / "runs/runs").iterdir()
    key = json.loads((job / "job.json").read_text())["cache_key"]
    meta = cache.open_cache(tmp_path / "runs", key).meta
    assert meta.selection == QUALITY
    said = " ".join(command("report", job.name)[1].split())
    assert (
        f"Only tracks with {words(QUALITY)} were kept ({meta.selected['dev']:.1%} of dev)" in said
    )

    (tmp_path / "same").mkdir()
    write_hepattn(tmp_path / "same", simulate_chunks(60, 1))
    code, _, err = command("predict", str(job), "same")
    assert code == 0, err
    n_kept = sum(by_loop(read_hepattn(tmp_path / "same"), QUALITY))
    assert len(pd.read_parquet("predictions.parquet")) == n_kept == sum(meta.n_tracks.values())
