"""Quality of service of each topic of the uplink, in one place."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# At least the slices in flight of all robots of one server: window / smallest slice, times
# robots. A reader that keeps fewer than what comes in a burst would lose slices silently.
TENSOR_READER_DEPTH = 256
TENSOR_WRITER_DEPTH = 64
RESULT_DEPTH = 256
STATUS_READER_DEPTH = 32


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

    Reliable by default: best-effort pictures get lost between processes (FACTS 3).
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
