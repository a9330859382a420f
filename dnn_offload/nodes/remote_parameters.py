"""Parameters of remote_inference_node: the edge server's half of the split network. No ROS."""

from __future__ import annotations

from dataclasses import replace

from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS, name_part
from dnn_offload.nodes.parameters import by_name, ParameterSpec
from dnn_offload.runtime.thread_count import DEFAULTS
from dnn_offload.transport.topics import tensor_reader_depth

NODE = 'remote_inference_node'
SUMMARY = (
    'Runs the tail of the network on an edge server for any number of robots: newest frame per '
    'robot, fair between robots; refuses with a reason what does not fit.'
)


_THREADS = replace(by_name(MODEL_PARAMETERS)['threads'], default=DEFAULTS['server'])

PARAMETERS: tuple[ParameterSpec, ...] = (
    *(_THREADS if spec.name == _THREADS.name else spec for spec in MODEL_PARAMETERS),
    ParameterSpec(
        'server_id',
        '',
        'Name of this server; must be the only one of its name. Empty = the host name, with '
        'the namespace where there is one.',
        read_only=True,
        check=name_part,
    ),
    ParameterSpec(
        'status_rate_hz',
        5.0,
        'How often the server says that it is there. Robots count it as lost when nothing came '
        'for their server_timeout_s (0.5 s at least): even the slowest rate is two in that time.',
        unit='Hz',
        minimum=4.0,
        maximum=50.0,
    ),
    ParameterSpec(
        'max_clients',
        8,
        f'Robots served at a time; others are refused. For each, the reader keeps up to '
        f'{tensor_reader_depth(1)} messages while the node is busy: 123 kB as robots send, 1.5 MB '
        'at the very worst.',
        minimum=1,
        maximum=64,
        at_configure=True,
    ),
    ParameterSpec(
        'client_timeout_s',
        30.0,
        'A robot that sends nothing, not even a probe (it sends one every 5 s at least, on links '
        'below 0.9 Mbit/s more rarely), for so long is forgotten. One that ended is noticed '
        'within 3 s by other means, one that was killed within 25 s; where the server is full, a '
        'start of the same robot has its place 2 s after it has greeted.',
        unit='s',
        minimum=10.0,
        maximum=3600.0,
    ),
    ParameterSpec(
        'max_request_bytes',
        64 << 20,
        'Largest frame that is taken; each cut has its own, tighter bound besides.',
        unit='byte',
        minimum=65536,
        maximum=1 << 30,
    ),
)
