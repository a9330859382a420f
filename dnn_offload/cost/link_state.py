"""What is believed about one link: a line each way and how sure we are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar('Number', float, NDArray[np.float64])


@dataclass(frozen=True)
class LinkState:
    """Estimate of one link, each way: ``t(bytes) = alpha_ms + 8000 * bytes / bps``.

    Attributes:
        uplink_alpha_ms, downlink_alpha_ms: Fixed cost of one transfer.
        uplink_bps, downlink_bps: Rate in bit/s; 0 means that nothing gets through.
        confidence: 0 = assumed, 1 = measured well and lately.
        uplink_burst_bytes: Of each transfer, so many bytes pass at once.
    """

    uplink_alpha_ms: float
    uplink_bps: float
    downlink_alpha_ms: float
    downlink_bps: float
    confidence: float = 0.0
    uplink_burst_bytes: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether anything gets through."""
        return self.uplink_bps > 0.0 and self.downlink_bps > 0.0

    def uplink_ms(self, nbytes: Number) -> Number:
        """Time to send ``nbytes`` up [ms]; a number, or an array of sizes."""
        over_bytes = nbytes - self.uplink_burst_bytes
        held_bytes = 0.5 * (over_bytes + abs(over_bytes))  # 0 below, exact for arrays too
        return self.uplink_alpha_ms + 8e3 * held_bytes / self.uplink_bps

    def downlink_ms(self, nbytes: Number) -> Number:
        """Time to send ``nbytes`` down [ms]; a number, or an array of sizes."""
        return self.downlink_alpha_ms + 8e3 * nbytes / self.downlink_bps
