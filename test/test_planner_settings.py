"""From the planner's parameters to its settings."""

from __future__ import annotations

from typing import Any

import pytest

from dnn_offload.cost.energy import load_board
from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.parameters import by_name
from dnn_offload.nodes.planner_parameters import PARAMETERS
from dnn_offload.nodes.planner_settings import check_planner_settings, planner_settings
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.session import PlannerSettings

DEFAULTS: dict[str, Any] = {spec.name: spec.default for spec in PARAMETERS}


def value_of(**changes: Any) -> Any:
    return {**DEFAULTS, **changes}.__getitem__


def test_defaults_mean_what_the_planner_does_by_itself() -> None:
    made = planner_settings(value_of())
    assert made.objective == Objective()
    assert made.power is None
    assert made.threads == ()
    plain = PlannerSettings()
    assert (made.min_gain_ms, made.hold_ticks, made.strategy, made.shapes) == (
        plain.min_gain_ms, plain.hold_ticks, plain.strategy, plain.shapes,
    )


def test_objective_board_and_limits() -> None:
    made = planner_settings(
        value_of(
            objective='weighted', latency_weight=0.3, window=4, board='raspberry_pi_5',
            min_agreement=0.95, max_edge_memory_mb=200.0, max_server_memory_mb=900.0,
            thread_counts=(1, 4),
        )
    )
    assert made.objective == Objective('weighted', 0.3, 4)
    assert made.power == load_board('raspberry_pi_5')
    assert (made.min_agreement, made.max_edge_memory_mb, made.max_server_memory_mb) == (
        0.95, 200.0, 900.0,
    )
    assert made.threads == (1, 4)


def test_waiting_may_be_left_out_of_the_energy() -> None:
    made = planner_settings(value_of(board='raspberry_pi_5', count_idle_power=False))
    assert made.power == load_board('raspberry_pi_5').above_idle()


@pytest.mark.parametrize('objective', ['energy', 'weighted'])
def test_energy_without_a_board_is_refused(objective: str) -> None:
    with pytest.raises(ConfigurationError, match='dnn-offload power'):
        check_planner_settings(value_of(objective=objective), ['objective'])
    check_planner_settings(value_of(objective=objective, board='jetson_nano'), ['objective'])
    check_planner_settings(value_of(objective='latency'), ['board'])


def test_a_board_may_go_before_the_objective_that_needs_it() -> None:
    for name in ('board', 'latency_weight', 'count_idle_power'):  # as a dump is loaded
        check_planner_settings(value_of(objective='energy'), [name])
    with pytest.raises(ConfigurationError, match='needs the power'):
        check_planner_settings(value_of(objective='energy'), ['board', 'objective'])


def test_a_mistake_in_the_start_up_file_does_not_block_other_changes() -> None:
    check_planner_settings(value_of(objective='energy', rate_hz=1.0), ['rate_hz'])


def test_a_board_is_one_that_is_known_or_a_file() -> None:
    board = by_name(PARAMETERS)['board']
    for good in ('', 'auto', 'raspberry_pi_4b', '/home/me/board.json'):
        assert board.convert(good) == good
    with pytest.raises(ConfigurationError, match='raspberry_pi_4b'):
        board.convert('pi')
    with pytest.raises(ConfigurationError, match='cannot be read'):
        check_planner_settings(value_of(board='/does/not/exist.json'), ['board'])
