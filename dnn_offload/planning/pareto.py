"""The plans that nothing beats: no other is faster and needs no more energy, or the reverse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dnn_offload.planning.plan import Candidate


def pareto_indices(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.intp]:
    """Points that no other dominates, by rising ``first``; O(n log n).

    A point dominates another when it is not larger in either value and smaller in one. Of equal
    points the first is kept. Points with a value that is not finite are left out.

    Args:
        first: One cost of each point, shape (n,).
        second: Another one, shape (n,).
    """
    usable = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    # Sorted by the first cost, a point is on the front when its second is a new minimum.
    order = usable[np.lexsort((second[usable], first[usable]))]
    sorted_second = second[order]
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(sorted_second)[:-1]))
    return order[sorted_second < best_before]


def pareto_set(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates on the front of latency and energy, fastest first; empty without energies."""
    latency_ms = np.array([candidate.latency_ms for candidate in candidates], np.float64)
    energy_j = np.array([candidate.energy_j for candidate in candidates], np.float64)
    return [candidates[index] for index in pareto_indices(latency_ms, energy_j)]
