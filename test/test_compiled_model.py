"""Compiled segments: torch stands in until they are ready, and whenever they fail."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import numpy as np
import pytest

from backend_parts import fake_compiler, INSTALLED, save, wait_until, with_compiler
from dnn_offload.errors import CutError
from dnn_offload.graph.fingerprint import seeded_inputs
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from dnn_offload.runtime.backends import compiled as compiled_module
from dnn_offload.runtime.backends.base import stood_in
from dnn_offload.runtime.backends.compiled import CompiledModel
from dnn_offload.runtime.backends.load import deviation, load
from dnn_offload.runtime.backends.torch_backend import TorchBackend, TorchModel
import tiny_factory


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny_factory.make(), tmp_path_factory.mktemp('tiny'))


@pytest.fixture(params=INSTALLED)
def tiny(request: pytest.FixtureRequest, folder: Path) -> CompiledModel:
    made = load(folder, request.param)
    assert isinstance(made, CompiledModel)
    return made


def test_torch_stands_in_until_a_piece_is_compiled(tiny: CompiledModel) -> None:
    last = len(tiny.cuts) - 1
    inputs = seeded_inputs(tiny.program.inputs)
    reference = TorchModel(tiny.program, tiny.weights)
    arrays = reference.run(reference.segment(0, 1), inputs)
    wanted = reference.run(reference.segment(1, last), arrays)
    segment = tiny.segment(1, last)
    first = tiny.run(segment, arrays)
    assert segment.stood_in
    assert all(np.array_equal(a, b) for a, b in zip(first, wanted, strict=True))
    wait_until(lambda: segment.ready)
    found = tiny.run(segment, arrays)
    assert not segment.stood_in
    assert all(deviation(a, b) <= 1e-4 for a, b in zip(found, wanted, strict=True))


def test_what_is_held_is_compiled_before_it_runs(tiny: CompiledModel) -> None:
    """The tail of a rescue must be fast at its first run."""
    last = len(tiny.cuts) - 1
    reference = TorchModel(tiny.program, tiny.weights)
    arrays = reference.run(reference.segment(0, 2), seeded_inputs(tiny.program.inputs))
    tail = tiny.segment(2, last)
    tiny.hold([tail])
    wait_until(lambda: tail.ready)
    tiny.run(tail, arrays)
    assert not tail.stood_in


def test_a_new_thread_count_is_compiled_for(tiny: CompiledModel) -> None:
    last = len(tiny.cuts) - 1
    inputs = seeded_inputs(tiny.program.inputs)
    segment = tiny.segment(0, last)
    tiny.run(segment, inputs)
    assert not segment.stood_in  # the whole network is compiled when the model is loaded
    tiny.set_threads(2)
    try:
        tiny.run(segment, inputs)
        assert segment.stood_in
        wait_until(lambda: 2 in segment.ready)
        tiny.run(segment, inputs)
        assert not segment.stood_in
    finally:
        tiny.set_threads(1)


def test_kept_tensors_are_not_overwritten_by_the_next_run(tiny: CompiledModel) -> None:
    inputs = seeded_inputs(tiny.program.inputs)
    assert tiny.warm(0, 1) == ''
    kept = tiny.run(tiny.segment(0, 1), inputs)
    copies = [array.copy() for array in kept]
    tiny.run(tiny.segment(0, 1), [255 - inputs[0]])
    assert all(np.array_equal(a, b) for a, b in zip(kept, copies, strict=True))


def test_wrong_tensors_are_refused_and_change_nothing(tiny: CompiledModel) -> None:
    inputs = seeded_inputs(tiny.program.inputs)
    segment = tiny.segment(0, len(tiny.cuts) - 1)
    with pytest.raises(CutError):
        tiny.run(segment, [inputs[0][:, :8]])
    tiny.run(segment, inputs)
    assert segment.failure == '' and not segment.stood_in


def test_a_piece_by_values_is_compiled_too(tiny: CompiledModel) -> None:
    first, last = tiny.cuts[0], tiny.cuts[-1]
    taken = tuple(spec.name for spec in first.frontier)
    given = tuple(spec.name for spec in last.frontier)
    segment = tiny.piece(taken, given)
    tiny.run(segment, seeded_inputs(tiny.program.inputs))
    wait_until(lambda: segment.ready)
    assert segment.positions


def test_a_switch_does_not_wait_for_a_compiler(folder: Path) -> None:
    model = with_compiler(folder, fake_compiler(delay_s=1.0), [])
    inputs = seeded_inputs(model.program.inputs)
    model.run(model.segment(0, 1), inputs)  # torch's own first run
    segment = model.segment(0, 2)
    model.run(segment, inputs)
    assert segment.stood_in and not segment.ready
    wait_until(lambda: segment.ready)


def test_what_is_compiled_after_the_weights_were_replaced_stays_with_torch(folder: Path) -> None:
    said: list[str] = []
    model = with_compiler(folder, fake_compiler(), said)
    inputs = seeded_inputs(model.program.inputs)
    first, second = model.segment(0, 1), model.segment(0, 2)
    model.run(first, inputs)
    wait_until(lambda: first.ready)
    weights = folder / WEIGHTS_FILE
    kept = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(kept)  # another process has exported the network anew
    model.run(second, inputs)
    wait_until(lambda: second.failure)
    assert first.ready and 'replaced' in said[0] and 'torch' in said[0]


def test_what_cannot_be_compiled_stays_with_torch_and_is_said_once(folder: Path) -> None:
    said: list[str] = []
    model = with_compiler(folder, fake_compiler(error=RuntimeError('no such kernel')), said)
    inputs = seeded_inputs(model.program.inputs)
    for end in (1, 2):
        segment = model.segment(0, end)
        model.run(segment, inputs)
        wait_until(lambda segment=segment: segment.failure)
        model.run(segment, inputs)
        assert not segment.stood_in  # nothing is still to come
    assert len(said) == 1 and 'no such kernel' in said[0] and 'torch' in said[0]


def test_a_runtime_that_fails_later_is_replaced_by_torch(folder: Path) -> None:
    said: list[str] = []
    calls = []

    def breaks(piece: Any, threads: int) -> Any:
        def call(arrays: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                raise RuntimeError('device lost')
            return [np.zeros(b.shape, b.spec.dtype) for b in piece.outputs]

        return call

    model = with_compiler(folder, breaks, said)
    reference = TorchBackend().load(folder)
    inputs = seeded_inputs(model.program.inputs)
    assert model.warm(0, 1) == ''
    found = model.run(model.segment(0, 1), inputs)
    wanted = reference.run(reference.segment(0, 1), inputs)
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert model.segment(0, 1).failure and 'device lost' in said[0]


def test_compiled_pieces_are_bounded_and_those_in_use_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_compiler(folder, fake_compiler(), [])
    inputs = seeded_inputs(model.program.inputs)
    last = len(model.cuts) - 1
    heads = [model.segment(0, end) for end in range(last, 0, -1)]
    for head in heads:
        head.weight_bytes = model._most_bytes // 2
    for head in heads[:4]:
        model.run(head, inputs)
    wait_until(lambda: heads[0].ready and heads[1].ready)
    time.sleep(0.1)
    model.run(heads[2], inputs)
    assert not heads[2].ready and heads[2].stood_in  # no room yet beside two that are in use
    monkeypatch.setattr(compiled_module, 'HOT_S', 0.0)
    model.run(heads[2], inputs)
    wait_until(lambda: heads[2].ready)
    assert sum(bool(head.ready) for head in heads) == 2


def test_pieces_without_weights_are_bounded_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_module, 'MAX_SEGMENTS', 3)
    model = with_compiler(folder, fake_compiler(), [])
    inputs = seeded_inputs(model.program.inputs)
    heads = [model.segment(0, end) for end in range(1, 7)]
    for head in heads:
        head.weight_bytes = 0
        model.run(head, inputs)
        wait_until(lambda head=head: head.ready)
    assert [bool(head.ready) for head in heads] == [False] * 3 + [True] * 3
    assert len(model._compiled) == 3


def test_what_is_held_makes_room_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_compiler(folder, fake_compiler(), [])
    monkeypatch.setattr(compiled_module, 'HOT_S', 0.0)
    reference = TorchModel(model.program, model.weights)
    inputs = seeded_inputs(model.program.inputs)
    last = len(model.cuts) - 1

    def use(start: int, end: int, share: float) -> compiled_module.CompiledSegment:
        segment = model.segment(start, end)
        segment.weight_bytes = int(share * model._most_bytes)
        arrays = reference.run(reference.segment(0, start), inputs) if start else inputs
        model.run(segment, arrays)
        wait_until(lambda: segment.ready)
        return segment

    # Whole network, head, and tail for rescues of the plan in force: as much as two networks.
    held = [use(0, last, 0.33), use(0, 2, 0.1), use(2, last, 0.23)]
    model.hold(held)
    trials = [(use(0, cut, 0.1), use(cut, last, 0.23)) for cut in (1, 3, 4, 5)]
    assert all(segment.ready for segment in held)
    assert all(segment.ready for segment in trials[-1])
    assert not any(segment.ready for segment in trials[0])
    model.hold(trials[-1])  # another plan is in force: now these may go
    for cut in (6, 7):
        use(0, cut, 0.1), use(cut, last, 0.23)
    assert not any(segment.ready for segment in held)


def test_a_run_by_the_stand_in_says_nothing_about_the_load(folder: Path) -> None:
    """Torch in place of a piece that is being compiled is slower than the profile says."""
    model = with_compiler(folder, fake_compiler(delay_s=0.5), [])
    segment = model.segment(0, 1)
    model.run(segment, seeded_inputs(model.program.inputs))
    assert stood_in(segment)
    wait_until(lambda: segment.ready)
    model.run(segment, seeded_inputs(model.program.inputs))
    assert not stood_in(segment)
