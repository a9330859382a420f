"""From the planner's parameters to its settings. No ROS."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from dnn_offload.cost.energy import resolve_board
from dnn_offload.cost.link import LinkDefaults
from dnn_offload.cost.power_sensors import measure_hint
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.session import PlannerSettings


def planner_settings(value: Callable[[str], Any]) -> PlannerSettings:
    """The settings that the parameters mean.

    Args:
        value: Gives the value of a parameter by name.

    Raises:
        ConfigurationError: No such board, or its file is damaged.
    """
    alpha_ms = value('default_alpha_ms')
    power = resolve_board(value('board'))
    if power is not None and not value('count_idle_power'):
        power = power.above_idle()
    return PlannerSettings(
        strategy=value('strategy'),
        load_source=value('load_source'),
        private_layers=value('private_layers'),
        codecs=value('codecs'),
        servers=value('servers'),
        min_gain_ms=value('min_gain_ms'),
        min_gain_ratio=value('min_gain_percent') / 100.0,
        hold_ticks=value('hold_ticks'),
        server_timeout_s=value('server_timeout_s'),
        objective=Objective(value('objective'), value('latency_weight'), value('window')),
        min_agreement=value('min_agreement'),
        max_edge_memory_mb=value('max_edge_memory_mb'),
        max_server_memory_mb=value('max_server_memory_mb'),
        threads=tuple(value('thread_counts')),
        shapes=tuple(value('plan_shapes')),
        power=power,
        most=value('table_size'),
        link_defaults=LinkDefaults(
            uplink_alpha_ms=alpha_ms,
            uplink_bps=value('default_uplink_bps'),
            downlink_alpha_ms=alpha_ms,
            downlink_bps=value('default_downlink_bps'),
        ),
    )


# Only a change of one of these is looked at: an old mistake must not block everything else.
TOGETHER = frozenset({'objective', 'latency_weight', 'board', 'count_idle_power'})


def check_planner_settings(value: Callable[[str], Any], changed: Collection[str]) -> None:
    """Refuse a board that is none, and an objective that needs a power that is not known.

    What takes the power from an objective that is set already is taken: a dump that is loaded
    sets one parameter after another. ``PlannerSession.objective_problem`` says what holds then.

    Args:
        value: Gives the value of a parameter by name, as it would be.
        changed: Names of the parameters that are to change.

    Raises:
        ConfigurationError: The board cannot be read, or the objective needs an unknown power.
    """
    if TOGETHER.isdisjoint(changed):
        return
    settings = planner_settings(value)
    if 'objective' not in changed:
        return
    if settings.objective.needs_energy and settings.power is None:
        raise ConfigurationError(
            f'objective {settings.objective.name} needs the power of the robot',
            given=f'board = {value("board")!r}',
            allowed='a board whose power is known',
            hint=measure_hint(),
        )
