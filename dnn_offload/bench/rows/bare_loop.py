"""The network in a loop on the robot's share of the CPU: no ROS, no picture, nothing else.

``python -m dnn_offload.bench.rows.bare_loop --source torchvision:squeezenet1_1 --runs 30`` prints
one latency [ms] per line. What a user has who runs the network without any of this package: torch
as torchvision gives it (eager, NCHW, not folded), or onnxruntime on the same network exported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import io
import sys
import time

import torch

from dnn_offload.bench.rows.eager import example
from dnn_offload.errors import OffloadError
from dnn_offload.graph.loaded_model import LoadedModel
from dnn_offload.graph.sources import resolve

WARM_UP = 3
RUNTIMES = ('torch', 'onnxruntime')


def runner(loaded: LoadedModel, runtime: str) -> Callable[[], object]:
    """Something that runs the network once on one thread."""
    picture = example(loaded)
    if runtime == 'torch':
        return lambda: loaded.module(picture)
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(loaded.module, (picture,), file, input_names=['picture'], dynamo=False)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        file.getvalue(), settings, providers=['CPUExecutionProvider']
    )
    array = picture.numpy()
    return lambda: session.run(None, {'picture': array})


def main() -> int:
    """Load, warm up, loop; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--source', required=True)
    parser.add_argument('--weights', default='DEFAULT')
    parser.add_argument('--input-size', default='', help='HEIGHTxWIDTH')
    parser.add_argument('--runtime', choices=RUNTIMES, default='torch')
    parser.add_argument('--runs', type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size = tuple(int(side) for side in args.input_size.split('x')) if args.input_size else None
    try:
        loaded = resolve(
            args.source, weights=args.weights, input_size=size  # type: ignore[arg-type]
        )
    except OffloadError as error:
        print(error, file=sys.stderr)
        return 1
    with torch.inference_mode():
        run = runner(loaded, args.runtime)
        for number in range(WARM_UP + args.runs):
            start_s = time.perf_counter()
            run()
            if number >= WARM_UP:
                print(f'{1e3 * (time.perf_counter() - start_s):.4f}', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
