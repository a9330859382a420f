"""Parameters of ``partition_planner_node``. No ROS."""

from __future__ import annotations

from dnn_offload.cost.load import LOAD_SOURCES
from dnn_offload.nodes.local_parameters import PARAMETERS as LOCAL_PARAMETERS
from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS
from dnn_offload.nodes.parameters import by_name, ParameterSpec
from dnn_offload.planning.search import DEFAULT_STRATEGY, STRATEGIES

NODE = 'partition_planner_node'
SUMMARY = (
    'Decides where the network is cut, how the tensors are coded and which server runs the '
    'rest, from profiles, measured link, and load; publishes `plan` and `plan_marker`.'
)
CODECS = ('raw', 'fp16', 'int8', 'int8_zstd', 'zstd', 'jpeg')

PARAMETERS: tuple[ParameterSpec, ...] = (
    by_name(MODEL_PARAMETERS)['rendezvous_namespace'],
    ParameterSpec(
        'strategy',
        DEFAULT_STRATEGY,
        'How the plan is found. auto: exact over all cuts, codecs and servers. local, remote: '
        'everything here, or the picture as JPEG to the server. neurosurgeon, dey2019: as '
        'published (raw tensors; blind to this robot\'s load, or scaled by its load average).',
        choices=tuple(STRATEGIES),
    ),
    ParameterSpec(
        'load_source',
        'auto',
        'Which signal tells how much slower this robot is than when it was profiled. auto: '
        'frames that ran here, else the load monitor\'s own combination. dey2019 always takes '
        'the raw load average.',
        choices=LOAD_SOURCES,
    ),
    ParameterSpec(
        'private_layers',
        0,
        'Layers with weights that must run on the robot before anything may leave it: 1 = no '
        'picture leaves, 2 and more = no early activations either. Acts at once.',
        minimum=0,
        maximum=1000,
    ),
    ParameterSpec(
        'codecs',
        (),
        'Codecs that may be used; empty = all that were profiled.',
        choices=CODECS,
    ),
    ParameterSpec(
        'servers',
        (),
        'Names of the edge servers that may be used; empty = all with the same model.',
    ),
    ParameterSpec(
        'min_gain_ms',
        2.0,
        'Least predicted gain worth a change of plan.',
        unit='ms',
        minimum=0.0,
        maximum=10000.0,
    ),
    ParameterSpec(
        'min_gain_percent',
        12.0,
        'Least predicted gain worth a change of plan, as a share of the latency now.',
        unit='%',
        minimum=0.0,
        maximum=90.0,
    ),
    ParameterSpec(
        'hold_ticks',
        3,
        'Planning rounds in a row for which a gain must last. A lost server is left at once.',
        minimum=1,
        maximum=1000,
    ),
    ParameterSpec(
        'rate_hz',
        5.0,
        'Planning rounds per second.',
        unit='Hz',
        minimum=0.2,
        maximum=50.0,
    ),
    # The planner and the uplink must agree on when a server is silent.
    by_name(LOCAL_PARAMETERS)['server_timeout_s'],
    ParameterSpec(
        'default_uplink_bps',
        20e6,
        'Rate of the uplink that is assumed before anything was measured.',
        unit='bit/s',
        minimum=1e3,
        maximum=1e11,
    ),
    ParameterSpec(
        'default_downlink_bps',
        20e6,
        'Rate of the downlink that is assumed before anything was measured.',
        unit='bit/s',
        minimum=1e3,
        maximum=1e11,
    ),
    ParameterSpec(
        'default_alpha_ms',
        3.0,
        'Fixed cost of one transfer that is assumed before anything was measured.',
        unit='ms',
        minimum=0.0,
        maximum=10000.0,
    ),
    ParameterSpec(
        'table_size',
        64,
        'Candidates in the published cost table, best first; the chosen one and all-local are '
        'always among them.',
        minimum=2,
        maximum=512,
    ),
    ParameterSpec(
        'marker_frame_id',
        'base_link',
        'Frame in which plan_marker floats, 1 m above its origin.',
    ),
)
