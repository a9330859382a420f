"""One robot's link to one server: greeting, probing, sending, losing. Pure: no ROS, no thread.

The owner asks ``next_step`` what to publish now and passes in what arrives; both give back
events to be told on. The clock is passed in, so a made-up network can test all of it.

    ABSENT --status ready--> GREETING --ACCEPTED--> PROBING --probe acknowledged--> CONNECTED
       ^------------- no status, no acknowledgement, restart, the engine's word ------------|

A server counts as connected only when a probe has gone through: its acknowledgement is also
the first sample for the link estimate. Attempts back off from 0.25 s to 2 s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
import enum

from dnn_offload.codec.chunks import Slicer
from dnn_offload.exchange import UplinkRequest
from dnn_offload.transport.link_events import (
    Connected,
    Event,
    Lost,
    Refused,
    Rejected,
    Sample,
    Uplinked,
)
from dnn_offload.transport.pacing import chunk_bytes_under, FlowWindow, Throttle
from dnn_offload.transport.probing import Probing
from dnn_offload.transport.transfer import (
    KIND_CANCEL,
    KIND_HELLO,
    KIND_PROBE,
    KIND_RECEIVED,
    KIND_TENSORS,
    Step,
    Transfer,
)
from dnn_offload.transport.uplink_settings import LinkTiming

_REMEMBERED_FRAMES = 64   # a late answer to an older one is refused
MOST_LATE_S = 0.02        # that a sender under a limit of its own makes good


class Phase(enum.Enum):
    """How far the connection is."""

    ABSENT = 'absent'
    GREETING = 'greeting'
    PROBING = 'probing'
    CONNECTED = 'connected'


@dataclass
class ServerLink:
    """The link to one server; see the module."""

    name: str
    timing: LinkTiming = field(default_factory=LinkTiming)
    throttle: Throttle = field(default_factory=Throttle)
    window: FlowWindow = field(default_factory=FlowWindow)
    phase: Phase = Phase.ABSENT
    reason: str = 'never seen'
    was_connected: bool = False

    def __post_init__(self) -> None:
        """Begin without any knowledge of the server."""
        self._session = 0
        self._ready = False
        self._status_s = float('-inf')
        self._heard_s = float('-inf')       # last word of any kind
        self._attempt_s = float('-inf')     # last attempt to connect
        self._retry_s = self.timing.retry_s
        self._pause_until_s = float('-inf')
        self._sending: deque[Transfer] = deque()
        self._awaiting: dict[tuple[int, int], Transfer] = {}
        self._cancels: deque[int] = deque()
        self._received: deque[tuple[int, int]] = deque()
        self._probe: Transfer | None = None
        self._probing = Probing(self.window)
        self._free_s = float('-inf')        # when the link's last transfer had come through
        # Frames of which every slice has gone: when and how fast, once that is acknowledged.
        self._sent: dict[int, tuple[float, float] | None] = {}

    # ---- what arrives ----------------------------------------------------------------------

    def on_status(self, session: int, ready: bool, detail: str, now_s: float) -> list[Event]:
        """The server has said that it is there."""
        events: list[Event] = []
        if session != self._session:
            if self._session:
                events += self.lose('the server has restarted', now_s)
            self._session = session
            self._forget_attempts()
        elif self._ready and not ready:
            events += self.lose(f'the server is not ready: {detail}', now_s)
        if ready and not self._ready:
            self._forget_attempts()
        self._ready = ready
        self._status_s = now_s
        if not ready:
            self.reason = detail
        if ready and self.phase is Phase.ABSENT:
            self.phase = Phase.GREETING
        return events

    def on_heard(self, now_s: float) -> None:
        """Anything has come on the topic of our answers: the server is there.

        Status and acknowledgements wait behind a large answer: 400 kB are 3 s at 1 Mbit/s.
        """
        self._heard_s = now_s

    def on_accepted(self, now_s: float) -> None:
        """Our HELLO was answered; without one, the server asks whether we live (``claim.py``)."""
        if self.phase is Phase.GREETING:
            self.phase = Phase.PROBING
            self._attempt_s = now_s
            self._begin_probe(now_s)
        else:
            self.acknowledge(0, 0)

    def on_rejected(self, reason: str, now_s: float) -> list[Event]:
        """Our HELLO was refused, or the server has forgotten us."""
        events = self.lose(reason, now_s)
        self._pause_until_s = now_s + self.timing.refused_retry_s
        return [*events, Rejected(reason)]

    def on_acked(self, kind: int, seq: int, index: int, now_s: float) -> list[Event]:
        """A slice of ours has arrived."""
        rtt_ms = self.window.acked((kind, seq, index), now_s)
        transfer = self._awaiting.get((kind, seq))
        if transfer is None or index >= transfer.next_index:  # left over, or made up
            self._free_s = now_s
            return []
        transfer.acked_bytes = sum(len(part) for part in transfer.parts[:index + 1])
        if kind == KIND_PROBE:
            self._probing.acked(transfer, index, rtt_ms, now_s)
        if index == len(transfer.parts) - 1 and transfer.slicer is not None:
            transfer.starved_s = now_s
        if not transfer.sent_all or index != len(transfer.parts) - 1:
            return []
        del self._awaiting[(kind, seq)]
        # What it took once the link was its own: before that it waited behind the last slices
        # of its predecessor, which is no property of the link; nor is waiting for the encoder.
        own_s = now_s - max(transfer.began_s, self._free_s) - transfer.idle_s
        own_ms = max(1e3 * own_s, 1e-3)
        self._free_s = now_s
        if kind == KIND_PROBE:
            return self._end_probe(transfer, own_ms, now_s)
        uplink_ms = 1e3 * (now_s - transfer.began_s)
        self._sent[seq] = (now_s, uplink_ms)
        return [Sample(False, transfer.total_bytes, own_ms), Uplinked(seq, uplink_ms, own_ms)]

    def _end_probe(self, transfer: Transfer, own_ms: float, now_s: float) -> list[Event]:
        self._probe = None
        sample = self._probing.ended(transfer, own_ms, now_s, free=self.throttle.free)
        events: list[Event] = [] if sample is None else [sample]
        if self.phase is Phase.PROBING:
            self.phase = Phase.CONNECTED
            self.was_connected = True
            self.reason = ''
            self._retry_s = self.timing.retry_s
            events.append(Connected())
        return events

    def on_frame_refused(self, seq: int, index: int, reason: str, now_s: float) -> list[Event]:
        """The server refused a frame: at one of its slices, or as a whole later."""
        self.window.acked((KIND_TENSORS, seq, index), now_s)
        self._drop(seq)
        return [Refused(seq, reason)]

    def uplinked(self, seq: int) -> tuple[float, float] | None:
        """When a frame's last slice was acknowledged, and its uplink time [ms], if known."""
        return self._sent.get(seq)

    def may_be_answered(self, seq: int) -> bool:
        """Whether the server can have all of a frame, also of one that was cancelled since."""
        return seq in self._sent

    # ---- what is wanted --------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether frames may be sent."""
        return self.phase is Phase.CONNECTED

    @property
    def backlog_bytes(self) -> int:
        """Bytes of frames that were given to ``send`` and are not acknowledged, slice by slice."""
        pending = {id(t): t for t in (*self._sending, *self._awaiting.values())}
        return sum(
            t.total_bytes - t.acked_bytes for t in pending.values() if t.kind == KIND_TENSORS
        )

    def send(self, request: UplinkRequest, limit_bps: float, now_s: float) -> list[Event]:
        """Take a frame to send, in order, before any probe."""
        if not self.connected:
            why = f'server {self.name!r} is not connected: {self.reason}'
            return [Refused(request.frame_seq, why)]
        self._drop_probe()
        self._probing.frame(len(request.payload), now_s)
        slicer = Slicer(chunk_bytes_under(limit_bps, self.window.chunk_bytes))
        transfer = Transfer(
            KIND_TENSORS, request.frame_seq, [], 0, now_s, request,
            now_s + 1e-3 * request.budget_ms, slicer=slicer,
        )
        transfer.extend(request.payload, now_s, last=request.complete)
        self._sending.append(transfer)
        return []

    def send_more(self, seq: int, part: bytes, now_s: float, *, last: bool) -> None:
        """Take what was encoded since of a frame that ``send`` was given the beginning of.

        Raises:
            ValueError: The last part is empty: no slice would be left to tell the size.
        """
        if last and not part:
            raise ValueError('the last part of a frame is empty')
        for transfer in self._sending:
            if transfer.kind == KIND_TENSORS and transfer.seq == seq:
                transfer.extend(part, now_s, last=last)

    def cancel(self, seq: int) -> None:
        """Nobody waits for this frame any more; what is not sent will not be."""
        if self._drop(seq):
            self._cancels.append(seq)

    def silent_s(self, now_s: float) -> float:
        """Since when nothing at all has come from the server [s]; infinite if nothing ever did."""
        return now_s - max(self._status_s, self._heard_s)

    def acknowledge(self, seq: int, index: int) -> None:
        """A slice of an answer of several is here; the server waits to hear that."""
        if self.phase in (Phase.PROBING, Phase.CONNECTED):
            self._received.append((seq, index))

    def lose(self, reason: str, now_s: float) -> list[Event]:
        """The server is lost; try again with back-off."""
        was_connected = self.connected
        nbytes = self.window.in_flight_bytes
        if self.phase is Phase.PROBING or was_connected:
            self._attempt_s = now_s
        self.phase = Phase.ABSENT
        self.reason = reason
        self.window.forget()
        self._sending.clear()
        self._awaiting.clear()
        self._cancels.clear()
        self._received.clear()
        self._probe = None
        self._probing.forget()
        return [Lost(reason, nbytes)] if was_connected else []

    # ---- what to do now --------------------------------------------------------------------

    def check(self, now_s: float) -> list[Event]:
        """See whether the server has been lost, and whether to try again."""
        silent_s = self.silent_s(now_s)
        waited_s = min(self.window.oldest_age_s(now_s), now_s - self._heard_s)
        patience_s = self._patience_s()
        if self.phase is not Phase.ABSENT and silent_s > self.timing.server_timeout_s:
            return self.lose(f'no status for {silent_s:.1f} s', now_s)
        if self.phase is not Phase.ABSENT and waited_s > patience_s:
            events = self.lose(f'no acknowledgement for {waited_s:.1f} s', now_s)
            self._back_off()
            return events
        if self.phase is Phase.ABSENT and self._ready and (
            silent_s <= self.timing.server_timeout_s
        ):
            self.phase = Phase.GREETING
        return []

    def next_step(self, now_s: float, limit_bps: float, matched: bool) -> Step:
        """What to publish now; call again after having published it.

        Args:
            now_s: The time.
            limit_bps: Limit of the uplink [bit/s], 0 = none.
            matched: Whether the server's subscription is known, so that it would hear us.
        """
        self._probing.limited(limit_bps)
        if self.phase is Phase.ABSENT:
            return Step()
        check_s = max(self._status_s, self._heard_s) + self.timing.server_timeout_s
        if self.phase is Phase.GREETING:
            due_s = max(self._attempt_s + self._retry_s, self._pause_until_s)
            if not matched:
                due_s = max(due_s, now_s + 0.05)
            if now_s >= due_s:
                self._attempt_s = now_s
                self._back_off()
                return Step(KIND_HELLO)
            return Step(until_s=min(check_s, due_s))
        if self._cancels:
            return Step(KIND_CANCEL, frame_seq=self._cancels.popleft())
        if self._received:
            seq, index = self._received.popleft()
            return Step(KIND_RECEIVED, frame_seq=seq, index=index)
        if not self._sending:
            probe_s = self._probe_due_s(now_s)
            if now_s < probe_s:
                return Step(until_s=min(probe_s, check_s))
            self._begin_probe(now_s)
        transfer = self._sending[0]
        if transfer.next_index == len(transfer.parts):  # the rest is still being encoded
            return Step(until_s=check_s)
        part = transfer.parts[transfer.next_index]
        if transfer.ready_s < 0.0:
            transfer.ready_s = now_s
            if transfer.began_s < 0.0:
                transfer.began_s = now_s
        # Each slice goes a little late; what was ready before must not add that up.
        ready_s = max(transfer.given_s, transfer.ready_s - MOST_LATE_S)
        due_s = self.throttle.due_s(len(part), limit_bps, ready_s)
        if now_s < due_s:
            return Step(until_s=min(due_s, check_s))
        if not self.window.may_send(len(part), now_s):
            late_s = now_s + self._patience_s() - self.window.oldest_age_s(now_s)
            return Step(until_s=min(check_s, max(late_s, now_s + 0.01)))
        self.throttle.sent(due_s)
        return self._take(transfer, len(part), now_s)

    def _take(self, transfer: Transfer, nbytes: int, now_s: float) -> Step:
        index = transfer.next_index
        self.window.sent((transfer.kind, transfer.seq, index), nbytes, now_s)
        self._awaiting[(transfer.kind, transfer.seq)] = transfer
        transfer.next_index += 1
        transfer.ready_s = -1.0
        self._probing.sent(transfer, now_s)
        if transfer.sent_all:
            self._sending.popleft()
            if transfer.kind == KIND_TENSORS:
                self._sent[transfer.seq] = None
                if len(self._sent) > _REMEMBERED_FRAMES:
                    del self._sent[next(iter(self._sent))]
        known = transfer.slicer is None
        return Step(
            transfer.kind, transfer=transfer, index=index,
            count=len(transfer.parts) if known else 0,
            total_bytes=transfer.total_bytes if known else 0,
        )

    def _probe_due_s(self, now_s: float) -> float:
        """When a probe may go; infinity while one is out or anything is unanswered."""
        if self._probe is not None or self._awaiting:
            return float('inf')
        if self.phase is Phase.PROBING:
            return now_s
        return self._probing.due_s(now_s, self.timing)

    def _begin_probe(self, now_s: float) -> None:
        self._probe = self._probing.begin(now_s, self.timing, connected=self.connected)
        self._sending.append(self._probe)

    def _drop_probe(self) -> None:
        """Frames go first: what is left of a probe is not sent."""
        if self._probe is not None and self._probe in self._sending:
            self._sending.remove(self._probe)
            self._awaiting.pop((KIND_PROBE, self._probe.seq), None)
            self._probe = None

    def _drop(self, seq: int) -> bool:
        """Forget a frame; True if the server may have seen some of it."""
        for transfer in self._sending:
            if transfer.kind == KIND_TENSORS and transfer.seq == seq:
                self._sending.remove(transfer)
                self._awaiting.pop((KIND_TENSORS, seq), None)
                return transfer.next_index > 0
        sent = self._awaiting.pop((KIND_TENSORS, seq), None)
        return sent is not None or self._sent.get(seq) is not None

    def _patience_s(self) -> float:
        """How long an acknowledgement may take."""
        return self.timing.server_timeout_s + 3.0 * self.window.expected_s()

    def _back_off(self) -> None:
        self._retry_s = min(2.0 * self._retry_s, self.timing.max_retry_s)

    def _forget_attempts(self) -> None:
        self._retry_s = self.timing.retry_s
        self._attempt_s = float('-inf')
        self._pause_until_s = float('-inf')
