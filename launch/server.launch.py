"""The edge server's side: one remote inference node that respawns by itself."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node, PushROSNamespace
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory('dnn_offload')
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'


def arguments() -> list[DeclareLaunchArgument]:
    """Return what may be given on the command line."""
    return [
        DeclareLaunchArgument(
            'namespace',
            default_value='edge_server',
            description='namespace of the server, one per server',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=f'{SHARE}/config/server.yaml',
            description='parameters of the node; copy the default one and change it',
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='model source, the same as on the robot; empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='take the time from /clock (bag or simulator)',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='log level of the node',
        ),
    ]


def nodes(context: LaunchContext) -> list[Node]:
    """Return the node; a model given on the command line overrides the file's."""
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    model = LaunchConfiguration('model').perform(context)
    chosen = [{'model': model}] if model else []
    return [
        Node(
            package='dnn_offload',
            executable='remote_inference_node',
            name='remote_inference_node',
            output='screen',
            respawn=True,
            respawn_delay=2.0,
            parameters=[
                LaunchConfiguration('params_file'),
                {'use_sim_time': use_sim_time},
                *chosen,
            ],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Compose the server."""
    profiles = EnvironmentVariable(PROFILES, default_value=f'{SHARE}/config/fastdds.xml')
    group = [
        PushROSNamespace(LaunchConfiguration('namespace')),
        OpaqueFunction(function=nodes),
    ]
    return LaunchDescription(
        [*arguments(), SetEnvironmentVariable(PROFILES, profiles), GroupAction(group)]
    )
