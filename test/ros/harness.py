"""A running graph for node tests: nodes under test and one node that looks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
from pathlib import Path
import signal
import subprocess
import threading
import time
from typing import Any, TypeVar

from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import DescribeParameters, SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.topics import Quality, RESULT_DEPTH

NodeType = TypeVar('NodeType', bound=Node)
FINDS = 3  # times that a service is looked for


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether ``condition`` came true in time."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def newest_only() -> QoSProfile:
    """As a camera publishes whose driver is reliable."""
    return profile_of(Quality(1))


def tensors(depth: int) -> QoSProfile:
    """As a robot publishes slices."""
    return profile_of(Quality(depth))


def results() -> QoSProfile:
    """As acknowledgements and answers are published."""
    return profile_of(Quality(RESULT_DEPTH))


class Graph:
    """Nodes, each with an executor thread of its own; make it with ``running_graph``."""

    def __init__(self) -> None:
        self._running: list[tuple[Node, SingleThreadedExecutor, threading.Thread]] = []
        self.observer = self.add(Node('observer'))

    def add(self, node: NodeType) -> NodeType:
        """Spin a node in a thread of its own until the graph ends."""
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        self._running.append((node, executor, thread))
        return node

    def collect(self, message_type: type, topic: str, qos: QoSProfile | int = 10) -> list[Any]:
        """A list that fills with what comes on a topic."""
        messages: list[Any] = []
        self.observer.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def publisher(self, message_type: type, topic: str, qos: QoSProfile | int = 10) -> Any:
        """A publisher of the observer."""
        return self.observer.create_publisher(message_type, topic, qos)

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Call a service and wait for its answer."""
        client = self.observer.create_client(service_type, name)
        for _ in range(FINDS - 1):
            if client.wait_for_service(timeout_s / FINDS):
                break
            self.observer.destroy_client(client)
            client = self.observer.create_client(service_type, name)
        # Seen once in some hundred runs: a service that is there is not found for 10 s. Perhaps
        # half of the endpoints of an earlier test's node of that name are still known: requests
        # and answers have to be equal in number, and a lost participant counts as alive for 20 s.
        assert client.wait_for_service(3.0 * timeout_s), f'no service {name}'
        future = client.call_async(request)
        assert wait_for(future.done, timeout_s), f'{name} does not answer'
        self.observer.destroy_client(client)
        return future.result()

    def set_parameter(self, node: str, name: str, value: object) -> SetParametersResult:
        """As ``ros2 param set`` does; an empty list is sent as rclpy would guess it."""
        request = SetParameters.Request(
            parameters=[ParameterMessage(name=name, value=Parameter(name, value=value)
                                         .get_parameter_value())]
        )
        return self.call(SetParameters, f'{node}/set_parameters', request).results[0]

    def describe(self, node: str, names: Sequence[str]) -> list[Any]:
        """Descriptors of parameters."""
        request = DescribeParameters.Request(names=list(names))
        return self.call(DescribeParameters, f'{node}/describe_parameters', request).descriptors

    def state(self, node: str) -> str:
        """Lifecycle state by its label.

        A node that has just started may know a client's requests before its way back; then Fast
        DDS throws the answer away ("client will not receive response"). Asking twice does no harm.
        """
        return self.state_if_told(node) or self._state(node)

    def state_if_told(self, node: str) -> str:
        """The same; '' of a node that does not answer: not there yet, or not again."""
        try:
            # Where a node was started again, the service of its former life may still be found.
            return self._state(node, 3.0)
        except AssertionError:
            return ''

    def _state(self, node: str, timeout_s: float = 10.0) -> str:
        request = GetState.Request()
        label = self.call(GetState, f'{node}/get_state', request, timeout_s).current_state.label
        return str(label)

    def change_state(self, node: str, transition: int) -> bool:
        """Ask for a lifecycle transition."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call(ChangeState, f'{node}/change_state', request).success

    def close(self) -> None:
        """End all nodes."""
        for _, executor, _ in self._running:
            executor.shutdown(timeout_sec=2.0)
        for node, _, thread in self._running:
            thread.join(2.0)
            node.destroy_node()
        self._running.clear()


@contextlib.contextmanager
def running_graph(arguments: Sequence[str] = ()) -> Iterator[Graph]:
    """A graph in a fresh ROS context; ``arguments`` as on a command line."""
    rclpy.init(args=list(arguments))
    graph = Graph()
    try:
        yield graph
    finally:
        graph.close()
        rclpy.try_shutdown()


class NodeProcess:
    """An installed executable in a process of its own.

    Args:
        executable: Its name, e.g. ``camera_node``.
        arguments: What follows ``--ros-args``.
        log: File for its output.
    """

    def __init__(self, executable: str, arguments: Sequence[str], log: Path) -> None:
        folder = Path(os.environ['DNN_OFFLOAD_NODES'])
        self.log = log
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [str(folder / executable), '--ros-args', *arguments],
                stdout=output, stderr=subprocess.STDOUT,
            )

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Send a signal, wait, and give the exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
