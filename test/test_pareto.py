"""The front of two costs, against brute force."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from dnn_offload.planning.pareto import pareto_indices, pareto_set
from dnn_offload.planning.plan import Candidate

_cost = st.one_of(st.integers(0, 6).map(float), st.just(math.nan), st.just(math.inf))


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@given(st.lists(st.tuples(_cost, _cost), max_size=30))
def test_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    first = np.array([p[0] for p in points], np.float64)
    second = np.array([p[1] for p in points], np.float64)
    found = [points[i] for i in pareto_indices(first, second)]
    finite = {p for p in points if all(map(math.isfinite, p))}
    expected = {p for p in finite if not any(dominates(q, p) for q in finite)}
    assert set(found) == expected
    assert len(found) == len(expected), 'of equal points one'
    assert found == sorted(found)


def test_plans_on_the_front() -> None:
    def made(index: int, head_ms: float, energy_j: float) -> Candidate:
        return Candidate(index, str(index), '', 'raw', 's', head_ms=head_ms, energy_j=energy_j)

    plans = [made(0, 5.0, 1.0), made(1, 3.0, 2.0), made(2, 4.0, 2.0), made(3, 1.0, math.nan)]
    assert [plan.cut_index for plan in pareto_set(plans)] == [1, 0]
