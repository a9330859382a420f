"""Opens a picture source as camera_node does by default, and reads from it for a while."""

from __future__ import annotations

import argparse
import json
import sys
import time

from dnn_offload.errors import ImageError
from dnn_offload.nodes.camera_sources import open_source, SourceSettings

WARM_UP = 2  # pictures that are not timed: exposure, first decoding
MOST = 300


def main() -> int:
    """Print what was read; status 1 with a sentence on stderr where it cannot be."""
    parser = argparse.ArgumentParser()
    parser.add_argument('source')
    parser.add_argument('--seconds', type=float, required=True)
    args = parser.parse_args()
    try:
        source = open_source(SourceSettings(args.source))
        print(json.dumps({'opened': source.description}), flush=True)
        times_s: list[float] = []
        unreadable: list[str] = []
        shape: tuple[int, ...] = ()
        end_s = time.monotonic() + args.seconds
        while len(times_s) + len(unreadable) < MOST and (
            time.monotonic() < end_s or len(times_s) <= WARM_UP
        ):
            if not source.grab():
                break  # the end of a file
            try:
                shape = source.retrieve().shape
            except ImageError as error:  # camera_node leaves it out and goes on
                unreadable.append(str(error))
                continue
            times_s.append(time.monotonic())
        source.close()
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1
    timed_s = times_s[WARM_UP:]
    span_s = timed_s[-1] - timed_s[0] if len(timed_s) > 1 else 0.0
    print(json.dumps({
        'description': ', '.join(filter(None, (source.description, source.mode))),
        'live': source.live,
        'claimed_hz': source.rate_hz,
        'measured_hz': (len(timed_s) - 1) / span_s if span_s > 0.0 else 0.0,
        'pictures': len(times_s),
        'unreadable': len(unreadable),
        'first_unreadable': unreadable[0] if unreadable else '',
        'height': shape[0] if shape else 0,
        'width': shape[1] if shape else 0,
    }))
    return 0


if __name__ == '__main__':
    sys.exit(main())
