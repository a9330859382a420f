"""What is known of networks without loading torch: names, weights, sizes that cannot be chosen."""

from __future__ import annotations

import difflib
import functools
from importlib.util import find_spec
from pathlib import Path
import re

DEMO_DETECTOR = 'demo:detector'
# Networks that take one size of picture only: height, width [px].
FIXED_SIZES = {
    DEMO_DETECTOR: (240, 320),
    'torchvision:ssd300_vgg16': (300, 300),
    'torchvision:ssdlite320_mobilenet_v3_large': (320, 320),
}
NEAR = 3
_ENUM = re.compile(r'^class (\w+)\(WeightsEnum\):\n(.*?)(?=^\S|\Z)', re.DOTALL | re.MULTILINE)
_MEMBER = re.compile(r'^    (?!DEFAULT )(\w+) = ', re.MULTILINE)
_BUILDER = re.compile(
    r'^@register_model\((?:name="(\w+)")?\).*?^def (\w+)\('
    r'\s*\*,\s*weights: Optional\[(?:Union\[)?(\w+)',
    re.DOTALL | re.MULTILINE,
)


@functools.cache
def torchvision_weights() -> dict[str, tuple[str, ...]]:
    """Names of torchvision's networks, with those of their weights; {} where they are not known.

    Read from its source: to import it would take a second, and memory that stays.
    """
    found: dict[str, tuple[str, ...]] = {}
    spec = find_spec('torchvision')
    if spec is None or spec.origin is None:
        return found
    for file in Path(spec.origin).parent.glob('models/**/*.py'):
        text = file.read_text(encoding='utf-8')
        enums = {name: tuple(_MEMBER.findall(body)) for name, body in _ENUM.findall(text)}
        for given, function, enum in _BUILDER.findall(text):
            found[given or function] = enums.get(enum, ())
    return found


def near_names(name: str) -> str:
    """Networks of torchvision whose names are like ``name``, for people; '' if none is."""
    return ', '.join(difflib.get_close_matches(name, torchvision_weights(), NEAR))
