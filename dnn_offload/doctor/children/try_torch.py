"""Computes with torch what a network would: a torch built for another processor dies here."""

from __future__ import annotations

import json
import os
import time

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')


def compute() -> dict[str, object]:
    """Run the operators that networks are made of, in the number types that are used."""
    began_s = time.monotonic()
    import torch
    from torch.nn import functional

    import_s = time.monotonic() - began_s
    picture = torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(16, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        features = functional.conv2d(picture, weight, stride=2, padding=1)
        features = functional.max_pool2d(functional.relu(features), 2)
        separate = functional.conv2d(features, torch.rand(16, 1, 3, 3), padding=1, groups=16)
        flat = separate.flatten(1)
        scores = functional.linear(flat, torch.rand(10, flat.shape[1])).softmax(1)
        halves = scores.to(torch.float16).to(torch.float32)
        bytes_ = (scores * 255.0).round().to(torch.uint8)
    if not bool(torch.isfinite(halves).all()) or int(bytes_.numel()) != 10:
        raise RuntimeError('torch computes nonsense')
    return {
        'version': str(torch.__version__),
        'capability': str(torch.backends.cpu.get_cpu_capability()),
        'threads': torch.get_num_threads(),
        'cuda': torch.cuda.is_available(),
        'import_s': round(import_s, 2),
    }


if __name__ == '__main__':
    print(json.dumps(compute()))
