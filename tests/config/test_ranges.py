"""Ranges of keys: every bound is in or out as its bracket says."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from headsweep.config.ranges import check_each, one_of, within
from headsweep.errors import UserError


@dataclass
class Toy:
    """Two keys with a range each."""

    share: float = within(0.5, "(0, 1]")
    count: float = within(1, "[1, inf)")
    word: str = one_of("one", "two")


@pytest.mark.parametrize(
    "change", [{"share": 1.0}, {"share": 1e-9}, {"count": 1}, {"count": 10**9}, {"word": "two"}]
)
def test_values_in_range_pass(change: dict[str, Any]) -> None:
    check_each("group", Toy(**change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 0.0}, "group.share=0.0: must be in (0, 1]"),
        ({"share": 1.1}, "group.share=1.1: must be in (0, 1]"),
        ({"share": math.nan}, "group.share=nan: must be in (0, 1]"),
        ({"count": 2**63}, f"group.count={2**63}: must be below 2^63, as files have it"),
        ({"count": 0}, "group.count=0: must be at least 1"),
        ({"count": math.inf}, "group.count=inf: must be at least 1 and finite"),
        ({"word": "three"}, "group.word=three: must be one of one, two"),
    ],
)
def test_values_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_each("group", Toy(**change))
    assert str(caught.value) == message
