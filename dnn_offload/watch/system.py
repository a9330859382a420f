"""All robots and servers that were heard, as they come and go. Pure: no ROS, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
import math

from dnn_offload.watch.alarms import alarms_of
from dnn_offload.watch.facts import HealthFact, ServerFact, STOPPING
from dnn_offload.watch.robot import Robot, WINDOW_S
from dnn_offload.watch.views import Alarm, RobotView, ServerView, SystemView

FORGOTTEN_S = 60.0  # silent for so long, and no publisher left
STOPPED_S = 10.0    # after a server said good-bye
MAX_OF_A_KIND = 64  # robots, servers, complaints each


class Server:
    """One server, from its first status on."""

    def __init__(self, status: ServerFact, now_s: float) -> None:
        self._statuses: deque[tuple[float, ServerFact]] = deque(maxlen=1000)
        self.hear(status, now_s)

    def hear(self, status: ServerFact, at_s: float) -> None:
        """Its word, a few times a second."""
        self._statuses.append((at_s, status))

    @property
    def status(self) -> ServerFact:
        """Its last word."""
        return self._statuses[-1][1]

    def silent_s(self, now_s: float) -> float:
        """Since its last word [s]."""
        return max(0.0, now_s - self._statuses[-1][0])

    def look(self, now_s: float) -> ServerView:
        """How it is now."""
        while len(self._statuses) > 1 and self._statuses[1][0] <= now_s - WINDOW_S:
            self._statuses.popleft()
        sessions = [status.session for _, status in self._statuses]
        turns = sum(a != b for a, b in zip(sessions, sessions[1:], strict=False))
        same = [item for item in self._statuses if item[1].session == self.status.session]
        window_s = min(max(now_s - same[0][0], 0.0), WINDOW_S)
        served = self.status.frames_served - same[0][1].frames_served
        return ServerView(
            self.status, self.silent_s(now_s),
            served / window_s if window_s > 0.0 else math.nan,
            # One change is a restart; two lives that take turns are two servers.
            len(set(sessions)) if turns > 1 else 1,
        )


class System:
    """Takes facts by whom they are of, gives a view.

    Args:
        now_s: Time of a clock that does not jump; all later times are of it [s].
        wanted: Namespaces of the robots that were asked for; none = all.
    """

    def __init__(self, now_s: float, wanted: Sequence[str] = ()) -> None:
        self._start_s = now_s
        self._wanted = tuple(dict.fromkeys(wanted))
        self._robots: dict[str, Robot] = {}
        self._servers: dict[str, Server] = {}
        self._complaints: tuple[Alarm, ...] = ()

    def robot(self, name: str, now_s: float) -> Robot | None:
        """The robot of a namespace, new if need be; None where there are too many."""
        found = self._robots.get(name)
        if found is None and len(self._robots) < MAX_OF_A_KIND:
            found = self._robots[name] = Robot(name, now_s)
        return found

    def hear_server(self, status: ServerFact, at_s: float) -> None:
        """A server's status."""
        if status.server in self._servers:
            self._servers[status.server].hear(status, at_s)
        elif len(self._servers) < MAX_OF_A_KIND:
            self._servers[status.server] = Server(status, at_s)

    def hear_health(self, namespace: str, fact: HealthFact, at_s: float) -> None:
        """Diagnostics of a node of ours; those of robots that are not known are not kept."""
        robot = self._robots.get(namespace)
        if robot is not None:
            robot.hear_health(fact, at_s)

    def set_present(self, inference_nodes: Mapping[str, int], now_s: float) -> None:
        """Who has publishers in the domain now.

        Args:
            inference_nodes: Robot to how many nodes publish its frame reports.
            now_s: Time [s].
        """
        for name, count in inference_nodes.items():
            robot = self.robot(name, now_s)
            if robot is not None:
                robot.inference_nodes = count
        for name, robot in self._robots.items():
            robot.gone = name not in inference_nodes

    def set_complaints(self, complaints: Sequence[Alarm]) -> None:
        """What is wrong with the listening itself now, in place of what was."""
        self._complaints = tuple(complaints[:MAX_OF_A_KIND])

    def look(self, now_s: float) -> SystemView:
        """Everything as it is now; who has been silent for long is forgotten."""
        self._robots = {
            name: robot for name, robot in self._robots.items()
            if not (robot.gone and robot.silent_s(now_s) > FORGOTTEN_S)
        }
        self._servers = {
            name: server for name, server in self._servers.items()
            if server.silent_s(now_s)
            <= (STOPPED_S if server.status.state == STOPPING else FORGOTTEN_S)
        }
        servers = tuple(server.look(now_s) for _, server in sorted(self._servers.items()))
        models = {view.status.model_identity: view.status.model for view in servers}
        robots = tuple(
            _with_model(robot.look(now_s), models) for _, robot in sorted(self._robots.items())
        )
        listened_s = now_s - self._start_s
        alarms = (*self._complaints, *alarms_of(robots, servers, listened_s, self._wanted))
        return SystemView(listened_s, robots, servers, alarms)


def _with_model(robot: RobotView, models: Mapping[str, str]) -> RobotView:
    """A robot that says nothing of its network runs that of the server of the same identity."""
    if robot.model or robot.plan is None:
        return robot
    return replace(robot, model=models.get(robot.plan.model_identity, ''))
