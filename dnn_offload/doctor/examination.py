"""What several checks want to know is found out once, when the first of them asks."""

from __future__ import annotations

from collections.abc import Callable
import json
import threading
from typing import Any, TypeVar

from dnn_offload.doctor.finding import Finding, skipped
from dnn_offload.doctor.machine import Ended, Machine
from dnn_offload.doctor.settings import DEFAULT_MODEL, Settings
from dnn_offload.errors import MALFORMED

SOURCE_ROS = 'source /opt/ros/jazzy/setup.bash, or "source tools/env.sh" after "make setup"'
START_SERVER = (
    'ros2 launch dnn_offload server.launch.py on the server; where it runs, do what the check '
    'peers says'
)
NOT_BY_PIP = 'run the doctor of the colcon install: ros2 run dnn_offload dnn-offload doctor'
INSTALL_LIMIT_S = 15.0
LOOK_LIMIT_S = 20.0    # on top of the listening: importing rclpy on a small board
MODEL_LIMIT_S = 120.0  # a first export on a small board
LINK_S = 6.0
LINK_LIMIT_S = 25.0

Value = TypeVar('Value')


class MissingError(Exception):
    """A check cannot be made, for the reason given; ``finding`` says so, and what to do."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(why)
        self.finding: Finding = skipped(why, cure)


class Examination:
    """One visit to the doctor: settings, machine, and what was found out by now.

    Args:
        settings: What is asked.
        machine: What is looked at.
    """

    def __init__(self, settings: Settings, machine: Machine) -> None:
        self.settings = settings
        self.machine = machine
        self._lock = threading.RLock()
        self._known: dict[str, Any] = {}

    def _once(self, name: str, find: Callable[[], Value]) -> Value:
        with self._lock:
            if name not in self._known:
                self._known[name] = find()
            value: Value = self._known[name]
            return value

    # ---- what children tell ----------------------------------------------------------------

    def install(self) -> Ended:
        """``children/where_installed.py``."""
        return self._once('install', lambda: self.machine.child(
            'where_installed', limit_s=self.settings.limit_s(INSTALL_LIMIT_S)
        ))

    def look(self) -> Ended:
        """``children/look_around.py``."""
        settings = self.settings
        return self._once('look', lambda: self.machine.child(
            'look_around', '--rendezvous', settings.rendezvous,
            '--seconds', str(settings.listen_s),
            limit_s=settings.listen_s + settings.limit_s(LOOK_LIMIT_S),
        ))

    def model(self) -> Ended:
        """``children/try_model.py``."""
        settings = self.settings
        arguments = [
            '--source', self.model_name(), '--weights', settings.weights,
            '--input-size', settings.input_size, '--cache', str(settings.cache),
        ]
        if settings.allow_code:
            arguments.append('--allow-code')
        return self._once('model', lambda: self.machine.child(
            'try_model', *arguments, limit_s=settings.limit_s(MODEL_LIMIT_S)
        ))

    def link(self, server: dict[str, Any]) -> Ended:
        """``children/measure_link.py`` to one server."""
        arguments = [
            '--rendezvous', self.settings.rendezvous, '--server', server['server'],
            '--identity', server['identity'], '--seconds', str(LINK_S),
        ]
        model = self.model().answer
        if model is not None and model['identity'] == server['identity']:
            arguments += ['--folder', model['folder']]
        return self._once(f'link {server["server"]}', lambda: self.machine.child(
            'measure_link', *arguments, limit_s=LINK_S + self.settings.limit_s(LINK_LIMIT_S)
        ))

    def version(self) -> str:
        """Version of the package that is installed here; '' where that is not known."""
        answer = self.install().answer or {}
        known = [*answer.get('distributions', []), *answer.get('prefixes', [])]
        return str(known[0]['version']) if known else ''

    # ---- what follows from that ------------------------------------------------------------

    def domain(self) -> dict[str, Any]:
        """What is on the ROS domain.

        Raises:
            MissingError: ROS is not there, or cannot be used: the check ``ros`` tells.
        """
        missing = self.no_ros()
        if missing is not None:
            raise missing
        answer = self.look().answer
        if answer is None:
            raise MissingError(
                f'ROS does not work here: {self.look().why}', 'do what the check ros says'
            )
        return answer

    def no_ros(self) -> MissingError | None:
        """Why ROS checks cannot be made; None = they can."""
        install = self.install().answer or {}
        if not install.get('rclpy', False):
            return MissingError('there is no ROS 2 in this environment (no rclpy)', SOURCE_ROS)
        if not install.get('ros_part', False):
            return MissingError(
                'the dnn_offload that is found here was installed by pip, without its ROS part',
                NOT_BY_PIP,
            )
        if not install.get('messages', False):
            return MissingError(
                'the dnn_offload that is found here has no messages', 'do what the check install '
                'says',
            )
        return None

    def ready_servers(self) -> list[dict[str, Any]]:
        """Servers that serve now.

        Raises:
            MissingError: There is none, or ROS is not there.
        """
        ready = [item for item in self.domain()['servers'] if item['state'] == 'ready']
        if not ready:
            raise MissingError('no server that is ready was found', START_SERVER)
        return ready

    def model_name(self) -> str:
        """The model that is meant: as asked, as a server or else a robot has it, or the detector.

        Of the robots the one of ``--namespace``, or the first one by name.
        """
        if self.settings.model:
            return self.settings.model
        answer = (None if self.no_ros() is not None else self.look().answer) or {}
        named = [str(server['model']) for server in answer.get('servers', [])]
        for namespace, robot in sorted(answer.get('robots', {}).items()):
            if self.counts(namespace):
                named.append(_model_of(robot['profile']))
        return next(filter(None, named), DEFAULT_MODEL)

    def counts(self, namespace: str) -> bool:
        """Whether a robot is the one that was asked for, or none was."""
        wanted = self.settings.namespace.rstrip('/')
        return wanted in ('', namespace, namespace.lstrip('/'))


def _model_of(profile: str) -> str:
    """The network of a profile in JSON; '' where there is none, or none that can be read."""
    try:
        return str(json.loads(profile)['model'])
    except MALFORMED:
        return ''
