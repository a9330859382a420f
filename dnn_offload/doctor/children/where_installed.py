"""Which dnn_offload a node would import here, and what else of it lies on the path.

Standard library only; nothing of the package is executed but its empty ``__init__``.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path
import re
import sys
from typing import Any

PACKAGE = 'dnn_offload'


def copies(path: list[str]) -> list[str]:
    """Folders of all importable packages of our name, the one that wins first."""
    found = {Path(entry or '.', PACKAGE).resolve(): None for entry in path}
    return [str(folder) for folder in found if (folder / '__init__.py').is_file()]


def distributions() -> list[dict[str, str]]:
    """Version and place of every installation that has left its metadata."""
    found: dict[str, str] = {}
    for item in importlib.metadata.distributions(name=PACKAGE):
        found.setdefault(str(Path(str(item.locate_file(''))).resolve()), item.version)
    return [{'place': place, 'version': version} for place, version in found.items()]


def prefixes(variable: str) -> list[dict[str, str]]:
    """Prefix and version of every colcon or apt installation that is sourced."""
    found = []
    for prefix in variable.split(os.pathsep):
        manifest = Path(prefix, 'share', PACKAGE, 'package.xml')
        if prefix and manifest.is_file():
            version = re.search(r'<version>(.*?)</version>', manifest.read_text(encoding='utf-8'))
            found.append({'prefix': prefix, 'version': version[1] if version else ''})
    return found


def look() -> dict[str, Any]:
    """All of it."""
    spec = importlib.util.find_spec(PACKAGE)
    # Of the folder, not of the file: "colcon build --symlink-install" links each file to the
    # source tree or to the build folder, and what is imported is what lies in the install.
    folder = str(Path(spec.origin).parent.resolve()) if spec and spec.origin else ''
    messages = bool(folder) and importlib.util.find_spec(f'{PACKAGE}.msg') is not None
    return {
        'folder': folder,
        'messages': messages,
        'ros_part': bool(folder) and Path(folder, 'nodes').is_dir(),
        'copies': copies(sys.path),
        'distributions': distributions(),
        'prefixes': prefixes(os.environ.get('AMENT_PREFIX_PATH', '')),
        'rclpy': importlib.util.find_spec('rclpy') is not None,
    }


if __name__ == '__main__':
    sys.path.pop(0)  # this folder, which no node has
    print(json.dumps(look()))
