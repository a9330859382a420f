"""From conditions to ranked candidates: the strategies by name, best first."""

from __future__ import annotations

from collections.abc import Callable

from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.planning import placement, two_cuts
from dnn_offload.planning.plan import Candidate, Conditions, Constraints
from dnn_offload.planning.strategies import (
    auto,
    dey2019,
    local,
    neurosurgeon,
    remote,
    roadrunner,
)

Strategy = Callable[[Conditions, Constraints], list[Candidate]]

STRATEGIES: dict[str, Strategy] = {
    'auto': auto.candidates,
    'local': local.candidates,
    'remote': remote.candidates,
    'neurosurgeon': neurosurgeon.candidates,
    'dey2019': dey2019.candidates,
    'roadrunner': roadrunner.candidates,
}
DEFAULT_STRATEGY = 'auto'
ALL_SHAPES = (two_cuts.SHAPE, placement.SHAPE)  # plans beside single cuts
NO_CONSTRAINTS = Constraints()


def rank_key(candidate: Candidate) -> tuple[float, int, int, str, str]:
    """Order of candidates: fastest first; of equals, what sends less, then by name."""
    return (
        candidate.latency_ms,
        candidate.uplink_bytes,
        candidate.cut_index,
        candidate.codec,
        candidate.server,
    )


def plan(
    strategy: str, conditions: Conditions, constraints: Constraints = NO_CONSTRAINTS
) -> list[Candidate]:
    """Rank all plans that a strategy considers, best first, priced as it believes.

    Raises:
        ConfigurationError: No strategy of that name.
        PlanningError: No plan of this strategy is possible now (e.g. ``remote`` without a
            server); run ``costs.local_candidate`` meanwhile.
    """
    consider = STRATEGIES.get(strategy)
    if consider is None:
        raise ConfigurationError(
            'unknown strategy', given=strategy, allowed=', '.join(sorted(STRATEGIES))
        )
    found = consider(conditions, constraints)
    if not found:
        raise PlanningError(
            f'strategy {strategy} has no plan now',
            given=f'{len(conditions.servers)} servers ready, '
            f'private_layers={constraints.private_layers}, codecs={constraints.codecs}',
            allowed='a ready server with a live link and a legal cut and codec',
            hint='use strategy auto, which always has the all-local plan',
        )
    found.sort(key=rank_key)
    return found
