"""The executor that keeps its wait set: everything a node has is served, and changes are seen."""

from __future__ import annotations

from collections.abc import Iterator
import threading
import time

from lifecycle_msgs.srv import GetState
import pytest
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import String

from dnn_offload.nodes.executor import LeanExecutor, let_wait


@pytest.fixture
def rig() -> Iterator[tuple[Node, LeanExecutor]]:
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor, node = LeanExecutor(), Node('lean')
    executor.add_node(node)
    yield node, executor
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def spin_until(executor: LeanExecutor, condition: object, timeout_s: float = 5.0) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():  # type: ignore[operator]
            return True
        executor.spin_once(0.1)
    return bool(condition())  # type: ignore[operator]


def test_messages_timers_and_services_are_served(rig: tuple[Node, LeanExecutor]) -> None:
    node, executor = rig
    words: list[str] = []
    raw: list[bytes] = []
    with_info: list[object] = []
    ticks: list[float] = []
    node.create_subscription(String, 'words', lambda m: words.append(m.data), 10)
    node.create_subscription(String, 'words', raw.append, 10, raw=True)
    node.create_subscription(String, 'words', lambda m, info: with_info.append(info), 10)
    node.create_timer(0.02, lambda: ticks.append(time.monotonic()))

    def answer(request: GetState.Request, response: GetState.Response) -> GetState.Response:
        response.current_state.id = 3
        return response

    node.create_service(GetState, 'do', answer)
    client = node.create_client(GetState, 'do')
    publisher = node.create_publisher(String, 'words', 10)
    assert spin_until(executor, lambda: publisher.get_subscription_count() == 3)
    for number in range(20):
        publisher.publish(String(data=str(number)))
        executor.spin_once(0.01)
    assert spin_until(executor, lambda: len(words) == len(raw) == len(with_info) == 20)
    assert words == [str(number) for number in range(20)]
    assert spin_until(executor, client.service_is_ready)
    future = client.call_async(GetState.Request())
    assert spin_until(executor, future.done) and future.result().current_state.id == 3
    assert spin_until(executor, lambda: len(ticks) > 5)


def test_what_comes_and_goes_is_seen(rig: tuple[Node, LeanExecutor]) -> None:
    node, executor = rig
    heard: list[str] = []
    publisher = node.create_publisher(String, 'words', 10)
    executor.spin_once(0.01)
    first = node.create_subscription(String, 'words', lambda m: heard.append('first'), 10)
    assert spin_until(executor, lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data='x'))
    assert spin_until(executor, lambda: heard == ['first'])

    def replace(message: String) -> None:
        heard.append('second')
        node.destroy_subscription(second)
        node.destroy_timer(timer)

    node.destroy_subscription(first)
    timer = node.create_timer(60.0, lambda: None)
    second = node.create_subscription(String, 'words', replace, 10)
    assert spin_until(executor, lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data='x'))
    publisher.publish(String(data='y'))
    assert spin_until(executor, lambda: heard == ['first', 'second'])
    assert not spin_until(executor, lambda: len(heard) > 2, 0.3), 'called after it was destroyed'
    assert spin_until(executor, lambda: publisher.get_subscription_count() == 0)


def test_a_task_wakes_it_and_an_exception_leaves_it(rig: tuple[Node, LeanExecutor]) -> None:
    node, executor = rig
    done: list[str] = []
    threading.Timer(0.2, lambda: executor.create_task(lambda: done.append('task'))).start()
    began_s = time.monotonic()
    executor.spin_once(10.0)
    assert spin_until(executor, lambda: done == ['task'])
    assert time.monotonic() - began_s < 5.0

    def fail() -> None:
        raise ValueError('on purpose')

    timer = node.create_timer(0.01, fail)
    with pytest.raises(ValueError, match='on purpose'):
        spin_until(executor, lambda: False, 2.0)
    node.destroy_timer(timer)
    assert not spin_until(executor, lambda: False, 0.2)


def test_nobody_wakes_for_what_may_wait_and_all_of_it_is_taken_before_what_wakes(
    rig: tuple[Node, LeanExecutor],
) -> None:
    node, executor = rig
    happened: list[str] = []
    patient = node.create_subscription(String, 'facts', lambda m: happened.append(m.data), 50)
    let_wait(patient)
    node.create_subscription(String, 'words', lambda m: happened.append(m.data), 10)
    facts = node.create_publisher(String, 'facts', 50)
    words = node.create_publisher(String, 'words', 10)
    assert spin_until(executor, lambda: facts.get_subscription_count() == 1)
    assert spin_until(executor, lambda: words.get_subscription_count() == 1)
    for number in range(20):
        facts.publish(String(data=f'fact {number}'))
    time.sleep(0.2)  # all have arrived
    words.publish(String(data='word'))
    assert spin_until(executor, lambda: 'word' in happened)
    assert happened == [*(f'fact {number}' for number in range(20)), 'word']


def test_what_may_wait_does_not_wait_for_ever(rig: tuple[Node, LeanExecutor]) -> None:
    node, executor = rig
    happened: list[str] = []
    let_wait(node.create_subscription(String, 'facts', lambda m: happened.append(m.data), 50))
    facts = node.create_publisher(String, 'facts', 50)
    assert spin_until(executor, lambda: facts.get_subscription_count() == 1)
    spin_until(executor, lambda: False, 0.3)  # what comes with a new node is over
    turns = 0
    for number in range(20):
        facts.publish(String(data=str(number)))
    began_s = time.monotonic()
    while len(happened) < 20 and time.monotonic() - began_s < 5.0:
        executor.spin_once(None)  # without end, but for what waits
        turns += 1
    assert happened == [str(number) for number in range(20)]
    assert turns <= 5, 'it woke for them'


def test_what_may_wait_and_is_destroyed_is_not_touched(rig: tuple[Node, LeanExecutor]) -> None:
    node, executor = rig
    happened: list[str] = []

    def destroy(message: String) -> None:
        happened.append(message.data)
        node.destroy_subscription(patient)

    patient = node.create_subscription(String, 'facts', destroy, 50)
    let_wait(patient)
    facts = node.create_publisher(String, 'facts', 50)
    assert spin_until(executor, lambda: facts.get_subscription_count() == 1)
    facts.publish(String(data='first'))
    facts.publish(String(data='second'))
    assert spin_until(executor, lambda: happened == ['first'])
    assert not spin_until(executor, lambda: len(happened) > 1, 0.3), 'it was destroyed'
    assert spin_until(executor, lambda: facts.get_subscription_count() == 0)
