"""Mends the ROS wheels: their exported CMake targets name paths of the machine that built them."""

from __future__ import annotations

from pathlib import Path
import re
import sys
import sysconfig

NUMPY_INCLUDE = re.compile(
    r'/opt/python/cp\d+-cp\d+/lib/python3\.\d+/site-packages/numpy/_?core/include'
)
PYTHON_INCLUDE = re.compile(r'/opt/python/cp\d+-cp\d+/include/python3\.\d+')


def mend_text(text: str, numpy_include: str, python_include: str) -> str:
    """Return a CMake file with this machine's include folders."""
    return PYTHON_INCLUDE.sub(python_include, NUMPY_INCLUDE.sub(numpy_include, text))


def mend(prefix: Path, numpy_include: str, python_include: str) -> int:
    """Mend every CMake file below a prefix; return how many were changed."""
    changed = 0
    for folder in (prefix / 'share', prefix / 'lib/cmake'):
        for path in folder.rglob('*.cmake'):
            before = path.read_text(encoding='utf-8')
            after = mend_text(before, numpy_include, python_include)
            if after != before:
                path.write_text(after, encoding='utf-8')
                changed += 1
    return changed


if __name__ == '__main__':  # run by the environment's own Python, which has NumPy
    import numpy

    count = mend(Path(sys.prefix), numpy.get_include(), sysconfig.get_path('include'))
    print(f'{count} CMake files mended')
