"""Whether a robot gets the place of its former life: not while that one speaks."""

from __future__ import annotations

import pytest

from dnn_offload.transport.claim import Claim, PERIOD_S, QUESTIONS
from dnn_offload.transport.names import new_client_id, same_robot


def test_a_life_that_answers_no_question_has_gone() -> None:
    claim, asked = Claim('robot_x0001'), []
    now_s = 100.0
    while not claim.granted(now_s):
        if claim.ask(now_s):
            asked.append(now_s)
        assert not claim.answered(99.9), 'heard before it was asked'
        now_s += 0.02
        assert now_s < 110.0
    assert len(asked) == QUESTIONS
    assert now_s - asked[0] >= QUESTIONS * PERIOD_S - 1e-6
    assert not claim.ask(now_s + 10.0)


def test_any_word_after_the_first_question_is_an_answer() -> None:
    claim = Claim('robot_x0001')
    assert not claim.answered(1e9), 'it was not asked'
    assert claim.ask(100.0)
    assert not claim.answered(100.0) and claim.answered(100.01)


def test_a_server_that_was_held_up_still_asks_every_question() -> None:
    claim = Claim('robot_x0001')
    assert claim.ask(100.0)
    assert not claim.granted(160.0), 'answers may wait to be read'


@pytest.mark.parametrize(
    ('client', 'other', 'same'),
    [
        ('robot_x0a1b', 'robot_xffff', True),
        ('robot_x0a1b', 'robot_x0a1b', False),   # the same life
        ('robot_x0a1b', 'robot2_x0a1b', False),
        ('robot_x0a1b', 'robot', False),
        ('robot_a', 'robot_b', False),           # named by hand, without a life
        ('robot_xA1B2', 'robot_xB1A2', False),
        ('_x0a1b', '_x0a1c', False),
    ],
)
def test_names_of_lives(client: str, other: str, same: bool) -> None:
    assert same_robot(client, other) is same is same_robot(other, client)


def test_every_life_has_such_a_name() -> None:
    lives = {new_client_id(f'{"r" * 80}/north') for _ in range(20)} - {''}
    one, *others = lives
    assert all(same_robot(one, other) for other in others)
