"""Estimate of one link from measured transfers: ``t(bytes) = alpha + 8000 * (bytes - b) / bps``.

Samples come from ``LinkSample`` messages: durations on the robot's clock alone. ``b`` is what
passes at once in the burst of a radio or shaper, upwards (0 where there is none). Each
direction is fitted on its own (``transfer_fit.py``): robust, forgetting, quick to see a
change. An estimate that is not refreshed returns to the prior, a link that lost frames is
tried again with back-off: neither optimism nor pessimism lasts for ever. Only answers measure
the way back, and none come while nothing is offloaded: while probes go up, and none says that
the link has become slower, it is not priced higher for being long ago, which would keep us from
going there again. A limit of our own
pacing (``max_uplink_bps``) is not the link's: samples taken under one teach only the
estimate under that same limit, unless they are far slower than the limit explains.

A loss is forgiven as soon as anything is acknowledged; only losses that follow one another
keep a link out for longer and longer.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from dnn_offload.cost.link_state import LinkState
from dnn_offload.cost.transfer_fit import Line, line, TransferFit
from dnn_offload.errors import ConfigurationError

UPLINK = 0     # LinkSample.kind
DOWNLINK = 1
LOST = 2

MIN_DURATION_MS = 0.02     # of a transfer; downlink times are differences and may be negative
STALE_S = 2.0              # a direction that was not measured for so long is from before
BELOW_LIMIT = 2.0          # slower than the limit explains by this factor: the link's doing


@dataclass(frozen=True)
class LinkDefaults:
    """What is believed of a link that was never measured."""

    uplink_alpha_ms: float = 3.0
    uplink_bps: float = 20e6
    downlink_alpha_ms: float = 3.0
    downlink_bps: float = 20e6


DEFAULT_LINK = LinkDefaults()


def sane_limit(max_uplink_bps: float) -> float:
    """A usable limit of the uplink [bit/s]; 0 = none, also for what is no number."""
    return max(max_uplink_bps, 0.0) if math.isfinite(max_uplink_bps) else 0.0


@dataclass(frozen=True)
class LinkEvidence:
    """A ``LinkSample`` message: a measured transfer, or a loss.

    Attributes:
        kind: ``UPLINK``, ``DOWNLINK`` or ``LOST``.
        nbytes: Payload carried.
        duration_ms: Time taken.
        probe: Whether it was a probe.
        max_uplink_bps: Our own limit at that time [bit/s]; 0 = none.
    """

    kind: int
    nbytes: int = 0
    duration_ms: float = 0.0
    probe: bool = False
    max_uplink_bps: float = 0.0


class LinkEstimator:
    """One link, to one server; not thread-safe. Clocks are passed in.

    Args:
        defaults: Believed before any sample.
        lost_after: Losses in a row after which the link counts as dead.
        first_dead_s: For how long, the first time, when nothing gets through meanwhile;
            doubles each time.
        max_dead_s: Longest such time.
        forget_s: A loss so long after the last dead time is the first again.
    """

    def __init__(
        self,
        defaults: LinkDefaults = DEFAULT_LINK,
        *,
        lost_after: int = 2,
        first_dead_s: float = 2.0,
        max_dead_s: float = 30.0,
        forget_s: float = 10.0,
    ) -> None:
        self.defaults = defaults
        self.lost_after = lost_after
        self.first_dead_s = first_dead_s
        self.max_dead_s = max_dead_s
        self.forget_s = forget_s
        self.reset()

    def reset(self) -> None:
        """Forget all, e.g. when the server or the network is another one."""
        defaults = self.defaults
        self._uplink = TransferFit(line(defaults.uplink_alpha_ms, defaults.uplink_bps))
        self._downlink = self._new_downlink()
        self._limited: tuple[float, TransferFit] | None = None
        self._answer_bytes = 0  # the last one's
        self._slower_since = False  # the uplink, since the last answer
        self._losses = 0
        self._dead_times = 0
        self._dead_until_s = -math.inf
        self._died_until_s = -math.inf  # as above, but kept when something got through

    def _new_downlink(self) -> TransferFit:
        defaults = self.defaults
        return TransferFit(line(defaults.downlink_alpha_ms, defaults.downlink_bps))

    def add(self, evidence: LinkEvidence, now_s: float) -> bool:
        """Take one ``LinkSample``; a transfer without payload, or not finite, is ignored.

        Returns:
            Whether the uplink is now seen to be another than before.

        Raises:
            ConfigurationError: Unknown kind.
        """
        kind, nbytes, probe = evidence.kind, evidence.nbytes, evidence.probe
        limit_bps = evidence.max_uplink_bps
        if kind == LOST:
            self.lost(now_s)
            return False
        if kind not in (UPLINK, DOWNLINK):
            raise ConfigurationError('unknown kind of link sample', given=kind, allowed='0, 1, 2')
        if nbytes <= 0 or not math.isfinite(evidence.duration_ms):
            return False
        duration_ms = max(evidence.duration_ms, MIN_DURATION_MS)
        self._losses = 0
        if self.dead(now_s):
            self._died_until_s = now_s
        self._dead_until_s = -math.inf
        if kind == DOWNLINK:
            self._dead_times = 0  # a whole round trip
            self._answer_bytes, self._slower_since = nbytes, False
            change = self._downlink.add(nbytes, duration_ms, now_s, probe=probe)
        elif limit_bps <= 0.0:
            change = self._uplink.add(nbytes, duration_ms, now_s, probe=probe)
            if change < 1.0 and self._downlink.idle_s(now_s) > STALE_S:
                # What is remembered of the way back is from the slow time, and would keep us
                # from ever trying. Not so where it was the robot that was slow.
                fresh = self._new_downlink()
                if self._answer_ms(fresh.fitted) < self._answer_ms(self._downlink.fitted):
                    self._downlink = fresh
        else:
            limited = self._under_limit(limit_bps, now_s)
            change = limited.add(nbytes, duration_ms, now_s, probe=probe)
            explained_ms = self.defaults.uplink_alpha_ms + 8e3 * nbytes / limit_bps
            if duration_ms > BELOW_LIMIT * explained_ms:
                self._uplink.add(nbytes, duration_ms, now_s, probe=probe)
        if kind == UPLINK and change > 1.0:
            self._slower_since = True
        return kind == UPLINK and change != 1.0

    def lost(self, now_s: float) -> None:
        """Nothing came back within the time allowed."""
        self._losses += 1
        if self._losses < self.lost_after or now_s < self._dead_until_s:
            return
        if now_s - self._died_until_s > self.forget_s:
            self._dead_times = 0
        wait_s = self.first_dead_s * 2.0 ** min(self._dead_times, 16)
        self._dead_until_s = self._died_until_s = now_s + min(wait_s, self.max_dead_s)
        self._dead_times += 1

    def dead(self, now_s: float) -> bool:
        """Whether the link counts as dead now."""
        return now_s < self._dead_until_s

    def state(self, now_s: float, max_uplink_bps: float = 0.0) -> LinkState:
        """The estimate now, under a limit of our own (0 = none); rates 0 while dead."""
        if max_uplink_bps > 0.0:
            fit = self._under_limit(max_uplink_bps, now_s)
            up = fit.line(now_s)
            up_bps = min(up.bps, max_uplink_bps)
        else:
            fit = self._uplink
            up = fit.line(now_s)
            up_bps = up.bps
        down = self._downlink.line(now_s)
        if not self._slower_since:
            held = self._downlink.line(now_s, least_fresh=fit.freshness(now_s))
            down = min(down, held, key=self._answer_ms)
        if self.dead(now_s):
            return LinkState(up.alpha_ms, 0.0, down.alpha_ms, 0.0, 0.0)
        confidence = 0.7 * fit.confidence(now_s) + 0.3 * self._downlink.confidence(now_s)
        if self._losses:
            confidence *= 0.5
        return LinkState(
            up.alpha_ms, up_bps, down.alpha_ms, down.bps, confidence, up.burst_bytes
        )

    def _answer_ms(self, way_back: Line) -> float:
        """What an answer like the last one takes."""
        return way_back.ms(self._answer_bytes)

    def _under_limit(self, limit_bps: float, now_s: float) -> TransferFit:
        """The estimate under this limit; a new limit starts from what the link can do."""
        if self._limited is None or self._limited[0] != limit_bps:
            free = self._uplink.line(now_s)
            prior = line(free.alpha_ms, min(free.bps, limit_bps))
            self._limited = (limit_bps, TransferFit(prior))
        return self._limited[1]
