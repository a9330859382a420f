"""What a check finds: a state, what was found, and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import enum
from typing import Any


class State(enum.Enum):
    """How bad it is; the value is what people and scripts read.

    OK: as it should be. SKIPPED: was not looked at, ``found`` says why. WARNING: everything
    works, but slower or less surely than it could. FAILURE: something will not work.
    """

    OK = 'ok'
    SKIPPED = 'skipped'
    WARNING = 'warning'
    FAILURE = 'failure'


_ORDER = tuple(State)


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: See ``State``.
        found: What was found, or why it was not looked at; one line.
        cure: What to do, one sentence; empty where all is well, or nothing can be done.
        facts: The same in numbers and names, for scripts; anything that JSON takes.
    """

    state: State
    found: str
    cure: str = ''
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keep the promise that each trouble comes with its cure."""
        if self.state in (State.WARNING, State.FAILURE) and not self.cure:
            raise ValueError(f'{self.state.value} without a cure: {self.found}')

    def knowing(self, **facts: Any) -> Finding:
        """The same with further facts."""
        return replace(self, facts={**self.facts, **facts})


def fine(found: str, cure: str = '') -> Finding:
    """As it should be; ``cure`` is then what could be had on top."""
    return Finding(State.OK, found, cure)


def skipped(why: str, cure: str = '') -> Finding:
    """Not looked at, and why; checks give ``cure``, what to do so that it can be."""
    return Finding(State.SKIPPED, why, cure)


def left_out(why: str) -> Finding:
    """Not looked at, and rightly: there is no such thing here, so that nothing need be done."""
    return Finding(State.SKIPPED, why)


def warning(found: str, cure: str) -> Finding:
    """Works, but slower or less surely."""
    return Finding(State.WARNING, found, cure)


def failure(found: str, cure: str) -> Finding:
    """Will not work."""
    return Finding(State.FAILURE, found, cure)


def together(findings: list[Finding]) -> Finding:
    """Several findings of one check as one: the worst state, all that was found, its cures."""
    worst = max((finding.state for finding in findings), key=_ORDER.index)
    cures = dict.fromkeys(
        finding.cure for finding in findings
        if finding.cure and (finding.state is worst or finding.state is State.FAILURE)
    )
    facts: dict[str, Any] = {}
    for finding in findings:
        facts |= finding.facts
    return Finding(
        worst, '; '.join(finding.found for finding in findings), '; '.join(cures), facts
    )
