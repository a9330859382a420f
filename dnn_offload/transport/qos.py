"""Quality of service of each topic of the uplink, in one place."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dnn_offload.transport.pacing import MAX_WINDOW_BYTES, MIN_CHUNK_BYTES

# What one robot may have under way: its window in smallest slices, as many acknowledgements of
# answers, and what else is small (a frame's last slice, greeting, cancellations).
SLICES_PER_ROBOT = 2 * (MAX_WINDOW_BYTES // MIN_CHUNK_BYTES) + 8
TENSOR_WRITER_DEPTH = 64
RESULT_DEPTH = 256
STATUS_READER_DEPTH = 32


def tensor_reader_depth(robots: int) -> int:
    """Slices that a server's reader must keep while its node is busy.

    The history is shared by all writers: a reader that keeps fewer than what comes in a burst
    of all robots would lose slices silently. Memory is bounded by it: no message is larger than
    85 kB, so at most 1.5 MB per robot; in fact the robots' windows, 123 kB each.
    """
    return robots * SLICES_PER_ROBOT


def tensors(depth: int, lifespan_s: float = 0.0) -> QoSProfile:
    """Tensor slices and probes: reliable, nothing for late-comers, stale slices expire."""
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )
    if lifespan_s > 0.0:
        profile.lifespan = Duration(seconds=lifespan_s)
    return profile


def results() -> QoSProfile:
    """Acknowledgements and answers: reliable, nothing for late-comers."""
    return tensors(RESULT_DEPTH)


def latched(depth: int = 1) -> QoSProfile:
    """State that a late-comer must still see: server status, profile, plan."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def newest_only(reliable: bool = True) -> QoSProfile:
    """A stream of which only the newest counts, e.g. pictures.

    Reliable by default: best-effort pictures get lost between processes (measured: of
    180 at 640 x 480 and 30 Hz, 15 to 45 arrived).
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
