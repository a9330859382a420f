"""Aims as data: what is judged, how it is said beside the figure, and whether it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """A bound of one number of a figure.

    Attributes:
        key: Name of the number.
        bound: It shall be no more than this.
        unit: Of the number.
        at_least: It shall be no less instead.
        most: Another number and its bound, kept as well: that of the worst, say.
        instead: An aim that will do as well.
    """

    key: str
    bound: float
    unit: str
    at_least: bool = False
    most: tuple[str, float] | None = None
    instead: Aim | None = None

    def __str__(self) -> str:
        text = f'{">=" if self.at_least else "<="} {self.bound:g} {self.unit}'
        if self.most is not None:
            text += f' ({self.most[1]:g} {self.unit} at most)'
        return text if self.instead is None else f'{text} or {self.instead}'

    def met(self, numbers: Mapping[str, object]) -> bool:
        """Whether a figure keeps it; the figure must have what is judged."""
        value = _number(numbers, self.key)
        kept = value >= self.bound if self.at_least else value <= self.bound
        if self.most is not None:
            kept = kept and _number(numbers, self.most[0]) <= self.most[1]
        return kept or (self.instead is not None and self.instead.met(numbers))


def judge(aims: Sequence[Aim], numbers: Mapping[str, object]) -> bool | None:
    """Whether all aims are kept; None for a figure without numbers: it could not be measured."""
    if not any(isinstance(value, float) for value in numbers.values()):
        return None
    return all(aim.met(numbers) for aim in aims)


def told(aims: Sequence[Aim], numbers: Mapping[str, object]) -> str:
    """All aims, each with its verdict; once where several numbers have the same."""
    by_text: dict[str, list[Aim]] = {}
    for aim in aims:
        by_text.setdefault(str(aim), []).append(aim)
    if judge(aims, numbers) is None:
        return '; '.join(f'{text}: not judged' for text in by_text)
    return '; '.join(
        f'{text}: {verdict(judge(same, numbers))}' for text, same in by_text.items()
    )


def verdict(met: bool | None) -> str:
    """In a word."""
    return 'not judged' if met is None else 'kept' if met else 'MISSED'


def _number(numbers: Mapping[str, object], key: str) -> float:
    value = numbers[key]
    if not isinstance(value, float):
        raise TypeError(f'{key} is no number: {value!r}')
    return value
