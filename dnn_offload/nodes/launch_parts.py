"""What the launch files have in common: arguments and environment of any of our launches."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration

SHARE = get_package_share_directory('dnn_offload')
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
WAITING = 'OMP_WAIT_POLICY'
OVERRIDES = ('use_sim_time', 'autostart')


def node_arguments(namespace: str, params_file: str) -> list[DeclareLaunchArgument]:
    """Return the arguments of a launch file that starts nodes.

    Args:
        namespace: Default namespace.
        params_file: Name of the default parameter file in ``config/``.
    """
    return [
        DeclareLaunchArgument(
            'namespace',
            default_value=namespace,
            description='namespace of the nodes, another one for each robot or server; / = none',
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=f'{SHARE}/config/{params_file}',
            description='parameters of the nodes; copy the default one and change it',
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='model source, e.g. torchvision:squeezenet1_1, the same on robot and '
            'server; empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='',
            choices=['true', 'false', ''],
            description='take the time from /clock (bag or simulator); empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='',
            choices=['true', 'false', ''],
            description='configure and activate the nodes; false where a lifecycle manager does '
            'it; empty = as in params_file',
        ),
        log_level_argument(),
    ]


def log_level_argument() -> DeclareLaunchArgument:
    """Return the argument by which nodes say more or less."""
    return DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='log level of the nodes',
    )


def rviz_argument() -> DeclareLaunchArgument:
    """Return the argument that asks for rviz."""
    return DeclareLaunchArgument(
        'rviz',
        default_value='false',
        choices=['true', 'false'],
        description='show the annotated picture and the plan in rviz',
    )


def given(context: LaunchContext, *names: str) -> list[dict[str, bool]]:
    """Return the arguments that were not left empty, as parameters that override the file's."""
    texts = {name: LaunchConfiguration(name).perform(context) for name in names}
    values = {name: text == 'true' for name, text in texts.items() if text}
    return [values] if values else []  # launch_ros makes a broken file of an empty one


def environment() -> list[SetEnvironmentVariable]:
    """Return what is set for all processes, unless the user has set it."""
    profiles = EnvironmentVariable(PROFILES, default_value=f'{SHARE}/config/fastdds.xml')
    # torch with its default waiting spins on cores that others need.
    waiting = EnvironmentVariable(WAITING, default_value='PASSIVE')
    return [SetEnvironmentVariable(PROFILES, profiles), SetEnvironmentVariable(WAITING, waiting)]
