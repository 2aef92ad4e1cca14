"""Main effects and two-way interactions of a full factorial design with two levels a key."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from headsweep.errors import UserError
from headsweep.files import short_key
from headsweep.stats.margins import Comparison
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict, compare_sum
from headsweep.stats.welch import Moments, on_scale

BOTH = "the sum of both"
"""What an interaction is compared with."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of the cells' means.

    Attributes:
        name: What changes: ``dropout=0.1``, or for an interaction ``dropout=0.1 with depth=4``.
        against: What it is compared with: ``dropout=0``, or ``the sum of both``.
        weights: One for each cell, in their order.
        order: 1 for a main effect, 2 for an interaction.
    """

    name: str
    against: str
    weights: Array
    order: int


def contrasts(cells: Sequence[Mapping[str, str]]) -> list[Contrast]:
    """All main effects and two-way interactions.

    A main effect is the mean over the cells with the second level minus that over the others; an
    interaction is the effect of one key where the other has its second level, minus its effect
    where it has the first (Box, Hunter and Hunter, Statistics for Experimenters, chapter 5, who
    halve it).

    Args:
        cells: Choices of each cell by key; a key's first level is that of the first cell.

    Raises:
        UserError: The cells are no full factorial design.
    """
    levels = {key: list(dict.fromkeys(cell.get(key, "") for cell in cells)) for key in cells[0]}
    levels = {key: found for key, found in levels.items() if len(found) > 1}
    found = sorted(tuple(cell.get(key, "") for key in levels) for cell in cells)
    if (
        len(levels) < 2
        or any(len(values) != 2 for values in levels.values())
        or found != sorted(product(*levels.values()))
    ):
        counts = ", ".join(f"{key} {len(values)}" for key, values in levels.items())
        raise UserError(
            f"design.kind=factorial: needs every combination of two or more keys with two values "
            f"each; here are {len(cells)} configurations of {counts or 'one key'}"
        )
    signs = {
        key: np.array([1.0 if cell.get(key) == values[1] else -1.0 for cell in cells])
        for key, values in levels.items()
    }
    words = {
        key: [f"{short_key(key)}={value}" for value in values] for key, values in levels.items()
    }
    half = len(cells) / 2
    main = [Contrast(words[key][1], words[key][0], sign / half, 1) for key, sign in signs.items()]
    return main + [
        Contrast(
            f"{words[a][1]} with {words[b][1]}",
            BOTH,
            signs[a] * signs[b] / (half / 2),
            2,
        )
        for a, b in combinations(signs, 2)
    ]


def compare_contrast(
    contrast: Contrast,
    values: Sequence[Array],
    comparison: Comparison,
    *,
    events: Sequence[Array] | None,
    n_events: int | None,
) -> Verdict:
    """The verdict of one contrast, as ``verdict.compare`` gives it of two arms.

    Args:
        contrast: The weights of the cells.
        values: The metric of each seed of each cell, [n_c] each.
        comparison: The terms; m is that of the contrast's family.
        events: The mean over the seeds on resampled events, [R] for each cell, on its scale.
        n_events: Events of the sample.

    Raises:
        UserError: A value cannot be compared on the scale.
    """
    moments = [Moments.of(on_scale(cell, comparison.scale, contrast.name)) for cell in values]
    variance = None
    if events is not None:
        resampled = sum(w * cell for w, cell in zip(contrast.weights, events, strict=True))
        variance = float(np.var(resampled, ddof=1))
    return compare_sum(moments, contrast.weights, comparison, events=variance, n_events=n_events)
