"""The environment variables that nodes started by us should see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import os
from pathlib import Path
import shutil

from ament_index_python.packages import get_package_share_directory


def prepare_environment(domain: int) -> None:
    """Set what is not set yet: domain, discovery on this machine, transports, waiting of OpenMP.

    Args:
        domain: ROS domain to use where ``ROS_DOMAIN_ID`` is not set.
    """
    use_own_transports()
    for name, value in {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        # torch's threads wait asleep, not spinning on the core that navigation needs.
        'OMP_WAIT_POLICY': 'PASSIVE',
    }.items():
        os.environ.setdefault(name, value)


def use_own_transports() -> None:
    """Have Fast DDS load our profile, as the launch files do, unless the user has set one."""
    share = Path(get_package_share_directory('dnn_offload'))
    # A larger shared memory segment: pictures get lost in the default one.
    os.environ.setdefault(
        'FASTRTPS_DEFAULT_PROFILES_FILE', str(share / 'config' / 'fastdds.xml')
    )


@contextlib.contextmanager
def changed_environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def ros_log_folder(out: Path) -> Iterator[None]:
    """Have ROS log below the folder of a run, unless the user has said where; gone afterwards.

    The nodes' output is kept elsewhere: these files repeat it, or stay empty. What a run that was
    killed left there goes with the next one.
    """
    folder = out.resolve() / 'ros_log'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        with changed_environment({'ROS_LOG_DIR': os.environ.get('ROS_LOG_DIR', str(folder))}):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
