"""The robot's side: camera, load monitor, planner, local inference; each respawns by itself."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node, PushROSNamespace
from launch_ros.parameter_descriptions import ParameterValue

SHARE = get_package_share_directory('dnn_offload')
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
NODES = ('load_monitor_node', 'partition_planner_node', 'local_inference_node')


def arguments() -> list[DeclareLaunchArgument]:
    """Return what may be given on the command line."""
    return [
        DeclareLaunchArgument(
            'namespace', default_value='robot', description='namespace of the robot, one per robot'
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=f'{SHARE}/config/robot.yaml',
            description='parameters of all nodes; copy the default one and change it',
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='model source, e.g. torchvision:squeezenet1_1; empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'camera',
            default_value='true',
            choices=['true', 'false'],
            description='start our camera node; false where another driver publishes image_raw',
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
            description='log level of all nodes',
        ),
        DeclareLaunchArgument(
            'rviz',
            default_value='false',
            choices=['true', 'false'],
            description='show the annotated picture and the plan in rviz',
        ),
    ]


def nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; a model given on the command line overrides the file's."""
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    common = [LaunchConfiguration('params_file'), {'use_sim_time': use_sim_time}]
    model = LaunchConfiguration('model').perform(context)
    chosen = [{'model': model}] if model else []
    keep_alive = {
        'output': 'screen',
        'respawn': True,
        'respawn_delay': 2.0,
        'arguments': ['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    }
    made = [
        Node(
            package='dnn_offload',
            executable='camera_node',
            name='camera_node',
            parameters=common,
            condition=IfCondition(LaunchConfiguration('camera')),
            **keep_alive,
        )
    ]
    for name in NODES:
        own = chosen if name == 'local_inference_node' else []
        parameters = [*common, *own]
        made.append(
            Node(
                package='dnn_offload',
                executable=name,
                name=name,
                parameters=parameters,
                **keep_alive,
            )
        )
    made.append(
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', f'{SHARE}/config/dnn_offload.rviz'],
            parameters=[{'use_sim_time': use_sim_time}],
            condition=IfCondition(LaunchConfiguration('rviz')),
        )
    )
    return made


def generate_launch_description() -> LaunchDescription:
    """Compose the robot."""
    profiles = EnvironmentVariable(PROFILES, default_value=f'{SHARE}/config/fastdds.xml')
    group = [
        PushROSNamespace(LaunchConfiguration('namespace')),
        OpaqueFunction(function=nodes),
    ]
    return LaunchDescription(
        [
            *arguments(),
            SetEnvironmentVariable(PROFILES, profiles),
            # torch with its default waiting spins on cores that navigation needs.
            SetEnvironmentVariable(
                'OMP_WAIT_POLICY', EnvironmentVariable('OMP_WAIT_POLICY', default_value='PASSIVE')
            ),
            GroupAction(group),
        ]
    )
