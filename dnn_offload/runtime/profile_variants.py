"""The same cuts with other numbers of threads: ratios of stamps to those of the usual number.

A few whole runs for each number, by turns with the usual one so that what drifts meanwhile
drifts for all. Every head and tail is scaled by what its own operators gained in place.
"""

from __future__ import annotations

from collections.abc import Sequence
import time

import numpy as np

from dnn_offload.cost import load_sources
from dnn_offload.cost.profile import Variant
from dnn_offload.runtime.profile_layers import TIME_DIGITS
from dnn_offload.runtime.profile_meter import in_situ, Meter
from dnn_offload.runtime.profile_model import monotone

ROUNDS = 5
_LEAST_MS = 1e-6


def usual_thread_counts(threads: int) -> tuple[int, ...]:
    """1, 2, 4 and all cores that this process may use, without ``threads`` itself."""
    cores = max(1, len(load_sources.cores_of()))
    return tuple(sorted({n for n in (1, 2, 4, cores) if n <= cores} - {threads}))


class ThreadVariants:
    """Measures thread counts and gives the variants.

    Args:
        meter: Of the profile.
        threads: Thread count that the profile holds for; set again afterwards.
        others: Other thread counts, most wanted first; later ones go when time is short.
    """

    def __init__(self, meter: Meter, threads: int, others: Sequence[int]) -> None:
        self._meter = meter
        self._threads = threads
        self._others = [count for count in others if count != threads]
        self._stamps: dict[int, list[list[float]]] = {}
        self._whole: dict[int, list[float]] = {}

    def measure(self, run_ms: float, end_s: float) -> None:
        """Take turns until ``end_s`` (perf_counter); as many counts as fit in one round."""
        runs = (end_s - time.perf_counter()) * 1e3 / max(run_ms, _LEAST_MS)
        chosen = self._others[:max(0, int((runs - 2) / 3))]
        if not chosen:
            return
        counts = [self._threads, *chosen]
        round_s = 0.0
        try:
            for _ in range(ROUNDS):
                started_s = time.perf_counter()
                if started_s + round_s > end_s:
                    break
                for count in counts:
                    self._turn(count, end_s)
                round_s = time.perf_counter() - started_s
        finally:
            self._meter.model.set_threads(self._threads)

    def _turn(self, count: int, end_s: float) -> None:
        """One stamped and one plain run with ``count`` threads, if there is time."""
        self._meter.model.set_threads(count)
        if count not in self._stamps and count != self._threads:
            self._meter.stamp()  # new threads start, memory is paged in
        # On a busy machine threads wait for each other, 20 times as long as one would take.
        if time.perf_counter() > end_s:
            return
        stamps_ms = self._meter.stamp()
        _, time_ms = self._meter.run(0, self._meter.last, self._meter.inputs)
        self._stamps.setdefault(count, []).append(stamps_ms)
        self._whole.setdefault(count, []).append(time_ms)
        if count == self._threads:
            self._meter.stamps_ms.append(stamps_ms)

    def variants(
        self, head_ms: Sequence[float], tail_ms: Sequence[float], backend: str
    ) -> tuple[Variant, ...]:
        """Variants of the profile whose times are ``head_ms`` and ``tail_ms``."""
        if self._threads not in self._stamps:
            return ()
        base = np.array(in_situ(self._meter.model, self._stamps[self._threads]))
        base_whole_ms = max(float(np.median(self._whole[self._threads])), _LEAST_MS)
        made = []
        for count in sorted(set(self._stamps) - {self._threads}):
            own = np.array(in_situ(self._meter.model, self._stamps[count]))
            # Stamps cost something too, and not the same for all thread counts.
            own *= (float(np.median(self._whole[count])) / base_whole_ms) * base[-1] / own[-1]
            heads = _scaled(head_ms, own, base)
            tails = _scaled(tail_ms[::-1], (own[-1] - own)[::-1], (base[-1] - base)[::-1])
            made.append(Variant(backend, count, heads, tails[::-1]))
        return tuple(made)


def _scaled(times_ms: Sequence[float], own: np.ndarray, base: np.ndarray) -> tuple[float, ...]:
    """Growing times, each by the ratio of its stamps."""
    scaled = np.asarray(times_ms) * own / np.maximum(base, _LEAST_MS)
    ordered = monotone(scaled.tolist(), [1.0] * len(scaled))
    return tuple(round(max(0.0, time_ms), TIME_DIGITS) for time_ms in ordered)
