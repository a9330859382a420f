"""What runs where under a plan that is more than one cut of the list. No torch.

A plan with a second cut goes robot, server, robot; one that is placed over the graph cuts along
values that cross no single position. Both are pieces by the names of their values
(``placements.py``), and skip connections are handled by value: what the head has made and only
the rest of the network reads stays on the robot. The robot keeps the whole first frontier all
the same, since it must be able to finish a frame to which no answer comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from dnn_offload.errors import CutError
from dnn_offload.graph.cuts import depths
from dnn_offload.graph.placements import closure, cut_by_frontier
from dnn_offload.graph.program import Program
from dnn_offload.tensors import TensorSpec


class Ends(NamedTuple):
    """A piece of a program, by the names of the values that it takes and gives."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Route:
    """The way of a frame through robot and server.

    Attributes:
        head: On the robot, from the picture to ``kept``.
        kept: What the robot keeps to finish the frame by itself: the whole frontier.
        sent: What of it the server needs.
        middle: On the server, from ``sent`` to ``returned``.
        returned: What comes back.
        rest: On the robot, from ``returned`` and what of ``kept`` it needs; None = the answer
            is the network's.
        tail: On the robot, from ``kept`` to the outputs, where no answer comes.
        depth: Fewest weighted layers between the picture and anything that is sent.
    """

    head: Ends
    kept: tuple[TensorSpec, ...]
    sent: tuple[TensorSpec, ...]
    middle: Ends
    returned: tuple[TensorSpec, ...]
    rest: Ends | None
    tail: Ends
    depth: int


def find_route(program: Program, frontier: Iterable[str], second: Iterable[str] = ()) -> Route:
    """Find the pieces of a plan.

    Args:
        program: The whole program.
        frontier: Names of what the robot has made when it sends.
        second: Names of what crosses the second cut; the network's outputs are allowed, and
            then those that the robot has made itself are neither sent nor returned. Empty =
            the server runs to the end and answers with all outputs.

    Returns:
        The pieces. Of ``second`` comes back only what the outputs need and cannot get from
        ``frontier`` without the server.

    Raises:
        CutError: One of the two is no frontier (``placements.cut_by_frontier``), or nothing is
            left for the server between them.
    """
    kept = cut_by_frontier(program, frontier).frontier
    kept_names, outputs = _names(kept), _names(program.outputs)
    back, rest = outputs, None
    stop = tuple(second)
    if stop:
        stop = _names(cut_by_frontier(program, stop).frontier)
        _, read = closure(program, {*kept_names, *stop}, outputs)
        back = tuple(name for name in stop if name in read and name not in kept_names)
        if set(back) == set(outputs):
            back = outputs
        else:
            rest = Ends((*(name for name in kept_names if name in read), *back), outputs)
    positions, read = closure(program, kept_names, back)
    sent = tuple(name for name in kept_names if name in read)
    if not positions or not sent:
        raise CutError(
            'nothing is left for the server between these cuts',
            given=f'{", ".join(kept_names[:3])} and {", ".join(stop[:3]) or "the outputs"}',
            hint='the second cut must come after the first one',
        )
    inputs = _names(program.inputs)
    depth = depths(program.instructions, inputs)
    return Route(
        head=Ends(inputs, kept_names),
        kept=kept,
        sent=tuple(program.specs[name] for name in sent),
        middle=Ends(sent, back),
        returned=tuple(program.specs[name] for name in back),
        rest=rest,
        tail=Ends(kept_names, outputs),
        depth=min(depth[name] for name in sent),
    )


def _names(specs: Iterable[TensorSpec]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs)
