"""Keys of the data: what cannot be is refused by name."""

import pytest

from headsweep.errors import UserError
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow

OTHER = {
    "hepattn": ["data.source.path=x"],
    "tracks": ["data.source.path=x", "data.source.features=[x,y,z]", "data.source.pt_edges=[1,2]"],
}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.split.val=1.5", "data.split.val=1.5"),
        ("data.split.dev=0.9", "data.split.val + dev + test"),
        ("data.split.dev=0", "data.split.dev=0.0: must be above 0"),
        ("data.split.seed=-1", "data.split.seed=-1: must be at least 0"),
        ("data.split.fold=1", "data.split.fold=1: must be 0 without data.split.folds"),
        ("data.selection.min_hits=-1", "data.selection.min_hits=-1: must be at least 0"),
        ("data.selection.min_hits=2.5", "data.selection.min_hits=2.5"),
        ("data.selection.min_stations=-1", "data.selection.min_stations=-1: must be at least 0"),
        ("data.selection.min_station_hits=0", "min_station_hits=0: must be at least 1"),
        ("data.selection.min_pt=-5", "data.selection.min_pt=-5.0: must be at least 0 and finite"),
        ("data.selection.min_pt=nan", "data.selection.min_pt=nan: must be at least 0 and finite"),
        ("data.selection.min_abs_eta=inf", "min_abs_eta=inf: must be at least 0 and finite"),
        ("data.selection.max_abs_eta=0", "max_abs_eta=0.0: must be above data.selection.min_abs"),
        ("data.selection.max_abs_eta=inf", "max_abs_eta=inf: must be above"),
    ],
)
def test_mistakes_in_splits_and_cuts_are_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_plan([override], multirun=False)
    assert message in str(caught.value)


@pytest.mark.parametrize("data", ["hepattn", "tracks"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pt_edges", "[5]"),
        ("pt_edges", "[0,5]"),
        ("pt_edges", "[5,5]"),
        ("pt_edges", "[10,5]"),
        ("pt_edges", "[5,inf]"),
        ("min_bin_tracks", "0"),
    ],
)
def test_mistakes_in_the_bins_are_named(data: str, key: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"data\.source\.{key}=.*: must be"):
        make_plan([f"data={data}", *OTHER[data], f"data.source.{key}={value}"], multirun=False)
