"""The truth that a simulation runs through, and how wrongly it is seen. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class World:
    """The truth at one moment.

    Attributes:
        edge_load, server_load: True slow-downs against the profiles.
        queue_ms: True wait at the server [ms].
        uplink_bps, downlink_bps, alpha_ms: The true link.
        server_up: Whether the server lives.
    """

    edge_load: float = 1.0
    server_load: float = 1.0
    queue_ms: float = 0.5
    uplink_bps: float = 20e6
    downlink_bps: float = 20e6
    alpha_ms: float = 3.0
    server_up: bool = True


@dataclass(frozen=True)
class Sensors:
    """How wrongly the truth is seen.

    Attributes:
        frame_noise: Scatter of a frame's compute times (log-normal).
        link_noise: Scatter of transfers; ``link_spikes`` of them take three times as long.
        load_noise: Scatter of load readings over one window.
        probe_bias: CPU probe's reading over the truth: other than what frames show.
        probe_link_bias: Duration of a link probe over what a frame of that size takes.
        cpu_growth: Growth of CPU time at the stream's rate against the profile.
        queue_noise: Scatter of the wait at the server.
    """

    frame_noise: float = 0.08
    link_noise: float = 0.15
    link_spikes: float = 0.03
    load_noise: float = 0.10
    probe_bias: float = 0.9
    probe_link_bias: float = 0.9
    cpu_growth: float = 1.1
    queue_noise: float = 0.3


def constant(world: World) -> Callable[[float], World]:
    """A world in which nothing changes."""
    return lambda now_s: world


def step(before: World, at_s: float, **changes: float | bool) -> Callable[[float], World]:
    """A world that changes once."""
    after = replace(before, **changes)  # type: ignore[arg-type]
    return lambda now_s: after if now_s >= at_s else before
