"""What a server computes of a frame: the tail of a listed cut, or the middle of a route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dnn_offload.errors import CutError
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.frames import Span
from dnn_offload.tensors import TensorSpec

UNLISTED = 'dag:'  # so begin the identities of cuts that only their values name


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


def server_part(
    model: LoadedModel, cut_id: str, return_id: str, names: Sequence[str]
) -> ServerPart:
    """Find the work that a frame asks for.

    Args:
        model: The model that is served.
        cut_id: Identity of the cut.
        return_id: Identity of the cut whose frontier is wanted back; empty = the outputs.
        names: Names of the tensors that the frame brings; they count where the cut's
            identity begins with ``UNLISTED``.

    Raises:
        CutError: The model cannot be cut so, or nothing is left to compute.
    """
    last = len(model.cuts) - 1
    cut = next((c for c in model.cuts[:-1] if c.cut_id == cut_id), None)
    if cut is not None and not return_id:
        return ServerPart(cut.frontier, (cut.index, last), model.outputs, cut.index == 0)
    if cut is None and not cut_id.startswith(UNLISTED):
        raise CutError('no such cut', given=cut_id)
    route = model.route(cut_id, return_id, () if cut is not None else names)
    picture = model.cuts[0].frontier[0].name
    return ServerPart(
        route.sent, route.middle, route.returned, [s.name for s in route.sent] == [picture]
    )
