"""The matching of queries to true tracks."""

import numpy as np
from numpy.typing import NDArray

MATCH_THRESHOLD = 0.5
"""A matched query shares at least one hit of this p with its track. Fixed, and not the
assignment threshold, so that every threshold scores the same tracks."""


def mask_cost(p: NDArray[np.float32], truth_mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean binary cross-entropy plus dice loss of every (track, query) pair.

    Args:
        p: Assignment probabilities, [.., N, M].
        truth_mask: Hits of the true tracks, [.., T, M].

    Returns:
        Costs [.., T, N], both terms of MaskFormer (arXiv:2107.06278, section 3.2).
    """
    inside = np.clip(p.astype(np.float64), 1e-6, 1 - 1e-6).swapaxes(-1, -2)
    truth = truth_mask.astype(np.float64)
    log_in, log_out = np.log(inside), np.log1p(-inside)
    n_hits = max(p.shape[-1], 1)
    cross_entropy = -(truth @ (log_in - log_out) + log_out.sum(-2)[..., None, :]) / n_hits
    total = truth.sum(-1)[..., :, None] + inside.sum(-2)[..., None, :]
    cost: NDArray[np.float64] = cross_entropy + 1 - (2 * truth @ inside + 1) / (total + 1)
    return cost


def match(p: NDArray[np.float32], truth_mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Match each true track of one event to a query, with the least total mask cost.

    Args:
        p: Assignment probabilities, [N, M].
        truth_mask: Hits of the true tracks, [T, M].

    Returns:
        Query index per track, int64 [T]; -1 where no query is left, or where the assigned one
        shares no hit of p >= ``MATCH_THRESHOLD`` with the track.
    """
    from scipy.optimize import linear_sum_assignment  # takes its time; a cached one needs none

    query = np.full(len(truth_mask), -1, dtype=np.int64)
    tracks, queries = linear_sum_assignment(mask_cost(p, truth_mask))
    shares = (truth_mask[tracks] & (p[queries] >= MATCH_THRESHOLD)).any(-1)
    query[tracks[shares]] = queries[shares]
    return query
