"""The published cost table: what is always in it, in which order, and how long it gets."""

from __future__ import annotations

from pathlib import Path

from dnn_offload.planning.edge_load import EdgeLoadEstimate
from dnn_offload.planning.plan import Candidate
from dnn_offload.planning.session_data import MAX_TABLE, PlanningOutcome
from dnn_offload.planning.switch import Decision
from plan_cases import case

PLAN_MSG = Path(__file__).resolve().parents[1] / 'msg' / 'Plan.msg'


def table(
    names: tuple[str, ...], size: int, chosen: str, front: tuple[str, ...] = ()
) -> list[str]:
    """The table of plans of 10, 20, ... ms in that order; ``local`` is all on the robot."""
    ranked = {
        name: Candidate(0, '', 'local', '', '', head_ms=10.0 * rank) if name == 'local'
        else Candidate(rank, name, name, 'int8', 'desk', tail_ms=10.0 * rank)
        for rank, name in enumerate(names, 1)
    }  # fmt: skip
    at = case()
    outcome = PlanningOutcome(
        1, Decision(ranked[chosen], False, ''), at, at, EdgeLoadEstimate(1.0, 'assumed'),
        tuple(ranked.values()), 1.0, '', False, 0.0, {},
        front=frozenset(ranked[name].key for name in front),
    )
    return [plan.label for plan in outcome.table(size)]


def test_chosen_and_local_are_kept_where_both_rank_beyond_the_size() -> None:
    names = ('a', 'b', 'c', 'd', 'local', 'e')
    assert table(names, 2, 'c') == ['c', 'local']
    assert table(names, 4, 'c') == ['a', 'b', 'c', 'local']
    assert table(names, 9, 'c') == list(names)


def test_the_thrifty_end_of_the_front_is_kept() -> None:
    names = ('a', 'b', 'c', 'local', 'd', 'e')
    assert table(names, 4, 'a', ('a', 'e')) == ['a', 'b', 'local', 'e']
    assert table(names, 2, 'a', ('a', 'c', 'e')) == ['a', 'c', 'local', 'e']


def test_there_are_no_more_rows_than_the_message_has() -> None:
    names = (*(f'c{number}' for number in range(MAX_TABLE + 88)), 'local')
    found = table(names, 64, 'c590', names[:-1])
    assert len(found) == MAX_TABLE
    assert found[-2:] == ['c590', 'local']
    assert f'PlanCost[<={MAX_TABLE}] table' in PLAN_MSG.read_text(encoding='utf-8')
