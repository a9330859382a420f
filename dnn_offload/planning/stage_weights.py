"""What a millisecond of each stage counts for an objective that is a sum over stages. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StageWeights:
    """Price of one millisecond, in any unit: 1 each for latency, mW for energy in uJ.

    Attributes:
        robot: The robot computes: head, rest, encoding, decoding.
        uplink: It sends.
        server: It waits for the server: queue, tail, decoding and encoding there.
        downlink: It receives.
    """

    robot: float = 1.0
    uplink: float = 1.0
    server: float = 1.0
    downlink: float = 1.0


LATENCY = StageWeights()
