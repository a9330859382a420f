"""What a piece of a program takes in memory: weights, and activations at their peak. No torch."""

from __future__ import annotations

from dnn_offload.graph.operators import base_name, VIEWS
from dnn_offload.graph.placements import Piece
from dnn_offload.graph.program import Program


def weight_bytes(program: Program, piece: Piece) -> int:
    """Size of the weights that a piece reads, each once [byte]."""
    read = {
        name for position in piece.positions for name in program.instructions[position].weights()
    }
    return sum(weight.nbytes for weight in program.weights if weight.name in read)


def activation_bytes(program: Program, piece: Piece) -> int:
    """Most that the values of a piece take at any time, inputs and outputs included [byte].

    Values are freed after their last use, as ``Segment`` does; a view counts with the value
    that it looks at. Scratch memory of the kernels is not known and not counted.
    """
    owner = {spec.name: spec.name for spec in piece.inputs}
    for position in piece.positions:
        instruction = program.instructions[position]
        source = next(instruction.values(), '')
        shares = base_name(instruction.target) in VIEWS and source in owner
        for name in filter(None, instruction.outputs):
            owner[name] = owner[source] if shares else name
    end = len(program.instructions)
    last_use = {owner[spec.name]: end for spec in piece.outputs}
    for position in piece.positions:
        instruction = program.instructions[position]
        for name in (*instruction.values(), *filter(None, instruction.outputs)):
            last_use[owner[name]] = max(last_use.get(owner[name], -1), position)
    size = {spec.name: spec.nbytes for spec in program.values}
    dying: dict[int, list[str]] = {}
    for name, position in last_use.items():
        dying.setdefault(position, []).append(name)
    live = peak = sum(spec.nbytes for spec in piece.inputs)
    for position in piece.positions:
        for name in filter(None, program.instructions[position].outputs):
            live += size[name] if owner[name] == name else 0
        peak = max(peak, live)
        live -= sum(size[name] for name in dying.get(position, ()))
    return peak
