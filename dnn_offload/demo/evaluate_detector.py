"""How good the demo's detector is on scenes it has never seen, plain and through each codec.

``python -m dnn_offload.demo.evaluate_detector`` prints mAP on held-out floor plans and textures;
with ``--codec all`` also what is left of it when a frame is cut and its tensors pass a codec.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
from pathlib import Path

import cv2
import numpy as np
import torch

from dnn_offload.codec.bundle import decode, encode
from dnn_offload.codec.registry import CODECS, names_for_cut
from dnn_offload.demo.detection_metrics import evaluate, Found, Score, Wanted
from dnn_offload.demo.scenes.render import render
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.export import export
from dnn_offload.graph.program import Program
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.sources import resolve
from dnn_offload.vision.decode import decode_detections
from dnn_offload.vision.preprocess import prepare, PreprocessSpec

SCORE_FLOOR = 0.01  # the precision-recall curve needs the doubtful ones too
NMS_IOU = 0.6


@dataclass(frozen=True)
class Way:
    """One way through the network: a cut and a codec; all local is cut N, codec ''."""

    cut: int
    codec: str


@dataclass(frozen=True)
class Row:
    """One line of the result: the way, its mean payload in bytes, its score."""

    way: Way
    label: str
    payload_bytes: float
    score: Score


def _held_out(count: int) -> Iterator[tuple[np.ndarray, Wanted]]:
    """Camera pictures (480, 640, 3) and their truth in camera pixels."""
    for seed in range(count):
        scene = render(seed, 'val')
        yield scene.rgb, Wanted(scene.boxes, scene.class_ids)


def choose_cuts(program: Program, wish: str) -> list[int]:
    """Cuts to try: 'all', 'auto', or numbers separated by commas.

    'auto' takes the picture, the first cut that is no larger than the picture, the middle one,
    and the last before the end.

    Raises:
        ConfigurationError: No such cut.
    """
    last = len(program.cuts) - 1
    if wish == 'all':
        return list(range(last))
    if wish == 'auto':
        small = next(
            (c.index for c in program.cuts[1:last] if c.nbytes <= program.cuts[0].nbytes), 1
        )
        return sorted({0, small, last // 2, last - 1})
    try:
        cuts = [int(word) for word in wish.split(',')]
    except ValueError:
        cuts = [-1]
    if not all(0 <= cut < last for cut in cuts):
        raise ConfigurationError('no such cut', given=wish, allowed=f'all, auto, or 0..{last - 1}')
    return cuts


def choose_ways(program: Program, cut_wish: str, codec_wish: str) -> list[Way]:
    """All local first, then every wanted codec at every wanted cut where it is offered.

    Raises:
        ConfigurationError: No such cut or codec.
    """
    ways = [Way(len(program.cuts) - 1, '')]
    if codec_wish == 'none':
        return ways
    codecs = tuple(CODECS) if codec_wish == 'all' else tuple(codec_wish.split(','))
    for name in codecs:
        if name not in CODECS:
            raise ConfigurationError(
                'no such codec', given=name, allowed=f'none, all, {", ".join(CODECS)}'
            )
    for cut in choose_cuts(program, cut_wish):
        ways += [Way(cut, name) for name in names_for_cut(cut == 0) if name in codecs]
    return ways


class Runner:
    """Runs pictures through cuts and codecs of one program."""

    def __init__(self, program: Program, weights: dict[str, torch.Tensor]) -> None:
        self._program, self._weights = program, weights
        self._segments: dict[tuple[int, int], Segment] = {}
        self.spec = PreprocessSpec.from_json(dict(program.preprocess))

    def _segment(self, start: int, end: int) -> Segment:
        if (start, end) not in self._segments:
            self._segments[start, end] = Segment(self._program, self._weights, start, end)
        return self._segments[start, end]

    def run(self, picture: np.ndarray, way: Way) -> tuple[list[np.ndarray], int]:
        """Outputs of the network for a prepared picture, and the payload in bytes."""
        last = len(self._program.cuts) - 1
        inputs = [torch.from_numpy(picture)]
        if way.cut == last:
            return [t.numpy() for t in self._segment(0, last)(inputs)], 0
        crossing = self._segment(0, way.cut)(inputs) if way.cut else inputs
        specs = self._program.cuts[way.cut].frontier
        payload = encode([t.numpy() for t in crossing], specs, way.codec)
        arrays = decode(payload, specs, max_bytes=1 << 28)
        outputs = self._segment(way.cut, last)([torch.from_numpy(a) for a in arrays])
        return [t.numpy() for t in outputs], len(payload)


def measure(
    program: Program, weights: dict[str, torch.Tensor], ways: Sequence[Way], scenes: int
) -> list[Row]:
    """Score every way on the same held-out scenes."""
    runner = Runner(program, weights)
    found: list[list[Found]] = [[] for _ in ways]
    payloads = np.zeros(len(ways))
    wanted: list[Wanted] = []
    for rgb, truth in _held_out(scenes):
        picture, mapping = prepare(rgb, runner.spec)
        # sizes are judged in network-input pixels, as the metric's "small" says
        wanted.append(Wanted(mapping.to_network(truth.boxes), truth.class_ids))
        for index, way in enumerate(ways):
            outputs, payload = runner.run(picture, way)
            payloads[index] += payload
            seen = decode_detections(
                outputs, mapping, program.class_names, SCORE_FLOOR, NMS_IOU
            )
            boxes = np.array([d.box for d in seen], np.float32).reshape(-1, 4)
            found[index].append(
                Found(
                    mapping.to_network(boxes),
                    np.array([d.score for d in seen]),
                    np.array([d.class_id for d in seen], np.int64),
                )
            )
    return [
        Row(way, program.cuts[way.cut].label, payloads[index] / max(scenes, 1),
            evaluate(found[index], wanted))
        for index, way in enumerate(ways)
    ]


def print_rows(rows: Sequence[Row], class_names: Sequence[str], scenes: int) -> None:
    """Print the result for people."""
    plain = rows[0].score
    print(f'{scenes} held-out scenes, {plain.count} boxes; all local:')
    print(
        f'  mAP@[.5:.95] {plain.ap:.3f}   mAP@.5 {plain.ap50:.3f}   '
        f'below 32 px {plain.ap_small:.3f}   above {plain.ap_large:.3f}   '
        f'recall {plain.recall:.3f}'
    )
    print('  ' + '   '.join(f'{class_names[k]} {v:.3f}' for k, v in plain.per_class.items()))
    if len(rows) == 1:
        return
    print(
        f'{"cut":>4}  {"after":<28}{"codec":<11}{"bytes":>9}{"mAP":>8}{"mAP@.5":>8}{"change":>9}'
    )
    for row in rows[1:]:
        print(
            f'{row.way.cut:>4}  {row.label[:27]:<28}{row.way.codec:<11}{row.payload_bytes:>9.0f}'
            f'{row.score.ap:>8.3f}{row.score.ap50:>8.3f}{row.score.ap - plain.ap:>+9.4f}'
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--weights', default='DEFAULT', help='a .safetensors file')
    parser.add_argument('--scenes', type=int, default=300, help='number of held-out scenes')
    parser.add_argument('--codec', default='none', help='none, all, or names with commas')
    parser.add_argument('--cut', default='auto', help='auto, all, or indices with commas')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--json', type=Path, help='write the result here too')
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    program, weights = export(resolve('demo:detector', weights=options.weights))
    ways = choose_ways(program, options.cut, options.codec)
    rows = measure(program, weights, ways, options.scenes)
    print_rows(rows, program.class_names, options.scenes)
    if options.json is not None:
        table = [
            {
                'cut': row.way.cut, 'codec': row.way.codec, 'label': row.label,
                'payload_bytes': round(row.payload_bytes), 'map_50_95': round(row.score.ap, 4),
                'map_50': round(row.score.ap50, 4), 'map_small': round(row.score.ap_small, 4),
                'recall': round(row.score.recall, 4),
            }
            for row in rows
        ]
        options.json.write_text(json.dumps(table, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
