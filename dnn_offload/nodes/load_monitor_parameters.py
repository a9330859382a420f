"""Parameters of ``load_monitor_node``. No ROS."""

from __future__ import annotations

from dnn_offload.nodes.parameters import ParameterSpec

NODE = 'load_monitor_node'
SUMMARY = (
    'Measures how much slower inference is on this machine than when it is idle, by several '
    'sources, with memory, clock and temperature; publishes `load`.'
)

PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        'rate_hz',
        5.0,
        'Load messages per second.',
        unit='Hz',
        minimum=0.2,
        maximum=50.0,
    ),
    ParameterSpec(
        'sample_rate_hz',
        25.0,
        'Readings of the number of runnable processes per second (/proc/stat); 20 to 50 Hz '
        'is good.',
        unit='Hz',
        minimum=1.0,
        maximum=100.0,
    ),
    ParameterSpec(
        'probe',
        'idle',
        'When to spend 8 ms of computation to see how long it takes: idle = only while no '
        'inference runs here that tells as much, always (to compare sources), or never.',
        choices=('idle', 'always', 'never'),
    ),
    ParameterSpec(
        'probe_rate_hz',
        2.0,
        'Probes per second; more than three times as many for a moment where one is off those '
        'before it, so that a change of load is soon known.',
        unit='Hz',
        minimum=0.2,
        maximum=5.0,
    ),
    ParameterSpec(
        'inference_timeout_s',
        5.0,
        'Without a frame_report for so long, no inference process is watched.',
        unit='s',
        minimum=0.5,
        maximum=600.0,
    ),
    ParameterSpec(
        'warn_temperature_c',
        80.0,
        'Temperature above which diagnostics warn.',
        unit='degree Celsius',
        minimum=20.0,
        maximum=130.0,
    ),
    ParameterSpec(
        'warn_memory_percent',
        10.0,
        'Share of available memory below which diagnostics warn.',
        unit='%',
        minimum=0.0,
        maximum=90.0,
    ),
)
