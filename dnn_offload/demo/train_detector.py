"""Train the demo's detector on scenes that are drawn meanwhile, on a CPU.

``python -m dnn_offload.demo.train_detector --out dnn_offload/data --minutes 60``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import copy
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import subprocess
import tempfile
import time

import cv2
import numpy as np
from safetensors.torch import load_file, save_file
import torch
from torch import nn, Tensor

from dnn_offload.demo.detection_metrics import evaluate, Found, from_output, Score, Wanted
from dnn_offload.demo.detector import loss, Truth
from dnn_offload.demo.scenes.cache import load_shard, NETWORK_SIZE, Shard
from dnn_offload.demo.scenes.shapes import CLASS_NAMES as DRAWN_CLASSES
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.demo_detector import CLASS_NAMES, DemoDetector, MEAN, STD
from dnn_offload.own_program import own_program

WEIGHT_DECAY = 0.02
WARM_UP = 0.03  # share of the run
PRIOR_UNTIL = 0.12  # share of the run in which the geometric prior fades out


class Pool:
    """The shards drawn so far; looks for new ones now and then."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self.shards: dict[Path, Shard] = {}
        self.refresh()

    def refresh(self) -> int:
        """Take in new shards; returns the number of pictures."""
        for path in sorted(self.folder.glob(f'{self.split}_???????.npz')):
            if path not in self.shards:
                self.shards[path] = load_shard(path)
        return sum(len(shard.pictures) for shard in self.shards.values())

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One picture with boxes and classes at random."""
        shards = list(self.shards.values())
        shard = shards[int(rng.integers(len(shards)))]
        index = int(rng.integers(len(shard.pictures)))
        return (shard.pictures[index], *shard.truth(index))


def augment(
    rng: np.random.Generator, picture: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flip, zoom, shift and recolour; boxes mostly outside are dropped."""
    wide, high = NETWORK_SIZE
    zoom = float(np.exp(rng.uniform(-0.35, 0.45))) if rng.random() < 0.7 else 1.0
    flip = -1.0 if rng.random() < 0.5 else 1.0
    slack = abs(1 - zoom) / 2
    shift = rng.uniform(-slack, slack, 2) * [wide, high]
    warp = np.array(
        [
            [flip * zoom, 0, wide / 2 * (1 - flip * zoom) + shift[0]],
            [0, zoom, high / 2 * (1 - zoom) + shift[1]],
        ],
        np.float32,
    )
    if zoom != 1.0 or flip < 0:
        # pixel centres sit at half coordinates, boxes' edges at whole ones
        pixel = warp.copy()
        pixel[:, 2] += pixel[:, :2] @ [0.5, 0.5] - 0.5
        fill = int(rng.integers(90, 140))
        mode = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        picture = cv2.warpAffine(picture, pixel, (wide, high), flags=mode, borderValue=(fill,) * 3)
    moved = boxes.reshape(-1, 2, 2) * [warp[0, 0], warp[1, 1]] + warp[:, 2]
    moved = np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1)
    clipped = np.clip(moved, 0, [wide, high, wide, high])
    sides = clipped[:, 2:] - clipped[:, :2]
    share = sides.prod(axis=1) / np.maximum((moved[:, 2:] - moved[:, :2]).prod(axis=1), 1e-6)
    keep = (share > 0.4) & (sides.max(axis=1) >= 9) & (sides.min(axis=1) >= 3)
    level = np.arange(256, dtype=np.float32) / 255
    gain, bend = np.exp(rng.normal(0, 0.18)), np.exp(rng.normal(0, 0.18))
    channels = gain * (1 + rng.normal(0, 0.07, 3))
    table = np.clip(255 * level[:, None] ** bend * channels + rng.normal(0, 8), 0, 255)
    picture = cv2.LUT(picture, table.astype(np.uint8)[None])
    return picture, clipped[keep].astype(np.float32), labels[keep]


def to_input(pictures: np.ndarray) -> Tensor:
    """Pictures (B, H, W, 3) uint8 -> normalised (B, 3, H, W) float32, channels_last."""
    scaled = torch.from_numpy(np.ascontiguousarray(pictures)).float().div_(255)
    scaled.sub_(torch.tensor(MEAN)).div_(torch.tensor(STD))
    return scaled.permute(0, 3, 1, 2)


def batch(rng: np.random.Generator, pool: Pool, size: int) -> tuple[Tensor, Truth]:
    """Draw an augmented batch."""
    pictures, all_boxes, all_labels = [], [], []
    for _ in range(size):
        picture, boxes, labels = augment(rng, *pool.draw(rng))
        pictures.append(picture)
        all_boxes.append(boxes)
        all_labels.append(labels)
    most = max(1, *(len(boxes) for boxes in all_boxes))
    boxes = torch.zeros(size, most, 4)
    labels = torch.zeros(size, most, dtype=torch.long)
    valid = torch.zeros(size, most, dtype=torch.bool)
    for row in range(size):
        count = len(all_boxes[row])
        boxes[row, :count] = torch.from_numpy(all_boxes[row])
        labels[row, :count] = torch.from_numpy(all_labels[row])
        valid[row, :count] = True
    return to_input(np.stack(pictures)), Truth(boxes, labels, valid)


class Average:
    """Exponential moving average of a network, batch statistics included."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards ``module``."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        current = module.state_dict()
        for name, value in self.module.state_dict().items():
            if value.dtype.is_floating_point:
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


@torch.no_grad()
def validate(module: nn.Module, shards: Sequence[Shard], limit: int) -> Score:
    """Score the network on the first ``limit`` held-out pictures, float32."""
    module.eval()
    found: list[Found] = []
    wanted: list[Wanted] = []
    for shard in shards:
        for index in range(len(shard.pictures)):
            if len(found) >= limit:
                break
            output = module(to_input(shard.pictures[index : index + 1]))[0].numpy()
            found.append(from_output(output))
            wanted.append(Wanted(*shard.truth(index)))
    return evaluate(found, wanted)


def save(module: nn.Module, folder: Path, facts: dict[str, object]) -> Path:
    """Write ``detector.safetensors`` (float16) and ``detector.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.half().contiguous()
        for name, tensor in module.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    path = folder / 'detector.safetensors'
    partial = folder / 'detector.partial'
    save_file(state, partial)
    partial.chmod(0o644)  # safetensors makes its files private
    os.replace(partial, path)
    described = {'class_names': list(CLASS_NAMES), **facts}
    (folder / 'detector.json').write_text(json.dumps(described, indent=2) + '\n')
    return path


@dataclass(frozen=True)
class Schedule:
    """Where the run stands: by steps when they are given, else by the clock."""

    started_s: float
    seconds: float
    steps: int

    def progress(self, step: int) -> float:
        """Share of the run that is done, 0..1."""
        if self.steps:
            return min(1.0, step / self.steps)
        return min(1.0, (time.monotonic() - self.started_s) / self.seconds)

    @staticmethod
    def rate(progress: float, peak: float) -> float:
        """Learning rate: linear warm-up, then half a cosine down to 2 %."""
        if progress < WARM_UP:
            return peak * max(progress / WARM_UP, 0.02)
        done = (progress - WARM_UP) / (1 - WARM_UP)
        return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _draw_in_background(folder: Path, split: str, count: int, width: int) -> subprocess.Popen:
    command = own_program(
        'dnn_offload.demo.scenes.cache', '--folder', str(folder), '--split', split,
        '--count', str(count), '--width', str(width),
    )
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _wait_for(pool: Pool, pictures: int, child: subprocess.Popen | None) -> None:
    while pool.refresh() < pictures:
        if child is not None and child.poll() not in (None, 0):
            raise ConfigurationError(
                'the scenes could not be drawn', given=f'exit status {child.returncode}'
            )
        time.sleep(0.5)


def _groups(module: nn.Module) -> list[dict[str, object]]:
    """Weights decay, biases and batch norms do not."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    free = [p for p in module.parameters() if p.ndim <= 1]
    return [
        {'params': decayed, 'weight_decay': WEIGHT_DECAY},
        {'params': free, 'weight_decay': 0.0},
    ]


def train_step(
    module: DemoDetector,
    optimiser: torch.optim.Optimizer,
    pictures: Tensor,
    truth: Truth,
    *,
    prior: float,
    bfloat16: bool,
) -> tuple[float, dict[str, float]]:
    """One step of the optimiser; returns the loss and its parts."""
    module.train()
    with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
        boxes, logits = module.predict(pictures)
    total, parts = loss(boxes, logits.float(), truth, module.points, module.point_strides, prior)
    optimiser.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 10.0)
    optimiser.step()
    return float(total.detach()), parts


def train(
    options: argparse.Namespace, pool: Pool, held_out: Pool
) -> tuple[nn.Module, Score, int]:
    """Run the whole schedule; returns the averaged network, its score and the steps taken."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    module = DemoDetector().to(memory_format=torch.channels_last)
    if options.resume is not None:
        state = {name: tensor.float() for name, tensor in load_file(options.resume).items()}
        module.load_state_dict(state, strict=False)
    average = Average(module, 0.998)
    optimiser = torch.optim.AdamW(_groups(module), lr=options.rate, betas=(0.9, 0.99))
    schedule = Schedule(time.monotonic(), options.minutes * 60, options.steps)
    told, saved, step = time.monotonic(), time.monotonic(), 0
    recent: list[float] = []
    while (progress := schedule.progress(step)) < 1.0:
        for group in optimiser.param_groups:
            group['lr'] = schedule.rate(progress, options.rate)
        pictures, truth = batch(rng, pool, options.batch)
        prior = 0.0 if options.resume else max(0.0, 1 - progress / PRIOR_UNTIL)
        total, parts = train_step(
            module, optimiser, pictures, truth, prior=prior, bfloat16=options.bfloat16
        )
        average.update(module)
        step += 1
        recent.append(total)
        now = time.monotonic()
        if now - told > options.report_s:
            told = now
            print(
                f'{100 * progress:5.1f} %  step {step}  pictures {pool.refresh()}  '
                f'loss {np.mean(recent):.3f}  '
                + '  '.join(f'{name} {value:.3f}' for name, value in parts.items()),
                flush=True,
            )
            recent.clear()
        if now - saved > options.save_s:
            score = validate(average.module, list(held_out.shards.values()), 150)
            print(
                f'        mAP {score.ap:.3f}  mAP@.5 {score.ap50:.3f}  small {score.ap_small:.3f}'
                f'  (150 held-out scenes)',
                flush=True,
            )
            save(average.module, options.work, _facts(score, step, options))
            saved = time.monotonic()
    score = validate(average.module, list(held_out.shards.values()), 1 << 30)
    return average.module, score, step


def _facts(score: Score, step: int, options: argparse.Namespace) -> dict[str, object]:
    return {
        'input': {'height': NETWORK_SIZE[1], 'width': NETWORK_SIZE[0], 'mean': MEAN, 'std': STD},
        'trained': {'seed': options.seed, 'steps': step, 'batch': options.batch},
        'held_out': {
            'map_50_95': round(score.ap, 4),
            'map_50': round(score.ap50, 4),
            'map_small': round(score.ap_small, 4),
            'boxes': score.count,
        },
    }


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder for the weights')
    parser.add_argument('--minutes', type=float, default=60.0, help='length of the run')
    parser.add_argument('--steps', type=int, default=0, help='length in steps instead')
    parser.add_argument('--scenes', type=int, default=12000, help='training scenes to draw')
    parser.add_argument('--held-out', type=int, default=500, help='held-out scenes to draw')
    parser.add_argument('--width', type=int, default=448, help='width at which scenes are drawn')
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--rate', type=float, default=2e-3, help='peak learning rate')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--bfloat16',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='mixed precision: twice as fast where the CPU has AVX512-BF16',
    )
    parser.add_argument('--cache', type=Path, help='folder of scenes to keep and to reuse')
    parser.add_argument(
        '--draw',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='draw what the cache lacks; off when another process does',
    )
    parser.add_argument('--work', type=Path, help='folder for checkpoints')
    parser.add_argument('--resume', type=Path, help='start from these weights')
    parser.add_argument('--report-s', type=float, default=20.0)
    parser.add_argument('--save-s', type=float, default=300.0)
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Draw, train, write the weights and print the score."""
    options = arguments().parse_args(given)
    if CLASS_NAMES != DRAWN_CLASSES:
        raise ConfigurationError('the detector and the scenes disagree on the classes')
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.cache or Path(scratch)
        options.work = options.work or Path(scratch)
        child = None
        if options.draw:
            _draw_in_background(folder, 'val', options.held_out, 640).wait()
            child = _draw_in_background(folder, 'train', options.scenes, options.width)
        pool, held_out = Pool(folder, 'train'), Pool(folder, 'val')
        try:
            _wait_for(pool, min(1000, options.scenes), child)
            module, score, step = train(options, pool, held_out)
        finally:
            if child is not None:
                child.terminate()
                child.wait()
        path = save(module, options.out, _facts(score, step, options))
        print(
            f'{path}: {path.stat().st_size} bytes, mAP@[.5:.95] {score.ap:.3f}, '
            f'mAP@.5 {score.ap50:.3f} on {score.count} held-out boxes'
        )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
