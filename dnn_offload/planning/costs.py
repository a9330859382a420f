"""What a plan costs: profiles and conditions in, candidates with a breakdown out.

The cost of one frame is additive::

    head*load + encode*load + uplink + queue + decode*s + tail*s + downlink + finish*load + wait
    - overlap

with ``load`` the robot's and ``s`` the server's slow-down relative to their profiles. Every
strategy prices through this module and those of the three shapes of a plan (``one_cut.py``,
``two_cuts.py``, ``placement.py``), so strategies differ only in what they believe
(``Conditions.believed``) and in what they consider (``Scope``). All times ms.

``wait`` is no stage of the frame but of the stream (``expected_wait_ms``). ``overlap`` is encoding
behind the first slices, as far as they keep the link busy (``hidden_ms``).

Energy, where the robot's power is known, is that of ``cost/energy.py``: the processor is busy
for the robot's stages less what they wait for it under load, the radio for the transfers, and
the rest of the latency is waiting.

With k threads the robot's stages take ``load * (1 + 0.1 (k - 1) (load - 1))`` times what was
measured with k threads idle: threads wait for one another, so they suffer more than one alone.
(Two threads that sleep while they wait, ``OMP_WAIT_POLICY=PASSIVE``, took 2.8 times as long
where one took 2.5: 0.06. Threads that spin took 17 to 48 times as long.)
"""

from __future__ import annotations

from collections.abc import Iterator
import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dnn_offload.cost.energy import EnergyTerms, frame_energy_j, frame_energy_terms
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import PlanningError
from dnn_offload.planning.objective import late_share, sigmoid
from dnn_offload.planning.overheads import place_of
from dnn_offload.planning.plan import (
    Candidate,
    changed,
    Conditions,
    Constraints,
    LinkState,
    ServerState,
)
from dnn_offload.planning.price_table import profiled_thread_counts, thread_variants

MIN_LOAD_FACTOR = 0.01
MAX_LOAD_FACTOR = 1e4
# Of the period of the pictures: about so far the slowest stage may be from it to be doubtful.
_PERIOD_SCATTER = 0.15
_NEVER = float(sigmoid(-1.0 / _PERIOD_SCATTER))
_PERIOD_ERROR = 0.1        # of the slowest stage: by so much its estimate may be off
# Widths of the soft limits of a deadline (logistic; the standard deviation is 1.8 times it).
_LATENCY_SCATTER = 0.08    # of the predicted latency
_RESCUE_SCATTER = 0.08     # of the local tail
_FIT_SCATTER = 0.05        # of the deadline
# In scatters. More than 0 would stay away from a server whose answers come just before the rescue;
# that was needed when any two late answers within 2 s lost it (benchmarks/deadline_margin.py).
_MISS_MARGIN = 0.0
_THREADS_SUFFER = 0.1      # of the load above 1, per further thread

Number = TypeVar('Number', float, NDArray[np.float64])


def sane_load(factor: float) -> float:
    """A usable load factor: unknown (NaN, infinite, not positive) counts as 1."""
    if not math.isfinite(factor) or factor <= 0.0:
        return 1.0
    return min(max(factor, MIN_LOAD_FACTOR), MAX_LOAD_FACTOR)


def slow_down(load: float, threads: int) -> float:
    """Slow-down of a computation with so many threads where one thread sees ``load``."""
    return load * (1.0 + _THREADS_SUFFER * max(threads - 1, 0) * max(load - 1.0, 0.0))


def load_behind(ratio: float, threads: int) -> float:
    """The load under which ``slow_down`` is ``ratio``: what one thread would see."""
    suffer = _THREADS_SUFFER * max(threads - 1, 0)
    if suffer == 0.0 or ratio <= 1.0:
        return ratio
    without = 1.0 - suffer
    return (math.sqrt(without * without + 4.0 * suffer * ratio) - without) / (2.0 * suffer)


def threads_of(threads: int, profile: Profile) -> int:
    """Compute threads of a plan; one that names none runs as the profile was measured."""
    return threads or max(profile.threads, 1)


def hidden_ms(behind_ms: Number, sent_bytes: Number, link: LinkState) -> Number:
    """Encoding that costs no time, since the beginning is on its way [ms]; numbers or arrays.

    Args:
        behind_ms: Encoding that is left when the first bytes can be sent, load included.
        sent_bytes: Encoded size.
        link: The link; its fixed time is not counted on.
    """
    paid_bytes = np.maximum(sent_bytes - link.uplink_burst_bytes, 0.0)
    hidden: Number = np.minimum(behind_ms, 8e3 * paid_bytes / link.uplink_bps)
    return hidden


def local_candidate(conditions: Conditions, *, threads: int = 0) -> Candidate:
    """Everything on the robot; always legal.

    Args:
        conditions: What is known now, or believed.
        threads: Compute threads, one of the profiled counts; 0 = as they are set.
    """
    load = sane_load(conditions.edge_load)
    profile = conditions.edge_profile
    last = profile.cuts[-1]
    variant = thread_variants(profile).get(threads)
    whole_ms = profile.whole_ms if variant is None else variant.head_ms[-1]
    made = Candidate(
        cut_index=last.index,
        cut_id='',
        label='all on the robot',
        codec='',
        server='',
        head_ms=whole_ms * slow_down(load, threads_of(threads, profile)),
        finish_ms=profile.finish_ms * load,
        overhead_ms=conditions.edge_overhead_ms,
        threads=threads,
    )
    return in_full(made, conditions)


def local_candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All on the robot with each allowed thread count."""
    return [
        local_candidate(conditions, threads=threads)
        for threads in thread_counts(conditions.edge_profile, constraints)
    ]


def thread_counts(profile: Profile, constraints: Constraints) -> list[int]:
    """Allowed thread counts that were profiled; [0], as they are set, where there is none."""
    return sorted(profiled_thread_counts(profile) & set(constraints.threads)) or [0]


def with_energy(candidate: Candidate, conditions: Conditions) -> Candidate:
    """The candidate with its energy, where the robot's power is known.

    Args:
        candidate: A plan of any shape.
        conditions: Those that it was priced with.
    """
    power = conditions.power
    if power is None:
        return candidate
    return changed(candidate, energy_j=frame_energy_j(power, *_work(candidate, conditions)))


def energy_terms(candidate: Candidate, conditions: Conditions) -> EnergyTerms | None:
    """What ``Candidate.energy_j`` is the sum of; None where the robot's power is not known.

    Args:
        candidate: A plan of any shape, priced.
        conditions: Those that it was priced with.
    """
    if conditions.power is None:
        return None
    return frame_energy_terms(conditions.power, *_work(candidate, conditions))


def _work(
    candidate: Candidate, conditions: Conditions
) -> tuple[float, float, float, float, int]:
    """How long the robot computes for a frame, sends, receives and waits [ms]; its threads."""
    busy_ms = candidate.head_ms + candidate.encode_ms + candidate.rest_ms + candidate.finish_ms
    own_ms = busy_ms / max(sane_load(conditions.edge_load), 1.0)
    moved_ms = candidate.uplink_ms + candidate.downlink_ms
    # While a picture waits for the robot, that works for the one before it.
    wait_ms = candidate.latency_ms - own_ms - moved_ms - candidate.wait_ms
    threads = threads_of(candidate.threads, conditions.edge_profile)
    return own_ms, candidate.uplink_ms, candidate.downlink_ms, wait_ms, threads


def with_value(candidate: Candidate, constraints: Constraints, local: Candidate) -> Candidate:
    """The candidate with its value under an objective other than latency.

    Args:
        candidate: A plan, its energy set where the objective needs it.
        constraints: Objective and deadline.
        local: The all-local plan, the unit of ``weighted``.
    """
    value = constraints.objective.value(
        candidate.latency_ms,
        candidate.period_ms,
        candidate.energy_j,
        late_share(candidate.latency_ms, constraints.deadline_ms),
        (local.latency_ms, local.energy_j),
    )
    return changed(candidate, value=float(value))


def in_full(
    candidate: Candidate, conditions: Conditions, deadline_ms: float = 0.0
) -> Candidate:
    """The candidate with what hangs on its stages, but for its value: wait, lateness, energy.

    Args:
        candidate: A plan of any shape, its stages priced.
        conditions: Those that they were priced with.
        deadline_ms: See ``with_lateness``.
    """
    waiting = with_wait(candidate, conditions)
    return with_energy(with_lateness(waiting, deadline_ms), conditions)


def with_wait(candidate: Candidate, conditions: Conditions) -> Candidate:
    """The candidate with what its pictures wait for the slowest stage."""
    place = place_of(candidate.server, candidate.return_id)
    wait_ms = expected_wait_ms(
        candidate.period_ms, conditions.frame_period_ms, conditions.waits_less.get(place, 0.0)
    )
    return changed(candidate, wait_ms=float(wait_ms))


def expected_wait_ms(
    period_ms: Number, frame_period_ms: float, less_ms: float = 0.0
) -> Number:
    """What the newest picture waits for the pipeline [ms]; numbers or arrays.

    As long as the slowest stage keeps up with the camera, a picture is started when it comes. If
    it does not, the stream has that stage's period, and each time the newest picture is taken: it
    is as likely to be as old as a whole period of the camera as quite new, half of one on average.
    Times scatter, so the border is soft.

    Args:
        period_ms: Slowest stage.
        frame_period_ms: Between two pictures; 0 = not known.
        less_ms: By how much frames were seen to wait less than that (``overheads.py``).
    """
    if frame_period_ms <= 0.0:
        return 0.0 * period_ms
    behind = (period_ms - frame_period_ms) / (_PERIOD_SCATTER * frame_period_ms)
    share = np.maximum(sigmoid(behind) - _NEVER, 0.0)  # no stage: no wait, however rare pictures
    wait_ms: Number = np.maximum(0.5 * frame_period_ms * share - less_ms, 0.0)
    return wait_ms


def wait_doubt_ms(candidate: Candidate, frame_period_ms: float) -> float:
    """By how much a plan's wait may be off [ms]: most where the stage just keeps up, else nothing.

    There a small error of the stage's time makes a large one of the wait.
    """
    if frame_period_ms <= 0.0:
        return 0.0
    share = candidate.wait_ms / (0.5 * frame_period_ms)
    slope = 0.5 * share * (1.0 - share) / _PERIOD_SCATTER
    return _PERIOD_ERROR * candidate.period_ms * slope


def with_lateness(candidate: Candidate, deadline_ms: float) -> Candidate:
    """The candidate with what late answers cost, from its stages.

    Args:
        candidate: A plan with a server, its ``rescue_ms`` set where there is a deadline.
        deadline_ms: The deadline; 0 = none.
    """
    on_time = candidate if candidate.late_ms == 0.0 else changed(candidate, late_ms=0.0)
    if deadline_ms <= 0.0:
        return on_time
    late_ms = late_cost_ms(
        on_time.latency_ms, on_time.head_ms + on_time.encode_ms, on_time.rescue_ms, deadline_ms
    )
    return changed(candidate, late_ms=float(late_ms))


def late_cost_ms(
    latency_ms: Number, before_ms: Number, rescue_ms: Number, deadline_ms: float
) -> Number:
    """What answers that come too late are expected to cost [ms]; numbers or arrays.

    The robot finishes a frame itself when the deadline is one local tail away: an answer
    later than that is worth a result at the deadline. Where the local tail does not fit
    behind the head any more, an answer later than the deadline is worth nothing. Latencies
    scatter and estimates err, so both limits are soft: a hard one would make a plan near it
    come and go with the noise, and the planner with it.

    Args:
        latency_ms: Predicted latency of the answer.
        before_ms: Of which before the frame is sent: head and encoding.
        rescue_ms: Local tail and decoding of the outputs.
        deadline_ms: Allowed from acquisition to publication.
    """
    starts_ms = deadline_ms - rescue_ms
    fits = sigmoid((starts_ms - before_ms) / (_FIT_SCATTER * deadline_ms))
    scatter_ms = _LATENCY_SCATTER * latency_ms + 1e-9
    # The moment of the rescue is a prediction as well, and errs with the load.
    start_scatter_ms = scatter_ms + _RESCUE_SCATTER * rescue_ms
    rescued = sigmoid((latency_ms - starts_ms) / start_scatter_ms + _MISS_MARGIN)
    missed = sigmoid((latency_ms - deadline_ms) / scatter_ms)
    return (
        fits * rescued * np.maximum(deadline_ms - latency_ms, 0.0)
        + (1.0 - fits) * missed * deadline_ms
    )


def usable_servers(conditions: Conditions, constraints: Constraints) -> Iterator[ServerState]:
    """Servers that the user allows and whose link is alive."""
    for server in conditions.servers:
        if constraints.servers and server.name not in constraints.servers:
            continue
        if server.link.alive:
            yield server


def answer_bytes(conditions: Conditions, server: ServerState) -> int:
    """Size of an answer [byte]; the robot's profile stands in where the server's is silent.

    Raises:
        PlanningError: Neither was profiled with the codec of the answers.
    """
    for profile in (server.profile, conditions.edge_profile):
        nbytes = profile.output_bytes.get(conditions.result_codec)
        if nbytes is not None:
            return nbytes
    raise PlanningError(
        'size of an answer is unknown',
        given=conditions.result_codec,
        allowed=', '.join(sorted(server.profile.output_bytes)) or 'none: measure a new profile',
    )
