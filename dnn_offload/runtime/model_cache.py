"""Where exported models and profiles are kept: names that change when the content would.

No torch is imported: whether there is something to do must be known before a second has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass
import fcntl
import hashlib
import importlib.machinery
import importlib.util
import json
from pathlib import Path

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError, ModelError, ProfileError
from dnn_offload.graph.program import Program, PROGRAM_FILE
from dnn_offload.graph.weights_file import check_weights, WEIGHTS_FILE
from dnn_offload.runtime.backends.names import (
    ALL,
    AUTO,
    by_piece,
    candidates,
    parse,
    parts,
    TORCH,
    usable,
    version,
)
from dnn_offload.runtime.read_files import changed_file, package_version
from dnn_offload.whole_file import check_sum_of, digest_of, write_whole

FORMAT = 1  # raise when what is kept in a folder changes
CHECK_SUMS = 'check_sums.json'  # in a folder: name of a file to its CRC-32
ROLES = ('edge', 'server')
PACKAGE_FOLDER = Path(__file__).resolve().parent.parent
DATA_FOLDER = PACKAGE_FOLDER / 'data'
Tell = Callable[[str], None]


@dataclass(frozen=True)
class ModelRequest:
    """Which model, prepared for what.

    Attributes:
        source: See ``graph/sources.py``.
        weights: Name, path or ``random``.
        allow_code: Whether sources that execute code are allowed.
        input_size: ``HEIGHTxWIDTH``, or empty for the model's own.
        role: ``edge`` or ``server``: whose profile.
        threads: Compute threads that are profiled.
        backend: What shall run it (``backends/names.py``), or ``auto``: the fastest here.
    """

    source: str
    weights: str = 'DEFAULT'
    allow_code: bool = False
    input_size: str = ''
    role: str = 'edge'
    threads: int = 1
    backend: str = 'torch'

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConfigurationError('no such role', given=self.role, allowed=', '.join(ROLES))
        if self.threads < 1:
            raise ConfigurationError(
                'threads must be positive', given=self.threads, allowed='1 or more'
            )
        candidates(self.backend)
        _ = self.size

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), None for the model's own."""
        if self.input_size == '':
            return None
        height, _, width = self.input_size.partition('x')
        if not (height.isdigit() and width.isdigit()):
            raise ConfigurationError(
                'input size is not understood', given=self.input_size, allowed='HEIGHTxWIDTH'
            )
        return int(height), int(width)

    @property
    def profile_name(self) -> str:
        """File name of this request's profile: of the backends that it was chosen from.

        With their versions, since another one takes other times; torch's is in ``cache_key``.
        """
        names, _ = candidates(self.backend)
        if self.backend not in (AUTO, ALL):
            names = parts(usable(self.backend)[0])
        word = '-'.join(
            name if parse(name).kind == TORCH else f'{name}_{version(parse(name).kind)[1]}'
            for name in names
        )
        if by_piece(self.backend):
            word = f'by_piece-{word}'
        word = ''.join(c if c.isalnum() or c == '-' else '_' for c in word)
        return f'profile_{self.role}_{word}_{self.threads}t.json'

    @property
    def provisional_name(self) -> str:
        """File name of the provisional one: handed on, never looked for."""
        return f'provisional_{self.role}_{self.backend}_{self.threads}t.json'


def cache_key(request: ModelRequest) -> str:
    """Name of the folder of a request: changes with whatever could change the program.

    Of a ``python:`` source the factory's own file is looked at; what else it read when its network
    was exported, ``cached_program`` looks at.
    """
    digest = hashlib.sha256()
    kind, _, name = request.source.partition(':')
    facts = {
        'format': FORMAT,
        'source': request.source,
        'weights': request.weights,
        'size': request.size,
        'versions': {
            package: package_version(package)
            for package in ('dnn_offload', 'torch', 'torchvision')
        },
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    # The exporter itself: a checkout changes without its version number.
    files = sorted((PACKAGE_FOLDER / 'graph').glob('*.py'))
    if request.weights.endswith('.safetensors'):
        files.append(Path(request.weights).expanduser())
    if kind == 'file' and name:
        files.append(Path(name).expanduser())
    if kind == 'demo':
        files += sorted(DATA_FOLDER.glob(f'{name}.*'))
    if kind == 'python' and request.allow_code:
        files += _file_of_module(name.partition(':')[0])
    for path in files:
        digest.update(_content(path))
    readable = ''.join(c if c.isalnum() else '_' for c in name.rpartition('/')[2])[:40]
    return f'{kind}_{readable}_{digest.hexdigest()[:16]}'


def cached_program(folder: Path, tell: Tell = lambda text: None) -> Program | None:
    """The program in a folder that holds its weights, too.

    A file that a power cut or a full disk has spoiled must not keep a machine from its network.

    Returns:
        None if there is none, it or its weights are damaged, or a file has changed of which the
        user's code made it; ``tell`` gets which.
    """
    if not (folder / PROGRAM_FILE).is_file():
        return None
    try:
        _check_seal(folder)
        program = Program.load(folder)
        check_weights(folder, program)
    except ModelError as error:
        tell(f'what is in the cache is damaged: {error.what}')
        return None
    if changed := changed_file(folder):
        tell(f'{changed} has changed since the network was made of it')
        return None
    return program


def seal(folder: Path) -> None:
    """Note check sums of the program and the weights that were saved in a folder.

    Against accidents: a bit that has changed on a card makes a network that answers otherwise.
    """
    sums = {name: check_sum_of(folder / name) for name in (PROGRAM_FILE, WEIGHTS_FILE)}
    write_whole(folder / CHECK_SUMS, json.dumps(sums).encode())


def _check_seal(folder: Path) -> None:
    try:
        sums = json.loads((folder / CHECK_SUMS).read_text(encoding='utf-8'))
        wrong = [name for name, then in sums.items() if check_sum_of(folder / name) != then]
    except FileNotFoundError:
        return  # of nobody's making but a test's, or an older version's
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f'{folder / CHECK_SUMS} cannot be read: {error}') from error
    if wrong:
        raise ModelError(f'{folder / wrong[0]} has another check sum than when it was made')


def cached_profile(
    path: Path, program: Program, tell: Tell = lambda text: None
) -> Profile | None:
    """The profile in a file.

    Returns:
        None if there is none, or not of this network, or damaged; ``tell`` gets what is damaged.
    """
    try:
        profile = Profile.from_json(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ProfileError) as error:
        tell(f'{path} is damaged: {error}')
        return None
    return profile if is_of(profile, program) else None


def is_of(profile: Profile, program: Program) -> bool:
    """Whether a profile is of this very network: the same weights may be computed otherwise."""
    return profile.model_identity == program.identity and [
        cut.cut_id for cut in profile.cuts
    ] == [cut.cut_id for cut in program.cuts]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock; the kernel releases it when the process dies."""
    with path.open('a', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _content(path: Path) -> bytes:
    try:
        return bytes.fromhex(digest_of(path))
    except OSError as error:
        raise ModelError(f'cannot read {path}: {error}') from error


def _file_of_module(module: str) -> list[Path]:
    try:
        found = importlib.util.find_spec(module)
    except (Exception, SystemExit):  # the code of its package runs here
        return []  # the export says what is wrong with it
    origin = found.origin if found is not None else None
    return [Path(origin)] if origin and Path(origin).is_file() else []
