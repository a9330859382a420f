"""A topic's end at one node as plain data: name, type, quality of service, and why. No ROS.

Nodes open what is declared here and in ``nodes/topics.py``; docs/ros.md is written from the same,
so that the two cannot disagree. ``qos.py`` makes rclpy's profiles of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from dnn_offload.transport import names
from dnn_offload.transport.pacing import MAX_WINDOW_BYTES, MIN_CHUNK_BYTES

# What one robot may have under way: its window in smallest slices, as many acknowledgements of
# answers, and what else is small (a frame's last slice, greeting, cancellations).
SLICES_PER_ROBOT = 2 * (MAX_WINDOW_BYTES // MIN_CHUNK_BYTES) + 8
TENSOR_WRITER_DEPTH = 64
RESULT_DEPTH = 256
STATUS_READER_DEPTH = 32
CHUNK_LIFESPAN_S = 5.0


class Reliability(Enum):
    """What happens to a message that is lost on the way."""

    RELIABLE = 'reliable'
    BEST_EFFORT = 'best effort'
    AS_PUBLISHED = 'as published'  # a subscription only: reliable if all publishers are


@dataclass(frozen=True)
class Quality:
    """Quality of service; the history is always "keep last".

    Attributes:
        depth: Messages that are kept.
        reliability: See ``Reliability``.
        latched: A late-comer gets what is kept (durability transient local, else volatile).
        lifespan_s: Older messages are not delivered [s]; 0 = all are.
    """

    depth: int
    reliability: Reliability = Reliability.RELIABLE
    latched: bool = False
    lifespan_s: float = 0.0

    def __str__(self) -> str:
        parts = [self.reliability.value]
        if self.latched:
            parts.append('transient local')
        parts.append(f'depth {self.depth}')
        if self.lifespan_s > 0.0:
            parts.append(f'lifespan {self.lifespan_s:g} s')
        return ', '.join(parts)


@dataclass(frozen=True)
class Endpoint:
    """A topic as one node publishes it or subscribes to it.

    Attributes:
        name: Relative to the node's namespace; absolute names begin with a slash. ``<...>``
            stands for what is known when the node runs (``at`` fills it in).
        type_name: Message type, e.g. ``sensor_msgs/msg/Image``.
        quality: Quality of service.
        what: What it carries, for people.
        why: Why this quality of service.
        overridable: Whether users may change history, depth and reliability by the parameters
            ``qos_overrides.<topic>...``.
    """

    name: str
    type_name: str
    quality: Quality
    what: str
    why: str
    overridable: bool = False

    def at(self, name: str) -> Endpoint:
        """The same under the name that is known now."""
        return replace(self, name=name)

    def keeping(self, depth: int) -> Endpoint:
        """The same with another depth."""
        return replace(self, quality=replace(self.quality, depth=depth))


def tensor_reader_depth(robots: int) -> int:
    """Slices that a server's reader must keep while its node is busy.

    The history is shared by all writers: a reader that keeps fewer than what comes in a burst
    of all robots would lose slices silently. Memory is bounded by it: no message is larger than
    85 kB, so at most 1.5 MB per robot; in fact the robots' windows, 123 kB each.
    """
    return robots * SLICES_PER_ROBOT


# ---- what crosses the link ---------------------------------------------------------------------

_ROOM, _SERVER, _ROBOT = '<rendezvous_namespace>', '<server_id>', '<robot>'

TENSORS_OUT = Endpoint(
    names.tensors(_ROOM, _SERVER), 'dnn_offload/msg/TensorChunk',
    Quality(TENSOR_WRITER_DEPTH, lifespan_s=CHUNK_LIFESPAN_S),
    'Slices of what crosses the cut, probes, greeting and good-bye; one topic per server.',
    'Reliable slices below 64 kB go once and are repaired when lost; a slice that is older than '
    'any deadline is not worth its repair.',
)
TENSORS_IN = Endpoint(
    TENSORS_OUT.name, TENSORS_OUT.type_name, Quality(tensor_reader_depth(1)), TENSORS_OUT.what,
    'The depth is for one robot and is multiplied by `max_clients`: a reader that keeps fewer '
    'than all robots send in a burst would lose slices silently.',
)
RESULTS_OUT = Endpoint(
    names.results(_ROOM, _ROBOT), 'dnn_offload/msg/TensorResult', Quality(RESULT_DEPTH),
    'Acknowledgements, answers and refusals; one topic per life of a robot\'s inference process.',
    'A lost acknowledgement would stall the sender; deep enough for a burst of them.',
)
RESULTS_IN = RESULTS_OUT
SERVER_STATUS_OUT = Endpoint(
    names.server_status(_ROOM), 'dnn_offload/msg/ServerStatus', Quality(1, latched=True),
    'Every server says that it is there, what it runs, and how busy it is.',
    'A robot that comes later must see it at once; only the newest of a server counts.',
)
SERVER_STATUS_IN = replace(
    SERVER_STATUS_OUT, quality=Quality(STATUS_READER_DEPTH, latched=True),
    why='One topic of all servers: room for the last word of each.',
)
PROFILE_OUT = Endpoint(
    names.profile(_ROOM, _SERVER), 'std_msgs/msg/String', Quality(1, latched=True),
    'Measured profile of the server (JSON, docs/profiles.md).',
    'Said once: a late-comer must still get it.',
)
PROFILE_IN = PROFILE_OUT
