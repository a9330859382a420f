"""Numbers on the command line, refused with what is allowed where they are none."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import math
import re

_FACTORS = {'': 1.0, 'k': 1e3, 'M': 1e6, 'G': 1e9}


def bits_per_second(text: str) -> float:
    """``20M``, ``500k`` or ``2e7`` [bit/s]."""
    factor = _FACTORS.get(text[-1:], 0.0)
    number = _number(text[:-1]) * factor if factor else _number(text)
    if not 1.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is no rate, e.g. 500k, 20M or 2e7 [bit/s]')
    return number


def positive(text: str) -> float:
    """A number above 0."""
    number = _number(text)
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is not a positive number')
    return number


def not_negative(text: str) -> float:
    """A number of 0 or more."""
    number = _number(text)
    if not 0.0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f'{text} is not a number of 0 or more')
    return number


def pictures_per_second(text: str) -> float:
    """A rate of 0.001 to 1000, or 0 for none [Hz]."""
    number = _number(text)
    if number != 0.0 and not 1e-3 <= number <= 1e3:
        raise argparse.ArgumentTypeError(f'{text} is not 0 or a number of 0.001 to 1000')
    return number


def within(least: float, most: float) -> Callable[[str], float]:
    """Numbers of ``least`` to ``most``."""

    def read(text: str) -> float:
        number = _number(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f'{text} is not a number of {least:g} to {most:g}')
        return number

    return read


def whole(least: int) -> Callable[[str], int]:
    """Whole numbers of ``least`` or more."""

    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r'[+-]?[0-9]{1,18}', text) else least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f'{text} is not a whole number of {least} or more')
        return number

    return read


share = within(0.0, 1.0)


def _number(text: str) -> float:
    """What the text says; NaN, which is refused everywhere, where it says no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
