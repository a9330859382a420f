"""A network whose pieces run by several backends, each by the one that was fastest at it.

A backend changes nothing but the time of the piece that it runs: what crosses a cut has the
strides of its specification by any of them. So the best backend of a head and that of a tail hang
on no other choice of a plan, and are chosen where they are measured (``profile_pieces.py``):
planning over what was chosen is exact over backends, and searches no more plans than with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnn_offload.cost.profile import Profile
from dnn_offload.runtime.backends.base import stood_in
from dnn_offload.runtime.backends.names import JOINT
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.tensors import TensorSpec


@dataclass(frozen=True)
class PieceOf:
    """A piece of one of the models.

    Attributes:
        model: Which runs it.
        segment: That one's piece.
    """

    model: TorchModel
    segment: Any

    @property
    def stood_in(self) -> bool:
        """Whether torch ran in place of a piece that is still being compiled."""
        return stood_in(self.segment)

    @property
    def positions(self) -> Sequence[int]:
        """Instruction of each step, as index into ``program.instructions``."""
        positions: Sequence[int] = self.segment.positions
        return positions

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        specs: tuple[TensorSpec, ...] = self.segment.input_specs
        return specs

    @property
    def output_specs(self) -> tuple[TensorSpec, ...]:
        """What it gives."""
        specs: tuple[TensorSpec, ...] = self.segment.output_specs
        return specs


class PieceModel(TorchModel):
    """The same network by several backends. Used by one thread at a time.

    Args:
        models: Backend to the network behind it, two or more.
        usual: Which of them runs what nothing was measured of; the first where it is not named.

    Attributes:
        models: As given.
        usual: As given, or what the profile has chosen for the whole network.
    """

    def __init__(self, models: Mapping[str, TorchModel], usual: str = '') -> None:
        first = next(iter(models.values()))
        super().__init__(first.program, first.weights)
        self.models = dict(models)
        self.usual = usual or next(iter(models))
        self.backend = JOINT.join(models)
        limits = [model.most_units for model in models.values() if model.most_units is not None]
        self.most_units = min(limits, default=None)
        self._chosen: dict[tuple[int, int], str] = {}
        self._tails_ms: dict[str, tuple[float, ...]] = {}

    @property
    def by_torch(self) -> TorchModel:
        """The same network run by torch alone."""
        return TorchModel(self.program, self.weights)

    def choose(self, profile: Profile) -> None:
        """Run heads and tails from now on by what a profile of them found fastest."""
        last = len(self.cuts) - 1
        named = {(0, cut.index): cut.head_backend for cut in profile.cuts[1:]}
        named |= {(cut.index, last): cut.tail_backend for cut in profile.cuts[1:last]}
        # One that could not be loaded today, or an older profile: the usual one runs it.
        self._chosen = {span: name for span, name in named.items() if name in self.models}
        self.usual = self._chosen.get((0, last), self.usual)
        tails = profile.tails_by_backend()
        self._tails_ms = {name: tails[name] for name in self.models if name in tails}
        self._segments.clear()
        for name, model in self.models.items():
            if name != self.usual:
                model.let_go()  # the whole network, compiled to see that it runs

    # ---- the interface of a model ---------------------------------------------------------

    def segment(self, start: int, end: int) -> PieceOf:  # type: ignore[override]
        """The slice between two cuts; raises CutError if there is none."""
        model = self.models[self._chosen.get((start, end)) or self._in_the_middle(start, end)]
        return self._cached((start, end), lambda: PieceOf(model, model.segment(start, end)))

    def _in_the_middle(self, start: int, end: int) -> str:
        """As plans with two cuts are priced: what lies between is a difference of tails."""
        if self.usual not in self._tails_ms or not 0 < start < end < len(self.cuts):
            return self.usual
        tails_ms = self._tails_ms
        return min(tails_ms, key=lambda name: tails_ms[name][start] - tails_ms[name][end])

    def piece(  # type: ignore[override]
        self, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> PieceOf:
        """What computes some values from others, by their names; raises CutError."""
        model = self.models[self.usual]
        return self._cached(
            (inputs, outputs), lambda: PieceOf(model, model.piece(inputs, outputs))
        )

    def run(  # type: ignore[override]
        self, segment: PieceOf, arrays: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Run a slice on the tensors of its first cut; gives those of its last, strides kept.

        Raises:
            CutError: The tensors are not those of the cut.
        """
        return segment.model.run(segment.segment, arrays)

    def hold(self, segments: Sequence[PieceOf]) -> None:  # type: ignore[override]
        """Tell each model what of it must be fast at any moment."""
        for model in self.models.values():
            model.hold([each.segment for each in segments if each.model is model])

    def stamps(  # type: ignore[override]
        self, segment: PieceOf, arrays: Sequence[np.ndarray]
    ) -> list[float]:
        """Run a slice and give the time of each of its operators in place [ms]."""
        return segment.model.stamps(segment.segment, arrays)

    def set_threads(self, threads: int) -> None:
        """Set the compute threads of the calling thread, for all."""
        for model in self.models.values():
            model.set_threads(threads)
