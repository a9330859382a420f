"""rclpy's profiles of the qualities of service that ``topics.py`` declares."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dnn_offload.transport.topics import Quality, Reliability, RESULT_DEPTH

_RELIABILITY = {
    Reliability.RELIABLE: ReliabilityPolicy.RELIABLE,
    Reliability.BEST_EFFORT: ReliabilityPolicy.BEST_EFFORT,
    Reliability.AS_PUBLISHED: ReliabilityPolicy.BEST_AVAILABLE,
}


def profile_of(quality: Quality) -> QoSProfile:
    """A profile of its own: rclpy changes it where a user overrides it."""
    profile = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=quality.depth,
        reliability=_RELIABILITY[quality.reliability],
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL if quality.latched else DurabilityPolicy.VOLATILE
        ),
    )
    if quality.lifespan_s > 0.0:
        profile.lifespan = Duration(seconds=quality.lifespan_s)
    return profile


def tensors(depth: int, lifespan_s: float = 0.0) -> QoSProfile:
    """Tensor slices and probes: reliable, nothing for late-comers, stale slices expire."""
    return profile_of(Quality(depth, lifespan_s=lifespan_s))


def results() -> QoSProfile:
    """Acknowledgements and answers: reliable, nothing for late-comers."""
    return profile_of(Quality(RESULT_DEPTH))


def latched(depth: int = 1) -> QoSProfile:
    """State that a late-comer must still see: server status, profile, plan."""
    return profile_of(Quality(depth, latched=True))


def newest_only(reliable: bool = True) -> QoSProfile:
    """A stream of which only the newest counts, e.g. pictures."""
    reliability = Reliability.RELIABLE if reliable else Reliability.BEST_EFFORT
    return profile_of(Quality(1, reliability))
