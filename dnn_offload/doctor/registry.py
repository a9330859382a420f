"""All checks, in the order in which they are made: what others rest on comes first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dnn_offload.doctor import (
    board_checks,
    camera_check,
    kernel_checks,
    link_checks,
    model_checks,
    python_checks,
    ros_checks,
)
from dnn_offload.doctor.examination import (
    Examination,
    INSTALL_LIMIT_S,
    LINK_LIMIT_S,
    LINK_S,
    LOOK_LIMIT_S,
    MODEL_LIMIT_S,
)
from dnn_offload.doctor.finding import Finding
from dnn_offload.errors import ConfigurationError

SHORT_S = 10.0
MOST_SERVERS = 4  # for which there is time within the limit
_ROS_S = INSTALL_LIMIT_S + LOOK_LIMIT_S + 10.0
_ALL_S = _ROS_S + MODEL_LIMIT_S + MOST_SERVERS * (LINK_S + LINK_LIMIT_S)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: For ``--only`` and ``--skip``.
        about: What it looks at, for ``--list``.
        run: Makes it; may raise ``MissingError``.
        limit_s: Then it is given up [s]. Its children end sooner.
    """

    name: str
    about: str
    run: Callable[[Examination], Finding]
    limit_s: float = SHORT_S


CHECKS = (
    Check('python', 'version and processor', python_checks.check_python),
    Check('packages', 'what the package imports', python_checks.check_packages),
    Check('torch', 'computes, without an illegal instruction', python_checks.check_torch, 70.0),
    Check(
        'pictures', 'NumPy, OpenCV and cv_bridge fit together', python_checks.check_pictures, 30.0
    ),
    Check(
        'install', 'which dnn_offload wins, pip or colcon', python_checks.check_install, 25.0
    ),
    Check('ros', 'domain, middleware, discovery range', ros_checks.check_ros, _ROS_S),
    Check('multicast', 'heard here, and from other machines', ros_checks.check_multicast, 20.0),
    Check('peers', 'robots and servers on the domain', ros_checks.check_peers, _ROS_S),
    Check('buffers', 'net.core.rmem_max and wmem_max', kernel_checks.check_buffers),
    Check('fragments', 'net.ipv4.ipfrag_*', kernel_checks.check_fragments),
    Check('shm', 'shared memory, and what dead processes left in it', kernel_checks.check_shm),
    Check('wifi', 'power save and signal', board_checks.check_wifi),
    Check('clock', 'governor and limits of the clock', board_checks.check_clock),
    Check('throttling', 'heat and supply', board_checks.check_throttling),
    Check('psi', 'pressure stall information, load now', kernel_checks.check_psi),
    Check('camera', 'opens, and at which rate', camera_check.check_camera, 40.0),
    Check(
        'model', 'the network loads and runs here', model_checks.check_model,
        _ROS_S + MODEL_LIMIT_S,
    ),
    Check(
        'agreement', 'robots and servers have the same network', model_checks.check_agreement,
        _ROS_S + MODEL_LIMIT_S,
    ),
    Check('link', 'to each server, measured both ways', link_checks.check_link, _ALL_S),
    Check('fps', 'expected rate and latency by plan', link_checks.check_fps, _ALL_S),
)


def choose(only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[list[Check], list[Check]]:
    """The checks to make, and those that are left out at the user's wish, both in order.

    Raises:
        ConfigurationError: There is no check of that name.
    """
    names = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in names:
            raise ConfigurationError('no such check', given=name, allowed=', '.join(names))
    asked = [check for check in CHECKS if not only or check.name in only]
    return (
        [check for check in asked if check.name not in skip],
        [check for check in asked if check.name in skip],
    )
