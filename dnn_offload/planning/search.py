"""From conditions to ranked candidates: the strategies by name, best first; prices of any plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import math

from dnn_offload.cost.energy import UNKNOWN_HINT
from dnn_offload.errors import ConfigurationError, PlanningError
from dnn_offload.planning import one_cut, placement, two_cuts
from dnn_offload.planning.costs import (
    in_full,
    local_candidate,
    thread_counts,
    threads_of,
    with_value,
)
from dnn_offload.planning.limits import forbidden_ends, MAX_FRONTIER, why_not
from dnn_offload.planning.objective import LATENCY
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


def rank_key(candidate: Candidate) -> tuple[float, float, int, int, str, str, int]:
    """Order of candidates: best first; of equals, the fastest, what sends less, then by name.

    Where nothing runs here the thread count costs nothing: the larger one, for rescues.
    """
    return (
        candidate.cost,
        candidate.latency_ms,
        candidate.uplink_bytes,
        candidate.cut_index,
        candidate.codec,
        candidate.server,
        -candidate.threads,
    )


def plan(
    strategy: str,
    conditions: Conditions,
    constraints: Constraints = NO_CONSTRAINTS,
    correct: Callable[[list[Candidate]], list[Candidate]] = list,
) -> list[Candidate]:
    """Rank all plans that a strategy considers, best first, priced as it believes.

    Args:
        strategy: Its name.
        conditions: What is known now.
        constraints: What the user demands.
        correct: Puts right what frames have told of the prices, before the plans are judged.

    Raises:
        ConfigurationError: No strategy of that name.
        PlanningError: No plan of this strategy is possible now (e.g. ``remote`` without a
            server), or the objective needs the robot's power and that is not known; run
            ``costs.local_candidate`` meanwhile.
    """
    consider = STRATEGIES.get(strategy)
    if consider is None:
        raise ConfigurationError(
            'unknown strategy', given=strategy, allowed=', '.join(sorted(STRATEGIES))
        )
    check_objective(conditions, constraints)
    if strategy != DEFAULT_STRATEGY:
        constraints = replace(constraints, threads=_one_count(conditions, constraints))
    found = consider(conditions, constraints)
    found = _within_limits(found, conditions, constraints)
    if not found:
        raise PlanningError(
            f'strategy {strategy} has no plan now',
            given=f'{len(conditions.servers)} servers ready, '
            f'private_layers={constraints.private_layers}, codecs={constraints.codecs}'
            + ''.join(f', {why}' for why in forbidden_ends(conditions, constraints)),
            allowed='a ready server with a live link and a legal cut and codec',
            hint='use strategy auto and wider limits: it then has the all-local plan',
        )
    found = _judged(correct(found), conditions, constraints)
    found.sort(key=rank_key)
    return found


def fallback(conditions: Conditions, constraints: Constraints = NO_CONSTRAINTS) -> Candidate:
    """All on the robot as it is set, judged like the others; for when no plan is possible."""
    return _judged([local_candidate(conditions)], conditions, constraints)[0]


def reprice(
    candidate: Candidate, conditions: Conditions, deadline_ms: float = 0.0
) -> Candidate:
    """Price a candidate of any strategy under the true conditions.

    Args:
        candidate: The plan.
        conditions: The truth.
        deadline_ms: Deadline for which a late answer is priced; 0 = none.

    Raises:
        PlanningError: The server is gone, its link is dead, or cuts, values or codecs are not
            in both profiles: the candidate cannot run.
    """
    if candidate.is_local:
        return local_candidate(conditions, threads=candidate.threads)
    if candidate.return_id:
        return two_cuts.price(candidate, conditions, deadline_ms)
    if candidate.frontier:
        return placement.price(candidate, conditions, deadline_ms)
    return one_cut.price(candidate, conditions, deadline_ms)


def check_objective(conditions: Conditions, constraints: Constraints) -> None:
    """Refuse an objective that cannot be reckoned.

    Raises:
        PlanningError: It needs the robot's power, which is not known.
    """
    objective = constraints.objective
    if objective.needs_energy and conditions.power is None:
        raise PlanningError(
            f'objective {objective.name} needs the power of the robot, which is not known',
            allowed='a board whose power is known',
            hint=UNKNOWN_HINT,
        )


def _one_count(conditions: Conditions, constraints: Constraints) -> tuple[int, ...]:
    """Threads of a strategy that knows nothing of them: as they are set, if that is allowed.

    Else the allowed count next to it, the smaller one of two; () = as they are set.
    """
    allowed = thread_counts(conditions.edge_profile, constraints)
    as_set = threads_of(0, conditions.edge_profile)
    if 0 in allowed or as_set in allowed:
        return ()
    return (min(allowed, key=lambda count: (abs(count - as_set), count)),)


def _within_limits(
    found: list[Candidate], conditions: Conditions, constraints: Constraints
) -> list[Candidate]:
    """What breaks no limit on agreement or memory; plans of one cut were looked at before."""
    found = [candidate for candidate in found if len(candidate.frontier) <= MAX_FRONTIER]
    if not (
        constraints.min_agreement
        or constraints.max_edge_memory_mb
        or constraints.max_server_memory_mb
    ):
        return found
    return [
        candidate
        for candidate in found
        if not (candidate.is_local or candidate.return_id or candidate.frontier)
        or not why_not(candidate, conditions, constraints)
    ]


def _judged(
    found: list[Candidate], conditions: Conditions, constraints: Constraints
) -> list[Candidate]:
    """All with what is not known of them yet: waiting, lateness, energy, the objective's value."""
    found = [
        in_full(candidate, conditions, constraints.deadline_ms)
        if math.isnan(candidate.wait_ms) else candidate  # all or nothing of it is known
        for candidate in found
    ]
    if constraints.objective.name == LATENCY:
        return found
    own = (candidate for candidate in found if candidate.is_local and not candidate.threads)
    local = next(own, None) or local_candidate(conditions)
    return [
        with_value(candidate, constraints, local) if math.isnan(candidate.value) else candidate
        for candidate in found
    ]
