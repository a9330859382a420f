"""Is an environment whole? Run by the environment's own Python: `python verify.py FILE.txt ...`.

Checks that every pinned distribution is there at its version, and that every file which its
installer recorded is there at its size: an installation that was stopped half-way, or a disk that
filled up, leaves gaps which importing alone may not show.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
import re
import sys

SINCE = re.compile(r';\s*python_version >= "3\.(\d+)"')
NAME = re.compile(r'^[A-Za-z0-9._-]+')
PIN = re.compile(rf'({NAME.pattern})(?:\[[^\]]*\])?==([^\s#;]+)')


def lines_for_this_python(path: Path) -> list[str]:
    """Return the lines of a requirements file but for requirements of another Python."""
    return [
        line for line in path.read_text(encoding='utf-8').splitlines()
        if not (since := SINCE.search(line)) or sys.version_info >= (3, int(since[1]))
    ]


def names(path: Path) -> list[str]:
    """Return the distributions that a requirements file asks for, pinned or not."""
    return [match[0] for match in map(NAME.match, lines_for_this_python(path)) if match]


def pins(path: Path) -> list[tuple[str, str]]:
    """Return (name, version) of each pin of a requirements file that is for this Python."""
    return [(match[1], match[2]) for match in map(PIN.match, lines_for_this_python(path)) if match]


def version_problems(wanted: list[tuple[str, str]]) -> list[str]:
    """Return what is missing or of another version, in words."""
    problems = []
    for name, version in wanted:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f'{name} is missing')
            continue
        if found.split('+')[0] != version:
            problems.append(f'{name} is {found}, not {version}')
    return problems


def file_problems() -> list[str]:
    """Return the recorded files that are missing or of another size, in words."""
    problems = []
    inside = Path(sys.prefix).resolve()
    for distribution in metadata.distributions():
        for entry in distribution.files or ():
            if entry.size is None or entry.suffix in ('.pyc', '.cmake'):
                continue  # compiled anew, or mended by us
            path = Path(str(entry.locate()))
            if inside not in path.parents:
                continue  # the system's own, beside a sourced ROS 2
            try:
                size = path.stat().st_size
            except OSError:
                problems.append(f'{path} is missing')
                continue
            if size != entry.size:
                problems.append(f'{path} has {size} bytes, not {entry.size}')
    return problems


def main(files: list[str]) -> int:
    """Print the problems, and return how many there are, at most 1."""
    wanted = [pin for name in files for pin in pins(Path(name))]
    problems = version_problems(wanted) + file_problems()
    for problem in problems[:20]:
        print(problem)
    return min(1, len(problems))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
