"""What a millisecond of each stage counts for an objective. Pure.

Latency, energy and their mix are sums over the stages of a frame, so they can be minimised
stage by stage. Lateness under a deadline comes on top and never makes a plan better; nor is the
value of ``throughput`` ever below latency / window. So the sum is the value or a bound on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnn_offload.cost.energy import PowerModel
from dnn_offload.planning.objective import ENERGY, LATENCY, Objective, THROUGHPUT
from dnn_offload.planning.plan import Candidate


@dataclass(frozen=True)
class StageWeights:
    """Value of one millisecond, in the unit of the objective.

    Attributes:
        robot: The robot computes: head, rest, encoding, decoding.
        uplink: It sends.
        server: It waits for the server: queue, tail, decoding and encoding there.
        downlink: It receives.
        wait: A picture waits while the slowest stage is busy with one before it: time, no energy.
    """

    robot: float = 1.0
    uplink: float = 1.0
    server: float = 1.0
    downlink: float = 1.0
    wait: float = 1.0


ALL_EQUAL = StageWeights()


def energy_weights(power: PowerModel, load: float, threads: int) -> StageWeights:
    """Energy of the robot [J] per millisecond of each stage.

    Under load the processor is ours only a part of the time of the robot's stages; the rest
    of it is waiting, as in ``costs.with_energy``.
    """
    own = 1.0 / max(load, 1.0)
    busy_w = power.busy_w(threads) * own + power.idle_w * (1.0 - own)
    return StageWeights(
        1e-3 * busy_w, 1e-3 * power.radio_tx_w, 1e-3 * power.idle_w, 1e-3 * power.radio_rx_w, 0.0
    )


def stage_weights(
    objective: Objective,
    power: PowerModel | None,
    load: float,
    threads: int,
    local: Candidate,
) -> StageWeights:
    """Weights of an objective.

    Args:
        objective: What to minimise.
        power: Power of the robot; None = not known, energy counts nothing.
        load: Load factor of the robot.
        threads: Its compute threads, 1 or more.
        local: The all-local plan, the unit of ``weighted``.
    """
    if objective.name == LATENCY:
        return ALL_EQUAL
    if objective.name == THROUGHPUT:
        share = 1.0 / objective.window
        return StageWeights(share, share, share, share, share)
    weight = 0.0 if objective.name == ENERGY else objective.latency_weight
    per_ms = 0.0 if objective.name == ENERGY else weight / max(local.latency_ms, 1e-9)
    if power is None or weight >= 1.0:
        return StageWeights(per_ms, per_ms, per_ms, per_ms, per_ms)
    per_j = 1.0 if objective.name == ENERGY else (1.0 - weight) / max(local.energy_j, 1e-12)
    joules = energy_weights(power, load, threads)
    return StageWeights(
        per_ms + per_j * joules.robot,
        per_ms + per_j * joules.uplink,
        per_ms + per_j * joules.server,
        per_ms + per_j * joules.downlink,
        per_ms,
    )
