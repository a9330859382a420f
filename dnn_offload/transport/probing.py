"""When a link is probed, how large, and what a probe tells. Pure: the clock is passed in.

A probe is long: radios and shapers let a first burst pass at wire speed, so only what comes
behind 48 kB measures. At 1 Mbit/s that is half a second, and to keep to its share of the link
one goes every four. Between them go *looks*, of 6 kB: no measure of the rate, but one that
suddenly takes half as long as those before says that the link has become faster, and a probe
follows at once. Where looks go, probes become as rare as may be for what they say not to fade in
between, and looks get the rest of the share. None go where they pass in the burst and so show
nothing, where probes are frequent anyway, or need the share for themselves.
"""

from __future__ import annotations

from collections import deque
import math
import statistics

from dnn_offload.codec.chunks import slices
from dnn_offload.transport.link_events import Sample
from dnn_offload.transport.pacing import BURST_BYTES, FlowWindow
from dnn_offload.transport.transfer import KIND_PROBE, Transfer
from dnn_offload.transport.uplink_settings import LinkTiming

PROBE_BYTES = 98304       # at most: the burst, and as much behind it, which is measured
SHARE = 0.12              # of the link, at most, but for probes that confirm one
LEAST_MEASURED_BYTES = 8192
MEASURED_S = 0.06         # what is measured need take no longer,
MEASURED_TRIPS = 5.0      # but so many round trips: one is in what is measured
SURPRISE = 2.0            # ratio to what was seen before: another link, or a hiccup?
NEAR = 1.25               # ratio to what frames have said since: that is known already
CONFIRMING = 2            # so many more probes tell, and then the next one comes in its time
# So soon, from begin to begin: three span what the estimate asks for (transfer_fit.CHANGES), less
# where they are far off, and what the planner reads the first one later.
CONFIRM_S, FAR_CONFIRM_S = 0.31, 0.16
FAR = 2.6                 # ratio
PACKET_BYTES = 1200       # fits into one with its header
LOOK_BYTES = 6000         # three packets and more behind the first: shapers let two pass at once
LONGEST_GAP_S = 9.0       # between probes, where looks go: estimates fade after 10 (cost/link.py)
LOOK_SHARES = (0.015, 0.07)  # of the link: no looks where probes leave less, and no more of them
OFTEN = 1.5               # probes are, so many periods apart at most
LOOKS = 5                 # looks are compared with the median of so many
CLEAR_S = 0.005           # by which one must be shorter: acknowledgements scatter by some ms
BLIND_LOOKS = 3           # so many
BLIND_S = 0.01            # in less than this have passed in the burst,
BLIND_FOR_S = 60.0        # and so long none goes
_PAYLOAD = bytes(range(256)) * (PROBE_BYTES // 256)


class Probing:
    """Probes of one link; see the module. Not thread-safe.

    Args:
        window: The link's, which knows the rate of delivery and is told what a probe says.

    Attributes:
        confirm: Probes that are still to tell whether the last one's rate is the link's.
    """

    def __init__(self, window: FlowWindow) -> None:
        self.confirm = 0
        self._window = window
        self._limit_bps = 0.0       # of our own; 0 = none
        self._count = 0
        self._rate_bps = 0.0        # behind the burst of the last probe; 0 = none yet
        self._known_bps = 0.0       # rate of delivery before it
        self._began_s = -math.inf   # when that began
        self._confirm_s = 0.0       # until the one that confirms it
        self._trip_s = 0.0          # its round trip
        self._frame_s = -math.inf   # when the last frame was given to be sent
        self._busy_s = -math.inf    # last slice sent, but for those of looks
        self._big_s = -math.inf     # last transfer above the burst
        self._looks_s: deque[float] = deque(maxlen=LOOKS)  # what the last ones took
        self._looked_s = -math.inf
        self._alarmed = False           # by a look: a probe is due
        self._misled_until_s = -math.inf  # no look until then: one has misled

    # ---- what goes on on the link ------------------------------------------------------------

    def forget(self) -> None:
        """The link is lost."""
        self.confirm = 0
        self._alarmed = False
        self._looks_s.clear()

    def limited(self, limit_bps: float) -> None:
        """Our own limit [bit/s], 0 = none."""
        self._limit_bps = limit_bps

    def frame(self, nbytes: int, now_s: float) -> None:
        """A frame is given to be sent."""
        self._frame_s = now_s
        self._alarmed = False
        if nbytes > BURST_BYTES:
            self.confirm = 0  # it tells by itself

    def sent(self, transfer: Transfer, now_s: float) -> None:
        """A slice has been published."""
        if transfer.is_look:
            return
        self._busy_s = now_s
        if transfer.total_bytes > BURST_BYTES:
            self._big_s = now_s

    # ---- when, and what ----------------------------------------------------------------------

    def due_s(self, now_s: float, timing: LinkTiming) -> float:
        """When the next probe or look may go on a link that is connected, nothing unanswered."""
        return min(self._probe_due_s(now_s, timing), self._look_due_s(now_s, timing))

    def begin(self, now_s: float, timing: LinkTiming, *, connected: bool) -> Transfer:
        """The probe that is due, or the look."""
        self._count += 1
        chunk_bytes = self._window.chunk_bytes
        if connected and now_s < self._probe_due_s(now_s, timing):
            self._looked_s = now_s
            pieces = [(0, PACKET_BYTES), (PACKET_BYTES, LOOK_BYTES)]
            return self._transfer(pieces, chunk_bytes, PACKET_BYTES, now_s, is_look=True)
        self._known_bps, self._began_s = self._window.rate_bps, now_s
        # One packet for the round trip, the burst, and what is measured.
        total = self._size_of_probe()
        pieces = [(0, PACKET_BYTES), (PACKET_BYTES, BURST_BYTES), (BURST_BYTES, total)]
        return self._transfer(pieces, chunk_bytes, BURST_BYTES, now_s, is_look=False)

    def _transfer(
        self, pieces: list[tuple[int, int]], chunk_bytes: int, burst_bytes: int, now_s: float, *,
        is_look: bool,
    ) -> Transfer:
        parts = [
            part
            for start, end in pieces
            for part in slices(memoryview(_PAYLOAD)[start:end], chunk_bytes)
        ]
        return Transfer(
            KIND_PROBE, self._count, parts, pieces[-1][1], now_s,
            burst_bytes=burst_bytes, is_look=is_look,
        )

    def _probe_due_s(self, now_s: float, timing: LinkTiming) -> float:
        """At once after an alarm, soon while a rate is confirmed, else within the share."""
        takes_s = self._probe_s()
        alone = now_s - self._frame_s > timing.probe_period_s
        if alone or takes_s <= timing.longest_probe_s:
            if self._alarmed:
                return now_s
            if self.confirm:
                return self._began_s + max(self._confirm_s, 2.0 * takes_s)
        looking = math.isfinite(self._look_period_s(now_s, timing))
        least_s = takes_s / (SHARE - self._look_share() if looking else SHARE)
        idle_s = self._busy_s + max(timing.probe_period_s, least_s)
        if takes_s > timing.longest_probe_s:
            return idle_s
        return min(idle_s, self._big_s + max(timing.big_probe_period_s, least_s))

    def _look_due_s(self, now_s: float, timing: LinkTiming) -> float:
        """Never while frames go over this link, or a probe is confirmed."""
        if self.confirm or now_s - self._frame_s <= timing.probe_period_s:
            return math.inf
        last_s = max(self._busy_s, self._looked_s, self._misled_until_s)
        return last_s + self._look_period_s(now_s, timing)

    def _look_period_s(self, now_s: float, timing: LinkTiming) -> float:
        """Infinite where no looks go: see the module; nor where the limit is our own."""
        rate_bps = self._believed_bps()
        if self._limit_bps > 0.0 or rate_bps <= 0.0 or self._blind(now_s):
            return math.inf
        share = self._look_share()
        if share < LOOK_SHARES[0]:
            return math.inf
        period_s = 8.0 * LOOK_BYTES / rate_bps / share
        often = self._probe_s() / SHARE < OFTEN * max(period_s, timing.probe_period_s)
        return math.inf if often else period_s

    def _look_share(self) -> float:
        """What probes leave of the link."""
        return min(SHARE - self._probe_s() / LONGEST_GAP_S, LOOK_SHARES[1])

    def _blind(self, now_s: float) -> bool:
        """Whether looks pass in the burst, as far as is known."""
        return (
            len(self._looks_s) >= BLIND_LOOKS
            and now_s - self._looked_s < BLIND_FOR_S
            and statistics.median(self._looks_s) < BLIND_S
        )

    def _probe_s(self) -> float:
        """What the next probe takes."""
        rate_bps = self._believed_bps()
        return 8.0 * self._size_of_probe() / rate_bps if rate_bps > 0.0 else 0.0

    def _size_of_probe(self) -> int:
        """On a slow link little behind the burst tells as much."""
        rate_bps = self._believed_bps()
        if rate_bps <= 0.0:
            return PROBE_BYTES
        measured_s = max(MEASURED_S, MEASURED_TRIPS * self._trip_s)
        measured = max(round(rate_bps * measured_s / 8.0), LEAST_MEASURED_BYTES)
        return min(BURST_BYTES + measured, PROBE_BYTES)

    def _believed_bps(self) -> float:
        """Rate at which a probe goes [bit/s]; 0 = not known."""
        rate_bps = self._rate_bps if self.confirm else self._window.rate_bps
        return min(rate_bps, self._limit_bps) if self._limit_bps > 0.0 else rate_bps

    # ---- what it tells -----------------------------------------------------------------------

    @staticmethod
    def acked(transfer: Transfer, index: int, rtt_ms: float, now_s: float) -> None:
        """A slice has arrived."""
        if index == 0:
            transfer.first_ack_ms = rtt_ms
        if transfer.burst_over is None and transfer.acked_bytes >= transfer.burst_bytes:
            transfer.burst_over = (transfer.acked_bytes, now_s)

    def ended(
        self, transfer: Transfer, own_ms: float, now_s: float, *, free: bool
    ) -> Sample | None:
        """All of it has arrived.

        Args:
            transfer: The probe or look.
            own_ms: What it took once the link was its own.
            now_s: The time.
            free: Whether no limit of our own held it back.

        Returns:
            What came after the burst, plus a round trip; all of it where the limit was ours;
            None for a look.
        """
        if transfer.burst_over is None or not free:
            self.confirm = 0
            self._alarmed = False
            return None if transfer.is_look else Sample(True, transfer.total_bytes, own_ms)
        nbytes, at_s = transfer.burst_over
        behind_s = max(now_s - at_s, 1e-6)  # between acknowledgements: no round trip is in that
        if transfer.is_look:
            self._seen(behind_s)
            return None
        measured = transfer.total_bytes - nbytes
        late_ms = max(transfer.first_ack_ms + 1e3 * behind_s, 1e-3)
        self._window.probed(8e3 * measured / late_ms)
        self._doubt(8.0 * measured / behind_s, now_s)
        self._trip_s = 1e-3 * transfer.first_ack_ms
        return Sample(True, measured, late_ms)

    def _seen(self, took_s: float) -> None:
        """Have a probe sent at once where a look took far less than those before."""
        usual_s = statistics.median(self._looks_s) if self._looks_s else 0.0
        faster = took_s < usual_s / SURPRISE and usual_s - took_s > CLEAR_S
        self._alarmed = faster and self._frame_s < self._looked_s
        self._looks_s.append(took_s)

    def _doubt(self, rate_bps: float, now_s: float) -> None:
        """Have a probe that says another rate than the last one confirmed soon.

        Not where it says what frames have said since. What confirms is not confirmed again:
        robots whose probes collide would go on for ever. After an alarm, what was known counts,
        and a rate that is no other ends looks for a while.
        """
        surprising = _differ(rate_bps, self._rate_bps, SURPRISE) and _differ(
            rate_bps, self._known_bps, NEAR
        )
        if self._alarmed:
            surprising = _differ(rate_bps, self._known_bps, SURPRISE)
            if not surprising:
                self._misled_until_s = now_s + self._probe_s() / SHARE
        if not self.confirm:
            is_far = _differ(rate_bps, self._known_bps, FAR)
            self._confirm_s = FAR_CONFIRM_S if is_far else CONFIRM_S
        self._rate_bps, self._alarmed = rate_bps, False
        if surprising:
            self._looks_s.clear()
        if self.confirm:
            self.confirm -= 1
        elif surprising:
            self.confirm = CONFIRMING


def _differ(rate_bps: float, known_bps: float, ratio: float) -> bool:
    """Whether a rate is another than one that is known; 0 = it is not."""
    return known_bps > 0.0 and not 1.0 / ratio < rate_bps / known_bps < ratio
