"""What a plan costs: profiles and conditions in, candidates with a breakdown out.

The cost of one frame is additive::

    head*load + encode*load + uplink + queue + decode*s + tail*s + downlink + finish*load

with ``load`` the robot's and ``s`` the server's slow-down relative to their profiles. Every
strategy prices through this module, so strategies differ only in what they believe
(``edge_load``, ``server_load``) and in which cuts and codecs they consider. All times ms.

Energy, where the robot's power is known, is that of ``cost/energy.py``: the processor is busy
for the robot's stages less what they wait for it under load, the radio for the transfers, and
the rest of the latency is waiting.

With k threads the robot's stages take ``load * (1 + 0.1 (k - 1) (load - 1))`` times what was
measured with k threads idle: threads wait for one another, so they suffer more than one alone.
(Two threads that sleep while they wait, ``OMP_WAIT_POLICY=PASSIVE``, took 2.8 times as long
where one took 2.5: 0.06. Threads that spin took 17 to 48 times as long.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dnn_offload.cost.energy import frame_energy_j
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import PlanningError
from dnn_offload.planning.objective import late_share, LATENCY, sigmoid
from dnn_offload.planning.pareto import pareto_indices
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, ServerState
from dnn_offload.planning.price_table import (
    Floats,
    PICTURE_CUT,
    price_table,
    PriceTable,
    RAW,
    thread_variants,
)

__all__ = [
    'answer_bytes', 'late_cost_ms', 'local_candidate', 'local_candidates', 'PICTURE_CUT', 'RAW',
    'remote_candidates', 'reprice', 'sane_load', 'slow_down', 'thread_counts', 'usable_servers',
    'with_energy', 'with_value',
]

MIN_LOAD_FACTOR = 0.01
MAX_LOAD_FACTOR = 1e4
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


def local_candidate(
    conditions: Conditions,
    *,
    edge_load: float | None = None,
    overheads: bool = True,
    threads: int = 0,
) -> Candidate:
    """Everything on the robot; always legal.

    Args:
        conditions: What is known now.
        edge_load: Load to believe in; None = ``conditions.edge_load``.
        overheads: Whether the strategy knows learnt overheads.
        threads: Compute threads, one of the profiled counts; 0 = as they are set.
    """
    load = sane_load(conditions.edge_load if edge_load is None else edge_load)
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
        head_ms=whole_ms * slow_down(load, threads),
        finish_ms=profile.finish_ms * load,
        overhead_ms=conditions.edge_overhead_ms if overheads else 0.0,
        threads=threads,
    )
    return with_energy(made, conditions, load)


def local_candidates(conditions: Conditions, constraints: Constraints) -> list[Candidate]:
    """All on the robot with each allowed thread count."""
    return [
        local_candidate(conditions, threads=threads)
        for threads in thread_counts(conditions.edge_profile, constraints)
    ]


def thread_counts(profile: Profile, constraints: Constraints) -> list[int]:
    """Allowed thread counts that were profiled; [0], as they are set, where there is none."""
    known = {profile.threads, *thread_variants(profile)}
    return sorted(known & set(constraints.threads)) or [0]


def remote_candidates(
    conditions: Conditions,
    constraints: Constraints,
    *,
    edge_load: float | None = None,
    server_load: float | None = None,
    codecs: Collection[str] = (),
    cuts: Collection[int] = (),
    deadline_ms: float = 0.0,
    overheads: bool = True,
) -> list[Candidate]:
    """Price every legal way to use a server, in no particular order.

    A cut is a candidate when both profiles have it (by ``cut_id``); the last one is not,
    since nothing is left for the server.

    Args:
        conditions: What is known now.
        constraints: What the user demands, and how many of the best are wanted.
        edge_load: Load of the robot to believe in; None = ``conditions.edge_load``.
        server_load: Load of the servers to believe in; None = what each reports.
        codecs: Codecs that the strategy considers; empty = all.
        cuts: Cut positions that the strategy considers; empty = all.
        deadline_ms: Deadline that the strategy reckons with; 0 = none.
        overheads: Whether the strategy knows learnt overheads.
    """
    load = sane_load(conditions.edge_load if edge_load is None else edge_load)
    profile = conditions.edge_profile
    local = local_candidate(conditions, edge_load=load, overheads=overheads)
    found: list[Candidate] = []
    for server in usable_servers(conditions, constraints):
        table = price_table(profile, server.profile)
        rows = np.flatnonzero(table.allowed(constraints, codecs, cuts))
        if not rows.size:
            continue
        tail_load = sane_load(server.load_factor if server_load is None else server_load)
        for threads in thread_counts(profile, constraints):
            prices = _Prices(
                table,
                rows,
                conditions,
                server,
                (load, tail_load),
                threads,
                deadline_ms,
                server.overhead_ms if overheads else 0.0,
            )
            found += prices.candidates(constraints, local)
    return found


class _Prices:
    """Prices of some rows of a table on one server with one thread count."""

    def __init__(
        self,
        table: PriceTable,
        rows: NDArray[np.intp],
        conditions: Conditions,
        server: ServerState,
        loads: tuple[float, float],
        threads: int,
        deadline_ms: float,
        overhead_ms: float,
    ) -> None:
        self._table, self._rows = table, rows
        self._server, self._threads, self._overhead_ms = server.name, threads, overhead_ms
        load, tail_load = loads
        head_ms, edge_tail_ms = table.variants.get(threads, (table.head_ms, table.edge_tail_ms))
        slower = slow_down(load, threads)
        self._head_ms = head_ms[rows] * slower
        self._encode_ms = table.encode_ms[rows] * load
        self._uplink_ms = server.link.uplink_ms(table.nbytes[rows].astype(np.float64))
        self._queue_ms = max(server.queue_ms, 0.0)
        self._decode_ms = table.decode_ms[rows] * tail_load
        self._tail_ms = table.tail_ms[rows] * tail_load
        self._downlink_bytes = answer_bytes(conditions, server)
        self._downlink_ms = server.link.downlink_ms(float(self._downlink_bytes))
        self._finish_ms = conditions.edge_profile.finish_ms * load
        stages_ms = (
            self._head_ms + self._encode_ms + self._uplink_ms + self._queue_ms + self._decode_ms
            + self._tail_ms + self._downlink_ms + self._finish_ms
        )
        self._late_ms: Floats = np.zeros(rows.size)
        if deadline_ms > 0.0:
            rescue_ms = edge_tail_ms[rows] * slower + self._finish_ms
            self._late_ms = late_cost_ms(
                stages_ms + overhead_ms, self._head_ms + self._encode_ms, rescue_ms, deadline_ms
            )
        self._latency_ms = stages_ms + self._late_ms + overhead_ms
        self._has_energy = conditions.power is not None
        self._energy_j: Floats = np.full(rows.size, math.nan)
        if conditions.power is not None:
            busy_ms = self._head_ms + self._encode_ms + self._finish_ms
            own_ms = busy_ms / max(load, 1.0)
            moved_ms = self._uplink_ms + self._downlink_ms
            self._energy_j = frame_energy_j(
                conditions.power,
                own_ms,
                self._uplink_ms,
                self._downlink_ms,
                self._latency_ms - own_ms - moved_ms,
                max(threads, 1),
            )

    def candidates(self, constraints: Constraints, local: Candidate) -> list[Candidate]:
        """The plans that are wanted."""
        objective = constraints.objective
        period_ms = np.maximum(
            np.maximum(self._head_ms + self._encode_ms + self._finish_ms, self._uplink_ms),
            np.maximum(self._decode_ms + self._tail_ms, self._downlink_ms),
        )
        values = objective.value(
            self._latency_ms,
            period_ms,
            self._energy_j,
            late_share(self._latency_ms, constraints.deadline_ms),
            (local.latency_ms, local.energy_j),
        )
        chosen = self._chosen(values, constraints)
        rows = self._rows[chosen]
        table = self._table
        columns = [
            column.tolist()
            for column in (
                table.position[rows], table.nbytes[rows], self._head_ms[chosen],
                self._encode_ms[chosen], self._uplink_ms[chosen], self._decode_ms[chosen],
                self._tail_ms[chosen], self._late_ms[chosen],
            )
        ]
        # What is not known is the very default, so that equal plans are equal.
        unknown = [math.nan] * rows.size
        columns.append(self._energy_j[chosen].tolist() if self._has_energy else unknown)
        columns.append(unknown if objective.name == LATENCY else values[chosen].tolist())
        return [
            Candidate(
                position, table.cut_ids[row], table.labels[row], table.codecs[row], self._server,
                nbytes, head_ms, encode_ms, uplink_ms, self._queue_ms, decode_ms, tail_ms,
                self._downlink_ms, self._finish_ms, late_ms, self._overhead_ms,
                downlink_bytes=self._downlink_bytes, threads=self._threads,
                energy_j=energy_j, value=value,
            )
            for row, position, nbytes, head_ms, encode_ms, uplink_ms, decode_ms, tail_ms, late_ms,
            energy_j, value in zip(rows.tolist(), *columns, strict=True)
        ]

    def _chosen(self, values: Floats, constraints: Constraints) -> NDArray[np.intp]:
        """Indices of the best plans, of the front of latency and energy, and of those to keep."""
        count = values.size
        if not 0 < constraints.most < count:
            return np.arange(count)
        best = np.argpartition(values, constraints.most - 1)[: constraints.most]
        wanted = [best, pareto_indices(self._latency_ms, self._energy_j)]
        place = {row: at for at, row in enumerate(self._rows.tolist())} if constraints.keep else {}
        for cut_id, codec, server, return_id, _, threads in constraints.keep:
            row = self._table.index.get((cut_id, codec), -1)
            if server == self._server and threads == self._threads and not return_id:
                wanted.append(np.array([place[row]] if row in place else [], np.intp))
        return np.unique(np.concatenate(wanted))


def with_energy(candidate: Candidate, conditions: Conditions, load: float = math.nan) -> Candidate:
    """The candidate with its energy, where the robot's power is known.

    Args:
        candidate: A plan of any shape.
        conditions: What is known now.
        load: Load of the robot that the plan was priced with; NaN = that of the conditions.
    """
    power = conditions.power
    if power is None:
        return candidate
    load = sane_load(conditions.edge_load) if math.isnan(load) else load
    busy_ms = candidate.head_ms + candidate.encode_ms + candidate.rest_ms + candidate.finish_ms
    own_ms = busy_ms / max(load, 1.0)
    moved_ms = candidate.uplink_ms + candidate.downlink_ms
    energy_j = frame_energy_j(
        power,
        own_ms,
        candidate.uplink_ms,
        candidate.downlink_ms,
        candidate.latency_ms - own_ms - moved_ms,
        max(candidate.threads, 1),
    )
    return replace(candidate, energy_j=energy_j)


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
    return replace(candidate, value=float(value))


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


def reprice(candidate: Candidate, conditions: Conditions) -> Candidate:
    """Price a candidate of any strategy under the true conditions.

    Raises:
        PlanningError: The server is gone, its link is dead, or the cut is not in both
            profiles: the candidate cannot run.
    """
    if candidate.is_local:
        return local_candidate(conditions, threads=candidate.threads)
    if candidate.return_id or candidate.frontier:
        # These modules price through this one.
        from dnn_offload.planning import placement, two_cuts

        shape = two_cuts if candidate.return_id else placement
        return shape.price(candidate, conditions)
    threads = (candidate.threads,) if candidate.threads else ()
    only = Constraints(servers=(candidate.server,), threads=threads)
    for other in remote_candidates(
        conditions, only, codecs=(candidate.codec,), cuts=(candidate.cut_index,)
    ):
        if other.key == candidate.key:
            return other
    raise PlanningError(
        'plan cannot be priced',
        given=f'cut {candidate.cut_index} ({candidate.label}), {candidate.codec}, '
        f'{candidate.server}',
        allowed='a ready server with a live link, and a cut and codec in both profiles',
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
