"""A network whose pieces run by several backends, each by the one that was fastest at it.

A backend changes nothing but the time of the piece that it runs: what crosses a cut has the
strides of its specification by any of them. So the best backend of a head and that of a tail hang
on no other choice of a plan, and are chosen where they are measured (``profile_pieces.py``):
planning over what was chosen is exact over backends, and searches no more plans than with one.
Under a deadline what late answers cost hangs on the robot's tail, too: there it is a rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnn_offload.cost.profile import JOINT, Profile
from dnn_offload.graph.placements import between, piece
from dnn_offload.runtime.backends.base import stood_in
from dnn_offload.runtime.backends.torch_backend import TorchModel


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
        self._profile: Profile | None = None

    @property
    def by_torch(self) -> TorchModel:
        """The same network run by torch alone."""
        return TorchModel(self.program, self.weights)

    def choose(self, profile: Profile) -> None:
        """Run each piece from now on by what a profile of them found fastest."""
        self._profile = profile
        self.usual = self._named(profile.cuts[-1].head_backend)
        self._segments.clear()
        for name, model in self.models.items():
            if name != self.usual:
                model.let_go()  # the whole network, compiled to see that it runs

    def _named(self, name: str) -> str:
        """One that could not be loaded today, or an older profile: the usual one runs it."""
        return name if name in self.models else self.usual

    def _fastest(self, start: int, end: int, *, is_head: bool) -> TorchModel:
        """What runs the piece between two cuts, as plans are priced (``cut_pairs.py``)."""
        profile, name = self._profile, self.usual
        if profile is not None and is_head:
            name = profile.cuts[end].head_backend
        elif profile is not None and end == len(self.cuts) - 1:
            name = profile.cuts[start].tail_backend
        elif profile is not None:
            name = profile.middle_backend(start, end)
        return self.models[self._named(name)]

    def _cut_at(self, position: int) -> int:
        """The cut nearest to a position in the order of operators."""
        return min(range(len(self.cuts)), key=lambda at: abs(self.cuts[at].position - position))

    # ---- the interface of a model ---------------------------------------------------------

    def segment(self, start: int, end: int) -> PieceOf:  # type: ignore[override]
        """The slice between two cuts; raises CutError if there is none."""
        def make() -> PieceOf:
            between(self.program, start, end)
            model = self._fastest(start, end, is_head=start == 0)
            return PieceOf(model, model.segment(start, end))

        return self._cached((start, end), make)

    def piece(  # type: ignore[override]
        self, inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> PieceOf:
        """What computes some values from others, by their names; raises CutError.

        The middle and the rest of a plan with two cuts, and the parts of a placement: run as the
        piece between the nearest cuts of the list.
        """
        def make() -> PieceOf:
            positions = piece(self.program, inputs, outputs).positions
            first, end = self._cut_at(min(positions)), self._cut_at(max(positions) + 1)
            last = len(self.cuts) - 1
            model = self._fastest(min(first, last - 1), max(end, 1), is_head=False)
            return PieceOf(model, model.piece(inputs, outputs))

        return self._cached((inputs, outputs), make)

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
