"""What the codecs cost: bytes, encode and decode times on tensors like those at real cuts.

    python benchmarks/codec_times.py [--json FILE] [--seconds 0.3]

Without torch: activations are made of smoothed noise after a ReLU, which compresses about
like those of a trained network (104 kB at SqueezeNet's pool1); picture: drawn and smoothed.
One thread. Times are medians in ms of wall time, check sum included; ``worst`` is the
largest error relative to the range of the tensor. Exits with 1 when a tensor of 200 kB takes
int8+zstd longer to encode than its aim.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import platform
import sys
import time
from typing import Any

from aims import Aim, judge, verdict
import cv2
import numpy as np

from dnn_offload.codec.bundle import decode, encode
from dnn_offload.codec.registry import names_for_cut
from dnn_offload.tensors import TensorSpec

CUTS = {
    'SqueezeNet 1.1 after pool1': (1, 64, 55, 55),
    'SqueezeNet 1.1 after fire3+pool': (1, 128, 27, 27),
    'SqueezeNet 1.1 after fire5+pool': (1, 256, 13, 13),
    'ResNet18 after layer1': (1, 64, 56, 56),
    'logits of 1000 classes': (1, 1000),
    '64 channels of 28x28': (1, 64, 28, 28),  # 200 kB
}
AIMS = {('64 channels of 28x28', 'int8_zstd'): Aim('encode_ms', 0.2, 'ms')}


def activation(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Float32 like an activation, channels_last where it has four axes."""
    if len(shape) != 4:
        return rng.standard_normal(shape).astype(np.float32)
    channels = [
        cv2.GaussianBlur(rng.standard_normal(shape[2:]).astype(np.float32), (0, 0), 1.5)
        for _ in range(shape[1])
    ]
    mixed = np.stack(channels, axis=-1)[None]  # (1, H, W, C)
    mixed = mixed + rng.standard_normal(shape[1]).astype(np.float32) * 0.15 - 0.1
    return np.maximum(mixed, 0).transpose(0, 3, 1, 2)


def picture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A drawn scene, uint8 (1, H, W, 3)."""
    rgb = np.full((height, width, 3), 120, np.uint8)
    for _ in range(40):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        side = int(rng.integers(4, max(5, width // 4)))
        colour = [int(v) for v in rng.integers(30, 230, 3)]
        cv2.rectangle(rgb, (x, y), (x + side, y + side), colour, cv2.FILLED)
    noise = rng.normal(0, 4, rgb.shape)
    return np.clip(cv2.GaussianBlur(rgb, (3, 3), 0) + noise, 0, 255).astype(np.uint8)[None]


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Median wall time of ``work`` over ``seconds``, at least 10 runs."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 10 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def measure(label: str, array: np.ndarray, codec: str, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    spec = TensorSpec.of_array('t', array)
    payload = encode([array], [spec], codec)
    (back,) = decode(payload, [spec], max_bytes=array.nbytes)
    reach = float(array.max()) - float(array.min()) or 1.0
    return {
        'tensor': label,
        'raw_bytes': array.nbytes,
        'codec': codec,
        'bytes': len(payload),
        'encode_ms': round(median_ms(lambda: encode([array], [spec], codec), seconds), 3),
        'decode_ms': round(
            median_ms(lambda: decode(payload, [spec], max_bytes=array.nbytes), seconds), 3
        ),
        'worst': float(np.abs(back.astype(np.float64) - array).max()) / reach,
    }


def main() -> int:
    """Measure and print; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, help='also write the rows to this file')
    parser.add_argument('--seconds', type=float, default=0.3, help='per time measured [s]')
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    cases = [
        (label, activation(shape, rng), codec)
        for label, shape in CUTS.items()
        for codec in names_for_cut(is_picture=False)
    ]
    for height, width in ((224, 224), (480, 640)):
        scene = picture(height, width, rng)
        cases += [
            (f'picture {width} x {height}', scene, codec)
            for codec in names_for_cut(is_picture=True)
        ]
    print(f'{platform.machine()}, 1 thread, numpy {np.__version__}, OpenCV {cv2.__version__}')
    print(f'{"tensor":34} {"codec":10} {"kB":>8} {"encode ms":>10} {"decode ms":>10} {"worst":>8}')
    rows = []
    for label, array, codec in cases:
        row = measure(label, array, codec, arguments.seconds)
        rows.append(row)
        aim, said = AIMS.get((label, codec)), ''
        if aim is not None:
            row |= {'aim': str(aim), 'met': judge([aim], row)}
            said = f'  encode {aim}: {verdict(row["met"])}'
        print(
            f'{label:34} {codec:10} {row["bytes"] / 1e3:8.1f} {row["encode_ms"]:10.3f} '
            f'{row["decode_ms"]:10.3f} {row["worst"]:8.1e}{said}'
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')
    return 1 if any(row.get('met') is False for row in rows) else 0


if __name__ == '__main__':
    sys.exit(main())
