"""The bootstrap over events: all tracks of an event are drawn together."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

EVENT_RESAMPLES = 1000
"""Fewest resamples behind the event layer of a verdict."""

Rows = NDArray[np.int64]


def event_resamples(event: Rows, resamples: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Rows of resampled tracks: events are drawn with replacement, with all their tracks.

    Args:
        event: Event number of each track, [T].
        resamples: How many resamples to draw.
        rng: The source of randomness.

    Yields:
        Row numbers, about T of them.
    """
    for (rows,) in joint_resamples([event], resamples, rng):
        yield rows


def joint_resamples(
    events: Sequence[Rows], resamples: int, rng: np.random.Generator
) -> Iterator[list[Rows]]:
    """The same draws of events for several sets of their tracks, such as those of two selections.

    Args:
        events: For each set the event number of each of its tracks; equal numbers are one event.
        resamples: How many resamples to draw.
        rng: The source of randomness.

    Yields:
        Row numbers of each set; an event may have no track in one of them.
    """
    number = np.unique(np.concatenate(events))
    index = [np.searchsorted(number, own) for own in events]
    for _ in range(resamples):
        drawn = rng.integers(len(number), size=len(number))
        counts = np.bincount(drawn, minlength=len(number))
        yield [np.repeat(np.arange(len(own)), counts[own]) for own in index]


def event_bootstrap(
    statistic: Callable[[Rows], ArrayLike],
    event: Rows,
    rng: np.random.Generator,
    resamples: int = EVENT_RESAMPLES,
) -> NDArray[np.float64]:
    """A statistic on resampled events.

    What belongs to one comparison goes into one call, so that every seed of every arm sees the
    same resamples: the statistic then returns one value for each of them.

    Args:
        statistic: From row numbers to a number or an array, always of one shape.
        event: Event number of each track, [T]; two tracks of one event are not independent.
        rng: The source of randomness.
        resamples: R.

    Returns:
        The values, [R, ...].
    """
    return np.array(
        [statistic(rows) for rows in event_resamples(event, resamples, rng)], dtype=np.float64
    )
