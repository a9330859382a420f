"""The ``server`` part of ``record_trace.py``: real nodes, and what the server says of itself.

A robot sends all its pictures to a server on another core, where busy loops come and go after a
seeded schedule; twice the server is killed (-9) and started again some seconds later. Needs the
package's environment (``source tools/env.sh``) and two cores.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
import random
import tempfile
import time

from dnn_offload.ending import ending_politely
from dnn_offload.errors import OffloadError
from dnn_offload.msg import ServerStatus
from dnn_offload.simulate.recording import COLUMNS, Recording
from dnn_offload.simulate.world import World
from dnn_offload.testbed.busy import BusyProcesses
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.testbed.session import Session

DOMAIN = 97
ROW_S = 0.5
RATE_HZ = 10.0
CALM_S = 10.0              # before any work
DEATHS = (0.4, 0.72)       # shares of the length; each a little earlier or later


def schedule(seconds: float, seed: int) -> list[tuple[float, int]]:
    """(when [s], busy loops beside the server from then on), the calm beginning first."""
    dice = random.Random(seed)
    changes, now_s = [(0.0, 0)], CALM_S
    while now_s < seconds:
        before = changes[-1][1]
        changes.append((now_s, dice.choice([n for n in (0, 1, 2, 3) if n != before])))
        now_s += dice.uniform(6.0, 18.0)
    return changes


def deaths(seconds: float, seed: int) -> list[tuple[float, float]]:
    """(killed, started again) [s]."""
    dice = random.Random(seed + 1)
    found = []
    for share in DEATHS:
        killed_s = (share + dice.uniform(-0.03, 0.03)) * seconds
        found.append((killed_s, killed_s + dice.uniform(3.0, 8.0)))
    return found


def record_server(seconds: float, seed: int) -> Recording:
    """Run the schedule; what the server's status said twice a second, and whether it lived.

    ``server_load`` and ``queue_ms`` are ``load_factor`` and ``queue_ms`` of its newest status; the
    last ones of a life stand while there is none. ``server_up`` is 0 from the kill until the next
    life says that it is ready.

    Raises:
        OffloadError: Robot and server would share a core, or the nodes do not get ready.
    """
    prepare_environment(DOMAIN)
    levels, kills = schedule(seconds, seed), deaths(seconds, seed)
    times, worlds = [], []
    with ending_politely(), tempfile.TemporaryDirectory() as folder, Session(
        Path(folder), rate_hz=RATE_HZ, server={}, strategy='remote',
        common={'backend': 'torch'},
    ) as session, contextlib.ExitStack() as work:
        if not session.cores.apart:
            raise OffloadError('a server needs a core of its own', allowed='two cores or more')
        status = _newest_status(session)
        dead_life, killed, world = 0, False, World()
        began_s = time.monotonic()
        while (now_s := time.monotonic() - began_s) < seconds:
            session.fleet.check()
            if levels and levels[0][0] <= now_s:
                work.close()
                work.enter_context(BusyProcesses(levels.pop(0)[1], session.cores.server))
            if kills and not killed and kills[0][0] <= now_s:
                dead_life, killed = status.session, True
                session.kill_server()
            elif killed and kills[0][1] <= now_s:
                kills.pop(0)
                killed = False
                session.start_server()
            status = _newest_status(session)
            up = not killed and status.session != dead_life and status.state == status.STATE_READY
            if up:
                world = World(
                    server_load=_within('server_load', status.load_factor),
                    queue_ms=_within('queue_ms', status.queue_ms),
                )
            times.append(round(now_s, 3))
            worlds.append(
                World(server_load=world.server_load, queue_ms=world.queue_ms, server_up=up)
            )
            time.sleep(max(ROW_S * len(times) - (time.monotonic() - began_s), 0.0))
    times = [t - times[0] for t in times]
    note = (
        f'ServerStatus of a real server (detector, torch, one robot at {RATE_HZ:g} Hz) beside '
        f'busy loops on its core, killed {len(DEATHS)} times (seed {seed})'
    )
    return Recording(
        'loaded_server', tuple(times), tuple(worlds), (math.nan,) * len(times),
        ('t_s', 'server_load', 'queue_ms', 'server_up'), 1, note,
    )


def _newest_status(session: Session) -> ServerStatus:
    """What the server said last; it stays when the server dies."""
    status = session.recorder.latest.status
    assert status is not None  # the nodes are ready
    return status


def _within(column: str, value: float) -> float:
    """As a column of a trace may have it, three decimals."""
    least, most, _ = COLUMNS[column]
    return round(min(max(float(value), least), most), 3)
