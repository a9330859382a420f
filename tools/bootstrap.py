"""Sets up everything that dnn_offload needs on this machine: `python3 tools/bootstrap.py`.

Makes `.venv` (with ROS 2 Jazzy's wheels, or beside a sourced ROS 2 Jazzy) and builds the package
into `install/`. A second run checks and builds only what changed. Standard library only, and this
file is kept readable for any Python, so that a wrong one gets a sentence and no traceback; its
types stand in comments for that reason.
"""

import os
import subprocess
import sys

LOWEST, HIGHEST = (3, 10), (3, 12)


def supported(version):
    # type: (tuple[int, int]) -> bool
    """Tell whether a Python version, (major, minor), has all the wheels."""
    return LOWEST <= tuple(version) <= HIGHEST


def find_python():
    # type: () -> str | None
    """Return the path of a supported Python on PATH, or None."""
    probe = 'import sys; print("%d.%d" % sys.version_info[:2])'
    for minor in range(HIGHEST[1], LOWEST[1] - 1, -1):
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
    """Run the set-up under a supported Python; return the exit status."""
    if not supported(sys.version_info[:2]):
        other = find_python()
        if other is not None:
            os.execv(other, [other, os.path.abspath(__file__)] + sys.argv[1:])
        sys.stderr.write(
            'dnn_offload: Python 3.10, 3.11 or 3.12 is needed and none was found (python3 here is '
            '%d.%d); install one, for example "sudo apt install python3.12 python3.12-venv", or '
            'name one: make PYTHON=/path/to/python3.12 setup\n' % sys.version_info[:2]
        )
        return 1
    sys.dont_write_bytecode = True
    from environment.main import main

    return main(sys.argv[1:])


if __name__ == '__main__':
    sys.exit(start())
