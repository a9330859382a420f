"""What of the way to the servers may be set while it is in use. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from dnn_offload.exchange import MAX_ANSWER_BYTES
from dnn_offload.transport.pacing import MAX_WINDOW_BYTES


@dataclass(frozen=True)
class LinkTiming:
    """When to try, and when to give up.

    Attributes:
        server_timeout_s: Lost after so long without status or acknowledgement.
        probe_period_s: A probe goes when nothing was sent for so long.
        big_probe_period_s: A probe goes between frames when nothing larger than the burst was
            sent for so long; small frames alone would flatter the link.
        longest_probe_s: No probe goes between frames that would take longer: the next frame
            would wait behind it (at 1 Mbit/s for 0.5 s). One that does take longer, on a link
            that seemed faster, has told that, and is the last.
        retry_s, max_retry_s: Back-off between attempts to connect.
        refused_retry_s: Pause after a refusal.
    """

    server_timeout_s: float = 1.0
    probe_period_s: float = 1.5
    big_probe_period_s: float = 5.0
    longest_probe_s: float = 0.1
    retry_s: float = 0.25
    max_retry_s: float = 2.0
    refused_retry_s: float = 5.0


@dataclass(frozen=True)
class UplinkSettings:
    """What may be set while running.

    Attributes:
        max_uplink_bps: Limit of what we send [bit/s]; 0 = none.
        max_window_bytes: Most unacknowledged bytes per server.
        max_answer_bytes: Larger answers are refused.
        timing: When to try and when to give up.
    """

    max_uplink_bps: float = 0.0
    max_window_bytes: int = MAX_WINDOW_BYTES
    max_answer_bytes: int = MAX_ANSWER_BYTES
    timing: LinkTiming = LinkTiming()
