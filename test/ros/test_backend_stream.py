"""Robot and server with backends of their own, over real DDS: the same accounts as by torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from dnn_offload.demo.verdict import accounting_failures
from dnn_offload.runtime.backends.names import missing
from dnn_offload.testbed.recorder import wait_until
from dnn_offload.testbed.session import Session

ENOUGH = 10  # results that show that a plan serves


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    'robot, server', [
        ('onnxruntime', 'torch'), ('openvino', 'onnxruntime'),
        ('onnxruntime+openvino', 'torch+onnxruntime'),  # each piece by the fastest
    ],
)
def test_a_stream_with_a_backend_on_each_side(robot: str, server: str, tmp_path: Path) -> None:
    """Three cuts and all-local in turn; every frame is accounted for, both sides say what runs."""
    for backend in f'{robot}+{server}'.split('+'):
        if missing(backend):
            pytest.skip(missing(backend))
    with Session(
        tmp_path, model='torchvision:squeezenet1_1', rate_hz=10.0, strategy='',
        common={'weights': 'random', 'cache_dir': str(tmp_path / 'cache'),
                'profile_budget_s': 2.0, 'input_size': '96x96'},
        robot={'backend': robot, 'deadline_ms': 2000.0}, server={'backend': server},
    ) as session:
        recorder = session.recorder
        profile = recorder.profile
        assert profile is not None and profile.backend == robot
        last = len(profile.cuts) - 1

        def enough(plan_id: int) -> bool:
            session.fleet.check()
            rows = [row for row in recorder.rows if row.plan_id == plan_id]
            return sum(row.outcome == 'remote' for row in rows) >= ENOUGH

        for index in (last // 4, last // 2, 3 * last // 4):
            plan_id = recorder.publish_plan(
                profile.model_identity, profile.cuts[index].cut_id, 'raw', 'edge_server'
            )
            assert wait_until(partial(enough, plan_id), 20.0), recorder.rows[-3:]
            answered = [
                row for row in recorder.rows
                if row.plan_id == plan_id and row.outcome == 'remote'
            ]
            if server == 'onnxruntime':  # its tail is not compiled before its first frame has come
                assert answered[0].stood_in
        # Robot, server, robot: each of the three pieces by whichever is its own.
        first, second = profile.cuts[last // 4], profile.cuts[3 * last // 4]
        plan_id = recorder.publish_plan(
            profile.model_identity, first.cut_id, 'raw', 'edge_server',
            return_cut=second.cut_id, return_codec='raw',
        )
        assert wait_until(partial(enough, plan_id), 20.0), recorder.rows[-3:]
        session.finish()
        rows, counters = recorder.rows, list(recorder.counters.values())
        assert accounting_failures(rows, counters) == []
        # A busy machine may be late, and pass frames over; nothing may fail.
        reasons = {row.drop_reason for row in rows}
        assert reasons <= {'', 'superseded', 'superseded_at_server'}
    logs = '\n'.join(path.read_text() for path in (tmp_path / 'logs').rglob('*.log'))
    assert f'by {robot}' in logs and f'by {server}' in logs
    assert 'torch does' not in logs and 'torch is used' not in logs
