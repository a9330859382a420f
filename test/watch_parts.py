"""Made-up facts of robots and servers, for the tests of ``dnn_offload/watch``."""

from __future__ import annotations

from dataclasses import replace

from dnn_offload.watch.facts import (
    FrameFact,
    HealthFact,
    LoadFact,
    PlanFact,
    READY,
    ServerFact,
)
from dnn_offload.watch.robot import Robot

PLAN = PlanFact(
    plan_id=3, model_identity='abc', strategy='auto', objective='latency', cut_index=5,
    label='features.3', codec='int8', server='laptop', return_index=None, predicted_ms=33.0,
    reason='33 ms against 48 ms all on the robot', private_layers=0, uplink_bps=18.4e6,
    uplink_alpha_ms=2.1, downlink_bps=30e6, link_confidence=0.9,
)
LOAD = LoadFact(
    host='pi', factor=1.25, source='schedstat', loadavg_1min=2.5, cores=4, cpu_percent=62.0,
    clock_hz=1.5e9, clock_max_hz=1.8e9, temperature_c=61.0, throttled=False,
    memory_available_bytes=1 << 30, memory_total_bytes=4 << 30,
)
SERVER = ServerFact(
    server='laptop', session=7, state=READY, detail='serving', model='demo:detector',
    model_identity='abc', load_factor=1.1, queue_ms=0.4, clients=1, frames_served=100,
    frames_superseded=0, frames_refused=2, cpu_percent=31.0, memory_available_bytes=9_000_000_000,
)
HEALTHY = HealthFact('camera_node', 0, 'reading')


class Stream:
    """A robot's reports, one after the other, with counters that add up.

    Args:
        robot: Whom they are of.
        at_s: Time of the first.
        period_s: Between two.
    """

    def __init__(self, robot: Robot, at_s: float = 0.0, period_s: float = 0.1) -> None:
        self.robot, self.now_s, self.period_s = robot, at_s, period_s
        self.last = FrameFact(
            pid=1, outcome='remote', drop_reason='', latency_ms=40.0, deadline_ms=300.0,
            deadline_met=True, server='laptop', entered=0, remote=0, local=0, rescued=0,
            dropped=0, late_answers=0, lost_pictures=0,
        )

    def end(
        self, count: int, outcome: str = 'remote', *, heard: bool = True, **changes: object
    ) -> None:
        """So many frames end; unheard ones only count."""
        for _ in range(count):
            last = self.last
            counters = {outcome: getattr(last, outcome) + 1, 'entered': last.entered + 1}
            self.last = replace(last, outcome=outcome, **{**counters, **changes})
            if heard:
                self.robot.hear_frame(self.last, self.now_s)
            self.now_s += self.period_s
