"""Drawn scenes: deterministic, honestly labelled, held out."""

from __future__ import annotations

from dataclasses import replace
import json

import cv2
import numpy as np
import pytest

from dnn_offload.demo import video
from dnn_offload.demo.scenes.backdrop import Look
from dnn_offload.demo.scenes.cache import draw_shard, load_shard, NETWORK_SIZE, write_shard
from dnn_offload.demo.scenes.camera import Camera, cast, cast_discs, FAR_M
from dnn_offload.demo.scenes.drive import Drive
from dnn_offload.demo.scenes.layouts import build, FAMILIES
from dnn_offload.demo.scenes.render import Lens, make_thing, MIN_LONG_PX, paint, render
from dnn_offload.demo.scenes.shapes import build as build_shape
from dnn_offload.demo.scenes.shapes import BUILDERS, CLASS_NAMES, RADII_M
from dnn_offload.demo.scenes.textures import FLOORS, TEXELS, WALLS
from dnn_offload.demo.video import truth_path, write_video
from dnn_offload.errors import ConfigurationError, ImageError

SIZE = (320, 240)


def test_the_same_seed_gives_the_same_picture():
    first, second = render(3, 'train', SIZE), render(3, 'train', SIZE)
    assert np.array_equal(first.rgb, second.rgb)
    assert np.array_equal(first.boxes, second.boxes)
    assert not np.array_equal(first.rgb, render(4, 'train', SIZE).rgb)


def test_the_splits_share_neither_layouts_nor_textures():
    assert not set(FAMILIES['train']) & set(FAMILIES['val'])
    seen = {split: set(FLOORS[split]) | set(WALLS[split]) for split in FAMILIES}
    assert not seen['train'] & seen['val']


@pytest.mark.parametrize('split', ['train', 'val'])
def test_labels_are_within_the_picture_and_large_enough(split):
    kinds = set()
    for seed in range(25):
        scene = render(seed, split, SIZE)
        assert scene.rgb.shape == (240, 320, 3) and scene.rgb.dtype == np.uint8
        assert scene.rgb.std() > 2
        assert len(scene.boxes) == len(scene.class_ids) == len(scene.visible)
        if len(scene.boxes) == 0:
            continue
        assert scene.boxes.min() >= 0
        assert scene.boxes[:, 2].max() <= 320 and scene.boxes[:, 3].max() <= 240
        sides = scene.boxes[:, 2:] - scene.boxes[:, :2]
        assert sides.max(axis=1).min() >= MIN_LONG_PX
        assert scene.visible.min() >= 0.5 and scene.visible.max() <= 1.0
        kinds |= set(scene.class_ids.tolist())
    assert kinds == set(range(len(CLASS_NAMES)))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_things_are_small_and_large_hidden_in_part_and_among_clutter(split):
    scenes = [render(seed, split, SIZE) for seed in range(40)]
    visible = np.concatenate([scene.visible for scene in scenes])
    boxes = np.concatenate([scene.boxes for scene in scenes])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert visible.min() < 0.65 and np.mean(visible < 0.95) > 0.05
    assert sides.min() <= 16 and np.mean(sides < 32) > 0.1 and sides.max() > 80


def test_the_lens_blurs_dims_and_smears():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.float32)
    plain = Lens(noise=0.0, vignette=0.0)

    def sharpness(**changes):
        seen = replace(plain, **changes).apply(image)
        return np.abs(np.diff(seen.astype(float), axis=1)).mean()

    sharp = sharpness()
    assert sharpness(blur_px=1.0) < 0.6 * sharp and sharpness(motion_px=5) < 0.6 * sharp
    assert sharpness(exposure=0.5) < 0.7 * sharp


def test_an_unknown_split_is_refused():
    with pytest.raises(ConfigurationError, match='allowed: train, val'):
        render(0, 'test')
    with pytest.raises(ConfigurationError):
        Drive(0, 'nowhere')


@pytest.mark.parametrize('maker', [m for split in ('train', 'val') for m in FLOORS[split]])
def test_textures_have_one_size_and_are_not_flat(maker):
    texture = maker(np.random.default_rng(0))
    assert texture.shape == (TEXELS, TEXELS, 3) and texture.dtype == np.uint8
    assert texture.std() > 1


def _room():
    rng = np.random.default_rng(1)
    layout = build(rng, 'train')
    camera = Camera(640, 480, 460.0, 210.0, 0.8, 0.0, 0.0, 0.0)
    return layout, Look.draw(rng), camera


@pytest.mark.parametrize('kind', [name for name in CLASS_NAMES if name != 'door'])
def test_a_box_fits_its_thing(kind):
    layout, look, camera = _room()
    open_field = np.array([[-90.0, 90.0, 90.0, 90.0], [-90, -90, 90, -90]])
    layout = layout.__class__(
        'field', open_field, np.array([3.0, 3.0]), np.array([0, 0]), layout.wall_textures,
        layout.floor, 0.0, layout.path, 5.0,
    )
    thing = make_thing(np.random.default_rng(2), kind, 0.3, 3.0)
    lens = Lens(noise=0.0, vignette=0.0)
    empty = paint(layout, camera, look, lens, [])
    scene = paint(layout, camera, look, lens, [thing])
    assert scene.class_ids.tolist() == [CLASS_NAMES.index(kind)]
    changed = np.abs(scene.rgb.astype(int) - empty.rgb).max(axis=2) > 0
    x1, y1, x2, y2 = scene.boxes[0].astype(int)
    # whatever is drawn outside of the box is shadow on the floor, beside or below
    above = changed[: max(y1 - 1, 0)]
    assert not above.any()
    assert changed[y1:y2, x1:x2].mean() > 0.15
    foot = camera.horizon_px + camera.focal_px * camera.height_m / 3.0
    assert abs(y2 - foot) < 60


def test_hiding_a_thing_makes_it_less_visible_and_then_unlabelled():
    layout, look, camera = _room()
    cone = make_thing(np.random.default_rng(2), 'cone', 0.0, 4.0)
    crate = make_thing(np.random.default_rng(3), 'crate', 0.0, 2.0)
    labels = [
        paint(layout, camera, look, Lens(), things).class_ids.tolist()
        for things in ([cone], [cone, crate])
    ]
    assert labels[0] == [CLASS_NAMES.index('cone')]
    assert labels[1] == [CLASS_NAMES.index('crate')]
    kept = paint(layout, camera, look, Lens(), [cone, crate], keep_all=True)
    assert kept.class_ids.tolist() == [CLASS_NAMES.index('crate')]


@pytest.mark.parametrize('kind', sorted(BUILDERS))
def test_every_thing_is_built_the_same_from_the_same_seed(kind):
    thing = make_thing(np.random.default_rng(5), kind, 0.0, 2.0)
    assert build_shape(thing) == build_shape(thing)
    assert len(build_shape(thing)) >= 1 and RADII_M[kind] > 0


def test_rays_meet_walls_and_discs():
    walls = np.array([[-5.0, 4.0, 5.0, 4.0]])
    aim = np.array([[0.0, 1.0], [0.0, -1.0]])
    distance, index, along = cast(np.zeros(2), aim, walls)
    assert distance.tolist() == [4.0, FAR_M]
    assert index[0] == 0 and along[0] == pytest.approx(5.0)
    discs = np.array([[0.0, 3.0, 0.5]])
    assert cast_discs(np.zeros(2), aim, discs).tolist() == [2.5, FAR_M]
    assert cast_discs(np.zeros(2), aim, np.zeros((0, 3))).tolist() == [FAR_M, FAR_M]


def test_projection_of_a_point_ahead():
    camera = Camera(640, 480, 460.0, 210.0, 0.8, 1.0, 2.0, 0.0)
    seen = camera.to_camera(np.array([[1.5, 0.0, 4.0]]))
    assert seen[0].tolist() == pytest.approx([0.5, -0.8, 2.0])
    assert camera.project(seen)[0].tolist() == pytest.approx([320 + 115, 210 + 184])


def test_a_drive_is_coherent_in_time():
    drive = Drive(7)
    first, second = drive.frame(2.0, SIZE), drive.frame(2.0, SIZE)
    assert np.array_equal(first.rgb, second.rgb)
    next_frame = drive.frame(2.0 + 1 / 15, SIZE)
    far = drive.frame(20.0, SIZE)
    near_change = np.abs(first.rgb.astype(int) - next_frame.rgb).mean()
    assert 0 < near_change < np.abs(first.rgb.astype(int) - far.rgb).mean()
    here, there = drive.pose(2.0), drive.pose(3.0)
    moved = np.hypot(there.x_m - here.x_m, there.z_m - here.z_m)
    assert 0.5 < moved < 1.3
    assert drive.along_m(drive.length_m / drive.speed_mps) == pytest.approx(0.0, abs=1e-6)


def test_people_have_crossed_before_the_vehicle_is_there():
    drive = Drive(7)
    for time_s in np.arange(0.0, 60.0, 0.5):
        pose = drive.pose(time_s)
        for thing in drive.things(time_s):
            if thing.kind == 'person':
                assert np.hypot(thing.x_m - pose.x_m, thing.z_m - pose.z_m) > 0.3


def test_shards_are_written_whole_and_read_back(tmp_path):
    path = write_shard(tmp_path, 'train', 10, SIZE, count=2)
    shard, fresh = load_shard(path), draw_shard('train', 10, 2, SIZE)
    assert shard.pictures.shape == (2, NETWORK_SIZE[1], NETWORK_SIZE[0], 3)
    assert np.array_equal(shard.pictures, fresh.pictures)
    boxes, kinds = shard.truth(1)
    assert len(boxes) == len(kinds)
    assert [p.name for p in tmp_path.iterdir()] == ['train_0000010.npz']


def test_several_processes_draw_the_same_video(tmp_path):
    particulars = video.Particulars(5.0, 160, 120, 7, 'val', 5)
    alone = list(video._draw(particulars, 0, 1))
    together = list(video._draw_together(particulars, 2))
    assert len(together) == 5
    for (rgb, labels), (other_rgb, other_labels) in zip(alone, together, strict=True):
        assert np.array_equal(rgb, other_rgb)
        assert labels == other_labels


def test_a_process_that_ends_early_is_noticed(monkeypatch):
    monkeypatch.setattr(video.sys, 'executable', 'false')
    with pytest.raises(ImageError, match='ended early'):
        list(video._draw_together(video.Particulars(5.0, 160, 120, 7, 'val', 5), 2))


def test_a_video_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / 'video.mp4').mkdir()
    with pytest.raises(ImageError, match='cannot be written'):
        write_video(tmp_path / 'video.mp4', 0.4, 5.0, SIZE, 7)


def test_a_video_comes_with_its_truth_and_is_drawn_once(tmp_path):
    path = tmp_path / 'drive.mp4'
    told = []
    assert write_video(path, 0.4, 5.0, SIZE, 7, progress=told.append) == 2
    assert told == [0.5, 1.0]
    truth = json.loads(truth_path(path).read_text())
    assert len(truth['frames']) == 2 and truth['class_names'] == list(CLASS_NAMES)
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 320
    assert capture.read()[0]
    capture.release()
    written = path.stat().st_mtime_ns
    write_video(path, 0.4, 5.0, SIZE, 7)
    assert path.stat().st_mtime_ns == written
    write_video(path, 0.4, 5.0, SIZE, 8)
    assert path.stat().st_mtime_ns != written
