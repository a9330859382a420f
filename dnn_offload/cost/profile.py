"""The profile of one model on one machine: what was measured, as readable JSON.

Measuring is the job of ``runtime/profiler.py``; this module keeps the schema, so that a
planner without torch can read it. All times are milliseconds of wall time as measured;
``load_ratios`` says how loaded the machine was meanwhile, and a load factor is always
relative to that (a profile taken under a CPU quota already contains the quota).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
import json
import math
from typing import Any

from dnn_offload.errors import MALFORMED, ProfileError

SCHEMA_VERSION = 2
JOINT = '+'  # between the backends of a profile that has several
MAX_CUTS = 4096
MAX_LAYERS = 20_000
MAX_VARIANTS = 64
MAX_JSON_BYTES = 16 << 20
MAX_WORDS = 200


@dataclass(frozen=True)
class CodecCost:
    """What one codec costs at one cut, for the whole frontier, on the profiled machine.

    Attributes:
        nbytes: Encoded size.
        encode_ms, decode_ms: Times.
        agreement: Share of frames on which the network answers as without the codec, lower
            95 % bound, 0 .. 1; None = not measured, which passes no floor.
        behind_ms: Of ``encode_ms`` what is left when the first bytes can be sent.
    """

    nbytes: int
    encode_ms: float
    decode_ms: float
    agreement: float | None = None
    behind_ms: float = 0.0


@dataclass(frozen=True)
class LayerProfile:
    """One operator of the network, in order of computation: the graph that plans are made on.

    Attributes:
        name: Path of the layer in the model and its operator, for people.
        kind: Operator, e.g. ``conv2d``.
        time_ms: Wall time in place, within a run of the whole network; all together they take
            ``Profile.whole_ms``.
        spread_ms: Its interquartile range.
        reads: Names of the values that it reads, each once; the picture is among the names.
        makes: Names of the values that it makes, and their raw sizes in bytes.
        weight_bytes: Size of the weights that it reads.
        features: What predicts its time (``cost/layer_features.py``), by name.
    """

    name: str
    kind: str
    time_ms: float
    spread_ms: float
    reads: tuple[str, ...]
    makes: tuple[tuple[str, int], ...]
    weight_bytes: int = 0
    features: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """The same cuts under another backend or thread count; times as in ``CutProfile``."""

    backend: str
    threads: int
    head_ms: tuple[float, ...]
    tail_ms: tuple[float, ...]


@dataclass(frozen=True)
class CutProfile:
    """One cut: times of its head and tail as units, and its frontier.

    Attributes:
        cut_id: Identity of the cut (signature of its frontier).
        index: Position, 0 = the picture, last = all on the robot.
        label: Last operator before the cut, for people.
        depth: Fewest weighted layers between the picture and any frontier tensor.
        frontier_bytes: Raw size of the frontier.
        head_ms, tail_ms: Median wall time of the unit.
        head_spread_ms, tail_spread_ms: Interquartile range of a measured unit; of an
            interpolated one the width of the interval around it that holds its true time in
            90 % of cases, as the measured ones show.
        measured: True if head and tail were timed as units, False if interpolated from
            in-situ time stamps.
        codecs: Codec name to its cost.
        head_bytes, tail_bytes: Memory of the unit: its weights and its activations at their
            peak, and where it is compiled torch's weights, which stay; 0 = not known.
        frontier: Names of the values that cross, in order.
        head_backend, tail_backend: What is to run the unit, where each is run by the fastest of
            several backends; '' = the profile's.
    """

    cut_id: str
    index: int
    label: str
    depth: int
    frontier_bytes: int
    head_ms: float
    tail_ms: float
    head_spread_ms: float = 0.0
    tail_spread_ms: float = 0.0
    measured: bool = True
    codecs: dict[str, CodecCost] = field(default_factory=dict)
    head_bytes: int = 0
    tail_bytes: int = 0
    frontier: tuple[str, ...] = ()
    head_backend: str = ''
    tail_backend: str = ''


@dataclass(frozen=True)
class Profile:
    """All cuts of one model on one machine, in order of position.

    Attributes:
        model: Model source, e.g. ``torchvision:alexnet``.
        model_identity: Digest of weights and input specification.
        device: Host name, CPU, cores and versions, for people.
        backend: Segment backend, e.g. ``torch``; several joined by ``+`` where each unit is run
            by the fastest of them.
        threads: Threads that the backend used.
        load_ratios: Load source name to its reading while profiling (1 = idle).
        finish_ms: Decoding the network's outputs into detections or classes.
        output_bytes: Codec name to encoded size of the outputs.
        seconds_spent: Wall time that measuring took.
        cuts: All cuts, index 0 .. N.
        layers: All operators in order; empty = the profile does not tell.
        input_name, input_bytes: Name of the value that is the picture, and its raw size.
        more_inputs: The same of what else the network takes.
        outputs: Names of the values that the network returns.
        variants: The same under other backends and thread counts.
        agreement_frames: Frames behind ``CodecCost.agreement``.
        agreement_made_up: Whether these frames were drawn, since nobody gave any: it is for
            people then, and passes no floor.
        provisional: On what a profile rests that is to be replaced by a measured one, in words
            for people; empty = measured.
    """

    model: str
    model_identity: str
    device: dict[str, Any]
    backend: str
    threads: int
    load_ratios: dict[str, float]
    finish_ms: float
    output_bytes: dict[str, int]
    seconds_spent: float
    cuts: tuple[CutProfile, ...]
    layers: tuple[LayerProfile, ...] = ()
    input_name: str = ''
    input_bytes: int = 0
    outputs: tuple[str, ...] = ()
    variants: tuple[Variant, ...] = ()
    agreement_frames: int = 0
    agreement_made_up: bool = False
    provisional: str = ''
    more_inputs: tuple[tuple[str, int], ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def inputs(self) -> dict[str, int]:
        """All that the network takes, the picture first, to raw sizes; empty = not told."""
        picture = {self.input_name: self.input_bytes} if self.input_name else {}
        return picture | dict(self.more_inputs)

    @property
    def whole_ms(self) -> float:
        """The whole network on this machine [ms]."""
        return self.cuts[-1].head_ms

    @property
    def backends(self) -> tuple[str, ...]:
        """What runs its units: one backend, or each unit the fastest of several."""
        return tuple(self.backend.split(JOINT))

    def head_by(self, index: int) -> str:
        """The backend of a head."""
        return self.cuts[index].head_backend or self.backend

    def tail_by(self, index: int) -> str:
        """The backend of a tail."""
        return self.cuts[index].tail_backend or self.backend

    def tails_by_backend(self) -> dict[str, tuple[float, ...]]:
        """Tails of all cuts by each backend that runs some [ms]; differences are its pieces."""
        found = {
            variant.backend: variant.tail_ms for variant in self.variants
            if variant.backend in self.backends and variant.threads == self.threads
        }
        if self.cuts[-1].head_backend and found:
            return found
        return {self.backend: tuple(cut.tail_ms for cut in self.cuts)}

    def middle_backend(self, start: int, end: int) -> str:
        """What runs the piece between two inner cuts: by differences of tails, as it is priced."""
        tails = self.tails_by_backend()
        return min(tails, key=lambda name: tails[name][start] - tails[name][end])

    def to_plan_with(self) -> Profile:
        """The profile without agreements of made-up frames: of the user's own nothing is known."""
        if not self.agreement_made_up:
            return self
        return replace(self, cuts=tuple(
            replace(cut, codecs={
                name: replace(cost, agreement=None) for name, cost in cut.codecs.items()
            })
            for cut in self.cuts
        ))

    def by_id(self) -> dict[str, CutProfile]:
        """Cuts by identity."""
        return {cut.cut_id: cut for cut in self.cuts}

    def to_json(self, *, indent: int | None = 1) -> str:
        """Readable JSON, without white space if ``indent`` is None; ``from_json`` reads it."""
        separators = (',', ':') if indent is None else None
        return json.dumps(asdict(self), indent=indent, separators=separators)

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Read and check a profile, from a file or from the network.

        Raises:
            ProfileError: Anything missing, of the wrong type, not finite or out of bounds.
        """
        if len(text) > MAX_JSON_BYTES:
            raise ProfileError(
                'profile is too large', given=f'{len(text)} bytes', allowed=f'{MAX_JSON_BYTES}'
            )
        try:
            data = json.loads(text)
            version = data['schema_version']
            if version != SCHEMA_VERSION:
                raise ProfileError(
                    'profile has another schema version',
                    given=version,
                    allowed=str(SCHEMA_VERSION),
                    hint='measure again with the same version of dnn_offload on both sides',
                )
            if not 2 <= len(data['cuts']) <= MAX_CUTS:
                raise ProfileError(
                    'profile has an impossible number of cuts',
                    given=len(data['cuts']),
                    allowed=f'2..{MAX_CUTS}',
                )
            cuts = tuple(_read_cut(cut, i) for i, cut in enumerate(data['cuts']))
            for what, most in (('layers', MAX_LAYERS), ('variants', MAX_VARIANTS)):
                if len(data[what]) > most:
                    raise ProfileError(
                        f'profile has too many {what}', given=len(data[what]), allowed=f'0..{most}'
                    )
            return cls(
                model=str(data['model']),
                model_identity=str(data['model_identity']),
                device=dict(data['device']),
                backend=str(data['backend']),
                threads=int(_number(data['threads'], 'threads')),
                load_ratios={
                    str(k): _number(v, 'load ratio') for k, v in data['load_ratios'].items()
                },
                finish_ms=_number(data['finish_ms'], 'finish_ms'),
                output_bytes={
                    str(k): int(_number(v, 'output_bytes'))
                    for k, v in data['output_bytes'].items()
                },
                seconds_spent=_number(data['seconds_spent'], 'seconds_spent'),
                cuts=cuts,
                layers=tuple(_read_layer(layer) for layer in data['layers']),
                input_name=str(data['input_name']),
                input_bytes=int(_number(data['input_bytes'], 'input_bytes')),
                outputs=tuple(str(name) for name in data['outputs']),
                variants=tuple(_read_variant(item, len(cuts)) for item in data['variants']),
                agreement_frames=int(_number(data['agreement_frames'], 'agreement_frames')),
                agreement_made_up=bool(data.get('agreement_made_up', False)),
                provisional=str(data.get('provisional', ''))[:MAX_WORDS],
                more_inputs=_read_sizes(data.get('more_inputs', ())),
            )
        except MALFORMED as error:
            raise ProfileError('profile is damaged', given=repr(error)) from error


def _number(value: Any, name: str) -> float:
    """A finite, non-negative number or ProfileError."""
    number = float(value)
    if not math.isfinite(number) or number < 0.0:
        raise ProfileError(f'{name} is not a finite non-negative number', given=value)
    return number


def _read_cut(data: dict[str, Any], position: int) -> CutProfile:
    if data['index'] != position:
        raise ProfileError('cuts are not in order', given=data['index'], allowed=str(position))
    return CutProfile(
        cut_id=str(data['cut_id']),
        index=position,
        label=str(data['label']),
        depth=int(_number(data['depth'], 'depth')),
        frontier_bytes=int(_number(data['frontier_bytes'], 'frontier_bytes')),
        head_ms=_number(data['head_ms'], 'head_ms'),
        tail_ms=_number(data['tail_ms'], 'tail_ms'),
        head_spread_ms=_number(data['head_spread_ms'], 'head_spread_ms'),
        tail_spread_ms=_number(data['tail_spread_ms'], 'tail_spread_ms'),
        measured=bool(data['measured']),
        codecs={
            str(name): CodecCost(
                nbytes=int(_number(cost['nbytes'], 'nbytes')),
                encode_ms=_number(cost['encode_ms'], 'encode_ms'),
                decode_ms=_number(cost['decode_ms'], 'decode_ms'),
                agreement=_share(cost['agreement']),
                behind_ms=_number(cost.get('behind_ms', 0.0), 'behind_ms'),
            )
            for name, cost in data['codecs'].items()
        },
        head_bytes=int(_number(data['head_bytes'], 'head_bytes')),
        tail_bytes=int(_number(data['tail_bytes'], 'tail_bytes')),
        frontier=tuple(str(name) for name in data['frontier']),
        head_backend=str(data.get('head_backend', ''))[:MAX_WORDS],
        tail_backend=str(data.get('tail_backend', ''))[:MAX_WORDS],
    )


def _share(value: Any) -> float | None:
    """An agreement: None or 0 .. 1."""
    if value is None:
        return None
    share = _number(value, 'agreement')
    if share > 1.0:
        raise ProfileError('agreement is out of range', given=value, allowed='0..1 or null')
    return share


def _read_sizes(data: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    """Values and their raw sizes."""
    return tuple((str(name), int(_number(size, 'size'))) for name, size in data)


def _read_layer(data: dict[str, Any]) -> LayerProfile:
    return LayerProfile(
        name=str(data['name']),
        kind=str(data['kind']),
        time_ms=_number(data['time_ms'], 'time_ms'),
        spread_ms=_number(data['spread_ms'], 'spread_ms'),
        reads=tuple(str(name) for name in data['reads']),
        makes=_read_sizes(data['makes']),
        weight_bytes=int(_number(data['weight_bytes'], 'weight_bytes')),
        features={
            str(name): _number(value, 'feature') for name, value in data['features'].items()
        },
    )


def _read_variant(data: dict[str, Any], cuts: int) -> Variant:
    made = Variant(
        backend=str(data['backend']),
        threads=int(_number(data['threads'], 'threads')),
        head_ms=tuple(_number(value, 'head_ms') for value in data['head_ms']),
        tail_ms=tuple(_number(value, 'tail_ms') for value in data['tail_ms']),
    )
    if len(made.head_ms) != cuts or len(made.tail_ms) != cuts:
        raise ProfileError(
            'variant does not fit the cuts', given=len(made.head_ms), allowed=str(cuts)
        )
    return made
