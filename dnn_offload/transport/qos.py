"""rclpy's profiles of the qualities of service that ``topics.py`` declares."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dnn_offload.transport.topics import Quality, Reliability

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


def latched(depth: int = 1) -> QoSProfile:
    """State that a late-comer must still see: server status, profile, plan."""
    return profile_of(Quality(depth, latched=True))
