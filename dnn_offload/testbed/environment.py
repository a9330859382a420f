"""The environment variables that nodes started by us should see."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory


def prepare_environment(domain: int) -> None:
    """Set what is not set yet: domain, discovery on this machine, transports, waiting of OpenMP.

    Args:
        domain: ROS domain to use where ``ROS_DOMAIN_ID`` is not set.
    """
    share = Path(get_package_share_directory('dnn_offload'))
    for name, value in {
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        # A larger shared memory segment: pictures get lost in the default one.
        'FASTRTPS_DEFAULT_PROFILES_FILE': str(share / 'config' / 'fastdds.xml'),
        # torch's threads wait asleep, not spinning on the core that navigation needs.
        'OMP_WAIT_POLICY': 'PASSIVE',
    }.items():
        os.environ.setdefault(name, value)
