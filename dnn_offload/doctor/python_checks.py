"""Python and what it imports: versions, torch, NumPy with OpenCV and cv_bridge, which install."""

from __future__ import annotations

from importlib import metadata
import importlib.util
import platform
import sys

from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.finding import failure, Finding, fine, together, warning
from dnn_offload.doctor.machine import Ended

LOWEST, HIGHEST = (3, 10), (3, 12)
TORCH_LIMIT_S = 60.0
PINNED_TORCH = '2.13.0'  # tools/requirements/torch.txt
PICTURES_LIMIT_S = 20.0
SETUP = 'run "make setup" in the checkout and "source tools/env.sh"'
# Without the index PyPI's torch brings gigabytes for a GPU.
INSTALL_TORCH = (
    f'pip install torch=={PINNED_TORCH} --extra-index-url https://download.pytorch.org/whl/cpu'
)
# pip's OpenCV brings NumPy 2, which apt's cv_bridge does not survive.
BESIDE_ROS = 'by pip only in an environment of its own, not into the one of ROS from apt'
NUMPY_1 = 'compiled using NumPy 1'  # how NumPy 2 complains about a module for NumPy 1
NUMPY_1_CURE = "pip install 'numpy<2' in this environment, and no -U numpy after it"
_NUMPY_1_WORDS = 'is compiled for NumPy 1 and breaks with NumPy 2'
# Distribution that brings it -> module; as in setup.py.
MODULES = {
    'numpy': 'numpy', 'scipy': 'scipy', 'psutil': 'psutil',
    'opencv-python-headless': 'cv2', 'zstandard': 'zstandard', 'safetensors': 'safetensors',
    'matplotlib': 'matplotlib', 'PyYAML': 'yaml', 'rich': 'rich',
}


def check_python(
    exam: Examination,
    version: tuple[int, int] = sys.version_info[:2],
    machine: str = platform.machine(),
) -> Finding:
    """Version and processor; ``version`` and ``machine`` are for tests."""
    text = '.'.join(map(str, version))
    found = f'Python {text} on {machine}, {exam.machine.python}'
    facts = {'version': text, 'machine': machine}
    if version < LOWEST:
        made = failure(found, 'use Python 3.10, 3.11 or 3.12: PYTHON=python3.12 make setup')
    elif machine in ('armv6l', 'armv7l', 'i386', 'i686'):
        made = failure(
            f'{found}: a 32-bit system',
            'install a 64-bit system (Ubuntu 24.04 arm64): torch is not built for 32 bits',
        )
    elif version > HIGHEST:
        made = warning(
            found, 'use Python 3.12, for which ROS 2 Jazzy and the pinned packages are built'
        )
    else:
        made = fine(found)
    return made.knowing(**facts)


def check_packages(exam: Examination) -> Finding:
    """Everything that the package imports, torch and ROS aside."""
    missing = [name for name, module in MODULES.items() if not importlib.util.find_spec(module)]
    if missing:
        return failure(
            f'not installed: {", ".join(missing)}',
            f'{SETUP}; or pip install {" ".join(missing)}: {BESIDE_ROS}',
        ).knowing(missing=missing)
    return fine(f'all {len(MODULES)} that the package imports are there').knowing(missing=[])


def check_torch(exam: Examination) -> Finding:
    """Import torch and compute with it, in a child that may die of it."""
    ended = exam.machine.child('try_torch', limit_s=exam.settings.limit_s(TORCH_LIMIT_S))
    answer = ended.answer
    if answer is not None:
        found = (
            f'torch {answer["version"]} computes ({answer["capability"]}'
            f'{", CUDA" if answer["cuda"] else ""}), imported in {answer["import_s"]:.1f} s'
        )
        return fine(found).knowing(**answer)
    facts = {'status': ended.status, 'signal': ended.signal, 'timed_out': ended.timed_out}
    return _without_torch(ended).knowing(**facts)


def torch_version() -> str:
    """The version that is installed, without what stands behind a plus; '' = none."""
    try:
        return metadata.version('torch').partition('+')[0]
    except metadata.PackageNotFoundError:
        return ''


def _without_torch(ended: Ended) -> Finding:
    if ended.signal == 'SIGILL':
        found = torch_version()
        return failure(
            f'torch {found or "of an unknown version"} dies of an illegal instruction: it is '
            'built for another processor',
            f'{PINNED_TORCH} is what is pinned here, and it dies: use another version on robot '
            'and server alike (change tools/requirements/torch.txt, then make setup), or a newer '
            'processor (a Raspberry Pi 5 instead of a 4)'
            if found == PINNED_TORCH else
            f'install the pinned version: {INSTALL_TORCH} (2.4.0, '
            '2.6.0 and 2.10.0 are known to die so on a Raspberry Pi 4)',
        )
    if ended.signal == 'SIGKILL':
        return failure(
            'torch was killed while it was imported, as a machine without memory does',
            'end other programs or add swap: importing torch takes 300 MB',
        )
    if "No module named 'torch'" in ended.errors:
        return failure(
            'torch is not installed', f'{INSTALL_TORCH}, or {SETUP}'
        )
    if ended.timed_out:
        return failure(
            f'torch did not compute within {ended.seconds:.0f} s',
            'end what keeps processor and disk busy, or give it more time: --patience 3',
        )
    return failure(
        f'torch does not run: {ended.why}',
        f'install it anew: {INSTALL_TORCH}, or {SETUP}',
    )


def check_pictures(exam: Examination) -> Finding:
    """Take a picture through NumPy, OpenCV and cv_bridge, in a child that may die of it."""
    ended = exam.machine.child('try_pictures', limit_s=exam.settings.limit_s(PICTURES_LIMIT_S))
    last = ended.last
    step = last.get('step', '')
    versions = {name: last[name] for name in ('numpy', 'cv2') if name in last}
    facts = {'versions': versions, 'step': step, 'signal': ended.signal}
    words = ', '.join(
        f'{"OpenCV" if name == "cv2" else "NumPy"} {text}' for name, text in versions.items()
    )
    if ended.answer is not None and step == 'done':
        return fine(f'{words} and cv_bridge fit together').knowing(**facts)
    if ended.answer is not None:
        return fine(f'{words}; no cv_bridge, which our nodes do without').knowing(**facts)
    for_numpy_1 = NUMPY_1 in ended.errors or '_ARRAY_API' in ended.errors
    if step == 'cv_bridge':  # our nodes do without it, others of the robot do not
        crashed = ended.signal and versions.get('numpy', '').startswith('2')
        return (
            warning(f'cv_bridge, which other nodes than ours need, {_NUMPY_1_WORDS}', NUMPY_1_CURE)
            if for_numpy_1 or crashed
            else warning(
                f'cv_bridge, which other nodes than ours need, does not work: {ended.why}',
                'sudo apt install --reinstall ros-jazzy-cv-bridge, and source only ROS 2 Jazzy '
                'and this environment',
            )
        ).knowing(**facts)
    if for_numpy_1:
        return failure(f'OpenCV {_NUMPY_1_WORDS}', NUMPY_1_CURE).knowing(**facts)
    if step == 'cv2' and 'libGL' in ended.errors:
        return failure(
            'OpenCV wants a window system that is not here (libGL)',
            'sudo apt install libgl1; or pip uninstall opencv-python, then pip install '
            f'opencv-python-headless: {BESIDE_ROS}',
        ).knowing(**facts)
    return failure(
        f'{step or "Python"} does not work: {ended.why}', f'install it anew: {SETUP}'
    ).knowing(**facts)


def check_install(exam: Examination) -> Finding:
    """Which dnn_offload nodes would import, and whether others lie about."""
    ended = exam.install()
    answer = ended.answer
    if answer is None:
        return failure(f'Python cannot tell what is installed: {ended.why}', SETUP)
    folder, copies = answer['folder'], answer['copies']
    if not folder:
        return failure(
            'import dnn_offload finds nothing',
            f'colcon build, then source install/setup.bash; or {SETUP}',
        ).knowing(**answer)
    kind = 'colcon' if answer['messages'] else 'pip' if not answer['ros_part'] else 'source tree'
    findings = [fine(f'{kind} wins: {folder}').knowing(**answer, kind=kind)]
    if kind == 'source tree':
        findings = [failure(
            f'the source tree {folder} comes first on the path and has no messages',
            'start from another folder and take the checkout out of PYTHONPATH',
        ).knowing(**answer, kind=kind)]
    elif kind == 'pip' and answer['prefixes']:
        findings = [failure(
            f'pip wins ({folder}) over the colcon install in {answer["prefixes"][0]["prefix"]}: '
            'the nodes would find no messages',
            'pip uninstall dnn_offload in this environment',
        ).knowing(**answer, kind=kind)]
    others = [copy for copy in copies if copy != folder]
    if others and not findings[0].cure:
        findings.append(warning(
            f'hidden behind it: {", ".join(others)}',
            'keep one: pip uninstall dnn_offload, or source one workspace only',
        ))
    versions = {item['version'] for item in answer['distributions'] + answer['prefixes']}
    if len(versions) > 1:
        findings.append(warning(
            f'versions differ: {", ".join(sorted(versions))}',
            'build again (colcon build) and uninstall what is old',
        ))
    elif versions:
        findings.append(fine(f'version {versions.pop()}'))
    return together(findings)

