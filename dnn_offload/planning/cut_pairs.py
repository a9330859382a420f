"""All pairs of cuts of two profiles as arrays, with what travels between them. Pure.

What is here no condition changes, so it is prepared once per pair of profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.planning.layer_graph import layer_graph
from dnn_offload.planning.limits import LOSSLESS
from dnn_offload.planning.plan import Sent
from dnn_offload.planning.price_table import codecs_at, PICTURE_CUT, thread_variants

IMPOSSIBLE = 1e30          # finite, so that a weight of 0 makes no NaN of it
ENCODE, DECODE, BYTES, BEHIND = 0, 1, 2, 3

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Way(NamedTuple):
    """One way over the link, weighted; ``codec`` and ``nbytes`` of whole frontiers, (K, M).

    Share u of a frontier costs ``u * codec + per_byte * paid`` with ``paid = max(u * nbytes -
    burst, 0)``, less ``per_hidden * min(u * behind, ms_per_byte * paid)``.
    """

    codec: Floats
    nbytes: Floats
    per_byte: float
    burst: float
    behind: Floats | None = None
    ms_per_byte: float = 0.0
    per_hidden: float = 0.0

    def cost(self, cuts: Ints, share: Floats) -> Floats:
        """Of parts of frontiers; (K, len(cuts))."""
        paid = np.maximum(self.nbytes[:, cuts] * share - self.burst, 0.0)
        cost: Floats = self.codec[:, cuts] * share + paid * self.per_byte
        if self.behind is not None:
            cost -= self._hidden(self.behind[:, cuts] * share, paid)
        return cost

    def least(self) -> tuple[Floats, Floats]:
        """Least cost per share over all codecs: every byte paid, and none of them; (M,) each."""
        hidden: Floats | float = 0.0
        if self.behind is not None:
            hidden = self._hidden(self.behind, self.nbytes)
        none = self.codec - hidden
        return (none + self.nbytes * self.per_byte).min(axis=0), none.min(axis=0)

    def bound(self, least: tuple[Floats, Floats], share: Floats) -> Floats:
        """What no codec goes below; without a burst, what the best one costs.

        Args:
            least: As by ``least``, of the cuts; broadcast against ``share``.
            share: Shares of their frontiers.
        """
        every, none = least
        cost: Floats = share * every
        if self.burst > 0.0:
            cost = np.maximum(cost - self.per_byte * self.burst, share * none)
        return cost

    def _hidden(self, behind: Floats, paid: Floats) -> Floats:
        return self.per_hidden * np.minimum(behind, paid * self.ms_per_byte)


class CutPairs:
    """The M cuts that two profiles share, the K codecs, and the M x M pairs of cuts (i, j).

    Attributes:
        here, there: The cuts as the robot's and as the server's profile have them.
        codecs: Names of the codecs.
        depth: Of each cut; (M,).
        middle_ms: What the server computes; ``IMPOSSIBLE`` where there is no such pair.
        up, down: Encoding [ms], decoding [ms], bytes of whole frontiers, and what of the encoding
            is left when the first bytes can be sent [ms]; (4, K, M).
        in_parts: Whether any of that is left at all.
        up_share, down_share: Shares of the bytes of the frontiers that travel; (M, M).
        agreement: Of a codec at a cut, -1 = not measured; (K, M).
    """

    def __init__(self, edge: Profile, server: Profile) -> None:
        theirs = server.by_id()
        matched = [(cut, theirs[cut.cut_id]) for cut in edge.cuts[:-1] if cut.cut_id in theirs]
        self.here = tuple(cut for cut, _ in matched)
        self.there = tuple(cut for _, cut in matched)
        # Nothing runs before the picture, whatever the profile's noise says.
        on_robot = np.array([float(cut.index != PICTURE_CUT) for cut in self.here])
        rows = [cut.index for cut in self.here]
        self._robot_times = {
            0: (
                np.array([cut.head_ms for cut in self.here]) * on_robot,
                np.array([cut.tail_ms for cut in self.here]),
            )
        }
        for threads, variant in thread_variants(edge).items():
            head_ms, rest_ms = np.array(variant.head_ms), np.array(variant.tail_ms)
            self._robot_times[threads] = head_ms[rows] * on_robot, rest_ms[rows]
        self.depth = np.array([cut.depth for cut in self.here], dtype=np.int64)
        index = [cut.index for cut in self.there]
        middles: list[Floats] = []
        for tails in server.tails_by_backend().values():
            tail_ms = np.array(tails)[index]
            middles.append(np.maximum(tail_ms[:, None] - tail_ms[None, :], 0.0))

        self.up_share, self.down_share = _shares(edge, self.here)
        used = np.triu((self.up_share > 0.0) & (self.down_share > 0.0), 1)
        self.middle_ms = np.where(used, np.minimum.reduce(middles), IMPOSSIBLE)

        tables = [codecs_at(cut) for cut in self.here]
        self.codecs = tuple(dict.fromkeys(name for table in tables for name in table))
        shape = (4, len(self.codecs), len(matched))
        self.up, self.down = np.full(shape, IMPOSSIBLE), np.full(shape, IMPOSSIBLE)
        self.up[BEHIND] = self.down[BEHIND] = 0.0
        self.agreement = np.full(shape[1:], -1.0)
        for place, table in enumerate(tables):
            known = self.there[place].codecs
            for name, cost in table.items():
                codec, other = self.codecs.index(name), known.get(name, cost)
                behind_ms = min(cost.behind_ms, cost.encode_ms)
                self.up[:, codec, place] = (
                    cost.encode_ms, other.decode_ms, cost.nbytes, behind_ms
                )
                self.down[:3, codec, place] = other.encode_ms, cost.decode_ms, cost.nbytes
                if name in LOSSLESS:
                    self.agreement[codec, place] = 1.0
                elif cost.agreement is not None:
                    self.agreement[codec, place] = cost.agreement
        self.in_parts = bool(self.up[BEHIND].any())
        self._places = {cut.cut_id: place for place, cut in enumerate(self.here)}

    def robot_times(self, threads: int) -> tuple[Floats, Floats]:
        """Heads and tails on the robot with so many threads, (M,) each; 0 = as they are set."""
        return self._robot_times.get(threads, self._robot_times[0])

    def sent(self, ratios: Mapping[Sent, float]) -> Floats:
        """``up`` with real sizes, where their ratio to the profiled ones is known."""
        known = [key for key in ratios if key[0] in self._places and key[1] in self.codecs]
        if not known:
            return self.up
        up = self.up.copy()
        for cut_id, codec in known:
            up[BYTES, self.codecs.index(codec), self._places[cut_id]] *= ratios[cut_id, codec]
        return up

    def find(self, cut_id: str, return_id: str) -> tuple[int, int] | None:
        """Places of two cuts, None where there is no such pair."""
        i, j = self._places.get(cut_id), self._places.get(return_id)
        if i is None or j is None or self.middle_ms[i, j] >= IMPOSSIBLE:
            return None
        return i, j


def _shares(profile: Profile, cuts: tuple[CutProfile, ...]) -> tuple[Floats, Floats]:
    """Shares of the frontiers at i and at j that travel for each pair; (M, M) each.

    Of the frontier at i what is read between the cuts, of that at j what is made there.
    """
    count = len(cuts)
    up, down = np.ones((count, count)), np.ones((count, count))
    graph = layer_graph(profile)
    if graph is None or not count:
        return up, down
    rows = [cut.index for cut in cuts]
    position = np.array([graph.positions[row] for row in rows], dtype=np.int64)
    alive = graph.alive[rows]
    size = np.where(alive, graph.nbytes, 0.0)
    total = np.maximum(size.sum(axis=1), 1e-9)
    reads = graph.reads_of_values()
    for i in range(count):
        sent = np.zeros(count)
        for value in np.flatnonzero(alive[i]):
            first_read = next((at for at in reads[value] if at > position[i]), None)
            if first_read is not None:
                sent += np.where(position >= first_read, size[i, value], 0.0)
        up[i] = sent / total[i]
        down[i] = np.where(graph.made > position[i], size, 0.0).sum(axis=1) / total
    return up, down
