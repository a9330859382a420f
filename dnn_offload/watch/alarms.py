"""What a user should be told without looking for it. Pure.

A thing is said once, by what is nearest to its cause: of a robot that is silent as a whole nothing
more is said, and nothing of its results while its nodes themselves say what is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from dnn_offload.watch.facts import FAILED, PREPARING, READY, STOPPING
from dnn_offload.watch.views import Alarm, RobotView, ServerView

SILENT_S = 3.0            # all nodes of ours speak at least once a second
STARTING_S = 3.0          # DDS needs so long until everybody is found
NO_RESULT_S = 3.0
MANY_DROPPED = 0.2        # of the frames that ended lately
MANY_RESCUED = 0.2
MANY_LOST = 0.1           # of the camera's pictures
MANY_LATE = 0.1           # of the results
FEW_HEARD = 0.8           # of the reports
LITTLE_MEMORY = 0.05
LOCAL = 'local'           # the strategy that wants no server
_WARN, _ERROR, _STALE = 1, 2, 3


def alarms_of(
    robots: Sequence[RobotView], servers: Sequence[ServerView], listened_s: float,
    wanted: Collection[str] = (),
) -> Iterator[Alarm]:
    """Yield what is wrong now, robots first.

    Args:
        robots: All that are known.
        servers: All that are known.
        listened_s: For how long; early on, what was not heard is only not found yet [s].
        wanted: Namespaces of the robots that were asked for; none = all that there are.
    """
    if listened_s < STARTING_S:
        return
    known = {robot.name for robot in robots}
    for name in wanted:
        if name not in known:
            yield Alarm(
                name, 'no robot of this namespace is heard: is it started, is its name right '
                '(without --robot all are shown), and is this shell on its ROS_DOMAIN_ID and '
                'network?', True,
            )
    # Of the others nothing is known where some were asked for.
    if not robots and not servers and not wanted:
        yield Alarm(
            '', 'no robot and no server of dnn_offload is heard: are they started, and is this '
            'shell on their ROS_DOMAIN_ID and network (multicast, firewall, '
            'ROS_AUTOMATIC_DISCOVERY_RANGE), and of their user (dnn-offload doctor --only shm)?',
            True,
        )
    for robot in robots:
        for text, serious in _of_robot(robot, servers):
            yield Alarm(robot.name, text, serious)
    for server in servers:
        for text, serious in _of_server(server):
            yield Alarm(server.status.server, text, serious)


def _of_robot(robot: RobotView, servers: Sequence[ServerView]) -> Iterator[tuple[str, bool]]:
    if robot.silent_s > SILENT_S:
        more = ''
        if robot.gone:
            more = ', its nodes have left the domain'
        elif robot.never_heard:
            more = (
                ', though its nodes are on the domain: are they of another user of this machine '
                '(dnn-offload doctor --only shm)?'
            )
        yield f'silent for {robot.silent_s:.0f} s{more}', True
        return
    if robot.inference_nodes > 1:
        yield (
            f'{robot.inference_nodes} nodes publish its frame_report: two robots in one '
            'namespace, or a node that was started twice', True,
        )
    told = False
    for node in robot.nodes:
        if node.silent_s > SILENT_S:
            yield f'{node.name} silent for {node.silent_s:.0f} s', True
            told = True
        elif node.level in (_WARN, _ERROR, _STALE):
            yield f'{node.name}: {node.message}', node.level != _WARN
            told = True
    if robot.plan is None:
        yield 'no plan is heard: is partition_planner_node active?', False
    elif robot.plan_silent_s > SILENT_S and not told:
        yield f'no plan for {robot.plan_silent_s:.0f} s', True
    yield from _of_servers_for(robot, servers)
    yield from _of_stream(robot, told)
    yield from _of_machine(robot)


def _of_servers_for(
    robot: RobotView, servers: Sequence[ServerView]
) -> Iterator[tuple[str, bool]]:
    there = [s for s in servers if s.silent_s <= SILENT_S and s.status.state != STOPPING]
    if not there:
        wanted = robot.plan is None or robot.plan.strategy != LOCAL
        yield 'no server: all runs on the robot', wanted
        return
    if robot.plan is None:
        return
    identity = robot.plan.model_identity
    known = [s for s in there if s.status.model_identity]
    if known and identity and all(s.status.model_identity != identity for s in known):
        yield (
            'no server has its network (other weights or another input size count as another '
            f'network): {", ".join(f"{s.status.server}: {s.status.model}" for s in known)}', False,
        )


def _of_stream(robot: RobotView, told: bool) -> Iterator[tuple[str, bool]]:
    stream = robot.stream
    if stream is None:
        if not told:
            yield 'nothing published: no frame has ended yet; does a camera send image_raw?', True
        return
    if stream.silent_s > NO_RESULT_S:
        if not told:
            yield (
                f'nothing published for {stream.silent_s:.0f} s: no pictures come '
                f'(ros2 topic hz {robot.name.rstrip("/")}/image_raw)', True,
            )
        return
    if not stream.newest_age_s <= max(NO_RESULT_S, 3e-3 * stream.deadline_ms):
        yield 'nothing published: all frames are dropped', True
        return
    for share, limit, what in (
        (stream.shares['dropped'], MANY_DROPPED, 'of the frames are dropped'),
        (stream.shares['rescued'], MANY_RESCUED, 'of the frames got no answer in time'),
        (stream.missed_deadline, MANY_LATE, f'of the results miss {stream.deadline_ms:.0f} ms'),
    ):
        if share > limit:
            yield f'{100 * share:.0f} % {what}', False
    if stream.lost_share > MANY_LOST:
        yield (
            f'{100 * stream.lost_share:.0f} % of the camera\'s pictures never come to the node: '
            'run both on one machine, or take compressed pictures (docs/cameras.md)', False,
        )
    if stream.heard_share < FEW_HEARD:
        yield (
            f'only {100 * stream.heard_share:.0f} % of its reports are heard here: rates are '
            'right, latencies are of those', False,
        )


def _of_machine(robot: RobotView) -> Iterator[tuple[str, bool]]:
    load = robot.load
    if load is None:
        yield 'no load is heard: is load_monitor_node active?', False
        return
    # Once more from the node's own warning would be twice.
    if load.throttled and not any(node.level for node in robot.nodes):
        yield f'{load.host} is throttled (heat or supply voltage)', True
    if load.memory_available_bytes < LITTLE_MEMORY * load.memory_total_bytes:
        yield f'{load.host} has {load.memory_available_bytes / 2**20:.0f} MiB of memory left', True


def _of_server(server: ServerView) -> Iterator[tuple[str, bool]]:
    status = server.status
    if status.state == STOPPING:
        yield 'has stopped', False
    elif server.silent_s > SILENT_S:
        yield f'silent for {server.silent_s:.0f} s', True
    elif server.lives > 1:
        yield f'{server.lives} servers have this name: give each its server_id', True
    elif status.state == FAILED:
        yield f'cannot serve: {status.detail}', True
    elif status.state == PREPARING:
        yield f'prepares: {status.detail}', False
    elif status.state != READY:
        yield f'says a state that is not known here: {status.state}', False
