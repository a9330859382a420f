"""Which server makes room for another: never one that is there."""

from __future__ import annotations

from dnn_offload.transport.link import Phase, ServerLink
from dnn_offload.transport.room import first_to_go, GONE_S


def link(name: str, heard_s: float, *, connected: bool = False) -> ServerLink:
    """A server that was ready, and heard last at a time."""
    made = ServerLink(name, was_connected=connected)
    made.on_status(1, True, '', heard_s)
    made.check(heard_s + made.timing.server_timeout_s + 0.1)
    assert made.phase is Phase.ABSENT
    return made


def leaves(*links: ServerLink, now_s: float = 100.0) -> str:
    gone = first_to_go(links, now_s)
    return gone.name if gone is not None else ''


def test_the_one_that_is_gone_longest_goes() -> None:
    assert leaves(link('b', 50.0), link('a', 40.0), link('c', 60.0)) == 'a'
    never_heard = ServerLink('never')
    assert leaves(link('a', 40.0), never_heard) == 'never'


def test_names_that_were_only_said_go_before_servers_that_were_used() -> None:
    assert leaves(link('used', 10.0, connected=True), link('said', 90.0)) == 'said'
    assert leaves(link('used', 10.0, connected=True)) == 'used'


def test_none_goes_that_is_there() -> None:
    silent_a_moment = link('a', 100.0 - 0.9 * GONE_S)
    other_model = ServerLink('b')
    other_model.on_status(1, False, 'it runs another model', 99.9)
    answers_only = link('c', 50.0)
    answers_only.on_heard(99.9)  # its statuses wait behind a large answer
    greeted = ServerLink('d')
    greeted.on_status(1, True, '', 50.0)  # not looked at since: it may be in use
    assert leaves(silent_a_moment, other_model, answers_only, greeted) == ''
    assert leaves() == ''
