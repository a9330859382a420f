"""Pieces of a program by the values that they take and give: placements over the graph. No torch.

A cut need not be a position in the order of instructions. Any set of values will do as a
frontier if everything after it can be computed from it: then one branch of a block runs on the
robot while its sister runs on the server. The head is what the frontier needs (backwards to the
inputs), the tail what the outputs need (backwards to the frontier). A piece runs its
instructions in the order of the program, so its numbers are those of the whole, bit for bit.

With two frontiers the work goes robot, server, robot: ``routes.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from dnn_offload.errors import CutError
from dnn_offload.graph.cuts import Cut, depths, maker_label, signature
from dnn_offload.graph.program import Program
from dnn_offload.tensors import TensorSpec

PLACEMENT = -1  # index and position of a cut that is no position


@dataclass(frozen=True)
class Piece:
    """Some instructions of a program, what they read and what they give.

    Attributes:
        inputs: Values that the piece is given, strides included.
        outputs: Values that it gives, in this order.
        positions: Its instructions, ascending indices into ``program.instructions``.
        origin: Where its inputs come from, in words, for messages.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    positions: Sequence[int]
    origin: str


def between(program: Program, start: int, end: int) -> Piece:
    """The instructions between two cuts of the program, by their indices.

    Raises:
        CutError: No such cuts, or not in this order.
    """
    if not 0 <= start < end < len(program.cuts):
        raise CutError(
            'no such piece of the model',
            given=f'cuts {start}..{end}',
            allowed=f'0 <= start < end <= {len(program.cuts) - 1}',
        )
    first, last = program.cuts[start], program.cuts[end]
    positions = range(first.position, last.position)
    return Piece(first.frontier, last.frontier, positions, f'cut {start}')


def piece(program: Program, inputs: Sequence[str], outputs: Sequence[str]) -> Piece:
    """What computes some values from others.

    Args:
        program: The whole program.
        inputs: Names of the values that are given; each is needed.
        outputs: Names of the values that are wanted; may be among the inputs.

    Raises:
        CutError: A name is unknown or repeated, a value is given that is not needed, or the
            given values do not suffice.
    """
    _check_names(program, inputs)
    _check_names(program, outputs)
    positions, used = closure(program, inputs, outputs)
    surplus = [name for name in inputs if name not in used]
    if surplus:
        raise CutError(
            'a value is sent that nothing after the cut needs',
            given=', '.join(surplus),
            hint='leave it out of the frontier',
        )
    return _piece(program, inputs, outputs, positions)


def closure(
    program: Program, inputs: Iterable[str], outputs: Iterable[str]
) -> tuple[list[int], set[str]]:
    """Instructions between two sets of values, ascending, and which of the first are read.

    Raises:
        CutError: The first do not lead to the second.
    """
    given = set(inputs)
    used: set[str] = set()
    found: set[int] = set()
    open_names = list(outputs)
    while open_names:
        name = open_names.pop()
        if name in given:
            used.add(name)
            continue
        position = program.makers.get(name)
        if position is None:
            raise CutError(
                f'the piece needs the input {name!r}, which it is not given',
                given=', '.join(sorted(given)),
                hint='every way from the inputs to the outputs must go through the frontier',
            )
        if position not in found:
            found.add(position)
            open_names.extend(program.instructions[position].values())
    return sorted(found), used


def head_of(program: Program, names: Sequence[str]) -> Piece:
    """What computes some values from the program's inputs: only from those that it needs."""
    _check_names(program, names)
    positions, used = closure(program, _names(program.inputs), names)
    needed = [spec.name for spec in program.inputs if spec.name in used]
    return _piece(program, needed, names, positions)


def frontier_of(program: Program, inside: Collection[int]) -> tuple[str, ...]:
    """What crosses if some instructions run on the robot and all others on the server.

    Args:
        program: The whole program.
        inside: Indices of the instructions that run on the robot, with all that they need.

    Returns:
        Names of the values to send, in order of computation: made (or given) on the robot and
        needed by the server, or an output.

    Raises:
        CutError: An instruction of ``inside`` needs one that is not.
    """
    here = set(_names(program.inputs))
    needed = set(_names(program.outputs))
    for position, instruction in enumerate(program.instructions):
        if position not in inside:
            needed.update(instruction.values())
            continue
        missing = [name for name in instruction.values() if name not in here]
        if missing:
            raise CutError(
                'the robot would need a value that the server makes',
                given=f'{", ".join(missing)} for {maker_label(instruction)}',
                hint='put everything on the robot that its part needs',
            )
        here.update(instruction.outputs)
    return tuple(name for name in program.specs if name in here and name in needed)


def cut_by_frontier(program: Program, names: Iterable[str]) -> Cut:
    """The cut that sends exactly these values, be it one of the program's or a placement.

    Args:
        program: The whole program.
        names: The frontier, in any order.

    Returns:
        One of ``program.cuts`` where it is one; else a cut of index and position -1 whose
        identity is, as always, the signature of its frontier in order of computation.

    Raises:
        CutError: A name is unknown or repeated; the outputs need something that neither the
            frontier nor what is computed from it gives; a value is sent for nothing.
    """
    wanted = list(names)
    _check_names(program, wanted)
    chosen = set(wanted)
    for cut in program.cuts:
        if chosen == {spec.name for spec in cut.frontier}:
            return cut
    frontier = tuple(spec for spec in program.values if spec.name in chosen)
    piece(program, _names(frontier), _names(program.outputs))
    depth = depths(program.instructions, _names(program.inputs))
    return Cut(
        index=PLACEMENT,
        cut_id=signature(frontier),
        label=_label(program, frontier),
        depth=min(depth[spec.name] for spec in frontier),
        position=PLACEMENT,
        frontier=frontier,
    )


def head_and_tail(program: Program, cut: Cut) -> tuple[Piece, Piece]:
    """The two pieces of a cut, of a placement as well; raises CutError."""
    names = _names(cut.frontier)
    return head_of(program, names), piece(program, names, _names(program.outputs))


def _piece(
    program: Program, inputs: Sequence[str], outputs: Sequence[str], positions: Sequence[int]
) -> Piece:
    return Piece(
        tuple(program.specs[name] for name in inputs),
        tuple(program.specs[name] for name in outputs),
        tuple(positions),
        f'the frontier {", ".join(inputs)}'[:200],
    )


def _check_names(program: Program, names: Sequence[str]) -> None:
    if not names:
        raise CutError('a frontier has at least one value')
    if len(set(names)) != len(names):
        raise CutError('a frontier names a value twice', given=', '.join(names))
    for name in names:
        if name not in program.specs:
            raise CutError('the program has no such value', given=name)


def _label(program: Program, frontier: Sequence[TensorSpec]) -> str:
    makers = [program.makers.get(spec.name) for spec in frontier]
    words = [
        spec.name if at is None else maker_label(program.instructions[at])
        for spec, at in zip(frontier, makers, strict=True)
    ]
    text = ' + '.join(dict.fromkeys(words[:3]))
    return text + (' + ...' if len(words) > 3 else '')


def _names(specs: Iterable[TensorSpec]) -> list[str]:
    return [spec.name for spec in specs]
