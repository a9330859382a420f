"""One cut: robot, server. All cuts, codecs and servers are priced at once, as arrays.

The equation is in ``costs.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
import math

import numpy as np
from numpy.typing import NDArray

from dnn_offload.cost.energy import frame_energy_j
from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import (
    answer_bytes,
    expected_wait_ms,
    hidden_ms,
    late_cost_ms,
    local_candidate,
    sane_load,
    slow_down,
    thread_counts,
    threads_of,
    usable_servers,
)
from dnn_offload.planning.objective import late_share, LATENCY, Objective
from dnn_offload.planning.pareto import pareto_indices
from dnn_offload.planning.plan import (
    Candidate,
    changed,
    Conditions,
    Constraints,
    EVERYTHING,
    Key,
    Scope,
    ServerState,
)
from dnn_offload.planning.price_table import Floats, price_table, PriceTable

Indices = NDArray[np.intp]


def candidates(
    conditions: Conditions, constraints: Constraints, scope: Scope = EVERYTHING
) -> list[Candidate]:
    """Price every legal way to use a server with one cut, in no particular order.

    A cut is a candidate when both profiles have it (by ``cut_id``); the last one is not,
    since nothing is left for the server.

    Args:
        conditions: What is known now, or believed.
        constraints: What the user demands, and how many of the best are wanted.
        scope: What the strategy considers.
    """
    profile = conditions.edge_profile
    local = local_candidate(conditions)
    found: list[Candidate] = []
    for server in usable_servers(conditions, constraints):
        table = price_table(profile, server.profile)
        rows = np.flatnonzero(table.allowed(constraints, scope))
        if not rows.size:
            continue
        prices = [
            _Prices(table, rows, conditions, server, threads, scope.deadline_ms)
            for threads in thread_counts(profile, constraints)
        ]
        values = [one.values(constraints, local) for one in prices]
        chosen = _chosen(prices, values, constraints)
        for one, some, its_values in zip(prices, chosen, values, strict=True):
            found += one.candidates(some, its_values, constraints.objective)
    return found


def price(
    candidate: Candidate, conditions: Conditions, deadline_ms: float = 0.0
) -> Candidate:
    """Price a plan with one cut under these conditions.

    Raises:
        PlanningError: Its server is gone, or its cut or codec is not in both profiles.
    """
    threads = (candidate.threads,) if candidate.threads else ()
    only = Constraints(servers=(candidate.server,), threads=threads)
    scope = Scope(
        codecs=(candidate.codec,), cuts=(candidate.cut_index,), deadline_ms=deadline_ms
    )
    for other in candidates(conditions, only, scope):
        if other.key == candidate.key:
            return other
    raise PlanningError(
        'plan cannot be priced',
        given=f'cut {candidate.cut_index} ({candidate.label}), {candidate.codec}, '
        f'{candidate.server}',
        allowed='a ready server with a live link, and a cut and codec in both profiles',
    )


class _Prices:
    """Prices of some rows of a table on one server with one thread count."""

    def __init__(
        self,
        table: PriceTable,
        rows: NDArray[np.intp],
        conditions: Conditions,
        server: ServerState,
        threads: int,
        deadline_ms: float,
    ) -> None:
        self._table, self._rows = table, rows
        self._server, self._threads = server.name, threads
        load, tail_load = sane_load(conditions.edge_load), sane_load(server.load_factor)
        head_ms, edge_tail_ms = table.variants.get(threads, (table.head_ms, table.edge_tail_ms))
        all_threads = threads_of(threads, conditions.edge_profile)
        slower = slow_down(load, all_threads)
        self._head_ms = head_ms[rows] * slower
        self._overhead_ms = server.overhead_ms + conditions.wake_ratio * self._head_ms
        self._encode_ms = table.encode_ms[rows] * load
        sent_bytes = table.sent_bytes(conditions.sizes)[rows]
        self._sent_bytes = np.rint(sent_bytes).astype(np.int64)
        self._uplink_ms = server.link.uplink_ms(sent_bytes)
        self._overlap_ms = hidden_ms(table.behind_ms[rows] * load, sent_bytes, server.link)
        self._queue_ms = max(server.queue_ms, 0.0)
        self._decode_ms = table.decode_ms[rows] * tail_load
        self._tail_ms = table.tail_ms[rows] * tail_load
        self._downlink_bytes = answer_bytes(conditions, server)
        self._downlink_ms = server.link.downlink_ms(float(self._downlink_bytes))
        self._finish_ms = conditions.edge_profile.finish_ms * load
        stages_ms = (
            self._head_ms + self._encode_ms + self._uplink_ms + self._queue_ms + self._decode_ms
            + self._tail_ms + self._downlink_ms + self._finish_ms - self._overlap_ms
        )
        self._period_ms = np.maximum(
            np.maximum(self._head_ms + self._encode_ms + self._finish_ms, self._uplink_ms),
            np.maximum(self._decode_ms + self._tail_ms, self._downlink_ms),
        )
        self._wait_ms = expected_wait_ms(
            self._period_ms, conditions.frame_period_ms,
            conditions.waits_less.get(server.name, 0.0),
        )
        on_time_ms = stages_ms + self._overhead_ms + self._wait_ms
        self._late_ms: Floats = np.zeros(rows.size)
        self._rescue_ms: Floats = np.zeros(rows.size)
        if deadline_ms > 0.0:
            self._rescue_ms = edge_tail_ms[rows] * slower + self._finish_ms
            self._late_ms = late_cost_ms(
                on_time_ms,
                self._head_ms + self._encode_ms,
                self._rescue_ms,
                deadline_ms,
            )
        self.latency_ms = on_time_ms + self._late_ms
        self._has_energy = conditions.power is not None
        self.energy_j: Floats = np.full(rows.size, math.nan)
        if conditions.power is not None:
            busy_ms = self._head_ms + self._encode_ms + self._finish_ms
            own_ms = busy_ms / max(load, 1.0)
            moved_ms = self._uplink_ms + self._downlink_ms
            self.energy_j = frame_energy_j(
                conditions.power,
                own_ms,
                self._uplink_ms,
                self._downlink_ms,
                self.latency_ms - own_ms - moved_ms - self._wait_ms,
                all_threads,
            )

    def values(self, constraints: Constraints, local: Candidate) -> Floats:
        """Value of each row under the objective."""
        return constraints.objective.value(
            self.latency_ms,
            self._period_ms,
            self.energy_j,
            late_share(self.latency_ms, constraints.deadline_ms),
            (local.latency_ms, local.energy_j),
        )

    def kept(self, keys: Collection[Key]) -> Indices:
        """Indices of the plans among ``keys``."""
        if not keys:
            return np.array([], np.intp)
        place = {row: at for at, row in enumerate(self._rows.tolist())}
        found = [
            place.get(self._table.index.get((cut_id, codec), -1))
            for cut_id, codec, server, return_id, _, threads in keys
            if server == self._server and threads == self._threads and not return_id
        ]
        return np.array([at for at in found if at is not None], np.intp)

    def candidates(
        self, chosen: Indices, values: Floats, objective: Objective
    ) -> list[Candidate]:
        """Some plans, by index."""
        rows = self._rows[chosen]
        table = self._table
        columns = [
            column.tolist()
            for column in (
                table.position[rows], self._sent_bytes[chosen], self._head_ms[chosen],
                self._encode_ms[chosen], self._uplink_ms[chosen], self._decode_ms[chosen],
                self._tail_ms[chosen], self._late_ms[chosen], self._rescue_ms[chosen],
                self._overhead_ms[chosen], self._wait_ms[chosen], self._overlap_ms[chosen],
            )
        ]
        # What is not known is the very default, so that equal plans are equal.
        unknown = [math.nan] * rows.size
        columns.append(self.energy_j[chosen].tolist() if self._has_energy else unknown)
        columns.append(unknown if objective.name == LATENCY else values[chosen].tolist())
        shared = Candidate(
            0, '', '', '', self._server, queue_ms=self._queue_ms, downlink_ms=self._downlink_ms,
            finish_ms=self._finish_ms, downlink_bytes=self._downlink_bytes, threads=self._threads,
        )
        return [
            changed(
                shared, cut_index=position, cut_id=table.cut_ids[row], label=table.labels[row],
                codec=table.codecs[row], uplink_bytes=nbytes, head_ms=head_ms,
                encode_ms=encode_ms, uplink_ms=uplink_ms, decode_ms=decode_ms, tail_ms=tail_ms,
                late_ms=late_ms, rescue_ms=rescue_ms, overhead_ms=overhead_ms, wait_ms=wait_ms,
                overlap_ms=hidden, energy_j=energy_j, value=value,
            )
            for row, position, nbytes, head_ms, encode_ms, uplink_ms, decode_ms, tail_ms, late_ms,
            rescue_ms, overhead_ms, wait_ms, hidden, energy_j, value in zip(
                rows.tolist(), *columns, strict=True
            )
        ]


def _chosen(
    prices: Sequence[_Prices], values: Sequence[Floats], constraints: Constraints
) -> list[Indices]:
    """Of each thread count the indices of what is wanted.

    That is the best over all thread counts, the front of latency and energy over all, and what
    is to be kept.
    """
    every = np.concatenate(values)
    wanted = np.ones(every.size, dtype=bool)
    if 0 < constraints.most < every.size:
        wanted[:] = False
        wanted[np.argpartition(every, constraints.most - 1)[: constraints.most]] = True
        latency_ms = np.concatenate([one.latency_ms for one in prices])
        energy_j = np.concatenate([one.energy_j for one in prices])
        wanted[pareto_indices(latency_ms, energy_j)] = True
    chosen = []
    for one, ours in zip(prices, np.split(wanted, len(prices)), strict=True):
        ours[one.kept(constraints.keep)] = True
        chosen.append(np.flatnonzero(ours))
    return chosen
