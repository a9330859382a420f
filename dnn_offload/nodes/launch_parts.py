"""What the launch files have in common: arguments and environment of any of our launches."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.events.process import ProcessExited
import launch.logging
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.parameter_descriptions import ParameterValue

from dnn_offload.nodes.launch_files import parameter_files
from dnn_offload.process_end import cause_of, how_it_ended

SHARE = get_package_share_directory('dnn_offload')
PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'
WAITING = 'OMP_WAIT_POLICY'
OVERRIDES = ('use_sim_time', 'autostart')
NETWORK = ('model', 'weights', 'input_size')


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
            description='parameters of the nodes; replaces the default file: what it does not '
            "name has the node's own default",
        ),
        DeclareLaunchArgument(
            'model',
            default_value='',
            description='model source, e.g. torchvision:squeezenet1_1, the same on robot and '
            'server; empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'weights',
            default_value='',
            description="of a torchvision network: an enum entry's name, a .safetensors file or "
            'random, the same on robot and server; empty = as in params_file',
        ),
        DeclareLaunchArgument(
            'input_size',
            default_value='',
            description='input of the network as HEIGHTxWIDTH, the same on robot and server; '
            'empty = as in params_file',
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
        description='show the annotated picture and the plan in rviz, on this machine; '
        'docs/top.md says how on another one',
    )


def given(context: LaunchContext, *names: str) -> list[dict[str, bool]]:
    """Return the arguments that were not left empty, as parameters that override the file's."""
    texts = {name: LaunchConfiguration(name).perform(context) for name in names}
    values = {name: text == 'true' for name, text in texts.items() if text}
    return [values] if values else []  # launch_ros makes a broken file of an empty one


def parameter_file(context: LaunchContext) -> list[str]:
    """Return the parameter file that was given, or the default one; refuses what is no file."""
    return parameter_files(LaunchConfiguration('params_file').perform(context))


def network(context: LaunchContext) -> list[dict[str, ParameterValue]]:
    """Return what was given of the network, as parameters that override the file's."""
    texts = {name: LaunchConfiguration(name).perform(context) for name in NETWORK}
    # With their type: launch_ros would take what looks like a number for one.
    values = {n: ParameterValue(text, value_type=str) for n, text in texts.items() if text}
    return [values] if values else []


def tell_cause(event: ProcessExited, context: LaunchContext) -> None:
    """Say what killed a node (its ``on_exit``): launch names a number and starts it again."""
    # While it ends, launch itself kills who does not hear it.
    if cause_of(event.returncode) and not context.is_shutdown:
        launch.logging.get_logger(event.process_name).error(how_it_ended(event.returncode))


def environment() -> list[SetEnvironmentVariable]:
    """Return what is set for all processes, unless the user has set it."""
    profiles = EnvironmentVariable(PROFILES, default_value=f'{SHARE}/config/fastdds.xml')
    # torch with its default waiting spins on cores that others need.
    waiting = EnvironmentVariable(WAITING, default_value='PASSIVE')
    return [SetEnvironmentVariable(PROFILES, profiles), SetEnvironmentVariable(WAITING, waiting)]
