"""Which server is forgotten where another speaks and as many are known as may be. Pure: no ROS.

Names come from the network, so their number is bounded. A host whose name changes with each start
uses them up in days, and whoever makes names up in a second: a server that is there stays whatever
comes, and of those that are not, the ones that never took a byte of ours go first.
"""

from __future__ import annotations

from collections.abc import Iterable

from dnn_offload.transport.link import Phase, ServerLink

MAX_SERVERS = 16
GONE_S = 2.0  # ten statuses; a gap that is shorter may be the link's


def first_to_go(links: Iterable[ServerLink], now_s: float) -> ServerLink | None:
    """Which server makes room for another.

    Args:
        links: The links to all that are known.
        now_s: The links' clock [s].

    Returns:
        The one that is absent longest, rather one that was never connected; None if all are there.
    """
    gone = [
        link for link in links if link.phase is Phase.ABSENT and link.silent_s(now_s) > GONE_S
    ]
    return min(
        gone, key=lambda link: (link.was_connected, -link.silent_s(now_s)), default=None
    )
