"""What this machine is and has: platform, compilers, headers, ROS 2, an NVIDIA GPU."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
import platform
import shutil
import sysconfig
import threading
import urllib.error
import urllib.request

from environment.commands import SetupError

CPU_WHEELS = 'https://download.pytorch.org/whl/cpu'
NVIDIA_MARKS = ('/proc/driver/nvidia/version', '/dev/nvidiactl', '/dev/nvhost-gpu')


def check_platform(ros_prefix: Path | None) -> None:
    """Raise SetupError where neither the wheels nor the distribution can run."""
    if platform.system() != 'Linux':
        raise SetupError(
            f'Linux is needed and this is {platform.system()}; use Ubuntu 24.04, a container or '
            f'WSL 2.'
        )
    if ros_prefix is None and platform.machine() not in ('x86_64', 'AMD64'):
        raise SetupError(
            f'without ROS 2 Jazzy its wheels from PyPI are used, and they exist for x86-64 only '
            f'(this is {platform.machine()}); install ROS 2 Jazzy on Ubuntu 24.04 from apt, '
            f'"source /opt/ros/jazzy/setup.bash" and run this again.'
        )


def check_place(root: Path) -> None:
    """Raise SetupError where the path of the checkout breaks colcon's scripts."""
    if any(character.isspace() for character in str(root)):
        raise SetupError(
            f'the path "{root}" has a space in it, which colcon cannot handle; move the checkout '
            f'to a path without one and run this again.'
        )


def check_compilers() -> None:
    """Raise SetupError when the C or the C++ compiler for the message code is missing."""
    for variable, names, language in (
        ('CC', ('cc', 'gcc', 'clang'), 'C'),
        ('CXX', ('c++', 'g++', 'clang++'), 'C++'),
    ):
        chosen = os.environ.get(variable, '').split()
        candidates = (chosen[0],) if chosen else names
        if not any(shutil.which(name) for name in candidates):
            looked_for = ', '.join(candidates)
            raise SetupError(
                f'a {language} compiler is missing (looked for {looked_for}); install one, '
                f'for example "sudo apt install build-essential", and run this again.'
            )
    if not shutil.which('make') and not shutil.which('ninja'):
        raise SetupError(
            'make is missing; install it, for example "sudo apt install build-essential", and '
            'run this again.'
        )


def check_python_headers() -> None:
    """Raise SetupError where this Python's C headers are missing (Debian splits them off).

    The code that is generated for our messages is a C extension of Python, with wheels and beside
    a distribution alike.
    """
    # Where CMake looks, too.
    folders = [sysconfig.get_path(name) for name in ('include', 'platinclude')]
    if not any((Path(folder) / 'Python.h').is_file() for folder in folders):
        version = '.'.join(platform.python_version_tuple()[:2])
        raise SetupError(
            f'the C headers of Python {version} are missing (Python.h is not in {folders[0]}) and '
            f'the messages cannot be built without them; install them, for example '
            f'"sudo apt install python{version}-dev", and run this again.'
        )


def check_venv_module() -> None:
    """Raise SetupError where Python cannot make virtual environments (Debian splits it off)."""
    for module in ('venv', 'ensurepip'):
        if importlib.util.find_spec(module) is None:
            version = '.'.join(platform.python_version_tuple()[:2])
            raise SetupError(
                f'this Python {version} has no module {module}; install it, for example '
                f'"sudo apt install python{version}-venv", and run this again.'
            )


def ros_distribution() -> Path | None:
    """Return the prefix of a sourced ROS 2 Jazzy, or None when none is sourced.

    A virtual environment with ROS wheels, such as our own, is no distribution.

    Raises:
        SetupError: Another distribution is sourced.
    """
    for entry in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        prefix = Path(entry)
        if not entry or not (prefix / 'share/rclpy/package.xml').is_file():
            continue
        if (prefix / 'pyvenv.cfg').is_file():
            continue
        distribution = os.environ.get('ROS_DISTRO', '')
        if distribution != 'jazzy':
            raise SetupError(
                f'ROS 2 {distribution or "of unknown name"} is sourced, and dnn_offload is for '
                f'Jazzy; run this in a shell where Jazzy or nothing is sourced.'
            )
        return prefix
    return None


def ament_package(name: str) -> bool:
    """Tell whether a sourced prefix other than ours has the ROS package `name`."""
    own = Path(__file__).resolve().parents[2]
    for entry in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        prefix = Path(entry)
        if not entry or own in prefix.resolve().parents or (prefix / 'pyvenv.cfg').is_file():
            continue
        if (prefix / 'share' / name / 'package.xml').is_file():
            return True
    return False


def has_nvidia_gpu() -> bool:
    """Tell whether an NVIDIA driver runs here."""
    return any(os.path.exists(mark) for mark in NVIDIA_MARKS)


def cpu_wheels_reachable(timeout_s: float = 4.0) -> bool:
    """Tell whether PyTorch's own index of CPU builds answers within `timeout_s`.

    In a thread, since a name look-up has no time-out of its own.
    """
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(f'{CPU_WHEELS}/torch/', method='HEAD')
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                answers.append(reply.status == 200)
        except (urllib.error.URLError, OSError, ValueError):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return bool(answers and answers[0])
