"""Version of this very copy of the package, whatever others are installed beside it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
import xml.etree.ElementTree as ElementTree

NAME = 'dnn_offload'
ROOT = Path(__file__).resolve().parents[2]


def own_version(root: Path = ROOT) -> str:
    """What pip or colcon has noted beside the package, or a checkout's manifest.

    Args:
        root: Folder that the package lies in.
    """
    for found in importlib.metadata.distributions(name=NAME, path=[str(root)]):
        return found.version
    try:
        version = ElementTree.parse(root / 'package.xml').getroot().findtext('version')
    except (OSError, ElementTree.ParseError):
        version = None
    return version or 'of unknown version'
