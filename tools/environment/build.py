"""Builds the package into install/, and only what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

from environment import machine
from environment.commands import CommandError, run, SetupError, step
from environment.venv import Environment, LOG, ROOT

BUILD = ROOT / 'build'
INSTALL = ROOT / 'install'
STAMP = INSTALL / 'dnn_offload_build.json'  # written last: there is one only after a whole build

# A change here means code generation and a compiler; a change elsewhere means copying files.
INTERFACES = ('CMakeLists.txt', 'package.xml', 'msg', 'resource', 'tools/vision_msgs')
FILES = ('dnn_offload', 'launch', 'config', 'examples')
CHECK = """
import rclpy
import vision_msgs.msg as vision, dnn_offload.msg as own, dnn_offload.errors
for cls in (own.TensorChunk, own.TensorResult, own.Plan, vision.Detection2DArray):
    cls.__import_type_support__()
    cls()
"""


def digest(names: Iterable[str], salt: str = '') -> str:
    """Return a hash over names and contents of source files and folders."""
    total = hashlib.sha256(salt.encode())
    for name in names:
        top = ROOT / name
        inside = top.rglob('*') if top.is_dir() else [top]
        paths = sorted(path for path in inside if path.is_file())
        for path in paths:
            if '__pycache__' not in path.parts:
                total.update(f'{path.relative_to(ROOT)}\n'.encode())
                total.update(path.read_bytes() + b'\n')
    return total.hexdigest()


def stale_files(source: Path, installed: Path) -> list[Path]:
    """Return installed files of our Python package whose source is gone.

    Copying adds and overwrites but never removes. What the message generators made (shared
    libraries, dnn_offload/msg) has no source here and stays.
    """
    stale = []
    for path in installed.rglob('*'):
        inside = path.relative_to(installed)
        generated = path.suffix == '.so' or inside.parts[0] in ('msg', 'srv', 'action')
        if generated or '__pycache__' in inside.parts or inside.name.startswith('_dnn_offload_s.'):
            continue
        if path.is_file() and not (source / inside).exists() and inside.name != '__init__.py':
            stale.append(path)
    return stale


def inventory(folder: Path) -> dict[str, int]:
    """Return name and size in bytes of every file below a folder, compiled Python aside."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob('*'))
        if path.is_file() and path != STAMP and '__pycache__' not in path.parts
    }


def found_stamp() -> dict[str, Any]:
    """Return what the stamp of the last whole build says, {} where none can be read."""
    try:
        found = json.loads(STAMP.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    keys = {'interfaces', 'files', 'installed'}
    whole = isinstance(found, dict) and keys <= set(found) and isinstance(found['installed'], dict)
    return found if whole else {}


def lost_files(stamp: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what a build left in a folder, by its stamp, and is not there at its size now."""
    lost = []
    for name, size_bytes in stamp.get('installed', {}).items():
        try:
            if os.stat(folder / name).st_size != size_bytes:
                lost.append(name)
        except OSError:
            lost.append(name)
    return lost


class Build:
    """The colcon build of one checkout.

    Args:
        environment: The virtual environment to build with.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.paths = [ROOT]
        if environment.ros_prefix is None or not machine.ament_package('vision_msgs'):
            self.paths.append(ROOT / 'tools/vision_msgs')

    def variables(self) -> dict[str, str]:
        """Return the process environment for building."""
        variables = self.environment.variables()
        prefix = self.environment.python.parents[1]
        variables['PATH'] = f'{prefix / "bin"}{os.pathsep}{variables.get("PATH", "")}'
        variables['VIRTUAL_ENV'] = str(prefix)
        if self.environment.ros_prefix is None:
            # Nothing of another workspace that happens to be sourced may get in.
            variables['AMENT_PREFIX_PATH'] = variables['CMAKE_PREFIX_PATH'] = str(prefix)
            variables.pop('COLCON_PREFIX_PATH', None)
        return variables

    def ensure(self) -> bool:
        """Build what changed or is gone since the last whole build; return whether any was."""
        salt = json.dumps([self.environment.wanted_stamp(), [str(path) for path in self.paths]])
        wanted = {'interfaces': digest(INTERFACES, salt), 'files': digest(FILES)}
        found = found_stamp()
        lost = lost_files(found, INSTALL)
        whole = bool(found) and not lost
        if whole and all(found[key] == wanted[key] for key in wanted):
            return False
        if whole and found['interfaces'] == wanted['interfaces']:
            with step('installing what changed'):
                self.copy()
        else:
            if lost:
                print(
                    f'  the package is installed anew: {lost[0]} is gone from {INSTALL}, or cut '
                    f'short ({len(lost)} such files)'
                )
                shutil.rmtree(INSTALL, ignore_errors=True)
            STAMP.unlink(missing_ok=True)
            with step('building the messages (about a minute the first time)'):
                self.compile()
        for path in stale_files(ROOT / 'dnn_offload', self.installed_package()):
            path.unlink()
        stamp = {**wanted, 'installed': inventory(INSTALL)}
        STAMP.write_text(json.dumps(stamp, indent=2) + '\n', encoding='utf-8')
        return True

    def installed_package(self) -> Path:
        """Return the folder of the installed Python package."""
        found = sorted(INSTALL.glob('dnn_offload/l*/python*/*-packages/dnn_offload'))
        if not found:
            raise SetupError(f'the build left no Python package in {INSTALL}; see {LOG}.')
        return found[0]

    def copy(self) -> None:
        """Install Python modules, launch files and configuration again, without colcon."""
        try:
            run(['cmake', '--install', BUILD / 'dnn_offload'], LOG, env=self.variables())
        except CommandError:
            self.compile()

    def compile(self) -> None:
        """Build everything with colcon; a build folder that is in the way is made anew once."""
        try:
            self.colcon()
            self.check()
        except CommandError:
            for folder in (BUILD / 'dnn_offload', BUILD / 'vision_msgs', INSTALL):
                shutil.rmtree(folder, ignore_errors=True)
            try:
                self.colcon()
                self.check()
            except CommandError as failure:
                lines = [line for line in failure.output.splitlines() if 'rror' in line]
                said = lines[0].strip() if lines else 'no reason given'
                raise SetupError(
                    f'the messages cannot be built ({said}); everything is in {LOG}.'
                ) from failure

    def colcon(self) -> None:
        """Run colcon over the package, and over our vision_msgs where there is no other."""
        arguments = ['-DBUILD_TESTING=OFF', '-DCMAKE_BUILD_TYPE=Release', '-Wno-dev']
        arguments.append(f'-DPython3_EXECUTABLE={self.environment.python}')
        command = ['colcon', '--log-base', f'{BUILD}/log', 'build', '--build-base', str(BUILD)]
        command += ['--install-base', str(INSTALL), '--paths', *map(str, self.paths)]
        run([*command, '--cmake-args', *arguments], LOG, env=self.variables(), cwd=ROOT)

    def check(self) -> None:
        """Import the built messages as a user would."""
        shell = '. "$0" && exec python -c "$1"'
        script = ROOT / 'tools/env.sh'
        run(['bash', '-c', shell, script, CHECK], LOG, env=self.variables(), cwd=BUILD)
