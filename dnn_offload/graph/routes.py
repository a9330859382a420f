"""What runs where when a plan is more than one cut of the list: pieces by the values they take.

A *piece* is the instructions that its outputs need, back to its inputs; the names alone say
which. A plan with a second cut goes robot, server, robot; one that is placed over the graph
cuts along values that cross no single position. Both are four pieces, and skip connections are
handled by value: what the head has made and only the rest of the network reads stays on the
robot. No torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TYPE_CHECKING

from dnn_offload.errors import CutError
from dnn_offload.tensors import TensorSpec

if TYPE_CHECKING:
    from dnn_offload.graph.program import Instruction, Program


class Piece(NamedTuple):
    """A part of a program, by the names of the values it takes and gives."""

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

    head: Piece
    kept: tuple[TensorSpec, ...]
    sent: tuple[TensorSpec, ...]
    middle: Piece
    returned: tuple[TensorSpec, ...]
    rest: Piece | None
    tail: Piece
    depth: int


def needed(
    instructions: Sequence[Instruction], available: Collection[str], outputs: Collection[str]
) -> tuple[list[int], tuple[str, ...]]:
    """What must run, and what must be there, to get values from others.

    Args:
        instructions: The whole program.
        available: Values that are there.
        outputs: Values that are wanted; those that are available cost nothing.

    Returns:
        Positions of the instructions in order, and the available values that are read.

    Raises:
        CutError: A value cannot be had from what is available.
    """
    wanted = set(outputs)
    at_hand = set(available)
    read = wanted & at_hand
    wanted -= at_hand
    positions = []
    for position in range(len(instructions) - 1, -1, -1):
        instruction = instructions[position]
        made = wanted.intersection(instruction.outputs)
        if not made:
            continue
        positions.append(position)
        wanted -= made
        for name in instruction.values():
            if name in at_hand:
                read.add(name)
            else:
                wanted.add(name)
    if wanted:
        raise CutError(
            'the values that are there do not lead to the ones that are wanted',
            given=f'{len(at_hand)} values; missing: {", ".join(sorted(wanted)[:3])}',
            hint='every path from the picture to the outputs must pass the cut',
        )
    positions.reverse()
    return positions, tuple(name for name in _in_order(instructions, available) if name in read)


def _in_order(instructions: Sequence[Instruction], names: Collection[str]) -> list[str]:
    """Names in order of computation, those that no instruction makes (inputs) first."""
    made_at = {
        name: position
        for position, instruction in enumerate(instructions)
        for name in instruction.outputs
    }
    return sorted(dict.fromkeys(names), key=lambda name: made_at.get(name, -1))


def plan_route(
    program: Program,
    frontier: Sequence[TensorSpec],
    returned: Sequence[TensorSpec] = (),
    *,
    depths: Mapping[str, int],
) -> Route:
    """Find the pieces of a plan.

    Args:
        program: The whole program.
        frontier: What the robot has made when it sends.
        returned: Frontier of the second cut; empty = the server runs to the end.
        depths: Weighted layers before each value (``cuts.depths``).

    Raises:
        CutError: The values are no cut: something needs what is on neither side.
    """
    instructions = program.instructions
    outputs = tuple(spec.name for spec in program.outputs)
    specs = {spec.name: spec for spec in (*frontier, *returned, *program.outputs)}
    kept = tuple(spec.name for spec in frontier)
    if returned:
        _, read = needed(instructions, [spec.name for spec in returned], outputs)
        back = tuple(name for name in read if name not in kept)
    else:
        back = outputs
    _, sent = needed(instructions, kept, back)
    if not back or not sent:
        raise CutError(
            'nothing is left for the server between these cuts', given=', '.join(kept[:3])
        )
    rest = None
    if returned:
        _, read = needed(instructions, (*kept, *back), outputs)
        rest = Piece(read, outputs)
    return Route(
        head=Piece((program.input.name,), kept),
        kept=tuple(frontier),
        sent=tuple(specs[name] for name in sent),
        middle=Piece(sent, back),
        returned=tuple(specs[name] for name in back),
        rest=rest,
        tail=Piece(kept, outputs),
        depth=min(depths[name] for name in sent),
    )
