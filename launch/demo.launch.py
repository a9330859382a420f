"""Robot and server on this machine for a minute, driven by the demo script; rviz if wished.

The script starts, kills and restarts the nodes itself, as its story needs it; it leaves a report.
So these are not arguments here, as they are of robot.launch.py and server.launch.py:

* ``params_file``: the script gives each node the parameters of its story;
* ``use_sim_time``: latencies and the share of the processor are measured, on the real clock.
"""

from __future__ import annotations

import sys

from ament_index_python.packages import get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, GroupAction, Shutdown
from launch.conditions import IfCondition
from launch.events.process import ProcessExited
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node, PushROSNamespace

from dnn_offload.nodes import launch_parts


def arguments() -> list[DeclareLaunchArgument]:
    """Return what may be given on the command line."""
    return [
        DeclareLaunchArgument('model', default_value='demo:detector', description='model source'),
        DeclareLaunchArgument(
            'out', default_value='demo_out', description='folder for report, plots and video'
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='/',
            description='below which the demo has its nodes, in robot and edge_server; / = none',
        ),
        DeclareLaunchArgument('rate_hz', default_value='15.0', description='pictures per second'),
        launch_parts.log_level_argument(),
        launch_parts.rviz_argument(),
    ]


def _over(event: ProcessExited, context: LaunchContext) -> list[Action]:
    """The demo's verdict is the launch's: its exit status is not 0 either."""
    if event.returncode != 0:
        raise RuntimeError(f'the demo ended with {event.returncode}; its last lines tell why')
    return [Shutdown(reason='the demo is over')]


def generate_launch_description() -> LaunchDescription:
    """Compose the demo script and rviz."""
    script = ExecuteProcess(
        name='demo',
        cmd=[
            f'{get_package_prefix("dnn_offload")}/lib/dnn_offload/demo',
            '--model', LaunchConfiguration('model'),
            '--out', LaunchConfiguration('out'),
            '--rate-hz', LaunchConfiguration('rate_hz'),
            # Of the nodes that the script starts; their logs lie beside the report.
            '--log-level', LaunchConfiguration('log_level'),
            '--namespace', LaunchConfiguration('namespace'),
            # The user's own domain, so that ros2 topic and rviz see the demo.
            '--domain', EnvironmentVariable('ROS_DOMAIN_ID', default_value='0'),
        ],
        output='screen',
        emulate_tty=sys.stdout.isatty(),  # for the live view, which also needs its lines bare
        output_format='{line}',
        on_exit=_over,
    )  # fmt: skip
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', f'{launch_parts.SHARE}/config/dnn_offload.rviz'],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return LaunchDescription(
        [
            *arguments(),
            *launch_parts.environment(),
            script,
            GroupAction([
                PushROSNamespace(LaunchConfiguration('namespace')),
                PushROSNamespace('robot'),
                rviz,
            ]),
        ]
    )
