"""Messages to facts.

Numbers that our messages do not have, as those of another version may, raise ``ValueError`` or
``LookupError``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
import math
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticArray

from dnn_offload.errors import RefusedError
from dnn_offload.exchange import SERVER_STATES
from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, ServerStatus
from dnn_offload.report.records import DROP_REASONS, OUTCOMES
from dnn_offload.transport.names import check_name
from dnn_offload.watch.facts import (
    FrameFact,
    HealthFact,
    LINK_KINDS,
    LinkFact,
    LoadFact,
    plain,
    PlanFact,
    ServerFact,
)

_Fact = TypeVar('_Fact')
NO_SECOND_CUT = 65535  # Plan.return_index
FIRST_KEY, LAST_KEY = 'state', 'callback_errors'  # of the diagnostics of our nodes (nodes/base.py)
NAME_ENDS = ': status'


def _fact(made: type[_Fact], message: Any, /, **other: object) -> _Fact:
    """Copy the fields of the same names, texts made plain; ``other`` are those that differ."""
    for field in fields(made):  # type: ignore[arg-type]
        if field.name not in other:
            value = getattr(message, field.name)
            other[field.name] = plain(value) if isinstance(value, str) else value
    return made(**other)


def frame_fact(message: FrameReport) -> FrameFact:
    """From ``frame_report``; ValueError for times that are none."""
    made = _fact(
        FrameFact, message, outcome=OUTCOMES[message.outcome],
        drop_reason=DROP_REASONS[message.drop_reason],
    )
    for name, value in vars(made).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{name} is {value}')
    return made


def plan_fact(message: Plan) -> PlanFact:
    """From ``plan``."""
    second = message.return_index
    without = second == NO_SECOND_CUT or not message.return_cut
    return _fact(PlanFact, message, return_index=None if without else second)


def load_fact(message: Load) -> LoadFact:
    """From ``load``."""
    return _fact(
        LoadFact, message, source=plain(message.factor_source),
        throttled=message.throttled and message.throttled_known,
    )


def link_fact(message: LinkSample) -> LinkFact:
    """From ``link_sample``, or a transfer in ``frame_report``."""
    return _fact(LinkFact, message, kind=LINK_KINDS[message.kind])


def server_fact(message: ServerStatus) -> ServerFact:
    """From ``server_status``.

    Raises:
        ValueError: No server of ours has such a name.
    """
    try:
        server = check_name(message.server, 'server')
    except RefusedError as error:
        raise ValueError(str(error)) from error
    return _fact(ServerFact, message, server=server, state=SERVER_STATES[message.state])


def health_facts(message: DiagnosticArray) -> Iterator[tuple[str, HealthFact]]:
    """Yield (namespace, fact) of those statuses that nodes of ours made, known by their keys."""
    for status in message.status:
        values = status.values
        if not values or values[0].key != FIRST_KEY or values[-1].key != LAST_KEY:
            continue
        namespace, _, node = plain(status.name).removesuffix(NAME_ENDS).rpartition('/')
        model = next((item.value for item in values if item.key == 'model'), '')
        # rclpy's type of a `byte` field is bytes.
        yield f'/{namespace}', HealthFact(
            node, status.level[0], plain(status.message), plain(model)
        )
