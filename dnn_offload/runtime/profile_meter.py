"""Runs heads, tails and whole networks on one thread and keeps their times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnn_offload.graph.segment import Segment
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.pictures import natural_picture
from dnn_offload.runtime.profile_machine import LoadWatch
from dnn_offload.runtime.shared import Spent, ThreadClock
from dnn_offload.tensors import TensorSpec


class Meter:
    """Runs segments and keeps their times [ms], run-queue wait taken out.

    Args:
        model: The model.
        inputs: What it gets.

    Attributes:
        heads, tails: Cut index to the times of its units.
        stamps_ms: Per run of the whole network the time of each operator in place.
    """

    def __init__(self, model: TorchModel, inputs: list[np.ndarray]) -> None:
        self.model = model
        self.inputs = inputs
        self.last = len(model.cuts) - 1
        self.clock = ThreadClock()
        self.load = LoadWatch()
        self.heads: dict[int, list[float]] = {}
        self.tails: dict[int, list[float]] = {}
        self.stamps_ms: list[list[float]] = []
        self._working_ms = self._waiting_ms = 0.0

    def run(self, start: int, end: int, arrays: list[np.ndarray]) -> tuple[list[Any], float]:
        """Outputs, and wall time without run-queue wait [ms]."""
        segment = self.model.segment(start, end)
        outputs, spent = self.clock.measure(lambda: self.model.run(segment, arrays))
        return outputs, self._working(spent)

    def _working(self, spent: Spent) -> float:
        working_ms = without_wait(spent)
        self._working_ms += working_ms
        self._waiting_ms += spent.wall_ms - working_ms
        return working_ms

    def unit(self, cut: int) -> None:
        """One run of a cut's head and of its tail; the whole network is head N and tail 0."""
        arrays, head_ms = self.run(0, cut, self.inputs)
        self.heads.setdefault(cut, []).append(head_ms)
        if cut < self.last:
            _, tail_ms = self.run(cut, self.last, arrays)
            self.tails.setdefault(cut, []).append(tail_ms)
        else:
            self.tails.setdefault(0, []).append(head_ms)

    def stamps(
        self, segment: Segment, arrays: Sequence[np.ndarray]
    ) -> tuple[list[float], float]:
        """One run of a segment: time of each operator in place, and of all without wait [ms]."""
        stamps_ms, spent = self.clock.measure(lambda: self.model.stamps(segment, arrays))
        waiting_ms = spent.wall_ms - self._working(spent)
        return stamps_ms, max(0.0, sum(stamps_ms) - waiting_ms)

    def stamp(self) -> list[float]:
        """One run of the whole network; the time of each operator in place [ms]."""
        return self.model.stamps(self.model.segment(0, self.last), self.inputs)

    def in_situ(self) -> list[float]:
        """Median time up to each cut within the stamped runs [ms]."""
        return in_situ(self.model, self.stamps_ms)

    @property
    def wait_ratio(self) -> float:
        """1 + run-queue wait over the rest of the wall time, over all that was measured."""
        return 1.0 + self._waiting_ms / max(self._working_ms, 1e-6)


def without_wait(spent: Spent) -> float:
    """Wall time less run-queue wait [ms], at least the CPU time of the calling thread.

    The clock of the wait is read a moment before and after that of the wall: what was waited
    there, tens of milliseconds on a busy machine, must not be taken from the work.
    """
    return min(spent.wall_ms, max(spent.wall_ms - spent.wait_ms, spent.cpu_ms))


def in_situ(model: TorchModel, stamps_ms: Sequence[Sequence[float]]) -> list[float]:
    """Median time up to each cut [ms] from stamps of whole runs, (runs, operators)."""
    upto = np.concatenate([[0.0], np.cumsum(np.median(np.asarray(stamps_ms), axis=0))])
    return [float(upto[cut.position]) for cut in model.cuts]


def made_up_inputs(specs: Sequence[TensorSpec], seed: int) -> list[np.ndarray]:
    """Something for every input of a network: pictures like photographs, seeded numbers else."""
    random = np.random.Generator(np.random.PCG64(seed))
    made = []
    for spec in specs:
        if is_picture(spec):
            made.append(natural_picture(spec.shape[1], spec.shape[2], seed))
        elif spec.dtype.startswith('float'):
            made.append(random.standard_normal(spec.shape).astype(spec.dtype))
        else:
            made.append(random.integers(0, 2, spec.shape).astype(spec.dtype))
    return made


def is_picture(spec: TensorSpec) -> bool:
    """Whether an input is a picture uint8 (1, H, W, 3)."""
    return (
        spec.dtype == 'uint8' and len(spec.shape) == 4
        and spec.shape[0] == 1 and spec.shape[3] == 3
    )
