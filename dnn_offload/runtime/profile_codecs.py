"""What codecs cost at each cut: bytes, encoding, decoding, on real activations; and answers."""

from __future__ import annotations

from collections.abc import Sequence
import functools
import statistics
import time

import numpy as np

from dnn_offload.codec import bundle
from dnn_offload.codec.chunks import CHUNK_BYTES
from dnn_offload.codec.registry import codec_named, names_for_answers, names_for_cut
from dnn_offload.cost.profile import CodecCost
from dnn_offload.runtime.backends.base import LoadedModel
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.profile_layers import TIME_DIGITS
from dnn_offload.runtime.profile_meter import is_picture, without_wait
from dnn_offload.runtime.profile_model import nearest
from dnn_offload.runtime.shared import ThreadClock
from dnn_offload.vision.answers import decode, DECODED_TASKS
from dnn_offload.vision.preprocess import Mapping

DECODINGS = 10  # of the outputs
REPEATS = 2  # after one run that pays for first allocations
# Codecs whose size does not depend on the values: known without measuring.
FIXED_SIZE = ('raw', 'fp16', 'int8')


class CodecMeter:
    """Measures codecs at some cuts and estimates them at the others.

    Args:
        model: The model.
        clock: Clock of the calling thread; waiting for a CPU is taken out.
    """

    def __init__(self, model: LoadedModel, clock: ThreadClock) -> None:
        self._model = model
        self._clock = clock
        self._measured: dict[tuple[int, str], list[CodecCost]] = {}

    def names(self, cut: int) -> tuple[str, ...]:
        """Candidate codecs at a cut: of inputs that are no picture those that take them."""
        return tuple(
            name for name in names_for_cut(cut == 0)
            if cut > 0 or all(
                codec_named(name).kinds(spec.dtype) and (name != 'jpeg' or is_picture(spec))
                for spec in self._model.cuts[0].frontier
            )
        )

    def walk(
        self, inputs: Sequence[np.ndarray], cuts: Sequence[int], end_s: float
    ) -> list[int]:
        """Run inputs through the network once, measuring all codecs at ``cuts`` on the way.

        Stops at ``end_s`` (perf_counter); returns the cuts that were measured.
        """
        arrays, at = list(inputs), 0
        done: list[int] = []
        for cut in sorted(cuts):
            if done and time.perf_counter() > end_s:
                break
            if cut > at:
                arrays = self._model.run(self._model.segment(at, cut), arrays)
                at = cut
            for name in self.names(cut):
                self._measure(cut, name, arrays)
            done.append(cut)
        return done

    def _measure(self, cut: int, name: str, arrays: Sequence[np.ndarray]) -> None:
        specs = self._model.cuts[cut].frontier
        limit = sum(spec.nbytes for spec in specs) + 1024
        first_ms, encode_ms, decode_ms, payload = [], [], [], b''

        def begin() -> tuple[bundle.Encoder, bytes]:
            halved = self._model.to_half(arrays) if name == 'fp16' else arrays
            encoder = bundle.Encoder(halved, specs, name)
            return encoder, encoder.take(CHUNK_BYTES)

        for _ in range(1 + REPEATS):
            (encoder, payload), spent = self._clock.measure(begin)
            first_ms.append(without_wait(spent))
            rest, spent = self._clock.measure(encoder.take)
            payload += rest
            encode_ms.append(first_ms[-1] + (without_wait(spent) if rest else 0.0))
            _, spent = self._clock.measure(
                functools.partial(bundle.decode, payload, specs, max_bytes=4 * limit)
            )
            decode_ms.append(without_wait(spent))
        first, whole, decoding = (
            min(times[1:]) for times in (first_ms, encode_ms, decode_ms)
        )
        cost = CodecCost(len(payload), whole, decoding, behind_ms=max(whole - first, 0.0))
        self._measured.setdefault((cut, name), []).append(cost)

    def costs(self, cut: int, factor: float = 1.0) -> dict[str, CodecCost]:
        """Cost of every candidate codec at a cut: measured, or scaled from the nearest one.

        What a lossless codec brings back is what went in, and the answer the same.

        Args:
            cut: Index of the cut.
            factor: Times are multiplied by it.
        """
        made = {}
        for name in self.names(cut):
            cost = self._cost(cut, name)
            made[name] = CodecCost(
                cost.nbytes,
                round(cost.encode_ms * factor, TIME_DIGITS),
                round(cost.decode_ms * factor, TIME_DIGITS),
                1.0 if codec_named(name).lossless else None,
                round(cost.behind_ms * factor, TIME_DIGITS),
            )
        return made

    def _cost(self, cut: int, name: str) -> CodecCost:
        samples = self._measured.get((cut, name))
        if samples:
            return CodecCost(
                round(statistics.fmean(sample.nbytes for sample in samples)),
                statistics.median(sample.encode_ms for sample in samples),
                statistics.median(sample.decode_ms for sample in samples),
                behind_ms=statistics.median(sample.behind_ms for sample in samples),
            )
        known = [index for index, codec in self._measured if codec == name]
        if not known:
            raise ValueError(f'codec {name} was measured nowhere')
        source = nearest(known, cut)
        base = self._cost(source, name)
        scale = self._model_bytes(cut) / max(1, self._model_bytes(source))
        return CodecCost(
            self._fixed_size(cut, name) or round(base.nbytes * scale),
            base.encode_ms * scale,
            base.decode_ms * scale,
            behind_ms=self._share_behind(cut, name) * base.encode_ms * scale,
        )

    def _share_behind(self, cut: int, name: str) -> float:
        """Part of the encoding at a cut that was not measured that is left behind its first bytes.

        That begins at a size: of the nearest cut that is large as well, 0 where none is.
        """
        if not self._in_parts(cut, name):
            return 0.0
        known = [at for at, codec in self._measured if codec == name and self._in_parts(at, name)]
        if not known:
            return 0.0
        like = self._cost(nearest(known, cut), name)
        return like.behind_ms / max(like.encode_ms, 1e-9)

    def _in_parts(self, cut: int, name: str) -> bool:
        return bundle.comes_in_parts(self._model.cuts[cut].frontier, name)

    def _model_bytes(self, cut: int) -> int:
        return sum(spec.nbytes for spec in self._model.cuts[cut].frontier)

    def _fixed_size(self, cut: int, name: str) -> int:
        if name not in FIXED_SIZE:
            return 0
        per_float = {'raw': 4, 'fp16': 2, 'int8': 1}[name]
        return sum(
            spec.numel * per_float if spec.dtype == 'float32' else spec.nbytes
            for spec in self._model.cuts[cut].frontier
        ) + 16


def output_sizes(model: LoadedModel, outputs: Sequence[np.ndarray]) -> dict[str, int]:
    """Encoded size of the network's outputs for every codec that answers may use."""
    return {
        name: len(bundle.encode(outputs, model.outputs, name))
        for name in names_for_answers()
    }


def decoding_ms(model: TorchModel, outputs: list[np.ndarray]) -> float:
    """Time of decoding the outputs [ms]; 0 where nothing here decodes them."""
    program = model.program
    if program.task not in DECODED_TASKS or len(program.input.shape) < 3:  # no picture
        return 0.0
    height, width = program.input.shape[1:3]
    mapping = Mapping(1.0, 1.0, 0.0, 0.0, width, height)
    spent_ms = []
    for _ in range(DECODINGS):
        started_s = time.perf_counter()
        decode(program.task, outputs, mapping, program.class_names)
        spent_ms.append((time.perf_counter() - started_s) * 1e3)
    return min(spent_ms)
