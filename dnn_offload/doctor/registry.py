"""All checks, in the order in which they are made: what others rest on comes first.

Each is imported when it is made: the doctor itself needs nothing but rich, so that it can tell
of a NumPy that is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import importlib

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
_MODEL_S = _ROS_S + MODEL_LIMIT_S
_ALL_S = _MODEL_S + MOST_SERVERS * (LINK_S + LINK_LIMIT_S)


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


def _later(name: str, module: str) -> Callable[[Examination], Finding]:
    """The function ``check_<name>`` of a module, imported when it is called."""

    def run(exam: Examination) -> Finding:
        made: Finding = getattr(
            importlib.import_module(f'dnn_offload.doctor.{module}'), f'check_{name}'
        )(exam)
        return made

    return run


def _check(name: str, about: str, module: str, limit_s: float = SHORT_S) -> Check:
    return Check(name, about, _later(name, module), limit_s)


CHECKS = (
    # Before anything else: what the other checks compute is load, too.
    _check('psi', 'pressure stall information, load now', 'kernel_checks'),
    _check('python', 'version and processor', 'python_checks'),
    _check('packages', 'what the package imports', 'python_checks'),
    _check('torch', 'computes, without an illegal instruction', 'python_checks', 70.0),
    _check('pictures', 'NumPy, OpenCV and cv_bridge fit together', 'python_checks', 30.0),
    _check('install', 'which dnn_offload wins, pip or colcon', 'python_checks', 25.0),
    _check('ros', 'domain, middleware, discovery range', 'ros_checks', _ROS_S),
    _check('multicast', 'heard here, and from other machines', 'ros_checks', 20.0),
    _check('peers', 'robots and servers on the domain', 'ros_checks', _ROS_S),
    _check('buffers', 'net.core.rmem_max and wmem_max', 'kernel_checks'),
    _check('fragments', 'net.ipv4.ipfrag_*', 'kernel_checks'),
    _check('shm', 'shared memory, and what dead processes left in it', 'kernel_checks'),
    _check('time', 'whether the wall clock is kept right', 'kernel_checks'),
    _check('wifi', 'power save and signal', 'board_checks'),
    _check('clock', 'governor and limits of the clock', 'board_checks'),
    _check('throttling', 'heat and supply', 'board_checks'),
    _check('camera', 'opens, and at which rate', 'camera_check', 40.0),
    _check('model', 'the network loads and runs here', 'model_checks', _MODEL_S),
    _check('agreement', 'robots and servers have the same network', 'model_checks', _MODEL_S),
    _check('link', 'to each server, measured both ways', 'link_checks', _ALL_S),
    _check('fps', 'expected rate and latency by plan', 'link_checks', _ALL_S),
)


def choose(only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[list[Check], list[Check]]:
    """The checks to make, and those that are left out at the user's wish, both in order.

    Raises:
        ConfigurationError: There is no check of that name.
    """
    names = [check.name for check in CHECKS]
    for name in (*only, *skip):
        if name not in names:
            raise ConfigurationError(
                'no such check', given=name or 'nothing', allowed=', '.join(names)
            )
    asked = [check for check in CHECKS if not only or check.name in only]
    return (
        [check for check in asked if check.name not in skip],
        [check for check in asked if check.name in skip],
    )
