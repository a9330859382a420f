"""Makes, mends, checks and reuses the virtual environment .venv."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
import platform
import re
import shutil
import sys

from environment import machine, verify
from environment.commands import clean_environment, CommandError, run, SetupError, step

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / '.venv'
STAMP = VENV / 'dnn_offload_setup.json'  # written last: there is one only in a whole environment
LOG = ROOT / 'build/setup.log'
REQUIREMENTS = ROOT / 'tools/requirements'
CONSTRAINTS = REQUIREMENTS / 'constraints.txt'
INSTALLER = ('pip==26.3', 'setuptools==79.0.1')  # the newest setuptools that colcon works with

# Imported at the end of the set-up. Runtimes beside torch are not: where one does not start, torch
# runs all. Nor is torchvision: it may miss its own operators, which we do without.
STARTED = (
    'cv2', 'cv_bridge', 'hypothesis', 'matplotlib', 'numpy', 'psutil', 'pytest', 'rclpy', 'rich',
    'safetensors', 'scipy', 'sensor_msgs', 'torch', 'yaml', 'zstandard',
)  # fmt: skip
# Looked for at every start: these, and what each requirement is imported as. That is its name with
# underscores and without ros-, but for these.
IMPORTED_AS = {
    'empy': 'em', 'opencv-python-headless': 'cv2', 'pillow': 'PIL', 'pytest-xdist': 'xdist',
    'PyYAML': 'yaml', 'types-psutil': 'psutil-stubs', 'types-PyYAML': 'yaml-stubs',
}  # fmt: skip
LOOK = 'import sys; from importlib.util import find_spec; '
LOOK += 'gone = " ".join(m for m in sys.argv[1:] if find_spec(m) is None); '
LOOK += 'sys.exit("not found: " + gone if gone else 0)'

# What a sourced ROS 2 usually has from apt -> what pip brings where it is missing.
BESIDE_ROS = {
    'cv2': 'opencv-python-headless>=4.6,<4.12',  # the last that accept NumPy 1
    'cv_bridge': 'cv-bridge==1.13.0.post0',
    'catkin_pkg': 'catkin_pkg==1.1.1',
    'em': 'empy==3.3.4',
    'lark': 'lark==1.1.9',  # rosidl's parser
}

NETWORK_MARKS = re.compile(
    r'NewConnectionError|Failed to establish a new connection|NameResolutionError|'
    r'Temporary failure in name resolution|Name or service not known|Network is unreachable|'
    r'ConnectTimeoutError|ReadTimeoutError|Read timed out|Connection refused|ProxyError|'
    r'Max retries exceeded|Connection aborted|Remote end closed connection',
)


def explain_pip(output: str, log: Path = LOG) -> SetupError:
    """Turn what a failed pip printed into one sentence."""
    if 'No space left on device' in output:
        return SetupError('the disk is full; make room (about 3 GB) and run this again.')
    if NETWORK_MARKS.search(output):
        return SetupError(
            'the Python package index cannot be reached; connect this machine to the network, or '
            'set PIP_INDEX_URL to a mirror, and run this again.'
        )
    errors = [line for line in output.splitlines() if line.startswith('ERROR:')]
    said = errors[-1].removeprefix('ERROR:').strip() if errors else 'no reason given'
    return SetupError(f'pip could not install what is needed ({said}); all it said is in {log}.')


class Environment:
    """The virtual environment of one checkout.

    Args:
        ros_prefix: Prefix of a sourced ROS 2 Jazzy, None to use the wheels.
    """

    def __init__(self, ros_prefix: Path | None) -> None:
        self.ros_prefix = ros_prefix
        self.python = VENV / 'bin/python'
        own = ['library', 'ros'] if ros_prefix is None else ['jazzy']
        self.files = [REQUIREMENTS / f'{name}.txt' for name in (*own, 'backends', 'develop')]

    def variables(self) -> dict[str, str]:
        """Return the process environment for commands in this virtual environment."""
        return clean_environment(keep_ros=self.ros_prefix is not None)

    def wanted_stamp(self) -> dict[str, str]:
        """Return what the stamp of an up-to-date environment says."""
        digest = hashlib.sha256(' '.join(INSTALLER).encode())
        extra = [REQUIREMENTS / name for name in ('torch.txt', 'torchvision.txt')]
        for path in [*self.files, CONSTRAINTS, *extra]:
            digest.update(path.read_bytes())
        return {
            'folder': str(VENV),
            'python': platform.python_version(),
            'ros': str(self.ros_prefix) if self.ros_prefix else 'wheels',
            'requirements': digest.hexdigest(),
        }

    def modules(self) -> list[str]:
        """Return every module that a whole environment finds."""
        files = [*self.files, REQUIREMENTS / 'torch.txt', REQUIREMENTS / 'torchvision.txt']
        names = [name for path in files for name in verify.names(path)]
        found = {
            IMPORTED_AS.get(name, name.removeprefix('ros-').replace('-', '_')) for name in names
        }
        return sorted(found.union(STARTED, BESIDE_ROS))

    def found_stamp(self) -> dict[str, str]:
        """Return what the stamp says, {} where there is none that can be read."""
        try:
            found = json.loads(STAMP.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def looks_whole(self) -> bool:
        """Tell quickly whether the interpreter starts and finds every module."""
        if not (VENV / 'bin/activate').is_file():  # tools/env.sh asks for it
            return False
        try:
            variables = self.variables() | {'_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'}
            run([self.python, '-c', LOOK, *self.modules()], LOG, env=variables)
        except CommandError:
            return False
        return True

    def ensure(self) -> bool:
        """Bring the environment up to date; return whether anything was done."""
        wanted, found = self.wanted_stamp(), self.found_stamp()
        if found == wanted and self.looks_whole():
            return False
        same = all(found.get(key) == wanted[key] for key in ('folder', 'python', 'ros'))
        if same and self.looks_whole():
            print('  the requirements have changed: the environment is brought up to date')
            STAMP.unlink()
        elif VENV.exists() and self.is_whole_without_stamp():
            print('  a whole environment without a stamp is taken over')
            self.finish(wanted)
            return True
        elif VENV.exists():
            moved = found and not same
            why = 'it is of another place, Python or ROS' if moved else 'it is half-made'
            print(f'  the environment in .venv is made anew: {why}')
            with step('removing the old environment'):
                shutil.rmtree(VENV)
        if not VENV.exists():
            self.create()
        self.install()
        self.finish(wanted)
        return True

    def is_whole_without_stamp(self) -> bool:
        """Tell whether an environment that somebody else made has every file that is needed."""
        try:
            config = (VENV / 'pyvenv.cfg').read_text(encoding='utf-8')
        except OSError:
            return False
        system = 'include-system-site-packages = true' in config
        ours = f'version = {platform.python_version()}' in config
        if not ours or system != (self.ros_prefix is not None) or not self.looks_whole():
            return False
        files = [*self.files, REQUIREMENTS / 'torch.txt', REQUIREMENTS / 'torchvision.txt']
        try:
            script = Path(__file__).with_name('verify.py')
            run([self.python, script, *files], LOG, env=self.variables())
        except CommandError:
            return False
        return True

    def create(self) -> None:
        """Make an empty virtual environment that colcon passes by."""
        machine.check_venv_module()
        command = [sys.executable, '-m', 'venv']
        if self.ros_prefix is not None:
            command.append('--system-site-packages')
        with step('making .venv'):
            try:
                run([*command, str(VENV)], LOG, env=self.variables())
            except CommandError as failure:
                last = (failure.output.strip().splitlines() or ['no reason given'])[-1]
                raise SetupError(
                    f'a virtual environment cannot be made in {VENV} ({last}); see {LOG}.'
                ) from failure
            (VENV / 'COLCON_IGNORE').touch()

    def pip(self, *arguments: str | Path) -> None:
        """Run pip install in the environment.

        Raises:
            SetupError: It failed, with the reason in words.
        """
        command: list[str | Path] = [self.python, '-m', 'pip', 'install', '--no-input']
        try:
            run([*command, *arguments], LOG, env=self.variables())
        except CommandError as failure:
            raise explain_pip(failure.output) from failure

    def install(self) -> None:
        """Install everything that the requirement files name."""
        with step('reaching the package index'):
            # Something small first: without a network this fails at once. One retry, since pip
            # tells of the network's trouble only when it retries.
            self.pip('--retries', '1', '--timeout', '20', '--upgrade', *INSTALLER)
        constraints: list[str | Path] = []
        if self.ros_prefix is None:
            constraints = ['--constraint', CONSTRAINTS]
        with step('installing libraries, ROS 2 and tools (about a minute)'):
            files: list[str | Path] = []
            for path in self.files:
                files += ['--requirement', path]
            self.pip('--prefer-binary', *constraints, *files, *self.missing_beside_ros())
        with step('installing torch (a few minutes on a slow line)'):
            index: list[str | Path] = []
            if not machine.has_nvidia_gpu() and machine.cpu_wheels_reachable():
                # Without it pip brings several GB of CUDA to a machine that cannot use them. A
                # local version (2.13.0+cpu) sorts above the same version without, so it wins.
                index = ['--extra-index-url', machine.CPU_WHEELS]
            self.pip(*index, *constraints, '--requirement', REQUIREMENTS / 'torch.txt')
            self.pip(*index, '--no-deps', '--requirement', REQUIREMENTS / 'torchvision.txt')

    def missing_beside_ros(self) -> list[str]:
        """Return what a sourced ROS 2 usually has from apt, where it is missing."""
        if self.ros_prefix is None:
            return []
        extra = []
        for module, requirement in BESIDE_ROS.items():
            try:
                run([self.python, '-c', LOOK, module], LOG, env=self.variables())
            except CommandError:
                extra.append(requirement)
        if shutil.which('colcon') is None:
            lines = (REQUIREMENTS / 'ros.txt').read_text(encoding='utf-8').splitlines()
            extra += [line.split()[0] for line in lines if line.startswith(('colcon', 'cmake'))]
        return extra

    def finish(self, stamp: dict[str, str]) -> None:
        """Mend the CMake paths, import everything once, and write the stamp."""
        with step('checking that everything starts'):
            try:
                if self.ros_prefix is None:
                    mender = Path(__file__).with_name('cmake_paths.py')
                    run([self.python, mender], LOG, env=self.variables())
                for code in (LOOK, f'import {", ".join(STARTED)}'):
                    command: list[str | Path] = [self.python, '-c', code, *self.modules()]
                    run(command, LOG, env=self.variables(), cwd=VENV)
            except CommandError as failure:
                last = (failure.output.strip().splitlines() or ['no reason given'])[-1]
                raise SetupError(
                    f'the environment was made but does not start ({last}); run this again, and '
                    f'if it stays so see {LOG}.'
                ) from failure
        (VENV / 'COLCON_IGNORE').touch()
        STAMP.write_text(json.dumps(stamp, indent=2) + '\n', encoding='utf-8')
