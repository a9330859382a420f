"""Arguments of instructions: trees that JSON can hold, and nothing that could do harm. No torch.

An argument is None, a bool, a number, a short text, ``{'v': name}`` for a value, ``{'w': name}``
for a weight, ``{tag: word}`` for a word of a closed list (a dtype, a memory format ...), or a
list of arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
import re
from typing import Any

MAX_LIST = 4096
MAX_DEPTH = 6
MAX_INT = 1 << 40
MAX_TEXT = 64
END = (1 << 63) - 1  # how ATen writes "to the end" in a slice

NAME = re.compile(r'[A-Za-z0-9_.-]{1,200}\Z')
TAGS: dict[str, frozenset[str]] = {
    'dtype': frozenset(
        'bool uint8 int8 int16 int32 int64 float16 float32 float64 bfloat16'.split()
    ),
    'memory_format': frozenset(
        'contiguous_format channels_last channels_last_3d preserve_format'.split()
    ),
    'layout': frozenset(['strided']),
    'device': frozenset(['cpu']),
    'float': frozenset(['inf', '-inf', 'nan']),
}

Argument = Any


def names_in(tree: Argument, tag: str) -> Iterator[str]:
    """Names under ``tag`` ('v' or 'w') anywhere in the tree, with repetitions."""
    if isinstance(tree, dict):
        if tag in tree:
            yield tree[tag]
    elif isinstance(tree, (list, tuple)):
        for item in tree:
            yield from names_in(item, tag)


def check_argument(tree: Argument, depth: int = 0) -> None:
    """Raise ValueError unless ``tree`` is an argument as the module describes it."""
    if depth > MAX_DEPTH:
        raise ValueError('argument is nested too deeply')
    if isinstance(tree, list):
        if len(tree) > MAX_LIST:
            raise ValueError(f'argument has {len(tree)} elements')
        for item in tree:
            check_argument(item, depth + 1)
    elif isinstance(tree, dict):
        if len(tree) != 1:
            raise ValueError(f'argument is not understood: {str(tree)[:100]}')
        ((tag, word),) = tree.items()
        known = NAME.match(word) if tag in ('v', 'w') else word in TAGS.get(tag, ())
        if not known:
            raise ValueError(f'argument is not understood: {str(tree)[:100]}')
    elif isinstance(tree, int):
        if abs(tree) > MAX_INT and tree != END:
            raise ValueError(f'integer {tree} is out of bounds')
    elif isinstance(tree, float):
        if not math.isfinite(tree):
            raise ValueError('number is not finite')
    elif isinstance(tree, str):
        if len(tree) > MAX_TEXT:
            raise ValueError('text argument is too long')
    elif tree is not None:
        raise ValueError(f'argument is not understood: {str(tree)[:100]}')
