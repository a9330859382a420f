"""The interface of a loaded model, so that the engine needs no torch to be tested.

``load.py`` makes one of what ``runtime/prepare.py`` saved: by torch (``torch_backend.py``), or
compiled by onnxruntime or openvino (``compiled.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np

from dnn_offload.tensors import TensorSpec

if TYPE_CHECKING:
    from dnn_offload.graph.cuts import Cut
    from dnn_offload.graph.routes import Route
    from dnn_offload.runtime.frames import Span


class LoadedModel(Protocol):
    """A model that is ready to run in slices, by one thread at a time.

    What it is, and ``route``, other threads may ask meanwhile: a server looks at what a frame says
    of itself while another frame is computed.
    """

    @property
    def identity(self) -> str:
        """Digest of weights and input specification."""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """All cuts, index 0 (the picture) .. N (all local)."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the whole network gives."""

    def segment(self, start: int, end: int) -> Any:
        """The slice between two cuts; cheap, cached, sharing the weights."""

    def piece(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
        """A part by the names of the values that it takes and gives; cached like ``segment``."""

    def route(self, cut_id: str, return_id: str, frontier: Sequence[str]) -> Route:
        """What runs where under a plan with a second cut, or with a cut that is not listed.

        Raises:
            CutError: This model has no such cut.
        """

    def run(self, segment: Any, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a slice on the tensors of its first cut; gives those of its last, strides kept."""

    def hold(self, segments: Sequence[Any]) -> None:
        """Tell what must be as fast at any moment as it was profiled, instead of what was told."""

    def to_half(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 tensors as float16, strides kept; as they are where that is not finite."""

    def set_threads(self, threads: int) -> None:
        """Set the number of compute threads of the calling thread."""


def stood_in(segment: Any) -> bool:
    """Whether torch has run a part that is still being compiled: its time is not typical."""
    return getattr(segment, 'stood_in', False)


def segment_of(model: LoadedModel, span: Span) -> Any:
    """The part of a model between two cuts of the list, or by values."""
    if isinstance(span[0], int):
        return model.segment(*span)
    return model.piece(*span)
