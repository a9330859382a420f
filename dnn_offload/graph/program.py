"""A model as a flat list of operators on named values: data that can be saved, cut and run.

``program.json`` beside ``weights.safetensors`` in one folder is all that a robot or a server
needs to run any part of the model: no Python code of the model, no pickle. This module needs
no torch, so that a process without torch can read what there is to plan with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
import json
from pathlib import Path
from typing import Any

from dnn_offload.errors import CutError, MALFORMED, ModelError
from dnn_offload.graph.cuts import Cut, is_picture
from dnn_offload.graph.instruction import Instruction as Instruction  # re-exported
from dnn_offload.graph.instruction import read_instruction, read_weight
from dnn_offload.graph.instruction import WeightSpec as WeightSpec
from dnn_offload.graph.operators import check_allowed
from dnn_offload.graph.task import TASKS
from dnn_offload.tensors import TensorSpec
from dnn_offload.whole_file import write_whole

SCHEMA_VERSION = 3
PROGRAM_FILE = 'program.json'
MAX_JSON_BYTES = 16 << 20
MAX_INSTRUCTIONS = 20_000
MAX_WEIGHTS = 20_000
MAX_INPUTS = 64
MAX_FINGERPRINT = 256
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Program:
    """A whole network, picture (or other inputs) in, outputs out, with all its cuts.

    Attributes:
        source: Where the model came from, e.g. ``torchvision:alexnet``.
        identity: Hex digest of the weights as loaded and of the input specification.
        inputs: What the network takes: for a robot's camera one picture, uint8 (1, H, W, 3),
            RGB; other networks take tensors of any dtype and shape, one or several.
        values: Everything that is ever computed, the inputs first, then in order.
        outputs: What the network returns.
        instructions: Operators in order.
        cuts: Legal cuts, index 0 (the picture) .. N (all here).
        weights: All weights that the instructions name.
        preprocess: Keyword arguments of ``vision.preprocess.PreprocessSpec``.
        task: One of ``TASKS``; ``tensor`` = raw outputs that nothing here decodes.
        class_names: Index to name; may be empty.
        stamp: '' or what a viewer must know, e.g. ``random weights``.
        fingerprint: Sampled outputs for the seeded inputs (``graph/fingerprint.py``).
    """

    source: str
    identity: str
    inputs: tuple[TensorSpec, ...]
    values: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    instructions: tuple[Instruction, ...]
    cuts: tuple[Cut, ...]
    weights: tuple[WeightSpec, ...]
    preprocess: Mapping[str, Any]
    task: str
    class_names: tuple[str, ...]
    stamp: str
    fingerprint: tuple[float, ...]

    @property
    def input(self) -> TensorSpec:
        """The first input: the picture, where the network takes one."""
        return self.inputs[0]

    @property
    def takes_picture(self) -> bool:
        """Whether one camera picture is all that the network takes: the nodes run only those."""
        return len(self.inputs) == 1 and is_picture(self.inputs[0])

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """What each value looks like, by its name."""
        return {spec.name: spec for spec in self.values}

    @cached_property
    def makers(self) -> Mapping[str, int]:
        """Value that is computed -> index of the instruction that makes it."""
        return {
            name: index
            for index, instruction in enumerate(self.instructions)
            for name in instruction.outputs
            if name
        }

    def cut(self, cut_id: str) -> Cut:
        """The cut of that identity.

        Raises:
            CutError: This program has no such cut.
        """
        for cut in self.cuts:
            if cut.cut_id == cut_id:
                return cut
        raise CutError('the model has no such cut', given=cut_id, allowed=f'{len(self.cuts)} cuts')

    def save(self, folder: Path | str) -> Path:
        """Write ``program.json`` into ``folder``; a reader never sees half a file."""
        path = Path(folder) / PROGRAM_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, self.to_json().encode())
        return path

    @classmethod
    def load(cls, folder: Path | str) -> Program:
        """Read and check ``program.json`` of ``folder``.

        Raises:
            ModelError: Missing, damaged, or with anything that a program may not hold.
        """
        path = Path(folder) / PROGRAM_FILE
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ModelError(
                    f'{path} is too large', allowed=f'{MAX_JSON_BYTES} bytes', hint='export again'
                )
            text = path.read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f'cannot read {path}: {error}', hint='export again') from error
        return cls.from_json(text)

    def to_json(self) -> str:
        """JSON text; ``from_json`` reads it back."""
        data = {
            'schema_version': SCHEMA_VERSION,
            'source': self.source,
            'identity': self.identity,
            'inputs': len(self.inputs),
            'values': [spec.to_json() for spec in self.values],
            'outputs': [spec.to_json() for spec in self.outputs],
            'weights': [
                [w.name, w.dtype, list(w.shape), int(w.channels_last)] for w in self.weights
            ],
            'instructions': [
                [i.target, list(i.args), dict(i.kwargs), list(i.outputs), i.module, i.in_place]
                for i in self.instructions
            ],
            'cuts': [cut.to_json() for cut in self.cuts],
            'preprocess': dict(self.preprocess),
            'task': self.task,
            'class_names': list(self.class_names),
            'stamp': self.stamp,
            'fingerprint': list(self.fingerprint),
        }
        return json.dumps(data, separators=(',', ':'), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Program:
        """Read what ``to_json`` wrote, checking everything.

        Raises:
            ModelError: See ``load``.
        """
        try:
            data = json.loads(text)
            if data['schema_version'] != SCHEMA_VERSION:
                raise ModelError(
                    'program has another schema version',
                    given=data['schema_version'],
                    allowed=str(SCHEMA_VERSION),
                    hint='export again with this version of dnn_offload',
                )
            values = tuple(TensorSpec.from_json(spec) for spec in data['values'])
            program = cls(
                source=str(data['source']),
                identity=str(data['identity']),
                inputs=values[: int(data['inputs'])],
                values=values,
                outputs=tuple(TensorSpec.from_json(spec) for spec in data['outputs']),
                instructions=tuple(read_instruction(item) for item in data['instructions']),
                cuts=tuple(Cut.from_json(item) for item in data['cuts']),
                weights=tuple(read_weight(item) for item in data['weights']),
                preprocess=dict(data['preprocess']),
                task=str(data['task']),
                class_names=tuple(str(name) for name in data['class_names']),
                stamp=str(data['stamp']),
                fingerprint=tuple(float(number) for number in data['fingerprint']),
            )
        except (*MALFORMED, IndexError, CutError) as error:
            raise ModelError(
                f'program is damaged: {error!r}', hint='delete its folder and export again'
            ) from error
        program.check()
        return program

    def check(self) -> None:
        """Check counts and that every name is defined before it is used, exactly once.

        Raises:
            ModelError: The program contradicts itself or is out of bounds.
        """
        bounds = (
            ('instructions', len(self.instructions), 1, MAX_INSTRUCTIONS),
            ('weights', len(self.weights), 0, MAX_WEIGHTS),
            ('inputs', len(self.inputs), 1, MAX_INPUTS),
            ('outputs', len(self.outputs), 1, 64),
            ('cuts', len(self.cuts), 2, len(self.instructions) + 2),
            ('class names', len(self.class_names), 0, MAX_CLASSES),
            ('fingerprint numbers', len(self.fingerprint), 0, MAX_FINGERPRINT),
        )
        for what, count, least, most in bounds:
            if not least <= count <= most:
                raise ModelError(
                    f'program has an impossible number of {what}',
                    given=count,
                    allowed=f'{least}..{most}',
                )
        if self.task not in TASKS:
            raise ModelError('program has no such task', given=self.task, allowed=', '.join(TASKS))
        weights = {weight.name for weight in self.weights}
        defined_at = {spec.name: 0 for spec in self.inputs}
        for position, instruction in enumerate(self.instructions, start=1):
            check_allowed(instruction.target)
            for name in instruction.values():
                if name not in defined_at:
                    raise ModelError('program reads a value before it exists', given=name)
            for name in instruction.weights():
                if name not in weights:
                    raise ModelError('program reads a weight that it does not list', given=name)
            for name in instruction.outputs:
                if name in defined_at:
                    raise ModelError('program defines a value twice', given=name)
                if name:
                    defined_at[name] = position
        for spec in self.outputs:
            if spec.name not in defined_at:
                raise ModelError('program returns a value that does not exist', given=spec.name)
        if [spec.name for spec in self.values] != list(defined_at):
            raise ModelError('program describes other values than it computes')
        self._check_cuts(defined_at)

    def _check_cuts(self, defined_at: Mapping[str, int]) -> None:
        last = len(self.instructions)
        positions = [cut.position for cut in self.cuts]
        if (
            [cut.index for cut in self.cuts] != list(range(len(self.cuts)))
            or positions != sorted(set(positions))
            or positions[0] != 0
            or positions[-1] != last
        ):
            raise ModelError('cuts of the program are out of order', given=positions)
        for cut in self.cuts:
            for spec in cut.frontier:
                if defined_at.get(spec.name, last + 1) > cut.position:
                    raise ModelError(
                        f'cut {cut.index} sends a value that does not exist yet', given=spec.name
                    )
                if self.specs[spec.name] != spec:
                    raise ModelError(
                        f'cut {cut.index} describes a value in another way', given=spec.name
                    )
        if self.cuts[0].frontier != self.inputs or self.cuts[-1].frontier != self.outputs:
            raise ModelError('the first cut must send the inputs, the last one the outputs')
