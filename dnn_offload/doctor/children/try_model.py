"""Exports a network if it is not in the cache, loads it and runs it once, as a node would."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import sys
import time

from dnn_offload.errors import OffloadError
from dnn_offload.graph.fingerprint import agree, seeded_inputs
from dnn_offload.graph.program import Program
from dnn_offload.runtime.backends.names import TORCH
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.prepare import prepare
from dnn_offload.runtime.prepared_model import fingerprint_of
from dnn_offload.vision.answers import DECODED_TASKS

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
TIMED_RUNS = 5


def main() -> int:
    """Print what the network is; status 1 with a sentence on stderr where it cannot run."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--source', required=True)
    parser.add_argument('--weights', required=True)
    parser.add_argument('--input-size', required=True)
    parser.add_argument('--allow-code', action='store_true')
    parser.add_argument('--cache', type=Path, required=True)
    args = parser.parse_args()
    folders: list[str] = []

    def report(stage: str, fraction: float, message: str, **more: str) -> None:
        if 'folder' in more:
            folders.append(more['folder'])
        print(json.dumps({'stage': stage, 'message': message}), flush=True)

    try:
        request = ModelRequest(args.source, args.weights, args.allow_code, args.input_size)
        prepare(request, args.cache.expanduser(), 1.0, False, report)
        print(json.dumps(run(Path(folders[-1]))))
    except (OffloadError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(folder: Path) -> dict[str, object]:
    """Load and run what was prepared; what it is, for JSON."""
    program = Program.load(folder)
    from dnn_offload.runtime.backends.load import load

    began_s = time.monotonic()
    model = load(folder, TORCH, threads=1)
    load_s = time.monotonic() - began_s
    whole, inputs = model.segment(0, len(program.cuts) - 1), seeded_inputs(program.inputs)
    fingerprint = fingerprint_of(model)
    times_ms = []
    for _ in range(TIMED_RUNS):
        began_s = time.monotonic()
        model.run(whole, inputs)
        times_ms.append(1e3 * (time.monotonic() - began_s))
    return {
        'stage': 'done',
        'source': program.source,
        'identity': program.identity,
        'task': program.task,
        'stamp': program.stamp,
        'cuts': len(program.cuts),
        'on_nodes': program.takes_picture and program.task in DECODED_TASKS,
        'same_as_exported': agree(fingerprint, program.fingerprint),
        'fingerprint': list(fingerprint),
        'folder': str(folder),
        'load_s': round(load_s, 3),
        'run_ms': round(sorted(times_ms)[TIMED_RUNS // 2], 2),
    }


if __name__ == '__main__':
    sys.exit(main())
