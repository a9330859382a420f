"""Which ATen operators a program may hold, and what a cut needs to know about each. No torch.

A program read from disk is data, not code: it may only name operators of this list. All are
functional (no in-place or ``out=`` forms), deterministic, and compute tensors from tensors;
operators that read files, draw random numbers or return uninitialised memory are absent.
"""

from __future__ import annotations

import re

from dnn_offload.errors import ModelError

_TARGET = re.compile(r'aten\.([a-z0-9_]{1,64})\.([A-Za-z0-9_]{1,32})\Z')

# Result shares the memory of the input.
VIEWS = frozenset(
    """
    alias chunk detach diagonal expand flatten lift_fresh_copy movedim narrow permute select
    slice split split_with_sizes squeeze swapaxes t transpose unbind unflatten unsqueeze view
    reshape _unsafe_view
    """.split()
)

# One cheap pass over the elements: activations, arithmetic, moving elements about.
ELEMENTWISE = frozenset(
    """
    _to_copy abs add addcmul bitwise_and bitwise_not bitwise_or cat celu ceil clamp clamp_max
    clamp_min clone constant_pad_nd contiguous cos div dropout elu eq erf exp flip floor
    floor_divide fmod gather ge gelu glu gt hardsigmoid hardswish hardtanh index index_select
    le leaky_relu lerp log log1p log_sigmoid logical_and logical_not logical_or lt masked_fill
    maximum minimum mish mul ne neg pad pixel_shuffle pixel_unshuffle pow prelu reciprocal
    relu relu6 remainder repeat repeat_interleave roll round rsqrt rsub selu sgn sigmoid sign
    silu sin slice_scatter softplus sqrt square stack sub tanh to trunc upsample_nearest2d
    _upsample_nearest_exact2d where
    """.split()
)

# Operators that carry weights: the layers that ``depth`` counts.
WEIGHTED = frozenset(
    """
    addmm baddbmm bilinear bmm conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d convolution einsum linear matmul mm
    """.split()
)

_OTHER = frozenset(
    """
    _native_batch_norm_legit_no_training _softmax _log_softmax adaptive_avg_pool1d
    adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d all amax amin any argmax
    argmin argsort avg_pool1d avg_pool2d batch_norm channel_shuffle cosine_similarity cumsum
    embedding grid_sampler group_norm instance_norm layer_norm linalg_vector_norm log_softmax
    logsumexp max max_pool1d max_pool2d max_pool2d_with_indices mean min native_group_norm
    native_layer_norm prod rms_norm scaled_dot_product_attention softmax sort std sum topk
    unfold im2col upsample_bilinear2d upsample_bicubic2d var var_mean
    """.split()
)

ALLOWED = VIEWS | ELEMENTWISE | WEIGHTED | _OTHER

# Results that depend on nothing but static shapes: evaluated at export, never in a program.
CREATION = frozenset(
    """
    arange empty_like eye fill full full_like linspace meshgrid new_full new_ones new_zeros
    ones ones_like scalar_tensor tril triu zeros zeros_like
    """.split()
)


def base_name(target: str) -> str:
    """The operator without namespace and overload: ``'aten.add.Tensor'`` -> ``'add'``.

    Raises:
        ModelError: ``target`` is not of the form ``aten.NAME.OVERLOAD``.
    """
    match = _TARGET.match(target)
    if match is None:
        raise ModelError(
            'program names an operator that is not ATen',
            given=target,
            allowed='aten.NAME.OVERLOAD',
        )
    return match.group(1)


def check_allowed(target: str) -> str:
    """Return the base name of ``target`` if a program may hold it.

    Raises:
        ModelError: The operator is not on the list.
    """
    name = base_name(target)
    if name not in ALLOWED or target.endswith('out'):
        raise ModelError(
            'program holds an operator that is not on the list of functional inference operators',
            given=target,
            hint='rewrite that part of the model, or propose the operator for graph/operators.py',
        )
    return name


def is_cheap(target: str) -> bool:
    """Whether the operator is a view or one cheap pass, so that it stays with its producer."""
    name = base_name(target)
    return name in VIEWS or name in ELEMENTWISE


def is_weighted(target: str) -> bool:
    """Whether the operator is a weighted layer when it reads a weight."""
    return base_name(target) in WEIGHTED
