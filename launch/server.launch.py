"""The edge server's side: one remote inference node that respawns by itself.

There is no argument ``rviz`` here: the server has no picture of its own to show, and several
robots may use it. On a machine that runs no robot, rviz is started by itself, in the namespace of
the robot that it shows (docs/top.md): ``robot.launch.py rviz:=true`` would start one more robot.
"""

from __future__ import annotations

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushROSNamespace

from dnn_offload.nodes import launch_parts


def arguments() -> list[DeclareLaunchArgument]:
    """Return what may be given on the command line."""
    return launch_parts.node_arguments('edge_server', 'server.yaml')


def nodes(context: LaunchContext) -> list[Node]:
    """Return the node; what is given on the command line overrides the file."""
    return [
        Node(
            package='dnn_offload',
            executable='remote_inference_node',
            name='remote_inference_node',
            output='screen',
            respawn=True,
            respawn_delay=2.0,
            on_exit=launch_parts.tell_cause,
            parameters=[
                *launch_parts.parameter_file(context),
                *launch_parts.given(context, *launch_parts.OVERRIDES),
                *launch_parts.network(context),
            ],
            arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Compose the server."""
    group = [
        PushROSNamespace(LaunchConfiguration('namespace')),
        OpaqueFunction(function=nodes),
    ]
    return LaunchDescription(
        [*arguments(), *launch_parts.environment(), GroupAction(group)]
    )
