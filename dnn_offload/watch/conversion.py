"""Messages to facts.

Numbers that our messages do not have, as those of another version may, raise ``ValueError`` or
``LookupError``.
"""

from __future__ import annotations

from collections.abc import Iterator

from diagnostic_msgs.msg import DiagnosticArray

from dnn_offload.errors import RefusedError
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
    SERVER_STATES,
    ServerFact,
)

NO_SECOND_CUT = 65535  # Plan.return_index
FIRST_KEY, LAST_KEY = 'state', 'callback_errors'  # of the diagnostics of our nodes (nodes/base.py)
NAME_ENDS = ': status'


def frame_fact(message: FrameReport) -> FrameFact:
    """From ``frame_report``."""
    return FrameFact(
        pid=message.pid,
        outcome=OUTCOMES[message.outcome],
        drop_reason=DROP_REASONS[message.drop_reason],
        latency_ms=message.latency_ms,
        deadline_ms=message.deadline_ms,
        deadline_met=message.deadline_met,
        server=plain(message.server),
        entered=message.entered,
        remote=message.remote,
        local=message.local,
        rescued=message.rescued,
        dropped=message.dropped,
        late_answers=message.late_answers,
    )


def plan_fact(message: Plan) -> PlanFact:
    """From ``plan``."""
    second = message.return_index
    return PlanFact(
        plan_id=message.plan_id,
        model_identity=plain(message.model_identity),
        strategy=plain(message.strategy),
        objective=plain(message.objective),
        cut_index=message.cut_index,
        label=plain(message.label),
        codec=plain(message.codec),
        server=plain(message.server),
        return_index=None if second == NO_SECOND_CUT or not message.return_cut else second,
        predicted_ms=message.predicted_ms,
        reason=plain(message.reason),
        private_layers=message.private_layers,
        uplink_bps=message.uplink_bps,
        uplink_alpha_ms=message.uplink_alpha_ms,
        downlink_bps=message.downlink_bps,
        link_confidence=message.link_confidence,
    )


def load_fact(message: Load) -> LoadFact:
    """From ``load``."""
    return LoadFact(
        host=plain(message.host),
        factor=message.factor,
        source=plain(message.factor_source),
        loadavg_1min=message.loadavg_1min,
        cores=message.cores,
        cpu_percent=message.cpu_percent,
        clock_hz=message.clock_hz,
        clock_max_hz=message.clock_max_hz,
        temperature_c=message.temperature_c,
        throttled=message.throttled and message.throttled_known,
        memory_available_bytes=message.memory_available_bytes,
        memory_total_bytes=message.memory_total_bytes,
    )


def link_fact(message: LinkSample) -> LinkFact:
    """From ``link_sample``."""
    return LinkFact(LINK_KINDS[message.kind], message.payload_bytes, message.duration_ms)


def server_fact(message: ServerStatus) -> ServerFact:
    """From ``server_status``.

    Raises:
        ValueError: No server of ours has such a name.
    """
    try:
        server = check_name(message.server, 'server')
    except RefusedError as error:
        raise ValueError(str(error)) from error
    return ServerFact(
        server=server,
        session=message.session,
        state=SERVER_STATES[message.state],
        detail=plain(message.detail),
        model=plain(message.model),
        model_identity=plain(message.model_identity),
        load_factor=message.load_factor,
        queue_ms=message.queue_ms,
        clients=message.clients,
        frames_served=message.frames_served,
        frames_superseded=message.frames_superseded,
        frames_refused=message.frames_refused,
        cpu_percent=message.cpu_percent,
        memory_available_bytes=message.memory_available_bytes,
    )


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
