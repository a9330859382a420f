"""Agreement: scores by hand, the bound, frames, and a real run through the codecs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.export import export
from dnn_offload.graph.sources import resolve
from dnn_offload.runtime.agreement import lower_bound, score
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.frame_files import Frames
from dnn_offload.runtime.profile_agreement import (
    affordable,
    measure_agreement,
    with_agreement_of,
)
from dnn_offload.runtime.profiler import measure_profile


def test_classes_agree_when_the_best_is_the_same() -> None:
    reference = [np.array([[0.1, 3.0, 2.9]])]
    assert score('classification', reference, [np.array([[9.0, 9.5, 0.0]])]) == 1.0
    assert score('classification', reference, [np.array([[0.1, 2.9, 3.0]])]) == 0.0


def detections(*rows: tuple[float, ...]) -> list[np.ndarray]:
    made = np.zeros((1, 4, 6), np.float32)
    for index, row in enumerate(rows):
        made[0, index] = row
    return [made]


def test_detections_agree_by_f1_at_half_overlap() -> None:
    one, two = (0, 0, 100, 100, 0.9, 1), (200, 0, 300, 100, 0.8, 2)
    moved = (0, 0, 100, 60, 0.9, 1)  # IoU 0.6
    far = (0, 0, 100, 40, 0.9, 1)  # IoU 0.4
    other = (0, 0, 100, 100, 0.9, 3)
    task = 'detection'
    assert score(task, detections(one, two), detections(two, moved)) == 1.0
    assert score(task, detections(one, two), detections(far, two)) == 0.5
    assert score(task, detections(one), detections(other)) == 0.0
    assert score(task, detections(one, two), detections(one)) == pytest.approx(2 / 3)
    assert score(task, detections(one), detections()) == 0.0
    assert score(task, detections(), detections()) is None


def test_pixels_and_anything_else() -> None:
    reference = np.array([[[1, 1], [0, 0]]], np.uint8)
    changed = np.array([[[0, 1], [0, 0]]], np.uint8)
    assert score('segmentation', [reference], [changed]) == 0.75
    values = np.array([3.0, 4.0])
    assert score('tensor', [values], [values + [0.0, 0.24]]) == 1.0
    assert score('tensor', [values], [values + [0.0, 0.26]]) == 0.0
    assert score('tensor', [values], [values * np.nan]) == 0.0


def test_bound_is_wilsons() -> None:
    # n / (n + z^2) when all agree; the other from the closed form, by hand
    assert lower_bound([1.0] * 150) == pytest.approx(150 / (150 + 1.6449**2))
    assert lower_bound([1.0] * 90 + [0.0] * 10) == pytest.approx(0.8396, abs=1e-4)
    assert lower_bound([0.0] * 10) == pytest.approx(0.0, abs=1e-12)
    assert lower_bound([]) is None
    assert lower_bound([0.5] * 20) == pytest.approx(lower_bound([1.0, 0.0] * 10))


def test_frames_of_a_folder_are_spread_and_damaged_ones_left_out(tmp_path: Path) -> None:
    for index in range(10):
        cv2.imwrite(str(tmp_path / f'{index}.png'), np.full((4, 6, 3), 20 * index, np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    frames = Frames(tmp_path, 5)
    assert len(frames) == 5
    assert [int(frame[0, 0, 0]) // 20 for frame in frames] == [1, 3, 5, 7, 9]
    (tmp_path / '3.png').write_bytes(b'broken')
    assert len(list(Frames(tmp_path, 5))) == 4
    assert len(Frames(tmp_path, 150)) == 10


def test_frames_of_a_picture_keep_their_colours(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 6, 3), (255, 0, 0), np.uint8))  # blue
    (frame,) = Frames(tmp_path)
    assert frame.shape == (4, 6, 3) and tuple(frame[0, 0]) == (0, 0, 255)


def test_frames_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10.0, (64, 48))
    if not writer.isOpened():
        pytest.skip('this OpenCV writes no video')
    for index in range(12):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    seen = [int(frame.mean()) for frame in Frames(path, 3)]
    assert seen == pytest.approx([40, 120, 200], abs=12)


def test_made_up_frames_differ_and_nothing_is_an_error(tmp_path: Path) -> None:
    first, second = Frames(None, 2)
    assert first.dtype == np.uint8 and first.ndim == 3 and not np.array_equal(first, second)
    for path in (tmp_path, tmp_path / 'missing.mp4'):
        with pytest.raises(ConfigurationError, match='no frames'):
            Frames(path)
    with pytest.raises(ConfigurationError):
        Frames(None, 0)


def made_up(measured: tuple[bool, ...]) -> Profile:
    """A profile of 100 ms whose cuts lie 10 ms apart, two lossy codecs each."""
    last = len(measured) - 1
    lossy = {name: CodecCost(10, 0.0, 0.0) for name in ('fp16', 'int8')}
    cuts = tuple(
        CutProfile(
            f'{i}', i, '', i, 1000, 10.0 * i, 10.0 * (last - i), measured=measured[i],
            codecs={'raw': CodecCost(10, 0, 0, 1.0), **lossy} if i < last else {},
        )
        for i in range(last + 1)
    )
    return Profile('m', 'identity', {}, 'torch', 1, {}, 0.0, {}, 0.0, cuts)


def test_only_measured_cuts_are_tried_and_as_many_as_there_is_time_for() -> None:
    profile = made_up((True, True, False, True, True, True))
    everything = affordable(profile, 100, 1e9)
    assert everything[0] == 0 and sorted(everything) == [0, 1, 3, 4]
    some = affordable(profile, 100, 30.0)
    assert some == everything[:len(some)] and 2 <= len(some) < 4
    assert len(affordable(profile, 100, 0.0)) == 2


def test_agreement_belongs_to_the_network_not_to_the_machine() -> None:
    profile = made_up((True,) * 4)
    cut = replace(profile.cuts[1], codecs={**profile.cuts[1].codecs,
                                           'int8': CodecCost(9, 1.0, 1.0, 0.97)})
    other = replace(
        profile, cuts=(profile.cuts[0], cut, *profile.cuts[2:]), agreement_frames=150
    )
    merged = with_agreement_of(profile, [profile, other])
    assert merged.agreement_frames == 150
    assert merged.cuts[1].codecs['int8'] == CodecCost(10, 0.0, 0.0, 0.97)
    assert merged.cuts[2].codecs['int8'].agreement is None
    drawn = replace(
        other, agreement_frames=500, agreement_made_up=True,
        cuts=tuple(replace(c, codecs={}) for c in profile.cuts),
    )
    assert with_agreement_of(profile, [drawn, other]) == merged  # the user's own frames first
    assert with_agreement_of(profile, [drawn]).agreement_made_up
    stranger = replace(other, model_identity='another')
    assert with_agreement_of(profile, [stranger]) == profile


@pytest.fixture(scope='module')
def model() -> TorchModel:
    return TorchModel(*export(resolve('python:tiny_factory:make', allow_code=True)))


def test_a_real_network_through_its_codecs(model: TorchModel, tmp_path: Path) -> None:
    profile = measure_profile(model, 1, 0.3, fraction=0.5)
    last = len(profile.cuts) - 1
    said: list[str] = []
    made = measure_agreement(
        model, profile, Frames(None, 6), 60.0, lambda fraction, message: said.append(message)
    )
    assert made.agreement_frames == 6 and len(said) == 6 and 'left' in said[-1]
    assert made.agreement_made_up
    lossy = [cost for cut in made.to_plan_with().cuts for cost in cut.codecs.values()]
    assert {cost.agreement for cost in lossy} == {None}
    assert Profile.from_json(made.to_json()) == made
    best = lower_bound([1.0] * 6)
    assert best is not None
    for cut in made.cuts[:last]:
        for name, cost in cut.codecs.items():
            if name in ('raw', 'zstd'):
                assert cost.agreement == 1.0
            elif cut.measured:
                assert cost.agreement is not None and 0.0 <= cost.agreement <= best
            else:
                assert cost.agreement is None
        if cut.index and cut.measured:  # the same tensors after decoding
            assert cut.codecs['int8'].agreement == cut.codecs['int8_zstd'].agreement
    # The times are as they were.
    assert [cut.head_ms for cut in made.cuts] == [cut.head_ms for cut in profile.cuts]


def test_cuts_are_dropped_when_time_runs_out(model: TorchModel) -> None:
    profile = measure_profile(model, 1, 0.3, fraction=1.0)
    made = measure_agreement(model, profile, Frames(None, 6), 1e-6)
    known = [
        cut.index for cut in made.cuts[:-1]
        if all(cost.agreement is not None for cost in cut.codecs.values())
    ]
    assert len(known) == 2 and known[0] == 0 and made.agreement_frames == 6
