"""Notes of a report: the selection of tracks, what the backbone lost, and targets that differ."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from headsweep.config import SelectionConfig, TargetConfig
from headsweep.files import seal
from headsweep.report.render import write
from headsweep.report.render.markdown import markdown
from helpers.toy_runs import toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow

CUTS = SelectionConfig(min_hits=9, min_pt=5.0)
SAID = "tracks with at least 9 hits, pT ≥ 5 GeV were kept"


def write_job(
    root: Path, number: int, cuts: SelectionConfig, kept: float, label: str, **more: object
) -> Path:
    """A job whose cache says that it was selected; the tracks in it are those of every cache."""
    key = f"cache{number}"
    write_cache(root, key, seed=number)
    file = root / "cache" / "features" / key / "meta.json"
    meta = {**json.loads(file.read_text()), "selection": asdict(cuts)}
    meta["selected"]["dev"] = kept
    file.write_text(json.dumps(meta))
    seal(file.parent)
    sweep = root / "sweeps" / "cuts"
    labels = {"data/selection": label}
    write_toy_job(sweep / "jobs" / str(number), {0: 0.1}, labels=labels, cache_key=key, **more)
    return sweep


def said(folder: Path, root: Path) -> list[str]:
    built = write.build_report(folder, root, toy_score)
    found = [note for note in built.notes if "were kept" in note]
    assert all(f"- {note}\n" in markdown(built, {}) for note in found)
    return found


def test_one_selection_is_said_once(tmp_path: Path) -> None:
    for number in (0, 1):
        folder = write_job(tmp_path, number, CUTS, 0.8731, f"file{number}")
    assert said(folder, tmp_path) == [f"Only {SAID} (87.3% of dev)."]


def test_without_a_selection_nothing_is_said(tmp_path: Path) -> None:
    folder = write_job(tmp_path, 0, SelectionConfig(), 1.0, "all_tracks")
    assert said(folder, tmp_path) == []


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        (SelectionConfig(), []),
        (SelectionConfig(max_abs_eta=2.0), ["Of other only tracks with |eta| ≤ 2 were kept"]),
    ],
)
def test_different_selections_are_told_apart(
    tmp_path: Path, other: SelectionConfig, lines: list[str]
) -> None:
    write_job(tmp_path, 0, CUTS, 0.25, "quality")
    folder = write_job(tmp_path, 1, other, 0.5, "other")
    wanted = [f"Of quality only {SAID} (25.0% of dev).", *(f"{s} (50.0% of dev)." for s in lines)]
    assert said(folder, tmp_path) == wanted


def test_the_share_of_a_cross_validation_is_the_mean_of_its_folds(tmp_path: Path) -> None:
    for fold, kept in enumerate((0.2, 0.3)):
        split = {"folds": 2, "fold": fold}
        folder = write_job(tmp_path, fold, CUTS, kept, "quality", split=split)
    assert said(folder, tmp_path) == [f"Only {SAID} (25.0% of dev)."]


def test_what_the_backbone_lost_is_said(tmp_path: Path) -> None:
    for i, (name, found) in enumerate({"document": 0.975, "bending": 0.5}.items()):
        write_cache(tmp_path, name)
        file = tmp_path / "cache" / "features" / name / "meta.json"
        meta = {**json.loads(file.read_text()), "hit_purity": 0.9, "hit_efficiency": 0.8}
        meta["efficiency"]["dev"] = found
        file.write_text(json.dumps(meta))
        seal(file.parent)
        job = tmp_path / "sweeps" / "features" / "jobs" / str(i)
        write_toy_job(job, {0: 0.1 + i}, labels={"features": name}, cache_key=name)
    built = write.build_report(tmp_path / "sweeps" / "features", tmp_path, toy_score)
    (line,) = [note for note in built.notes if note.startswith("Every figure of document")]
    assert "at threshold 0.1 the backbone finds 97.5% of the true tracks of dev" in line
    assert "hit purity 90.0%, hit efficiency 80.0% on val" in line
    assert any("of bending is" in note and "finds 50.0%" in note for note in built.notes)


def test_losses_of_different_targets_come_with_a_warning(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    for i, target in enumerate(("plain", "log_pt")):
        write_toy_job(
            tmp_path / "sweeps" / "targets" / "jobs" / str(i),
            {0: 0.1 + i},
            labels={"target": target},
            config={"target": vars(TargetConfig(name=target))},
        )
    built = write.build_report(tmp_path / "sweeps" / "targets", tmp_path, toy_score)
    assert any("Targets or losses differ" in note for note in built.notes)
    assert [row.label for row in built.rows[:2]] == ["plain", "log_pt"]
