"""The robot's side: camera, load monitor, planner, local inference; each respawns by itself."""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushROSNamespace
from launch_ros.parameter_descriptions import ParameterValue

from dnn_offload.nodes import launch_parts

NODES = ('load_monitor_node', 'partition_planner_node', 'local_inference_node')


def arguments() -> list[DeclareLaunchArgument]:
    """Return what may be given on the command line."""
    return [
        *launch_parts.node_arguments('robot', 'robot.yaml'),
        DeclareLaunchArgument(
            'camera',
            default_value='true',
            choices=['true', 'false'],
            description='start our camera node; false where another driver publishes image_raw',
        ),
        DeclareLaunchArgument(
            'source',
            default_value='',
            description='of our camera node: V4L2 device, file, folder or URL; empty = as in '
            'params_file',
        ),
        DeclareLaunchArgument(
            'image',
            default_value='',
            description='topic with the pictures of another driver, e.g. /camera/image_raw; our '
            'camera node is left out then; empty = image_raw in the namespace',
        ),
        launch_parts.rviz_argument(),
    ]


def nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; what is given on the command line overrides the file."""
    given = launch_parts.given(context, *launch_parts.OVERRIDES)
    common = [*launch_parts.parameter_file(context), *given]
    chosen = launch_parts.network(context)
    source = LaunchConfiguration('source').perform(context)
    # With its type: launch_ros would make a number of "0".
    pictures = [{'source': ParameterValue(source, value_type=str)}] if source else []
    image = LaunchConfiguration('image').perform(context)
    # The base topic only: compressed pictures are looked for beside it.
    remapped = [('image_raw', image)] if image else []
    ours = not image and LaunchConfiguration('camera').perform(context) == 'true'
    keep_alive = {
        'output': 'screen',
        'respawn': True,
        'respawn_delay': 2.0,
        'on_exit': launch_parts.tell_cause,
        'arguments': ['--ros-args', '--log-level', LaunchConfiguration('log_level')],
    }
    made = [
        Node(
            package='dnn_offload',
            executable='camera_node',
            name='camera_node',
            parameters=[*common, *pictures],
            **keep_alive,
        )
    ] if ours else []
    for name in NODES:
        infers = name == 'local_inference_node'
        made.append(
            Node(
                package='dnn_offload',
                executable=name,
                name=name,
                parameters=[*common, *(chosen if infers else [])],
                remappings=remapped if infers else [],
                **keep_alive,
            )
        )
    made.append(
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', f'{launch_parts.SHARE}/config/dnn_offload.rviz'],
            parameters=launch_parts.given(context, 'use_sim_time'),
            condition=IfCondition(LaunchConfiguration('rviz')),
        )
    )
    return made


def generate_launch_description() -> LaunchDescription:
    """Compose the robot."""
    group = [
        PushROSNamespace(LaunchConfiguration('namespace')),
        OpaqueFunction(function=nodes),
    ]
    return LaunchDescription(
        [*arguments(), *launch_parts.environment(), GroupAction(group)]
    )
