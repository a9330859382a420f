"""Files that are named in an argument of a launch file. No ROS, no launch."""

from __future__ import annotations

from pathlib import Path

from dnn_offload.errors import ConfigurationError


def parameter_files(given: str) -> list[str]:
    """What to hand to nodes as their parameter file; none where none was given.

    launch_ros itself only logs that there is no such file, and starts the nodes on their
    defaults: a robot that drives by other values than its user wrote.

    Args:
        given: Path, absolute or from the folder in which launch runs. ``~`` is the user's home:
            shells do not expand it behind ``:=``.

    Raises:
        ConfigurationError: There is no such file.
    """
    if not given:
        return []
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigurationError(
            f'params_file: {path} is {"a folder" if path.is_dir() else "not there"}',
            given=given, allowed='a YAML file with parameters of the nodes',
            hint=f'a relative path counts from {Path.cwd()}; without params_file the installed '
            'default file is taken',
        )
    return [str(path)]
