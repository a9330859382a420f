"""What a plan is judged by: one number per plan, smaller is better.

- ``latency``: expected latency [ms], lateness under a deadline included.
- ``throughput``: the period of a pipelined stream [ms]: its slowest stage, but never less than
  latency / window, since only ``window`` frames are in work at a time; of plans with the same
  period the fastest.
- ``energy``: energy of the robot per frame [J].
- ``weighted``: ``w * latency / latency_local + (1 - w) * energy / energy_local``, in units of
  running all on the robot, so that 1 means "as all-local" whatever the board.

A result that comes after the deadline is worth nothing, so for all but ``latency`` (which has
``late_ms`` in it) the value is taken per frame in time: divided by the share of frames that are,
of which a plan whose frames end at the very deadline has half.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dnn_offload.errors import ConfigurationError

LATENCY = 'latency'
THROUGHPUT = 'throughput'
ENERGY = 'energy'
WEIGHTED = 'weighted'
OBJECTIVES = (LATENCY, THROUGHPUT, ENERGY, WEIGHTED)
UNITS = {LATENCY: 'ms', THROUGHPUT: 'ms', ENERGY: 'J', WEIGHTED: ''}
MOST_LATE = 0.99           # a plan that is always late costs a hundredfold
_LATENCY_SCATTER = 0.08    # of the predicted latency, as in costs.late_cost_ms

Number = TypeVar('Number', float, NDArray[np.float64])


@dataclass(frozen=True)
class Objective:
    """What to minimise.

    Attributes:
        name: One of ``OBJECTIVES``.
        latency_weight: Weight of the latency in ``weighted``, 0 .. 1; energy has the rest.
        window: Frames in work at a time, for ``throughput``.

    Raises:
        ConfigurationError: Unknown name, or a value out of its range.
    """

    name: str = LATENCY
    latency_weight: float = 0.5
    window: int = 4

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise ConfigurationError(
                'unknown objective', given=self.name, allowed=', '.join(OBJECTIVES)
            )
        if not 0.0 <= self.latency_weight <= 1.0:
            raise ConfigurationError(
                'latency_weight', given=self.latency_weight, allowed='0..1'
            )
        if self.window < 1:
            raise ConfigurationError('window', given=self.window, allowed='1 or more')

    @property
    def unit(self) -> str:
        """Unit of the value; empty for a ratio."""
        return UNITS[self.name]

    @property
    def needs_energy(self) -> bool:
        """Whether the power of the robot must be known."""
        return self.name == ENERGY or (self.name == WEIGHTED and self.latency_weight < 1.0)

    def value(
        self,
        latency_ms: Number,
        period_ms: Number,
        energy_j: Number,
        late_share: Number,
        local: tuple[float, float],
    ) -> Number:
        """Value of plans, numbers or arrays of one shape.

        Args:
            latency_ms: Expected latency.
            period_ms: Slowest stage.
            energy_j: Energy of the robot per frame.
            late_share: Share of their frames that are too late, 0 .. 1.
            local: Latency [ms] and energy [J] of running all on the robot.
        """
        if self.name == LATENCY:
            return latency_ms
        if self.name == THROUGHPUT:
            plain = np.maximum(period_ms, latency_ms / self.window)
        elif self.name == ENERGY:
            plain = energy_j
        else:
            weight = self.latency_weight
            plain = weight * latency_ms / max(local[0], 1e-9)
            if weight < 1.0:
                plain = plain + (1.0 - weight) * energy_j / max(local[1], 1e-12)
        return plain / (1.0 - MOST_LATE * late_share)

    def without_lateness(self, value: float, late_share: float) -> float:
        """What ``value`` was made of: the energy, say, without the price of late results.

        Args:
            value: A value of this objective; a latency stays as it is.
            late_share: That it was made with.
        """
        return value if self.name == LATENCY else value * (1.0 - MOST_LATE * late_share)

    def text(self, value: float) -> str:
        """A value with its unit, for people."""
        if self.unit == 'ms':
            return f'{value:.1f} ms'
        if self.unit == 'J':
            return f'{value:.3f} J'
        return f'{value:.3f} of all-local'


def late_share(latency_ms: Number, deadline_ms: float) -> Number:
    """Share of results later than a deadline, when latencies scatter around the predicted one.

    Args:
        latency_ms: Predicted latency.
        deadline_ms: Deadline; 0 = none.
    """
    if deadline_ms <= 0.0:
        return 0.0 * latency_ms
    scatter_ms = _LATENCY_SCATTER * latency_ms + 1e-9
    return sigmoid((latency_ms - deadline_ms) / scatter_ms)


def sigmoid(x: Number) -> Number:
    """1 / (1 + exp(-x)), exactly 0 or 1 far out."""
    if isinstance(x, float):  # a tenth of what arrays of nothing cost
        return 1.0 if x > 30.0 else 0.0 if x < -30.0 else 1.0 / (1.0 + math.exp(-x))
    soft = np.asarray(expit(x))
    soft[x > 30.0] = 1.0
    soft[x < -30.0] = 0.0
    return soft


LATENCY_OBJECTIVE = Objective()
