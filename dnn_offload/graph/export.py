"""A loaded torch model becomes a program and its weights, once per input size.

``torch.export`` gives a functional ATen graph; batch norms are folded into convolutions,
weights laid out channels_last. Then the program is run once on seeded inputs (``trace.py``):
that gives the fingerprint, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import hashlib
import json
from typing import TYPE_CHECKING

import torch

from dnn_offload.errors import CutError, ModelError, OffloadError
from dnn_offload.graph import fingerprint, passes
from dnn_offload.graph.baked import bake
from dnn_offload.graph.cuts import find_cuts
from dnn_offload.graph.export_errors import refused_export
from dnn_offload.graph.lowering import Draft, lower
from dnn_offload.graph.operators import base_name, check_allowed
from dnn_offload.graph.program import Program
from dnn_offload.graph.quiet import quiet
from dnn_offload.graph.recurrent import split_levels
from dnn_offload.graph.segment import Segment
from dnn_offload.graph.task import check_finite, CLASSIFICATION, task_of
from dnn_offload.graph.trace import spec_of, trace_until_dense
from dnn_offload.graph.weights import describe, Weights

if TYPE_CHECKING:
    from dnn_offload.graph.sources import LoadedModel

Report = Callable[[str], None]


class Normalised(torch.nn.Module):
    """The model behind its normalisation: takes the uint8 picture itself.

    ``(pixel / 255 - mean) / std`` as one multiplication and one addition per channel. The
    picture is (1, H, W, 3), so the permuted tensor is channels_last without a copy; a clip is
    (1, T, H, W, 3). Further inputs go to the model as they are.

    Networks are written for tensors in row-major order: ``x.view(x.size(0), -1)`` behind a
    convolution fails on others. So the model is exported as if the picture had been copied into
    it; ``without_copy`` takes that copy out again, and the program runs channels_last.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        axes: int = 2,
    ) -> None:
        super().__init__()
        self.module = module
        shape = (1, 3, *[1] * axes)
        spread = torch.tensor(std, dtype=torch.float64).reshape(shape)
        centre = torch.tensor(mean, dtype=torch.float64).reshape(shape)
        self.register_buffer('picture_scale', (1.0 / (255.0 * spread)).float())
        self.register_buffer('picture_shift', (-centre / spread).float())

    def forward(self, picture: torch.Tensor, *others: torch.Tensor) -> object:
        """Normalise (1, H, W, 3) uint8 to (1, 3, H, W) float32 and run the model."""
        last = picture.dim() - 1
        image = picture.permute(0, last, *range(1, last)).to(torch.float32).contiguous()
        return self.module(image * self.picture_scale + self.picture_shift, *others)


def identity_of(loaded: LoadedModel) -> str:
    """32 hex digits over the weights as loaded and the input specification.

    Taken before folding: folding rounds, and may round differently on another machine.
    """
    digest = hashlib.sha256()
    specification: dict[str, object] = {
        'height': loaded.height,
        'width': loaded.width,
        'preprocess': loaded.preprocess,
        'mean': loaded.mean,
        'std': loaded.std,
        'task': loaded.task or CLASSIFICATION,
    }
    if loaded.frames:
        specification['frames'] = loaded.frames
    if loaded.examples:
        specification['examples'] = [
            (str(tensor.dtype), tuple(tensor.shape)) for tensor in loaded.examples
        ]
    digest.update(json.dumps(specification, sort_keys=True).encode())
    for name, tensor in sorted(loaded.module.state_dict().items()):
        flat = tensor.detach().contiguous().reshape(-1)
        digest.update(f'{name} {flat.dtype} {tuple(tensor.shape)};'.encode())
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()[:32]


def export(loaded: LoadedModel, report: Report = lambda message: None) -> tuple[Program, Weights]:
    """Make the program of a model.

    Args:
        loaded: What ``sources.resolve`` returned.
        report: Called with one line before each stage.

    Raises:
        ModelError: The model cannot be exported, or holds what a program cannot express.
    """
    report('hashing the weights')
    identity = identity_of(loaded)
    report('exporting the graph')
    draft = _draft(loaded)
    report('folding batch norms')
    passes.share_weights(draft)
    passes.canonicalise(draft)
    split_levels(draft)
    passes.fold_batch_norm(draft)
    passes.remove_dead(draft)
    passes.lay_out_weights(draft)
    report('running the program once')
    try:
        inputs = [
            spec_of(name, tensor)
            for name, tensor in zip(draft.inputs, loaded.inputs(), strict=True)
        ]
        samples = [torch.from_numpy(array) for array in fingerprint.seeded_inputs(inputs)]
        specs, outputs = trace_until_dense(draft, samples)
        cuts = find_cuts(draft.instructions, specs, draft.inputs, draft.outputs)
        task = task_of(loaded.task, cuts[-1].frontier)
        check_finite(outputs)
    except CutError as error:
        raise ModelError(f'the model has a tensor that cannot be sent: {error}') from error
    for instruction in draft.instructions:
        check_allowed(instruction.target)
    made = [name for instruction in draft.instructions for name in instruction.outputs if name]
    program = Program(
        source=loaded.source,
        identity=identity,
        inputs=tuple(specs[name] for name in draft.inputs),
        values=tuple(specs[name] for name in (*draft.inputs, *made)),
        outputs=cuts[-1].frontier,
        instructions=tuple(draft.instructions),
        cuts=cuts,
        weights=describe(draft.weights),
        preprocess=loaded.preprocess,
        task=task,
        class_names=loaded.class_names,
        stamp=loaded.stamp,
        fingerprint=(),
    )
    at = fingerprint.sampled_cut(program)
    if at < len(cuts) - 1:
        with torch.inference_mode():
            outputs = Segment(program, draft.weights, 0, at)(samples)
    numbers = fingerprint.sample([output.numpy() for output in outputs])
    program = replace(program, fingerprint=numbers)
    program.check()
    return program, draft.weights


def _draft(loaded: LoadedModel) -> Draft:
    module = loaded.module.eval()
    bake(module)
    whole, wrapper = module, ''
    if loaded.takes_picture:
        axes = 3 if loaded.frames else 2
        whole, wrapper = Normalised(module, loaded.mean, loaded.std, axes).eval(), 'module'
    try:
        # `inference_mode` tensors break export, so no_grad here and inference_mode at run time.
        with torch.no_grad(), quiet():
            exported = torch.export.export(whole, loaded.inputs()).run_decompositions({})
        draft = lower(exported, wrapper)
    except OffloadError:
        raise
    except (Exception, SystemExit) as error:  # whatever the model's code raises
        raise refused_export(error, loaded.source, module) from error
    if loaded.takes_picture:
        without_copy(draft)
    return draft


def without_copy(draft: Draft) -> None:
    """Take the copy out that ``Normalised`` makes of the picture, among its first operators."""
    for number, instruction in enumerate(draft.instructions[:4]):
        if base_name(instruction.target) == 'clone':
            draft.instructions[number] = replace(instruction, kwargs={})
            return
