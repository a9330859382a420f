"""The operator graph of a profile as index arrays: who makes and reads a value, where cuts lie.

A value is alive at a position of the order if it is made before it and read after it; outputs
count as read at the end. That is the rule by which the cuts of a profile were found, so the
frontier of each cut must come out again: a profile whose layers do not fit its cuts gives no
graph, and planning goes on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.profile import LayerProfile, Profile

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LayerGraph:
    """N layers and V values, both in order of computation; value 0 is the picture.

    Attributes:
        names: Names of the values.
        index: Name to number of a value.
        nbytes: Raw size of each value.
        made: Layers that have run when the value is there (0 = an input's).
        last: Layers that have run when it is no longer needed; N + 1 = it is an output.
        reads: Values that each layer reads.
        makes: Values that each layer makes.
        positions: Layers before each cut of the profile.
        alive: Whether a value crosses a cut; (cuts, V).
    """

    names: tuple[str, ...]
    index: dict[str, int]
    nbytes: Floats
    made: Ints
    last: Ints
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    positions: tuple[int, ...]
    alive: Bools

    @property
    def is_output(self) -> Bools:
        """Whether a value is returned by the network; (V,)."""
        return self.last > len(self.reads)

    def reads_of_values(self) -> list[list[int]]:
        """Layers that have run when each value has been read, for each of its readers."""
        found: list[list[int]] = [[] for _ in self.names]
        for position, values in enumerate(self.reads, start=1):
            for value in values:
                found[value].append(position)
        return found


def crossing(
    layers: Sequence[LayerProfile], input_name: str, outputs: Sequence[str]
) -> list[tuple[str, ...]]:
    """Names of the values that cross each position 0 .. len(layers), in order of computation."""
    end = len(layers)
    made = {input_name: 0}
    last = {}
    for position, layer in enumerate(layers, start=1):
        last.update(dict.fromkeys(layer.reads, position))
        made.update({name: position for name, _ in layer.makes})
    last.update(dict.fromkeys(outputs, end + 1))
    return [
        tuple(name for name, at in made.items() if at <= position < last.get(name, 0))
        for position in range(end + 1)
    ]


def layer_graph(profile: Profile) -> LayerGraph | None:
    """The graph of a profile; None where it holds no layers, or such as do not fit its cuts."""
    if not profile.layers or not profile.input_name:
        return None
    index = {name: place for place, name in enumerate(profile.inputs)}
    nbytes = [float(size) for size in profile.inputs.values()]
    made = [0] * len(index)
    reads, makes = [], []
    for position, layer in enumerate(profile.layers, start=1):
        if any(name not in index for name in layer.reads):
            return None
        reads.append(tuple(index[name] for name in layer.reads))
        for name, size in layer.makes:
            if name in index:
                return None
            index[name] = len(index)
            nbytes.append(float(size))
            made.append(position)
        makes.append(tuple(index[name] for name, _ in layer.makes))
    if any(name not in index for name in profile.outputs):
        return None
    last = np.zeros(len(index), dtype=np.int64)
    for position, values in enumerate(reads, start=1):
        last[list(values)] = position
    last[[index[name] for name in profile.outputs]] = len(reads) + 1
    made_at = np.array(made, dtype=np.int64)

    positions, alive = [], []
    for cut in profile.cuts:
        if not cut.frontier or any(name not in index for name in cut.frontier):
            return None
        crossing_values = [index[name] for name in cut.frontier]
        # The last layer before a cut makes something that crosses it, or it would be dead code.
        position = int(made_at[crossing_values].max())
        crosses = (made_at <= position) & (last > position)
        if set(np.flatnonzero(crosses)) != set(crossing_values):
            return None
        positions.append(position)
        alive.append(crosses)
    return LayerGraph(
        names=tuple(index),
        index=index,
        nbytes=np.array(nbytes),
        made=made_at,
        last=last,
        reads=tuple(reads),
        makes=tuple(makes),
        positions=tuple(positions),
        alive=np.array(alive),
    )
