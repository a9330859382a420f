"""Takes a picture through NumPy, OpenCV and cv_bridge; says before each step which one it is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys

SIZE = (6, 8, 3)


def say(step: str, versions: dict[str, str]) -> None:
    """What comes next, in case that it is the last."""
    print(json.dumps({'step': step, **versions}), flush=True)


def main() -> int:
    """Import and use them in turn."""
    versions: dict[str, str] = {}
    say('numpy', versions)
    import numpy as np

    versions['numpy'] = np.__version__
    say('cv2', versions)
    import cv2

    versions['cv2'] = cv2.__version__
    picture = np.arange(SIZE[0] * SIZE[1] * SIZE[2], dtype=np.uint8).reshape(SIZE)
    encoded = cv2.imencode('.png', picture)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if decoded is None or not np.array_equal(decoded, picture):
        raise RuntimeError('OpenCV gives back another picture than it was given')
    if importlib.util.find_spec('cv_bridge') is None:
        say('no cv_bridge', versions)
        return 0
    say('cv_bridge', versions)
    bridge = importlib.import_module('cv_bridge').CvBridge()
    # Turning the channels round is what the compiled part of apt's cv_bridge does.
    message = bridge.cv2_to_imgmsg(picture, encoding='bgr8')
    turned = bridge.imgmsg_to_cv2(message, desired_encoding='rgb8')
    if not np.array_equal(turned, picture[:, :, ::-1]):
        raise RuntimeError('cv_bridge gives back another picture than it was given')
    say('done', versions)
    return 0


if __name__ == '__main__':
    sys.exit(main())
