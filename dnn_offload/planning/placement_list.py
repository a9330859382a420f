"""All placements of a graph as one list, where they are few; prepared once. Pure.

Most networks are chains of blocks, and what crosses lies within one block: of Inception v3 there
are a few thousand placements. To price all of them with all codecs, as arrays, takes less time
than one maximum flow. A network with too many has no list: ``minimum_cut.py`` searches it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from dnn_offload.planning.value_costs import ValueCosts

MOST = 10_000              # placements in a list; two hundred bytes or so each

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class PlacementList:
    """F placements of N layers and V values, those with more on the robot first.

    Args:
        on_robot: Which layers run on the robot; (F, N).
        sent: Which values are sent; (F, V).
        times: The layers' times on the robot and on the server [ms]; (N,) each.
        depth: Of each value; (V,).
        codecs: Codec name to its costs per value.
        is_cut: Whether a placement is a cut in linear order; (F,).

    Attributes:
        robot_ms, server_ms: Layers of each placement on either side; (F,).
        depth: Least depth of the values that it sends; (F,).
        picture: Whether the picture is among them; (F,).
        is_cut: As given, in the list's order.
        codecs: Codec name to what all its values together cost; (F,) each.
    """

    def __init__(
        self,
        on_robot: Bools,
        sent: Bools,
        times: tuple[Floats, Floats],
        depth: Ints,
        codecs: Mapping[str, ValueCosts],
        is_cut: Bools,
    ) -> None:
        robot_ms = on_robot @ times[0]
        order = np.argsort(-robot_ms, kind='stable')
        sent = sent[order]
        self.robot_ms, self.server_ms = robot_ms[order], ~on_robot[order] @ times[1]
        self._packed, self._values = np.packbits(sent, axis=1), sent.shape[1]
        self.is_cut: Bools = is_cut[order]
        self.picture: Bools = sent[:, 0].copy()
        self.depth: Ints = np.where(sent, depth, depth.max()).min(axis=1)
        each = [part for cost in codecs.values()
                for part in (cost.encode_ms, cost.decode_ms, cost.nbytes)]  # fmt: skip
        sums = np.ascontiguousarray((sent @ np.stack(each, axis=1)).T)
        self.codecs = {
            name: ValueCosts(*sums[3 * n : 3 * n + 3]) for n, name in enumerate(codecs)
        }

    def frontier(self, place: int) -> tuple[int, ...]:
        """Numbers of the values that a placement sends."""
        bits = np.unpackbits(self._packed[place], count=self._values)
        return tuple(np.flatnonzero(bits).tolist())


def closed_sets(
    count: int, needs: Iterable[tuple[int, int]], always: int, never: int
) -> Bools | None:
    """All sets of nodes that hold all that their nodes need; None where there are too many.

    Args:
        count: Nodes.
        needs: Pairs of a node and one that it needs; they may need one another.
        always: A node that is in every set.
        never: A node that is in none.

    Returns:
        Which nodes are in each set, every set once; (F, count).
    """
    pairs = sorted(set(needs))
    closure = [1 << node for node in range(count)]  # with all that it needs, as bits
    grown = True
    while grown:  # few rounds: what is needed mostly has the lower number
        grown = False
        for node, needed in pairs:
            more = closure[node] | closure[needed]
            grown |= more != closure[node]
            closure[node] = more
    least, forbidden = closure[always], 1 << never
    if least & forbidden:
        return np.zeros((0, count), dtype=bool)
    # Nodes that need one another come together. Of each such part: what must be there before.
    before = {bits: least for bits in closure if bits | least != least and not bits & forbidden}
    after: dict[int, set[int]] = {bits: set() for bits in before}
    for node, needed in pairs:
        part, other = closure[node], closure[needed]
        if part in before and other != part:
            before[part] |= other
            if other in after:
                after[other].add(part)
    found: list[int] = []
    # A set, and the parts that may join it; those that were passed over stay out for good.
    todo = [(least, [part for part, needed in before.items() if needed == least])]
    while todo:
        held, open_ = todo.pop()
        if len(found) == MOST:
            return None
        found.append(held)
        for place, part in enumerate(open_):
            more = held | part
            ready = [p for p in after[part] if not before[p] & ~more]
            todo.append((more, open_[place + 1 :] + ready))
    size = (count + 7) // 8
    packed = np.frombuffer(b''.join(bits.to_bytes(size, 'little') for bits in found), np.uint8)
    held_by = np.unpackbits(packed.reshape(-1, size), axis=1, count=count, bitorder='little')
    return held_by.astype(bool)
