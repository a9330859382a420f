"""The diagram of a frame's stages in docs/architecture.md draws the moves that there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import random
import re

import numpy as np

from dnn_offload.runtime.frame_table import FrameTable
from dnn_offload.runtime.frames import Stage
from dnn_offload.runtime.outcomes import DropReason, Outcome

PAGE = Path(__file__).resolve().parents[1] / 'docs' / 'architecture.md'
NAMES = {stage.name for stage in Stage}
ENDED = 'published'
WALKS, STEPS = 3000, 10

Call = Callable[[FrameTable, int], object]
# Everything that may befall a frame that has entered, but for being dropped as an error or at the
# end, which the diagram's note has.
CALLS: tuple[Call, ...] = (
    lambda table, seq: table.start(seq, 0.0),
    lambda table, seq: table.sent(seq, 1.0, True),
    lambda table, seq: table.answer_will_not_come(seq, 0.0, 'lost'),
    lambda table, seq: table.answered(seq),
    lambda table, seq: table.answer_unreadable(seq, 0.0, 'damaged'),
    lambda table, seq: table.begin_rescue(seq),
    lambda table, seq: table.computed(seq),
    lambda table, seq: table.computed(seq, ([np.zeros(1)], 1.0)),
    lambda table, seq: table.returned(seq, [np.zeros(1)]),
    lambda table, seq: table.begin_rest(seq),
    lambda table, seq: table.superseded_at_server(seq),
    lambda table, seq: table.rescue_failed(seq, DropReason.CANNOT_RESCUE),
    lambda table, seq: table.published(seq, Outcome.LOCAL),
)


def moves_made() -> set[tuple[str, str]]:
    """From stage to stage, or to an outcome, over many random lives of a frame."""
    chance, made = random.Random(0), set()
    for _ in range(WALKS):
        table = FrameTable()
        seq = table.enter(1.0, 0.0, 0.0).seq
        for _ in range(STEPS):
            before = table.get(seq)
            if before is None:
                break
            stage = before.stage
            chance.choice(CALLS)(table, seq)
            after = table.get(seq)
            if after is None:
                (end,) = table.take_ended()
                dropped = end.outcome is Outcome.DROPPED
                made.add((stage.name, 'dropped' if dropped else ENDED))
            elif after.stage is not stage:
                made.add((stage.name, after.stage.name))
    return made


def moves_drawn() -> set[tuple[str, str]]:
    """The arrows between stages, and from them to their ends."""
    text = PAGE.read_text(encoding='utf-8')
    diagram = text[text.index('stateDiagram-v2'):]
    arrows = re.findall(r'^ +(\S+) --> (\w+)', diagram[:diagram.index('```')], re.MULTILINE)
    return {(one, other) for one, other in arrows if one in NAMES}


def test_the_diagram_has_the_moves_of_the_frame_table() -> None:
    # A newer picture, and one that cannot be read: not of the frame's own doing.
    by_others = {('WAITING', 'dropped'), ('RUNNING', 'dropped')}
    assert by_others <= moves_drawn()
    assert moves_made() == moves_drawn() - by_others
