"""Where a program can be cut, what crosses there, and how deep in the network it lies. No torch.

A cut is a position in the order of instructions. Its *frontier* is the set of values computed
before it and used after it (outputs count as used at the end). Views and cheap operators stay
with their producer: of the positions between one costly operator and the next only the one
with the smallest frontier is kept, the latest if several are equally small. Cut 0 is the
picture (or whatever the network takes), the last cut is "all here"; a second cut with the same
frontier is left out. Sets of values that no position has are in ``placements.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import hashlib
import json
from typing import Any, TYPE_CHECKING

from dnn_offload.graph.operators import base_name, is_cheap, is_weighted
from dnn_offload.tensors import TensorSpec

if TYPE_CHECKING:
    from dnn_offload.graph.program import Instruction


@dataclass(frozen=True)
class Cut:
    """One legal cut.

    Attributes:
        index: Position among the cuts, 0 = the picture, last = all here; -1 = none of them, but
            a placement over the graph.
        cut_id: 12 hex digits of the frontier's signature (names, dtypes, shapes).
        label: Last operator before the cut, for people.
        depth: Fewest weighted layers between the picture and any frontier tensor.
        position: Number of instructions before the cut; -1 for a placement.
        frontier: The tensors that cross, in order of computation.
    """

    index: int
    cut_id: str
    label: str
    depth: int
    position: int
    frontier: tuple[TensorSpec, ...]

    @property
    def nbytes(self) -> int:
        """Raw size of the frontier in bytes."""
        return sum(spec.nbytes for spec in self.frontier)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {
            'index': self.index,
            'cut_id': self.cut_id,
            'label': self.label,
            'depth': self.depth,
            'position': self.position,
            'frontier': [spec.to_json() for spec in self.frontier],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Cut:
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError, CutError: Damaged; the caller reports it.
        """
        frontier = tuple(TensorSpec.from_json(spec) for spec in data['frontier'])
        if data['cut_id'] != signature(frontier):
            raise ValueError(f'identity of cut {data["index"]} does not fit its frontier')
        return cls(
            index=int(data['index']),
            cut_id=str(data['cut_id']),
            label=str(data['label'])[:200],
            depth=int(data['depth']),
            position=int(data['position']),
            frontier=frontier,
        )


def signature(frontier: Sequence[TensorSpec]) -> str:
    """Identity of a cut: 12 hex digits over names, dtypes and shapes of its frontier.

    Strides are left out: they belong to the way of transport and may differ between machines.
    """
    text = json.dumps([[spec.name, spec.dtype, list(spec.shape)] for spec in frontier])
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:12]


def frontiers(
    instructions: Sequence[Instruction], inputs: Sequence[str], outputs: Sequence[str]
) -> list[tuple[str, ...]]:
    """Names of the values that cross each position 0 .. len(instructions), in order made."""
    end = len(instructions)
    made = dict.fromkeys(inputs, 0)
    last_use = dict.fromkeys(outputs, end + 1)
    for position, instruction in enumerate(instructions):
        for name in instruction.values():
            last_use[name] = max(last_use.get(name, 0), position + 1)
        for name in instruction.outputs:
            if name:
                made[name] = position + 1
    # A value crosses position p if it is made at or before p and used after p.
    crossing: list[list[str]] = [[] for _ in range(end + 1)]
    for name, start in made.items():
        for position in range(start, min(last_use.get(name, 0), end + 1)):
            crossing[position].append(name)
    # At the end the outputs cross in the order in which the network returns them.
    crossing[end] = list(dict.fromkeys(outputs))
    return [tuple(names) for names in crossing]


def depths(instructions: Sequence[Instruction], inputs: Sequence[str]) -> dict[str, int]:
    """Fewest weighted layers on any way from an input to each value."""
    depth = dict.fromkeys(inputs, 0)
    for instruction in instructions:
        step = int(is_weighted(instruction.target) and any(True for _ in instruction.weights()))
        nearest = min((depth[name] for name in instruction.values()), default=0)
        for name in instruction.outputs:
            if name:
                depth[name] = nearest + step
    return depth


def find_cuts(
    instructions: Sequence[Instruction],
    specs: Mapping[str, TensorSpec],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> tuple[Cut, ...]:
    """All legal cuts of a program, by the rule at the top of this module.

    Args:
        instructions: The whole program, without dead code.
        specs: What every value looks like.
        inputs: Names of what the network takes; all of them are used.
        outputs: Names of the outputs.
    """
    end = len(instructions)
    crossing = frontiers(instructions, inputs, outputs)
    nbytes = [sum(specs[name].nbytes for name in names) for names in crossing]
    positions = [0]
    group: list[int] = []
    for position in range(1, end + 1):
        if not is_cheap(instructions[position - 1].target):
            positions.extend(_smallest(group, nbytes))
            group = []
        group.append(position)
    positions.extend(_smallest(group, nbytes))

    # What cheap operators make of the picture is the picture, unless they shrink it.
    first_costly = next(
        (p for p in range(1, end + 1) if not is_cheap(instructions[p - 1].target)), end
    )
    positions = [p for p in positions if p == 0 or p >= first_costly or nbytes[p] < nbytes[0]]
    if positions[-1] != end:
        positions.append(end)

    depth = depths(instructions, inputs)
    cuts: list[Cut] = []
    seen = {_spec_names(crossing[end])}
    for position in positions:
        names = crossing[position]
        if position != end and (_spec_names(names) in seen or not names):
            continue
        seen.add(_spec_names(names))
        frontier = tuple(specs[name] for name in names)
        cuts.append(
            Cut(
                index=len(cuts),
                cut_id=signature(frontier),
                label=_label(instructions, position) if position else input_label(frontier),
                depth=min(depth[name] for name in names),
                position=position,
                frontier=frontier,
            )
        )
    return tuple(cuts)


def _smallest(group: Sequence[int], nbytes: Sequence[int]) -> list[int]:
    """The position of ``group`` with the smallest frontier, the last of equals; [] of none."""
    if not group:
        return []
    return [min(group, key=lambda position: (nbytes[position], -position))]


def _spec_names(names: Sequence[str]) -> frozenset[str]:
    return frozenset(names)


def _label(instructions: Sequence[Instruction], position: int) -> str:
    if position == len(instructions):
        return 'all here'
    return maker_label(instructions[position - 1])


def maker_label(instruction: Instruction) -> str:
    """Layer and operator, for people: ``features.3/conv2d``."""
    operator = base_name(instruction.target)
    return f'{instruction.module}/{operator}' if instruction.module else operator


def input_label(inputs: Sequence[TensorSpec]) -> str:
    """What cut 0 is called: ``picture`` where the network takes one, else ``inputs``."""
    return 'picture' if len(inputs) == 1 and is_picture(inputs[0]) else 'inputs'


def is_picture(spec: TensorSpec) -> bool:
    """Whether an input is a camera picture: uint8 (1, H, W, 3), RGB."""
    return spec.dtype == 'uint8' and len(spec.shape) == 4 and spec.shape[::3] == (1, 3)
