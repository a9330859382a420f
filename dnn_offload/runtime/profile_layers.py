"""The operator graph of a profile: what each operator takes, makes and costs, and memory.

Times are stamps within runs of the whole network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from dnn_offload.cost.layer_features import facts_of, layer_features
from dnn_offload.cost.memory import memory_of_cuts, Step
from dnn_offload.cost.profile import LayerProfile
from dnn_offload.graph.operators import base_name, VIEWS
from dnn_offload.graph.program import Instruction, Program
from dnn_offload.graph.segment import IN_PLACE
from dnn_offload.tensors import TensorSpec

TIME_DIGITS = 5  # of a millisecond: what a profile keeps


def layer_profiles(
    program: Program, times_ms: np.ndarray
) -> tuple[LayerProfile, ...]:
    """One entry per operator.

    Args:
        program: The whole program.
        times_ms: Stamps [ms], (runs, operators), waiting taken out.
    """
    low, middle, high = np.percentile(times_ms, (25, 50, 75), axis=0)  # (operators,) each
    values = program.specs
    weights = {weight.name: weight for weight in program.weights}
    made = []
    for index, instruction in enumerate(program.instructions):
        kind = base_name(instruction.target)
        reads = _unique(instruction.values())
        outputs = tuple(name for name in instruction.outputs if name in values)
        read_weights = [weights[name] for name in _unique(instruction.weights())]
        weight_bytes = sum(weight.nbytes for weight in read_weights)
        made.append(LayerProfile(
            name=f'{instruction.module}/{kind}' if instruction.module else kind,
            kind=kind,
            time_ms=round(float(middle[index]), TIME_DIGITS),
            spread_ms=round(float(high[index] - low[index]), TIME_DIGITS),
            reads=reads,
            makes=tuple((name, values[name].nbytes) for name in outputs),
            weight_bytes=weight_bytes,
            features=layer_features(
                kind,
                [values[name].shape for name in reads],
                [values[name].shape for name in outputs],
                [weight.shape for weight in read_weights],
                facts_of(kind, instruction.args),
                input_bytes=sum(values[name].nbytes for name in reads),
                output_bytes=sum(values[name].nbytes for name in outputs),
                weight_bytes=weight_bytes,
            ),
        ))
    return tuple(made)


def memory(program: Program, *, compiled: bool = False) -> list[tuple[int, int]]:
    """Memory of the head and the tail of every cut [byte].

    Args:
        program: The network.
        compiled: By a backend that has weights of its own: torch's stay beside them, since it
            stands in while a piece is compiled.
    """
    readers: dict[str, int] = {}
    for instruction in program.instructions:
        for name in instruction.values():
            readers[name] = readers.get(name, 0) + 1
    found = memory_of_cuts(
        [_step(instruction, readers, program.specs) for instruction in program.instructions],
        {spec.name: spec.nbytes for spec in program.values},
        {weight.name: weight.nbytes for weight in program.weights},
        [spec.name for spec in program.outputs],
        [(cut.position, [spec.name for spec in cut.frontier]) for cut in program.cuts],
    )
    beside = sum(weight.nbytes for weight in program.weights) if compiled else 0
    return [(head and head + beside, tail and tail + beside) for head, tail in found]


def _step(
    instruction: Instruction, readers: Mapping[str, int], values: Mapping[str, TensorSpec]
) -> Step:
    reads = _unique(instruction.values())
    # An activation overwrites what nothing else reads (graph/segment.py).
    in_place = (
        instruction.in_place and instruction.target in IN_PLACE and readers[reads[0]] == 1
    )
    return Step(
        reads,
        tuple(name for name in instruction.outputs if name in values),
        _unique(instruction.weights()),
        view=in_place or base_name(instruction.target) in VIEWS,
    )


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
