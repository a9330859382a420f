"""Two cuts: robot, server, robot. Exact over all pairs of cuts, codecs each way and servers.

The server computes the layers between cut i and cut j, the robot those before and after
(Kakolyris et al., "RoaD-RuNNer", Algorithm 1)::

    T(i, j) = head_i*L + up(i, j) + queue + max(tail_i - tail_j, 0)*s + down(i, j) + rest_j*L
    up(i, j)   = u*encode_i*L + alpha_up + max(u*bytes_i - burst, 0)/B_up + u*decode_i*s
    down(i, j) = d*encode_j*s + alpha_down + d*bytes_j/B_down + d*decode_j*L

with L and s the load factors, head_i the robot's head, tail_i and tail_j the server's tails,
rest_j the robot's tail. Skip connections go by value: of the frontier at i only what the layers
between the cuts read is sent (share u of its bytes), of the frontier at j only what they made
comes back (share d); the rest is on the robot already. Without layers in the profile both
shares are 1.

The two ways share no codec, so the best codec of each is found on its own. In a candidate,
decoding what came back is part of ``rest_ms`` and encoding it part of ``tail_ms``.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import local_candidate, thread_counts, usable_servers
from dnn_offload.planning.cut_pairs import BYTES, IMPOSSIBLE
from dnn_offload.planning.pair_prices import PairPrices, TOO_MUCH
from dnn_offload.planning.pareto import pareto_indices
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    EVERYTHING,
    Key,
    Scope,
)
from dnn_offload.planning.stage_weights import ALL_EQUAL, energy_weights

SHAPE = 'two_cuts'
KEPT = 16                  # best candidates per server

_FIRST_LOOKS, _LOOKS = 64, 256  # pairs that are valued at first, and then each time

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def candidates(
    conditions: Conditions,
    constraints: Constraints,
    scope: Scope = EVERYTHING,
    *,
    keep: int = KEPT,
    known: Collection[Candidate] = (),
) -> list[Candidate]:
    """The best plans with two cuts under the objective, in no particular order.

    Where the robot's power is known, those on the front of latency and energy come on top, and
    those of ``constraints.keep`` always.

    Args:
        conditions: What is known now, or believed.
        constraints: What the user demands.
        scope: What the strategy considers.
        keep: Plans per server; pairs of cuts and a thread count, each with its best codecs.
        known: Plans of other shapes: what these beat is not on the front.
    """
    found: dict[Key, Candidate] = {}
    front = _Front(known)
    wanted = [key for key in constraints.keep if key[3]]
    local = local_candidate(conditions)
    for server in usable_servers(conditions, constraints):
        best, plans = _Best(keep), []
        each = [
            PairPrices(conditions, server, constraints, scope, threads, local)
            for threads in thread_counts(conditions.edge_profile, constraints)
        ]
        for prices in sorted(each, key=lambda prices: prices.whole_ms):  # fast ones spare more
            if not prices.empty:
                best.search(prices)
                front.search(prices)
            plans += _kept(prices, wanted)
        found |= {plan.key: plan for plan in (*best.made(), *plans)}
    found |= {plan.key: plan for plan in front.made()}
    return list(found.values())


def price(
    candidate: Candidate, conditions: Conditions, deadline_ms: float = 0.0
) -> Candidate:
    """Price a plan with two cuts under these conditions.

    Raises:
        PlanningError: Its server is gone, or its cuts or codecs are not in both profiles.
    """
    only = Constraints(servers=(candidate.server,))
    for server in usable_servers(conditions, only):
        scope = Scope(deadline_ms=deadline_ms)
        local = local_candidate(conditions)
        prices = PairPrices(conditions, server, only, scope, candidate.threads, local)
        for found in _kept(prices, [candidate.key]):
            return found
    raise PlanningError(
        'plan with two cuts cannot be priced',
        given=f'cuts {candidate.cut_index} and {candidate.return_index} as '
        f'{candidate.codec} and {candidate.return_codec} on {candidate.server}',
        allowed='a ready server with a live link, and cuts and codecs in both profiles',
    )


class _Best:
    """The ``keep`` best plans under the objective, over thread counts; exact.

    What was found with one thread count spares most of the pairs of the next.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._values: Floats = np.empty(0)
        self._seen: list[tuple[PairPrices, Ints, Ints]] = []

    def search(self, prices: PairPrices) -> None:
        """Value all pairs that may be among the best, lowest bounds first."""
        bounds: Floats = prices.bounds(prices.weights).reshape(-1)
        rest = np.flatnonzero(bounds < self._limit())
        if not self._seen:
            first = _lowest(bounds[rest], max(_FIRST_LOOKS, self._keep))
            self._value(prices, rest[first])
            rest = np.delete(rest, first)
            rest = rest[bounds[rest] < self._limit()]
        tight = prices.tighter(bounds[rest], rest)
        order = np.argsort(tight)
        rest, tight = rest[order], tight[order]
        while len(rest) and tight[0] < self._limit():
            self._value(prices, rest[:_LOOKS])
            rest, tight = rest[_LOOKS:], tight[_LOOKS:]

    def made(self) -> list[Candidate]:
        """The plans."""
        made, start = [], 0
        chosen = np.zeros(len(self._values), dtype=bool)
        chosen[_lowest(self._values, self._keep)] = True
        chosen &= self._values < TOO_MUCH
        for prices, places, choices in self._seen:
            ours = chosen[start : start + len(places)]
            made += prices.made(places[ours], choices[ours])
            start += len(places)
        return made

    def _limit(self) -> float:
        """Which value a pair must stay below to be of interest."""
        if self._keep > len(self._values):
            return TOO_MUCH
        nth = np.partition(self._values, self._keep - 1)[self._keep - 1]
        return min(float(nth), TOO_MUCH)

    def _value(self, prices: PairPrices, places: Ints) -> None:
        if not len(places):
            return
        values, choices = prices.valued(places)
        self._values = np.concatenate([self._values, values])
        self._seen.append((prices, places, choices))


class _Front:
    """Plans that nothing beats in both latency and energy, over servers and thread counts.

    Exact over pairs and both codecs: a pair is looked at with all of them unless a plan that was
    found beats even the pair's least latency together with its least energy. There are none where
    the robot's power is not known.

    Args:
        known: Plans of other shapes.
    """

    def __init__(self, known: Collection[Candidate]) -> None:
        latency = np.array([plan.latency_ms for plan in known], np.float64)
        energy = np.array([plan.energy_j for plan in known], np.float64)
        best = pareto_indices(latency, energy)
        self._latency: Floats = latency[best]  # fastest first
        self._energy: Floats = energy[best]
        self._each: list[PairPrices] = []
        # Of each plan: whose prices, pair, codecs; -1 = known before.
        self._plans: Ints = np.full((3, len(best)), -1, np.int64)

    def search(self, prices: PairPrices) -> None:
        """Look at all pairs of one server and thread count that may bring a plan."""
        power = prices.conditions.power
        if power is None:
            return
        joules = energy_weights(power, prices.load, prices.threads)
        latency, energy = (prices.bounds(w).reshape(-1) for w in (ALL_EQUAL, joules))
        self._each.append(prices)
        # First what is likely to be on it, which spares most of the rest.
        ends = np.array([latency.argmin(), energy.argmin()])
        self._look_at(ends[self._open(latency[ends], energy[ends])])
        rest = self._open(latency, energy)
        first = pareto_indices(latency[rest], energy[rest])
        self._look_at(rest[first])
        rest = np.delete(rest, first)
        self._look_at(rest[self._open(latency[rest], energy[rest])])

    def made(self) -> list[Candidate]:
        """The plans with two cuts."""
        made = []
        for index, prices in enumerate(self._each):
            _, places, choices = self._plans[:, self._plans[0] == index]
            made += prices.made(places, choices)
        return made

    def _look_at(self, places: Ints) -> None:
        """Take the plans of these pairs, of the newest prices, as well."""
        prices, source = self._each[-1], len(self._each) - 1
        for start in range(0, len(places), _LOOKS):
            some = places[start : start + _LOOKS]
            latency, energy = prices.latency_and_energy(some)
            choices, columns = np.indices(latency.shape).reshape(2, -1)
            plans = np.stack([np.full(len(choices), source), some[columns], choices])
            latency = np.concatenate([self._latency, latency.reshape(-1)])
            energy = np.concatenate([self._energy, energy.reshape(-1)])
            best = pareto_indices(latency, energy)
            self._latency, self._energy = latency[best], energy[best]
            self._plans = np.concatenate([self._plans, plans], axis=1)[:, best]

    def _open(self, latency: Floats, energy: Floats) -> Ints:
        """Places of the pairs that may bring a plan, by bounds on their cost."""
        if not len(self._latency):
            return np.flatnonzero(latency < TOO_MUCH)
        # One plan in the middle beats most at little cost, and all that is impossible.
        knee = (self._latency * self._energy).argmin()
        open_ = (latency < self._latency[knee]) | (energy < self._energy[knee])
        rest: Ints = np.flatnonzero(open_)
        # Of what is found and at least as fast as a pair can be, the last one is the thriftiest.
        faster = np.searchsorted(self._latency, latency[rest], side='right') - 1
        beaten = (faster >= 0) & (self._energy[np.maximum(faster, 0)] <= energy[rest])
        return rest[~beaten]


def _kept(prices: PairPrices, keys: Collection[Key]) -> list[Candidate]:
    """The plans among ``keys`` that are legal here, whatever they cost."""
    made, names = [], prices.pairs.codecs
    for cut_id, codec, server, return_id, return_codec, threads in keys:
        pair = prices.pairs.find(cut_id, return_id)
        if (
            pair is None
            or server != prices.server.name
            or threads != prices.threads
            or codec not in names
            or return_codec not in names
        ):
            continue
        i, j = pair
        up, down = names.index(codec), names.index(return_codec)
        at = np.array([i]), np.array([j])
        if (
            prices.first[i] and prices.second[j] and prices.codecs[up] and prices.codecs[down]
            and max(prices.up[BYTES, up, i], prices.pairs.down[BYTES, down, j]) < IMPOSSIBLE
            and (prices.floor <= 0.0 or prices.agrees(up, down, *at)[0])
        ):  # fmt: skip
            made.append(prices.candidate(i, j, up, down))
    return made


def _lowest(values: Floats, count: int) -> Ints:
    """Places of the lowest values, in no order."""
    if count >= len(values):
        return np.arange(len(values))
    return np.argpartition(values, count - 1)[:count]
