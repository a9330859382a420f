"""``costs.late_cost_ms`` over arrays and for finished candidates. Pure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dnn_offload.planning.costs import (
    _FIT_SCATTER,
    _LATENCY_SCATTER,
    _MISS_MARGIN,
    _RESCUE_SCATTER,
    late_cost_ms,
)
from dnn_offload.planning.plan import Candidate

Floats = npt.NDArray[np.float64]


def with_late_cost(candidate: Candidate, edge_tail_ms: float, deadline_ms: float) -> Candidate:
    """The candidate with ``late_ms``; with a second cut, the rest counts as waiting.

    Args:
        candidate: A plan without it.
        edge_tail_ms: What the robot would run if no answer came, load included.
        deadline_ms: Allowed from acquisition to publication; 0 = none.
    """
    if deadline_ms <= 0.0:
        return candidate
    late_ms = late_cost_ms(
        candidate.latency_ms,
        candidate.head_ms + candidate.encode_ms,
        edge_tail_ms + candidate.finish_ms,
        deadline_ms,
    )
    return replace(candidate, late_ms=late_ms)


def late_costs_ms(
    latency_ms: Floats, before_ms: Floats, rescue_ms: Floats, deadline_ms: float
) -> Floats:
    """What answers that come too late are expected to cost, each [ms].

    Args:
        latency_ms: Predicted latencies of the answers; all arrays are of one shape.
        before_ms: Of which before the frame is sent.
        rescue_ms: Local tail and decoding of the outputs.
        deadline_ms: Allowed from acquisition to publication; more than 0.
    """
    starts_ms = deadline_ms - rescue_ms
    fits = _sigmoid((starts_ms - before_ms) / (_FIT_SCATTER * deadline_ms))
    scatter_ms = _LATENCY_SCATTER * latency_ms + 1e-9
    start_scatter_ms = scatter_ms + _RESCUE_SCATTER * rescue_ms
    rescued = _sigmoid((latency_ms - starts_ms) / start_scatter_ms + _MISS_MARGIN)
    missed = _sigmoid((latency_ms - deadline_ms) / scatter_ms)
    return (
        fits * rescued * np.maximum(deadline_ms - latency_ms, 0.0)
        + (1.0 - fits) * missed * deadline_ms
    )


def _sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), exactly 0 or 1 far out."""
    inside = 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))
    return np.where(np.abs(x) > 30.0, (x > 0.0).astype(float), inside)
