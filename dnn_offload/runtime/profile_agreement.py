"""What codecs do to the network's own answers, measured on frames, cut by cut.

Expensive: every lossy codec at every cut needs a tail for every frame. So one run of the heads
serves all cuts and codecs of a frame, codecs that decode to the same tensors share a tail, and
only cuts whose times were measured are tried, promising ones first, as many as fit into the
budget. Nothing is interpolated: what was not tried stays unknown, and passes no floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
import math
import time

import numpy as np

from dnn_offload.codec import bundle
from dnn_offload.codec.registry import codec_named
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.runtime.agreement import lower_bound, score
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.frame_files import Frames
from dnn_offload.runtime.profile_meter import is_picture
from dnn_offload.runtime.profile_model import promising_cuts
from dnn_offload.vision.preprocess import prepare, PreprocessSpec

DIGITS = 4  # of a share
LEAST_CUTS = 2
REVIEW = 5  # frames between two looks at the time that is left
SPARE = 1.2  # a tail on decoded tensors takes longer than one in a row

Report = Callable[[float, str], None]
Scores = dict[tuple[int, str], list[float]]


def measure_agreement(
    model: TorchModel,
    profile: Profile,
    frames: Frames,
    budget_s: float,
    report: Report = lambda fraction, message: None,
) -> Profile:
    """The profile with ``CodecCost.agreement`` of the cuts that were tried.

    Args:
        model: The model; used by nobody else meanwhile.
        profile: Its profile on this machine.
        frames: What the camera sees.
        budget_s: Time that it may take; fewer cuts are tried when it is short, at least two.
        report: Gets fraction and message.

    Raises:
        ConfigurationError: The input is no picture, or no frame can be read.
    """
    started_s = time.perf_counter()
    if len(model.cuts[0].frontier) != 1 or not is_picture(model.cuts[0].frontier[0]):
        raise ConfigurationError(
            'agreement is measured on pictures, this network takes something else',
            given=', '.join(f'{s.dtype} {s.shape}' for s in model.cuts[0].frontier),
            hint='profile without --agreement',
        )
    model.set_threads(profile.threads)
    spec = PreprocessSpec.from_json(dict(model.program.preprocess))
    cuts = affordable(profile, len(frames), budget_s)
    scores: Scores = {}
    seconds = dict.fromkeys(cuts, 0.0)
    done = 0
    for rgb in frames:
        picture, _ = prepare(rgb, spec)
        _frame(model, profile, picture, cuts, scores, seconds)
        done += 1
        spent_s = time.perf_counter() - started_s
        to_come = len(frames) - done
        if done % REVIEW == 0:
            cuts = _drop_late(cuts, seconds, spent_s, spent_s * to_come / done, budget_s)
        report(
            done / max(len(frames), 1),
            f'agreement of {len(cuts)} cuts on frame {done} of {len(frames)}, '
            f'{spent_s * to_come / done:.0f} s left',
        )
    if done == 0:
        raise ConfigurationError('no frame can be read', given=frames.name)
    kept = {key: values for key, values in scores.items() if key[0] in cuts}
    return replace(
        profile,
        cuts=tuple(_with_scores(cut, kept) for cut in profile.cuts),
        agreement_frames=done,
        agreement_made_up=frames.made_up,
    )


def affordable(profile: Profile, frames: int, budget_s: float) -> list[int]:
    """Cuts to try, most promising first: the picture, then measured ones while time lasts."""
    order = promising_cuts(
        [cut.head_ms for cut in profile.cuts],
        [cut.frontier_bytes for cut in profile.cuts],
        [cut.depth for cut in profile.cuts],
    )
    chosen: list[int] = []
    cost_s = 2.0 * profile.whole_ms * frames * 1e-3  # the reference, and the walk
    for index in [0, *(i for i in order if profile.cuts[i].measured)]:
        cut = profile.cuts[index]
        per_frame_ms = sum(
            SPARE * cut.tail_ms + cost.encode_ms + cost.decode_ms
            for cost in _lossy(cut).values()
        )
        cost_s += per_frame_ms * frames * 1e-3
        if cost_s > budget_s and len(chosen) >= LEAST_CUTS:
            break
        chosen.append(index)
    return chosen


def with_agreement_of(profile: Profile, others: Iterable[Profile]) -> Profile:
    """The profile with agreements of another one of the same network, where there are any.

    They belong to the network and the codecs, not to the machine or its threads; of several
    profiles the one with the most frames counts, of made-up ones only where there are no others.
    """
    known = [
        other for other in others
        if other.model_identity == profile.model_identity and other.agreement_frames > 0
    ]
    if not known:
        return profile
    source = max(known, key=lambda other: (not other.agreement_made_up, other.agreement_frames))
    theirs = source.by_id()
    cuts = []
    for cut in profile.cuts:
        codecs = dict(cut.codecs)
        for name, cost in _lossy(cut).items():
            if cut.cut_id in theirs and name in theirs[cut.cut_id].codecs:
                agreed = theirs[cut.cut_id].codecs[name].agreement
                codecs[name] = replace(cost, agreement=agreed)
        cuts.append(replace(cut, codecs=codecs))
    return replace(
        profile, cuts=tuple(cuts), agreement_frames=source.agreement_frames,
        agreement_made_up=source.agreement_made_up,
    )


def _frame(
    model: TorchModel,
    profile: Profile,
    picture: np.ndarray,
    cuts: Sequence[int],
    scores: Scores,
    seconds: dict[int, float],
) -> None:
    """All cuts and codecs on one frame; adds to ``scores`` and to each cut's ``seconds``."""
    last = len(model.cuts) - 1
    task = model.program.task
    reference = model.run(model.segment(0, last), [picture])
    arrays, at = [picture], 0
    for index in sorted(cuts):
        if index > at:
            arrays = model.run(model.segment(at, index), arrays)
            at = index
        started_s = time.perf_counter()
        known: list[tuple[list[np.ndarray], float | None]] = []
        for name in _lossy(profile.cuts[index]):
            decoded = _through(model, index, name, arrays)
            twin = [agreed for seen, agreed in known if _same(seen, decoded)]
            if twin:
                agreed = twin[0]
            else:
                outputs = model.run(model.segment(index, last), decoded)
                agreed = score(task, reference, outputs)
                known.append((decoded, agreed))
            if agreed is not None:
                scores.setdefault((index, name), []).append(agreed)
        seconds[index] += time.perf_counter() - started_s


def _through(
    model: TorchModel, cut: int, codec: str, arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """What arrives of the tensors of a cut."""
    specs = model.cuts[cut].frontier
    sent = model.to_half(arrays) if codec == 'fp16' else arrays
    payload = bundle.encode(sent, specs, codec)
    return bundle.decode(payload, specs, max_bytes=4 * model.cuts[cut].nbytes + 4096)


def _same(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def _drop_late(
    cuts: list[int],
    seconds: Mapping[int, float],
    spent_s: float,
    to_come_s: float,
    budget_s: float,
) -> list[int]:
    """Without the least promising cuts that there will be no time for.

    Args:
        cuts: Most promising first.
        seconds: Time that each has taken until now.
        spent_s: Time that has passed.
        to_come_s: Time that the other frames take if all cuts stay.
        budget_s: Time for all.
    """
    cuts = list(cuts)
    per_spent = to_come_s / max(spent_s, 1e-9)
    while spent_s + to_come_s > budget_s and len(cuts) > LEAST_CUTS:
        to_come_s -= per_spent * seconds[cuts.pop()]
    return cuts


def _with_scores(cut: CutProfile, scores: Scores) -> CutProfile:
    """The cut with what its lossy codecs were found to do; unknown where they were not tried."""
    codecs = dict(cut.codecs)
    for name, cost in _lossy(cut).items():
        bound = lower_bound(scores.get((cut.index, name), []))
        if bound is not None:
            bound = math.floor(bound * 10**DIGITS) / 10**DIGITS
        codecs[name] = replace(cost, agreement=bound)
    return replace(cut, codecs=codecs)


def _lossy(cut: CutProfile) -> dict[str, CodecCost]:
    """The cut's codecs that change values; ``agreement`` of the others is 1 by construction."""
    return {
        name: cost for name, cost in cut.codecs.items() if not codec_named(name).lossless
    }
