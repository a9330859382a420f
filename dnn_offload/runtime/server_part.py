"""What a server computes of a frame: the tail of a listed cut, or the middle of a route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnn_offload.errors import CutError
from dnn_offload.exchange import UNLISTED
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.frames import Span
from dnn_offload.tensors import TensorSpec


@dataclass(frozen=True)
class ServerPart:
    """One kind of work.

    Attributes:
        inputs: The tensors that a frame brings, in order.
        span: What runs.
        outputs: What goes back.
        is_picture: Whether the frame is the picture itself.
    """

    inputs: tuple[TensorSpec, ...]
    span: Span
    outputs: tuple[TensorSpec, ...]
    is_picture: bool


class ServerParts:
    """What one model can be asked for.

    Args:
        model: The model that is served.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        last = len(model.cuts) - 1
        self._tails = {
            cut.cut_id: ServerPart(
                cut.frontier, (cut.index, last), model.outputs, cut.index == 0
            )
            for cut in model.cuts[:-1]
        }
        self._picture = model.cuts[0].frontier[0].name

    def find(self, cut_id: str, return_id: str, names: Sequence[str]) -> ServerPart:
        """Find the work that a frame asks for.

        Args:
            cut_id: Identity of the cut.
            return_id: Identity of the cut whose frontier is wanted back; empty = the outputs.
            names: Names of the tensors that the frame brings; they count where the cut's
                identity begins with ``exchange.UNLISTED``.

        Raises:
            CutError: The model cannot be cut so, or nothing is left to compute.
        """
        tail = self._tails.get(cut_id)
        if tail is not None and not return_id:
            return tail
        if tail is None and not cut_id.startswith(UNLISTED):
            raise CutError('no such cut', given=cut_id)
        route = self._model.route(cut_id, return_id, () if tail is not None else names)
        is_picture = [spec.name for spec in route.sent] == [self._picture]
        return ServerPart(route.sent, route.middle, route.returned, is_picture)
