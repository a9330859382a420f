"""Rows beside ours: the eager network computes what ours does; caches and simulated points."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch

from dnn_offload.bench import caches
from dnn_offload.bench.rows.eager import tensor_of
from dnn_offload.bench.rows.simulated import simulate_point
from dnn_offload.bench.scenario.scenario import Conditions, in_turn, Point, Row
from dnn_offload.cost.energy import resolve_board
from dnn_offload.graph.export import export
from dnn_offload.graph.sources import resolve
from dnn_offload.planning.search import STRATEGIES
from dnn_offload.report.bench_records import Window
from dnn_offload.runtime.backends.torch_backend import TorchModel
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.vision.preprocess import prepare, PreprocessSpec


def test_the_eager_network_computes_what_the_exported_one_does() -> None:
    """Else the rows of today would be of another network."""
    loaded = resolve('torchvision:squeezenet1_1', weights='random')
    picture = np.random.default_rng(4).integers(0, 255, (480, 640, 3), np.uint8)
    with torch.inference_mode():
        expected = loaded.module(tensor_of(picture, loaded)).numpy()
    program, weights = export(loaded, lambda text: None)
    model = TorchModel(program, weights)
    small, _ = prepare(picture, PreprocessSpec.from_json(dict(program.preprocess)))
    found = model.run(model.segment(0, len(model.cuts) - 1), [small])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_steady_drift_of_the_machine_favours_no_row() -> None:
    rows = [Row(name, name) for name in ('local', 'remote', 'auto')]
    measured: dict[str, list[int]] = {row.name: [] for row in rows}
    for number in range(4):
        for row in in_turn(rows, number):
            measured[row.name].append(sum(map(len, measured.values())))
    assert len({sum(times) for times in measured.values()}) == 1, measured


@pytest.mark.parametrize('runtime', ['torch', 'onnxruntime'])
def test_the_bare_loop_prints_a_latency_per_run(runtime: str) -> None:
    if runtime == 'onnxruntime':
        pytest.importorskip('onnx', reason='torch exports to ONNX by the package onnx')
    done = subprocess.run(
        [sys.executable, '-m', 'dnn_offload.bench.rows.bare_loop', '--source',
         'torchvision:squeezenet1_1', '--weights', 'random', '--input-size=64x64', '--runs', '4',
         '--runtime', runtime],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1],
    )
    assert len([float(line) for line in done.stdout.split()]) == 4


def test_a_machine_of_another_speed_shares_the_export_and_no_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ModelRequest('torchvision:alexnet', 'random')
    own = tmp_path / cache_key(request)
    own.mkdir()
    (own / 'program.json').write_text('{}')
    (own / 'export.lock').touch()
    (own / 'profile_edge_torch_1t.json').write_text('{}')
    monkeypatch.setattr(caches, 'exported', lambda request, cache: own)
    assert caches.cache_of(request, tmp_path, 'robot', 0.0) == tmp_path
    slow = caches.cache_of(request, tmp_path, 'robot', 0.25)
    fast = caches.cache_of(request, tmp_path, 'robot', 0.5)
    assert slow != fast
    for cache in (slow, fast):
        folder = cache / cache_key(request)
        assert [path.name for path in folder.iterdir()] == ['program.json']
        assert (folder / 'program.json').samefile(own / 'program.json')
    profile = slow / cache_key(request) / 'profile_edge_torch_1t.json'
    profile.write_text('{}')
    assert caches.cache_of(request, tmp_path, 'robot', 0.25) == slow and profile.exists()
    caches.forget_profiles(tmp_path)
    assert not profile.exists() and (own / 'profile_edge_torch_1t.json').exists()


@pytest.mark.parametrize('mbps', [0.016, 0.1, 0.4])
def test_a_simulated_point_has_a_window_of_every_strategy(mbps: float) -> None:
    point = Point('made:up', 0.2, 1.0, Conditions(mbps, mbps))
    rows = [*(Row(name, name) for name in STRATEGIES if name != 'roadrunner'),
            Row('inner', 'auto', (('codecs', ['raw']), ('private_layers', 1))),
            Row('oracle'), Row('bare_torch')]
    found = simulate_point(3, point, rows, made_up_profile(), made_up_profile(speed=5.0))
    windows = {window.row: window for window in found}
    assert set(windows) == {row.name for row in rows} - {'bare_torch'}
    assert all(window.simulated and window.point == 3 for window in found)
    best = windows['oracle'].latency_ms
    assert all(window.latency_ms >= best - 1e-9 for window in found)
    assert windows['inner'].codec in ('raw', '')
    assert windows['remote'].uplink_bytes > 0
    # What is sent takes its time on such a link.
    least_ms = 8 * windows['remote'].uplink_bytes / (mbps * 1e3)
    assert windows['remote'].latency_ms > 0.9 * least_ms


def test_a_simulated_point_is_reckoned_for_the_scenario_s_objective() -> None:
    """Waiting for the server takes a hair longer than computing, and less energy."""
    point = Point('made:up', 0.2, 1.0, Conditions(8.0, 8.0))
    power = resolve_board('jetson_nano')

    def best(objective: str) -> Window:
        (found,) = simulate_point(
            0, point, [Row('auto', 'auto')], made_up_profile(), made_up_profile(speed=2.0),
            power, objective,
        )
        return found

    fastest, thriftiest = best('latency'), best('energy')
    assert fastest.latency_ms < thriftiest.latency_ms
    assert thriftiest.energy_j < fastest.energy_j
