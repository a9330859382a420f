"""The robot's inference node: pictures in, detections out, whatever the link does.

All cleverness is in ``runtime/engine.py``; this node connects it: images to frames, plans to
switches, outcomes to messages. Until the network is prepared (a child process exports and
profiles it) no picture enters.
"""

from __future__ import annotations

from collections import deque
import socket
import threading
import time
from typing import Any

import cv2
import numpy as np
from std_msgs.msg import String

from dnn_offload.codec.registry import answer_codec
from dnn_offload.errors import ImageError
from dnn_offload.exchange import TRIAL_FRAMES
from dnn_offload.graph.fingerprint import distance, TOLERANCE
from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, ServerStatus
from dnn_offload.nodes import topics
from dnn_offload.nodes.base import ERROR, OffloadNode, OK, WARN
from dnn_offload.nodes.camera_watch import CameraWatch
from dnn_offload.nodes.image_intake import ImageIntake
from dnn_offload.nodes.local_outputs import (
    Artist,
    DECODE_PARAMETERS,
    frame_report,
    ResultOutput,
)
from dnn_offload.nodes.local_parameters import COMMON, NODE, PARAMETERS
from dnn_offload.nodes.model_loader import ModelLoader
from dnn_offload.nodes.model_parameters import check_model
from dnn_offload.nodes.picture_reader import camera_picture, CameraMessage, CameraPicture
from dnn_offload.nodes.process import run
from dnn_offload.runtime.engine import InferenceEngine
from dnn_offload.runtime.frames import FramePlan, FrameRecord
from dnn_offload.runtime.gil import GilMonitor
from dnn_offload.runtime.plan_slot import PlanRequest
from dnn_offload.runtime.prepared_model import PreparedModel
from dnn_offload.runtime.settings import EngineSettings
from dnn_offload.transport import names
from dnn_offload.transport.conversion import stamp_of
from dnn_offload.transport.qos import profile_of
from dnn_offload.transport.uplink import DdsUplink
from dnn_offload.transport.uplink_settings import LinkTiming, UplinkSettings
from dnn_offload.vision.answers import Answers
from dnn_offload.vision.preprocess import Mapping, PreprocessSpec

LONGEST_SCOUT_PERIOD_S = 3600.0
MAX_TRANSFERS = 32  # bound of FrameReport.transfers in the IDL
ENGINE_PARAMETERS = ('deadline_ms', 'window', 'result_codec', 'pass_jpeg')
UPLINK_PARAMETERS = ('max_uplink_bps', 'server_timeout_s', 'probe_period_s')


class LocalInferenceNode(OffloadNode):
    """See the module; hooks as in ``OffloadNode``, engine events as in ``EngineEvents``."""

    NODE = NODE
    PARAMETERS = PARAMETERS
    COMMON = COMMON

    def __init__(self, **node_arguments: Any) -> None:
        self._loader: ModelLoader | None = None
        self._model: PreparedModel | None = None
        self._preprocess: PreprocessSpec | None = None
        self._profile_publisher: Any = None
        self._output: ResultOutput | None = None
        self._artist: Artist | None = None
        self._engine: InferenceEngine | None = None
        self._uplink: DdsUplink | None = None
        self._gil: GilMonitor | None = None
        self._intake: ImageIntake | None = None
        self._camera: CameraWatch | None = None
        self._wanted: PlanRequest | None = None
        self._scout_period_s = 0.0
        self._undrawn: tuple[int, Answers] = (0, [])
        self._transfers: deque[LinkSample] = deque()  # for the next frame report
        self._telling = threading.Lock()  # so that a loss is not told before what came through
        self._result_codec = ''
        super().__init__(**node_arguments)

    # -- lifecycle hooks ----------------------------------------------------------------

    def configure(self) -> None:
        """Publishers, and the child process that prepares the network."""
        names.check_rendezvous(self.setting('rendezvous_namespace'))
        self._reports = self.advertise(FrameReport, topics.FRAME_REPORT)
        self._samples = self.advertise(LinkSample, topics.LINK_SAMPLE)
        # Not a lifecycle publisher: what it has said once must stay for late-comers.
        self._profile_publisher = self.create_publisher(
            String, topics.EDGE_PROFILE.name, profile_of(topics.EDGE_PROFILE.quality)
        )
        self._loader = ModelLoader(
            self, 'edge', on_loaded=self._ready, on_measured=self._measured,
            on_failed=lambda why: self.get_logger().error(f'no network: {why}'),
        )

    def activate(self) -> None:
        """Open traffic, now or as soon as the network is ready."""
        self.subscribe(Plan, topics.PLAN_IN, self._take_plan)
        self.subscribe(Plan, topics.PLAN_TRIAL_IN, self._take_trial)
        self.subscribe(Load, topics.LOAD_IN, self._take_load)
        # Before there is anything to run on them: finding the camera takes DDS up to 3 s.
        self._camera = CameraWatch(time.monotonic(), self.complain, self.get_logger().info)
        self._intake = ImageIntake(self, self.setting('image_transport'), self._take_image)
        self.every(1.0, self._watch_camera)
        if self._model is not None:
            self._open(self._model)

    def deactivate(self) -> None:
        """End the stream: every frame left gets its outcome before this returns."""
        engine, uplink, artist = self._engine, self._uplink, self._artist
        self._engine = self._uplink = self._artist = None
        self._intake = self._camera = None
        if engine is not None:
            engine.stop()
        if uplink is not None:
            uplink.stop()
        if artist is not None:
            artist.stop()
        self._watch_gil()

    def cleanup(self) -> None:
        """Give the network back."""
        if self._loader is not None:
            self._loader.stop()
            self._loader = None
        if self._profile_publisher is not None:
            self.destroy_publisher(self._profile_publisher)
            self._profile_publisher = None
        if self._output is not None:
            self._output.close()
            self._output = None
        self._model = self._wanted = None

    # -- getting ready ------------------------------------------------------------------

    def _ready(self, model: PreparedModel) -> None:
        program = model.model.program
        self._result_codec = answer_codec(self.setting('result_codec'), program.outputs)
        self._output = ResultOutput(
            self, program.source, program.task, program.class_names, program.stamp,
            CameraPicture.rgb,
        )
        self._profile_publisher.publish(String(data=model.profile_json))
        self._model = model
        self._preprocess = PreprocessSpec.from_json(dict(program.preprocess))
        if self.is_active:
            self._open(model)

    def _measured(self, model: PreparedModel) -> None:
        """The profile that replaces a provisional one, and what it is of; frames go on."""
        self._model = model
        if self._engine is not None:
            self._engine.adopt(model.model, model.profile)
        self._profile_publisher.publish(String(data=model.profile_json))

    def _open(self, model: PreparedModel) -> None:
        """Start engine, uplink and pictures."""
        assert self._output is not None
        # Another engine counts its frames from 1 again.
        self._undrawn = (0, [])
        self._transfers.clear()
        engine = InferenceEngine(
            model.model, self, self._engine_settings(model), clock_s=self._clock_s,
            profile=model.profile,
        )
        prefix = self.setting('client_id') or f'{socket.gethostname()}{self.get_namespace()}'
        uplink = DdsUplink(
            self, self.setting('rendezvous_namespace'), names.new_client_id(prefix),
            model.model.identity, engine, settings=self._uplink_settings(),
            accept_server=self._accept_server, on_link_sample=self._tell_transfer,
        )
        self._artist = Artist(self._output.draw, self.complain)
        engine.start(uplink)
        self._engine, self._uplink = engine, uplink
        if self._wanted is not None:
            engine.set_plan(self._wanted)
            engine.set_scout_period(self._scout_period_s)
        self._watch_gil()

    def _engine_settings(self, model: PreparedModel) -> EngineSettings:
        return EngineSettings(
            deadline_ms=self.setting('deadline_ms'), window=self.setting('window'),
            threads=model.threads, result_codec=self._result_codec,
            pass_jpeg=self.setting('pass_jpeg'),
        )

    def _uplink_settings(self) -> UplinkSettings:
        timing = LinkTiming(
            server_timeout_s=self.setting('server_timeout_s'),
            probe_period_s=self.setting('probe_period_s'),
        )
        return UplinkSettings(max_uplink_bps=self.setting('max_uplink_bps'), timing=timing)

    def check_settings(self, changed: dict[str, Any]) -> None:
        """See ``OffloadNode``: a model that can be had, only classes that it has."""
        check_model(changed, self.setting)
        if 'classes' in changed and self._output is not None:
            self._output.check_classes(changed['classes'])

    def on_parameters_changed(self, changed: dict[str, Any]) -> None:
        """Apply live."""
        if self._output is not None and any(name in changed for name in DECODE_PARAMETERS):
            self._output.adopt_settings()
        if self._model is not None and 'result_codec' in changed:
            outputs = self._model.model.program.outputs
            self._result_codec = answer_codec(changed['result_codec'], outputs)
            changed = {**changed, 'result_codec': self._result_codec}
        if self._engine is not None:
            engine_changes = {k: v for k, v in changed.items() if k in ENGINE_PARAMETERS}
            if engine_changes:
                self._engine.configure(**engine_changes)
        if self._uplink is not None and any(name in changed for name in UPLINK_PARAMETERS):
            self._uplink.configure(self._uplink_settings())
        if 'image_transport' in changed and self._intake is not None:
            self._intake.choose(changed['image_transport'])
        if 'gil_monitor' in changed:
            self._watch_gil()

    def _watch_gil(self) -> None:
        wanted = self.setting('gil_monitor') and self._engine is not None
        if wanted and self._gil is None:
            self._gil = GilMonitor()
            self._gil.start()
        elif not wanted and self._gil is not None:
            self._gil.stop()
            self._gil = None

    def _accept_server(self, status: ServerStatus) -> str:
        """'' if the server computes what we compute; its identity is checked already."""
        assert self._model is not None
        gap = distance(self._model.fingerprint, tuple(status.fingerprint))
        if gap <= TOLERANCE:
            return ''
        return (
            f'its outputs for the test picture differ by {gap:.2g} (relative; allowed '
            f'{TOLERANCE:g}): compare versions of torch on both sides'
        )

    # -- what comes in ------------------------------------------------------------------

    def _clock_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) / 1e9

    def _take_image(self, message: CameraMessage) -> None:
        engine, spec, camera = self._engine, self._preprocess, self._camera
        if camera is None:
            return
        picture, why = None, ''
        try:
            picture = camera_picture(message, self._refuse_picture)
        except ImageError as error:
            why = str(error)
            self._refuse_picture(why)
        looks = picture.looks if picture is not None else None
        taken_s = camera.came(stamp_of(message), self._clock_s(), time.monotonic(), looks)
        if engine is None or spec is None:
            return
        if picture is None:
            engine.reject(taken_s, message, why)
        else:
            engine.enter(taken_s, picture, picture.source(spec))

    def _refuse_picture(self, why: str) -> None:
        camera = self._camera  # asked by the worker and the artist, too
        if camera is not None:
            camera.refused(why, time.monotonic())

    def _watch_camera(self) -> None:
        if self._camera is not None and self._intake is not None:
            self._camera.check(time.monotonic(), self._intake.problem())

    def _take_plan(self, message: Plan) -> None:
        if self._model is not None and message.model_identity != self._model.model.identity:
            self.get_logger().warning(
                f'plan {message.plan_id} is for another model ({message.model_identity[:12]}); '
                'the old plan goes on', throttle_duration_sec=5.0,
            )
            return
        self._scout_period_s = min(max(message.scout_period_s, 0.0), LONGEST_SCOUT_PERIOD_S)
        if self._engine is not None:
            self._engine.set_scout_period(self._scout_period_s)
        wanted = _request(message)
        if wanted == self._wanted:
            return  # the planner says it every second
        self._wanted = wanted  # before it is given on: it may fail at once, on another thread
        if self._engine is not None and not self._engine.set_plan(wanted):
            self._wanted = None

    def _take_trial(self, message: Plan) -> None:
        model, engine = self._model, self._engine
        if engine is None or model is None or message.model_identity != model.model.identity:
            return  # nothing runs that could be tried; the planner does not wait for it
        engine.try_plan(_request(message), TRIAL_FRAMES)

    def _take_load(self, message: Load) -> None:
        if self._engine is not None and np.isfinite(message.factor) and message.factor > 0.0:
            self._engine.note_load(float(message.factor), message.factor_source)

    # -- EngineEvents: on the responder's thread ----------------------------------------

    def finish(self, outputs: list[np.ndarray], mapping: Mapping) -> Answers:
        """Decode the outputs."""
        assert self._output is not None
        return self._output.finish(outputs, mapping)

    def on_result(self, record: FrameRecord, result: Answers) -> None:
        """Publish the result."""
        assert self._output is not None
        self._output.publish(record, result)
        self._undrawn = (record.frame_seq, result)

    def on_report(self, record: FrameRecord) -> None:
        """Publish the frame's end, then let its picture be drawn on a thread of its own."""
        intake = self._intake
        lost = 0 if intake is None else intake.lost
        report = frame_report(record, self.setting, self._result_codec, lost)
        with self._telling:
            report.transfers = self._take_transfers()
            self._reports.publish(report)
        frame_seq, result = self._undrawn
        artist, output = self._artist, self._output
        if frame_seq != record.frame_seq or artist is None or output is None:
            return
        if output.drawing_due:  # else the artist would wake for nothing at each result
            artist.offer(record, result)

    def on_plan(self, plan: FramePlan) -> None:
        """A plan is in force."""
        where = f'cut {plan.cut_index} ({plan.label}) {plan.codec} @ {plan.server}'
        self.get_logger().info(
            f'plan {plan.plan_id} runs as epoch {plan.epoch}: '
            + ('all on the robot' if plan.is_local else where)
        )

    def on_plan_failed(self, plan_id: int, why: str) -> None:
        """A plan cannot run; forget it, so that the planner may ask for it again."""
        self.get_logger().warning(f'plan {plan_id} cannot run: {why}')
        if self._wanted is not None and self._wanted.plan_id == plan_id:
            self._wanted = None

    def on_failure(self, text: str, frame_seq: int) -> None:
        """Say what failed."""
        where = f'frame {frame_seq}: ' if frame_seq else ''
        self.complain(f'{where}{text}', about=text)

    def on_connection(self, server: str, connected: bool, reason: str) -> None:
        """The uplink logs it."""

    def _tell_transfer(
        self, server: str, kind: int, probe: bool, nbytes: int, duration_ms: float
    ) -> None:
        self._transfers.append(LinkSample(
            server=server, kind=kind, probe=probe, payload_bytes=nbytes,
            duration_ms=duration_ms, max_uplink_bps=float(self.setting('max_uplink_bps')),
        ))
        # A message of their own costs as much as all the rest of an answer: those of frames wait
        # for the next report.
        if not probe and kind != LinkSample.LOST and len(self._transfers) < MAX_TRANSFERS:
            return
        with self._telling:
            for transfer in self._take_transfers():
                self._samples.publish(transfer)

    def _take_transfers(self) -> list[LinkSample]:
        """Those that were not told yet, in order; ``_telling`` is held until they are."""
        count = min(len(self._transfers), MAX_TRANSFERS)  # others only append meanwhile
        return [self._transfers.popleft() for _ in range(count)]

    # -- diagnostics --------------------------------------------------------------------

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """State, plan, counters, links."""
        engine, uplink, model, loader = self._engine, self._uplink, self._model, self._loader
        if loader is not None and loader.failure:
            return ERROR, loader.failure, {}
        if model is None or self._output is None or loader is None:
            progress = 'none' if loader is None else loader.progress
            return WARN, f'network: {progress}', {}
        if engine is None or uplink is None:
            ready = (OK, 'ready') if not self.is_active else (ERROR, 'the stream did not start')
            return (*ready, {'model': model.model.program.source})
        counters, plan = engine.counters(), engine.active_plan
        values: dict[str, object] = {
            'model': model.model.program.source, 'fps': self._output.rate_hz(),
            'plan': 'all on the robot' if plan.is_local else f'cut {plan.cut_index} {plan.codec}',
            'server': plan.server, 'plan_epoch': plan.epoch,
            'entered': counters.entered, 'remote': counters.remote, 'local': counters.local,
            'rescued': counters.rescued, 'dropped': counters.dropped,
            'in_flight': counters.in_flight, 'late_answers': counters.late_answers,
            'longest_publish_ms': uplink.take_longest_publish_ms(),
            'profile': model.profile.provisional or 'measured',
        }
        values |= {f'dropped_{k.name.lower()}': v for k, v in counters.drop_reasons.items()}
        trouble, about_camera = self._camera_state()
        values |= about_camera
        values |= {f'link to {name}': text for name, text in uplink.describe().items()}
        if self._gil is not None:
            values['gil_longest_ms'] = self._gil.take_longest_ms()
        troubles = [trouble] if trouble else []
        if not plan.is_local and not uplink.connected(plan.server):
            troubles.insert(0, f'server {plan.server} is lost; running on the robot')
        if self._output.complaint:
            troubles.append(self._output.complaint)
        return (WARN, '; '.join(troubles), values) if troubles else (OK, 'running', values)

    def _camera_state(self) -> tuple[str, dict[str, object]]:
        """What is wrong with the pictures, '' if nothing, and what is known of them."""
        camera, intake, now_s = self._camera, self._intake, time.monotonic()
        if camera is None or intake is None:
            return '', {}
        trouble, graph = camera.problem(now_s, self.setting('deadline_ms')), intake.problem()
        if graph and (camera.is_silent(now_s) or not trouble):
            trouble = f'{trouble}{": " if trouble else ""}{graph}'
        return trouble, {
            'camera_topic': intake.topic, 'camera_picture': camera.looks,
            'camera_rate_hz': camera.rate_hz, 'camera_lost': intake.lost,
            **{f'camera_{name}': count for name, count in sorted(camera.counts.items())},
        }


def _request(message: Plan) -> PlanRequest:
    return PlanRequest(
        message.plan_id, message.cut, message.codec, message.server, message.private_layers,
        message.return_cut, message.return_codec, tuple(message.frontier), message.threads,
        message.cut_index, message.label,
    )


def main() -> None:
    """Entry point of the executable ``local_inference_node``."""
    cv2.setNumThreads(1)  # a pool of threads per small picture would fight for navigation's cores
    raise SystemExit(run(LocalInferenceNode))


if __name__ == '__main__':
    main()
