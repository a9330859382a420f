"""The script of the demo: what happens when. Pure data, no ROS.

A phase sets the scene, lets the default strategy run (``auto`` window), then, so that its
promise can be checked under the very same conditions, forces all-local and all-remote for a
moment each. A baseline that the phase forbids (a picture over the air) or that cannot exist
(no server) is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

AUTO = 'auto'
BASELINES = ('local', 'remote')


@dataclass(frozen=True)
class Phase:
    """One phase.

    Attributes:
        name: Short name, as in ``frames.csv``.
        title: A few words for the plot.
        load_processes: Busy mapping processes that navigation runs beside its own loop.
        other_processes: Busy processes of other programs on the robot.
        private_layers: Weighted layers that must run on the robot; 1 = no picture leaves it.
        max_uplink_bps: Limit of the uplink [bit/s]; 0 = none.
        server: What happens to the server at the start: '' nothing; 'kill': it is killed once it
            is in use; 'start': it is started and gets ready; then the windows begin.
        baselines: Strategies to compare with in this phase.
        auto_s: Length of the ``auto`` window [s].
        what: One sentence for the report.
    """

    name: str
    title: str
    what: str
    load_processes: int = 0
    other_processes: int = 0
    private_layers: int = 0
    max_uplink_bps: float = 0.0
    server: str = ''
    baselines: tuple[str, ...] = BASELINES
    auto_s: float = 5.0


BASELINE_S = 2.0  # length of one forced window
SETTLE_AUTO_S = 2.5  # of an auto window, not counted: the new plan may take 2 s
SETTLE_BASELINE_S = 0.7  # of a forced window, not counted
# A machine that others use may slow one window down and not the next. Where auto seems more than a
# fifth slower, or cuts few frames inside the network where it must, all is measured again, and
# all of them count.
MORE_ROUNDS = 2
AGAIN_AUTO_S = 4.5
# The server is killed while it serves: as soon as the newest results are all its own. Where auto
# has no reason to go there, all-remote is forced until then.
KILL_AFTER = 10  # remote results in a row, about 0.7 s of stream
KILL_WAIT_AUTO_S = 4.0
KILL_WAIT_FORCED_S = 15.0
KILL_EVENT, READY_EVENT = 'kill -9', 'ready'  # on the timeline
READY_WAIT_S = 60.0  # until a started server says that it is ready, on a slow machine
GRACE_S = 0.5  # after the parameters were set: until a new constraint is obeyed

LOAD = 3  # busy mapping processes in the loaded phases
# With two or fewer a cut inside the network is as fast as all on the robot, on some machines; with
# four a robot whose Python is slow (built without optimisation) is saturated by the stream alone.
OTHERS = 3

PHASES: tuple[Phase, ...] = (
    Phase('quiet', 'quiet', 'Nothing but the camera and a slow navigation loop.'),
    Phase(
        'load_up', 'navigation load up',
        'Mapping and planning compete with the network for the robot\'s processor.',
        load_processes=LOAD,
    ),
    Phase(
        'private', 'no picture leaves',
        'The first layer must run on the robot: private_layers = 1. Other programs take its time.',
        load_processes=LOAD, other_processes=OTHERS, private_layers=1, baselines=('local',),
    ),
    Phase(
        'slow_uplink', 'uplink 2 Mbit/s',
        'The robot may send 2 Mbit/s at most: max_uplink_bps = 2e6.',
        load_processes=LOAD, max_uplink_bps=2e6,
    ),
    Phase(
        'server_killed', 'server killed',
        'kill -9 of the server in the middle of the stream.',
        load_processes=LOAD, server='kill', baselines=('local',),
    ),
    Phase(
        'server_back', 'server back',
        'The server is started again; the robot finds it by itself.',
        load_processes=LOAD, server='start', auto_s=7.5,
    ),
    Phase('load_down', 'load down', 'Navigation is calm again.'),
)


def duration_s(phases: tuple[Phase, ...] = PHASES) -> float:
    """Length of the whole script [s]."""
    return sum(phase.auto_s + BASELINE_S * len(phase.baselines) for phase in phases)
