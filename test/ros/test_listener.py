"""A topic taken on a thread of its own: what happens to it when things go wrong."""

from __future__ import annotations

from collections.abc import Iterator
import threading

from harness import Graph, results, running_graph, wait_for
import pytest
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from dnn_offload.transport.listener import Listener


@pytest.fixture
def graph() -> Iterator[Graph]:
    with running_graph() as made:
        yield made


class Ear:
    """A listener that writes down what it hears; 'bad' makes it fail."""

    def __init__(self, graph: Graph, node: Node | None = None) -> None:
        self.heard: list[str] = []
        self.looked = 0
        self.threads: set[str] = set()
        self.publisher = graph.publisher(String, '/words', results())
        self.node = node or graph.add(Node('listening'))
        self.listener = Listener(
            self.node, String, '/words', results(), self._take, between=self._between, name='ear'
        )
        assert wait_for(lambda: self.publisher.get_subscription_count() > 0)

    def _take(self, serialised: bytes) -> None:
        self.threads.add(threading.current_thread().name)
        word = deserialize_message(serialised, String).data
        if word == 'bad':
            raise ValueError('on purpose')
        self.heard.append(word)

    def _between(self, now_s: float) -> float:
        self.looked += 1
        if self.looked % 2:
            raise ValueError('on purpose')
        return now_s + 0.02

    def say(self, word: str) -> None:
        self.publisher.publish(String(data=word))


def test_every_message_is_taken_in_order_on_its_own_thread(graph: Graph) -> None:
    ear = Ear(graph)
    words = [str(number) for number in range(200)]
    for word in words:
        ear.say(word)
    assert wait_for(lambda: ear.heard == words)
    assert ear.threads == {'ear'}
    ear.listener.stop()


def test_failures_of_callbacks_do_not_end_it(graph: Graph) -> None:
    ear = Ear(graph)
    looked = ear.looked
    for word in ('bad', 'good', 'bad', 'better'):
        ear.say(word)
    assert wait_for(lambda: ear.heard == ['good', 'better'])
    assert wait_for(lambda: ear.looked > looked + 4), 'nobody looks between messages any more'
    assert ear.listener.alive
    ear.listener.stop()


def test_a_failure_to_take_is_survived(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear(graph)
    failing = iter([MemoryError('on purpose'), None])
    really = ear.listener._take_what_is_there

    def take() -> None:
        error = next(failing, None)
        if error is not None:
            raise error
        really()

    monkeypatch.setattr(ear.listener, '_take_what_is_there', take)
    ear.say('first')
    ear.say('second')
    assert wait_for(lambda: ear.heard == ['first', 'second'])
    ear.listener.stop()


def test_nothing_is_called_back_after_the_stop(graph: Graph) -> None:
    ear = Ear(graph)
    ear.listener.stop()
    ear.listener.stop()
    assert not ear.listener.alive
    ear.say('late')
    assert not wait_for(lambda: ear.heard != [], 0.3)


def test_it_ends_with_its_node(graph: Graph) -> None:
    lonely = Node('lonely')
    ear = Ear(graph, lonely)
    lonely.destroy_node()
    assert wait_for(lambda: not ear.listener.alive, 3.0)
