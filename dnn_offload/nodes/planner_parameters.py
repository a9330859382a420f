"""Parameters of ``partition_planner_node``. No ROS."""

from __future__ import annotations

from dataclasses import replace

from dnn_offload.cost.energy import AUTO, board_names
from dnn_offload.cost.load import LOAD_SOURCES
from dnn_offload.nodes.local_parameters import PARAMETERS as LOCAL_PARAMETERS
from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS
from dnn_offload.nodes.parameters import by_name, ParameterSpec
from dnn_offload.planning.objective import LATENCY, OBJECTIVES
from dnn_offload.planning.search import ALL_SHAPES, DEFAULT_STRATEGY, STRATEGIES
from dnn_offload.planning.session_data import MAX_TABLE

NODE = 'partition_planner_node'
SUMMARY = (
    'Decides where the network is cut, how the tensors are coded and which server runs the '
    'rest, from profiles, measured link, and load; publishes `plan` and `plan_marker`.'
)
CODECS = ('raw', 'fp16', 'int8', 'int8_zstd', 'zstd', 'jpeg')
MAX_MEMORY_MB = 1e6


def _board_problem(value: str) -> str:
    if value in ('', AUTO, *board_names()) or value.endswith('.json'):
        return ''
    return f'empty, {AUTO}, {", ".join(board_names())}, or FILE.json'


PARAMETERS: tuple[ParameterSpec, ...] = (
    by_name(MODEL_PARAMETERS)['rendezvous_namespace'],
    ParameterSpec(
        'strategy',
        DEFAULT_STRATEGY,
        'How the plan is found. auto: exact over all cuts, codecs and servers. local, remote: '
        'everything here, or the picture as JPEG to the server. neurosurgeon, dey2019: as '
        'published (raw tensors; blind to this robot\'s load, or scaled by its load average). '
        'roadrunner: two cuts as published.',
        choices=tuple(STRATEGIES),
    ),
    ParameterSpec(
        'objective',
        LATENCY,
        'What is minimised. latency: from acquisition to result. throughput: the period of a '
        'stream, frames overlapping. energy: joules of the robot per frame. weighted: latency '
        'and energy, each relative to running all on the robot. The last two need board.',
        choices=OBJECTIVES,
    ),
    ParameterSpec(
        'plan_shapes',
        ALL_SHAPES,
        'Plans beside one cut that auto (and roadrunner) may make. two_cuts: the server computes '
        'the middle of the network, the robot its beginning and end. dag: the cut goes through '
        'branches, one of them here and its sister there. Empty: one cut only.',
        choices=ALL_SHAPES,
    ),
    ParameterSpec(
        'latency_weight',
        0.5,
        'Weight of the latency in objective weighted; the energy has the rest.',
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        'board',
        '',
        'Whose power the energy of plans is reckoned from: '
        f'{", ".join(board_names())}; auto: this machine, as dnn-offload power --measure '
        'found it or by its own name; or a file that it wrote. Empty: plans have no energy.',
        check=_board_problem,
    ),
    ParameterSpec(
        'count_idle_power',
        True,
        'Whether the power of the waiting board counts while a frame waits. Set to false for '
        'what frames cost on top of a robot that is on anyway.',
    ),
    # The period of a stream depends on how many frames may be in work.
    replace(
        by_name(LOCAL_PARAMETERS)['window'],
        description='Most frames in work at once, as local_inference_node has it: set both alike. '
        'Used for the objective throughput only.',
    ),
    ParameterSpec(
        'min_agreement',
        0.0,
        'Least share of frames on which the network must answer as without the codec; a codec '
        'whose agreement was not measured passes no floor, a lossless one passes any. 0 = no '
        'floor.',
        minimum=0.0,
        maximum=1.0,
    ),
    ParameterSpec(
        'max_edge_memory_mb',
        0.0,
        'Most memory of the network on this robot: the head, or the whole network where that '
        'must be kept (all-local, or while there is a deadline). What was not measured passes '
        'no limit. 0 = no limit.',
        unit='MB',
        minimum=0.0,
        maximum=MAX_MEMORY_MB,
    ),
    ParameterSpec(
        'max_server_memory_mb',
        0.0,
        'Most memory of the piece on a server. 0 = no limit.',
        unit='MB',
        minimum=0.0,
        maximum=MAX_MEMORY_MB,
    ),
    ParameterSpec(
        'thread_counts',
        (),
        'Compute threads on this robot that may be used, of those that were profiled; the best '
        'is taken by load. Empty = as they are set.',
        minimum=1,
        maximum=64,
        item_type=int,
    ),
    ParameterSpec(
        'load_source',
        'auto',
        'Which signal tells how much slower this robot is than when it was profiled. auto: '
        'frames that ran here, else the load monitor\'s own combination. dey2019 always takes '
        'the raw load average. Where a source has no value, 1 is assumed, and diagnostics say so.',
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
        1.0,
        'Least predicted gain worth a change of plan, for objectives in ms. Decides for '
        'plans faster than 8 ms; above, min_gain_percent (12) asks for more.',
        unit='ms',
        minimum=0.0,
        maximum=10000.0,
    ),
    ParameterSpec(
        'min_gain_percent',
        12.0,
        'Least predicted gain worth a change of plan, as a share of what the plan costs now.',
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
        'Planning rounds per second; a step in load or link makes one at once. Plans are searched '
        'where something has moved since the last search, and every two seconds.',
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
        'Candidates in the published cost table, best first. The chosen one, all-local and the '
        'front of latency and energy are always among them, also where those are more (up to '
        f'{MAX_TABLE}).',
        minimum=2,
        maximum=MAX_TABLE,
    ),
    ParameterSpec(
        'marker_frame_id',
        'base_link',
        'Frame above whose origin plan_marker floats, 1 m high. rviz shows it where its own fixed '
        'frame is this one, or TF joins the two.',
    ),
)
