"""Nodes as processes: start, kill and end them, each with its cores and its log.

No ROS here: a node is an executable with arguments. A child never outlives its parent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
import contextlib
import ctypes
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import subprocess
import time

from dnn_offload.errors import OffloadError
from dnn_offload.testbed.network import entrance

STOP_TIMEOUT_S = 5.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Cores:
    """Which cores play the robot and which the server; equal where there is only one."""

    robot: frozenset[int]
    server: frozenset[int]

    @property
    def apart(self) -> bool:
        """Whether robot and server have cores of their own."""
        return not self.robot & self.server


def bound_to_us() -> Callable[[], None]:
    """What a child calls before it becomes its program, so that it is killed when we end.

    Its parent is the thread that starts it: start it on one that lasts. The library is loaded
    here, since after the fork another thread's locks may be held for ever.
    """
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def bind() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # we ended before that
            os._exit(1)

    return bind


def share_cores(available: frozenset[int]) -> Cores:
    """One core for the robot, the others for the server and the display."""
    first, *others = sorted(available)
    return Cores(frozenset({first}), frozenset(others) if others else frozenset({first}))


@dataclass
class NodeProcess:
    """One node as a process of its own.

    Attributes:
        name: For messages and the log file.
        command: Program and arguments.
        cores: Cores that it may use.
        log_path: Where its output goes, appended over restarts.
        nice: Scheduling niceness.
        network: Network namespace to run in; '' = ours.
        within: A command that ends by becoming the one given to it, e.g. in other namespaces.
        enter: File of a control group into which the process writes itself; None = none.
    """

    name: str
    command: Sequence[str]
    cores: frozenset[int]
    log_path: Path
    nice: int = 0
    network: str = ''
    within: Sequence[str] = ()
    enter: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    killed: bool = field(default=False, init=False)  # by us

    def start(self) -> None:
        """Start it; an already running one is left alone."""
        if self.running:
            return
        self.killed = False
        cores, nice, enter = self.cores, self.nice, self.enter
        # `ip` replaces itself by the node, so that the process started is the node.
        within = entrance(self.network) if self.network else []
        within += self.within
        bind = bound_to_us()

        def prepare() -> None:
            if enter is not None:
                enter.write_text('0')
            os.sched_setaffinity(0, cores)
            os.nice(nice)
            bind()

        with self.log_path.open('ab') as log:
            try:
                self.process = subprocess.Popen(
                    [*within, *self.command], stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, preexec_fn=prepare, start_new_session=True,
                )
            except OSError as error:
                raise OffloadError(
                    f'cannot start {self.name}', given=self.command[0],
                    hint=f'{error.strerror}; build the package first (make setup)',
                ) from error

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Process id, 0 if it was never started."""
        return self.process.pid if self.process is not None else 0

    def kill(self) -> None:
        """Kill -9 the process and its children, as a crash or a pulled plug would."""
        self.killed = True
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def pause(self, paused: bool) -> None:
        """Freeze it, or let it go on."""
        self._signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if not self.running or self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._signal(signal.SIGKILL)  # children that it left behind

    def last_lines(self, count: int = 8) -> str:
        """The end of its log, for an error message."""
        if not self.log_path.exists():
            return ''
        text = self.log_path.read_text(encoding='utf-8', errors='replace')
        return '\n'.join(text.splitlines()[-count:])

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return  # all of the group has ended


def node_process(
    prefix: Path,
    name: str,
    namespace: str,
    parameters: Mapping[str, object],
    *,
    cores: frozenset[int],
    log_dir: Path,
    remappings: Mapping[str, str] | None = None,
    network: str = '',
    within: Sequence[str] = (),
    enter: Path | None = None,
    log_level: str = 'info',
) -> NodeProcess:
    """Describe a node of this package.

    Args:
        prefix: Prefix under which the package is installed.
        name: Executable, e.g. ``camera_node``.
        namespace: Its namespace, e.g. ``/robot``.
        parameters: Start-up parameters.
        cores: Cores that it may use.
        log_dir: Folder of its log, named after namespace and node.
        remappings: Topic to topic.
        network: Network namespace to run in; '' = ours.
        within: See ``NodeProcess``.
        enter: See ``NodeProcess``.
        log_level: From which level on it logs: debug, info, warn, error, fatal.
    """
    program = prefix / 'lib' / 'dnn_offload' / name
    command = [str(program), '--ros-args', '--log-level', log_level]
    command += ['-r', f'__ns:={namespace}']
    for old, new in (remappings or {}).items():
        command += ['-r', f'{old}:={new}']
    for key, value in parameters.items():
        command += ['-p', f'{key}:={_yaml(value)}']
    log_dir.mkdir(parents=True, exist_ok=True)
    log_path = log_dir / f'{namespace.strip("/").replace("/", "_")}_{name}.log'
    return NodeProcess(
        name, command, cores, log_path, network=network, within=within, enter=enter
    )


def _yaml(value: object) -> str:
    """A parameter value as the command line of a ROS node takes it."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def stop_all(processes: Sequence[NodeProcess]) -> None:
    """End all at once, then wait for each."""
    for item in processes:
        if item.running and item.process is not None:
            item.process.send_signal(signal.SIGINT)
    end_s = time.monotonic() + STOP_TIMEOUT_S
    for item in processes:
        if item.process is None:
            continue
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kill below ends it
            item.process.wait(max(0.1, end_s - time.monotonic()))
        item.kill()
