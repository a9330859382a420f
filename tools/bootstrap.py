"""Sets up everything that dnn_offload needs on this machine: `python3 tools/bootstrap.py`.

Makes `.venv` (with ROS 2 Jazzy's wheels, or beside a sourced ROS 2 Jazzy) and builds the package
into `install/`. A second run checks and builds only what changed. Standard library only, and this
file is kept readable for any Python, so that a wrong one gets a sentence and no traceback; its
types stand in comments for that reason.
"""

import os
import subprocess
import sys

MINORS = [12, 11, 10]  # of Python 3, the newest first: all the wheels are there for these


def supported(version):
    # type: (tuple[int, int]) -> bool
    """Tell whether a Python version, (major, minor), has all the wheels."""
    return version[0] == 3 and version[1] in MINORS


def ros_pythons():
    # type: () -> tuple[str, list[int]]
    """Return the prefix of a sourced ROS 2 Jazzy, and the minor versions that it is built for.

    Where none is sourced, or another, there are none; environment/machine.py says the rest.
    """
    places = ('lib/python3.%d/site-packages', 'lib/python3.%d/dist-packages',
              'local/lib/python3.%d/dist-packages')
    jazzy = os.environ.get('ROS_DISTRO') == 'jazzy'
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if jazzy else ():
        own = os.path.exists(os.path.join(prefix, 'pyvenv.cfg'))  # wheels in an environment
        if prefix and not own and os.path.isfile(os.path.join(prefix, 'share/rclpy/package.xml')):
            return prefix, [
                minor for minor in MINORS
                if any(os.path.isdir(os.path.join(prefix, p % minor, 'rclpy')) for p in places)
            ]
    return '', []


def find_python(minors):
    # type: (list[int]) -> str | None
    """Return the path of a Python 3 on PATH of one of these minor versions, or None."""
    probe = 'import sys; print("%d.%d" % sys.version_info[:2])'
    for minor in minors:
        for folder in os.environ.get('PATH', '').split(os.pathsep):
            path = os.path.join(folder, 'python3.%d' % minor)
            if not os.access(path, os.X_OK):
                continue
            # Ask it: a version manager's shim of that name may not start anything.
            try:
                process = subprocess.Popen(
                    [path, '-c', probe], stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
                answer = process.communicate()[0].decode().strip()
            except OSError:
                continue
            if process.returncode == 0 and answer == '3.%d' % minor:
                return path
    return None


def start():
    # type: () -> int
    """Run the set-up under a fitting Python; return the exit status."""
    here = sys.version_info[:2]
    ros_prefix, ros_minors = ros_pythons()
    # Beside ROS its modules in C are loaded: they start in that Python only.
    if not supported(here) or (ros_minors and here[1] not in ros_minors):
        minors = ros_minors or MINORS
        other = find_python(minors)
        if other is not None:
            os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])
        if ros_minors:
            needed = 'the ROS 2 in %s is made for Python 3.%d and none' % (ros_prefix, minors[0])
        else:
            needed = 'Python 3.10, 3.11 or 3.12 is needed and none'
        sys.stderr.write(
            'dnn_offload: {0} was found (python3 here is {2[0]}.{2[1]}); install one, for example '
            '"sudo apt install python3.{1} python3.{1}-venv", or name one: '
            'make PYTHON=/path/to/python3.{1} setup\n'.format(needed, minors[0], here)
        )
        return 1
    sys.dont_write_bytecode = True
    from environment.main import main

    return main(sys.argv[1:])


if __name__ == '__main__':
    sys.exit(start())
