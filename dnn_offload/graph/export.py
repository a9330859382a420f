"""A loaded torch model becomes a program and its weights, once per input size.

``torch.export`` gives a functional ATen graph; batch norms are folded into convolutions,
weights laid out channels_last, constants evaluated. Then the program is run once on a seeded
picture: that tells what every value looks like in memory (strides are part of bit equality)
and gives the fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
import hashlib
import json
from typing import TYPE_CHECKING
import warnings

import torch

from dnn_offload.errors import CutError, ModelError, OffloadError
from dnn_offload.graph import fingerprint, passes
from dnn_offload.graph.arguments import Argument
from dnn_offload.graph.cuts import find_cuts
from dnn_offload.graph.lowering import Draft, lower
from dnn_offload.graph.operators import base_name, check_allowed, CREATION
from dnn_offload.graph.program import Instruction, Program
from dnn_offload.graph.segment import decode_argument, IN_PLACE, resolve
from dnn_offload.graph.weights import describe, Weights
from dnn_offload.tensors import TensorSpec

if TYPE_CHECKING:
    from dnn_offload.graph.sources import LoadedModel

Report = Callable[[str], None]


class Normalised(torch.nn.Module):
    """The model behind its normalisation: takes the uint8 picture itself.

    ``(pixel / 255 - mean) / std`` as one multiplication and one addition per channel. The
    picture is (1, H, W, 3), so the permuted tensor is channels_last without a copy.
    """

    def __init__(
        self, module: torch.nn.Module, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.module = module
        spread = torch.tensor(std, dtype=torch.float64).reshape(1, 3, 1, 1)
        centre = torch.tensor(mean, dtype=torch.float64).reshape(1, 3, 1, 1)
        self.register_buffer('picture_scale', (1.0 / (255.0 * spread)).float())
        self.register_buffer('picture_shift', (-centre / spread).float())

    def forward(self, picture: torch.Tensor) -> object:
        """Normalise (1, H, W, 3) uint8 to (1, 3, H, W) float32 and run the model."""
        image = picture.permute(0, 3, 1, 2).to(torch.float32)
        return self.module(image * self.picture_scale + self.picture_shift)


def identity_of(loaded: LoadedModel) -> str:
    """32 hex digits over the weights as loaded and the input specification.

    Taken before folding: folding rounds, and may round differently on another machine.
    """
    digest = hashlib.sha256()
    specification = {
        'height': loaded.height,
        'width': loaded.width,
        'preprocess': loaded.preprocess,
        'mean': loaded.mean,
        'std': loaded.std,
        'task': loaded.task,
    }
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
    passes.canonicalise(draft)
    passes.fold_batch_norm(draft)
    passes.remove_dead(draft)
    passes.lay_out_weights(draft)
    report('running the program once')
    try:
        specs, outputs = _trace_until_dense(draft, loaded.height, loaded.width)
        cuts = find_cuts(draft.instructions, specs, draft.input, draft.outputs)
    except CutError as error:
        raise ModelError(f'the model has a tensor that cannot be sent: {error}') from error
    for instruction in draft.instructions:
        check_allowed(instruction.target)
    program = Program(
        source=loaded.source,
        identity=identity,
        input=specs[draft.input],
        outputs=cuts[-1].frontier,
        instructions=tuple(draft.instructions),
        cuts=cuts,
        weights=describe(draft.weights),
        preprocess=loaded.preprocess,
        task=loaded.task,
        class_names=loaded.class_names,
        stamp=loaded.stamp,
        fingerprint=fingerprint.sample([output.numpy() for output in outputs]),
    )
    program.check()
    return program, draft.weights


def _draft(loaded: LoadedModel) -> Draft:
    module = loaded.module.eval().to(memory_format=torch.channels_last)
    whole = Normalised(module, loaded.mean, loaded.std).eval()
    example = torch.zeros(1, loaded.height, loaded.width, 3, dtype=torch.uint8)
    try:
        # `inference_mode` tensors break export, so no_grad here and inference_mode at run time.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            exported = torch.export.export(whole, (example,)).run_decompositions({})
        return lower(exported)
    except OffloadError:
        raise
    except Exception as error:  # torch.export raises whatever the model's code raises
        reason = next(iter(str(error).strip().splitlines()), '')[:300]
        raise ModelError(
            f'torch.export cannot export {loaded.source}: {type(error).__name__}: {reason}',
            hint='the model must take one (1, 3, H, W) float tensor and have no control flow '
            'that depends on tensor values',
        ) from error


def _trace_until_dense(
    draft: Draft, height: int, width: int
) -> tuple[dict[str, TensorSpec], list[torch.Tensor]]:
    """Run the draft; give every value that crosses a cut a block of memory of its own.

    A slice of a larger tensor cannot be sent with its strides, so a copy (which keeps the order
    of the strides) takes its place, for whoever uses it, cut or not: equality needs that.
    """
    while True:
        specs, outputs = trace(draft, height, width)
        passes.remove_dead(draft)
        cuts = find_cuts(draft.instructions, specs, draft.input, draft.outputs)
        gappy = {spec.name for cut in cuts for spec in cut.frontier if not passes.is_dense(spec)}
        if not gappy:
            return specs, outputs
        _copy_after(draft, gappy)


def _copy_after(draft: Draft, names: set[str]) -> None:
    renamed: dict[str, Argument] = {}
    instructions: list[Instruction] = []
    for instruction in draft.instructions:
        instructions.append(passes.rewire(instruction, renamed))
        for name in instruction.outputs:
            if name in names:
                renamed[name] = {'v': f'{name}_copy'}
                instructions.append(
                    Instruction(
                        'aten.clone.default',
                        ({'v': name},),
                        {},
                        (f'{name}_copy',),
                        instruction.module,
                    )
                )
    draft.instructions = instructions
    draft.outputs = [renamed.get(name, {'v': name})['v'] for name in draft.outputs]


def trace(
    draft: Draft, height: int, width: int
) -> tuple[dict[str, TensorSpec], list[torch.Tensor]]:
    """Run the draft on the seeded picture; what is constant becomes a weight.

    Returns:
        What each value looks like, and the outputs.
    """
    values = {draft.input: torch.from_numpy(fingerprint.seeded_picture(height, width))}
    specs = {draft.input: _spec(draft.input, values[draft.input])}
    renamed: dict[str, Argument] = {}
    kept: list[Instruction] = []
    for original in draft.instructions:
        instruction = passes.rewire(original, renamed)
        results = _run(instruction, values, draft.weights)
        constant = passes.is_constant(instruction)
        for name, result in zip(instruction.outputs, results, strict=True):
            if not name:
                continue
            if constant:
                draft.weights[f'constant.{name}'] = result.contiguous()
                renamed[name] = {'w': f'constant.{name}'}
            elif _same_tensor(instruction, result, values):
                renamed[name] = instruction.args[0]
            else:
                values[name] = result
                specs[name] = _spec(name, result)
        if not constant and any(name in specs for name in instruction.outputs):
            kept.append(_mark_in_place(instruction, specs))
    draft.instructions = kept
    draft.outputs = [passes.value_name(renamed.get(n, {'v': n})) for n in draft.outputs]
    return specs, [values[name] for name in draft.outputs]


def _mark_in_place(instruction: Instruction, specs: Mapping[str, TensorSpec]) -> Instruction:
    if instruction.target not in IN_PLACE:
        return instruction
    before, after = specs[instruction.args[0]['v']], specs[instruction.outputs[0]]
    same = (before.dtype, before.shape, before.strides) == (
        after.dtype,
        after.shape,
        after.strides,
    )
    return replace(instruction, in_place=same)


def _same_tensor(
    instruction: Instruction, result: torch.Tensor, values: dict[str, torch.Tensor]
) -> bool:
    """Whether a conversion or reshape turned out to return its input as it was."""
    if base_name(instruction.target) not in ('_to_copy', 'to', 'reshape', 'expand', 'clone'):
        return False
    source = values.get(instruction.args[0].get('v', ''))
    if source is None:
        return False
    return (
        source.dtype == result.dtype
        and source.shape == result.shape
        and source.stride() == result.stride()
    )


def _run(
    instruction: Instruction, values: dict[str, torch.Tensor], weights: Weights
) -> tuple[torch.Tensor, ...]:
    name = base_name(instruction.target)
    if name in CREATION:
        op = getattr(getattr(torch.ops.aten, name), instruction.target.rsplit('.', 1)[1])
    else:
        op = resolve(instruction.target)

    def fill(tree: Argument) -> object:
        if isinstance(tree, list):
            return [fill(item) for item in tree]
        if isinstance(tree, dict) and 'v' in tree:
            return values[tree['v']]
        return decode_argument(tree, weights)

    with torch.no_grad():
        result = op(
            *(fill(tree) for tree in instruction.args),
            **{key: fill(tree) for key, tree in instruction.kwargs.items()},
        )
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(
        name,
        str(tensor.dtype).removeprefix('torch.'),
        tuple(tensor.shape),
        tuple(tensor.stride()),
    )
