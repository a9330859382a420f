"""pip: the ROS-free part of dnn_offload and its command line. Nodes are built by colcon."""

from pathlib import Path
import xml.etree.ElementTree as ElementTree

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

# Rooms and modules that need ROS, and what only they use. colcon installs them, with the message
# types: here they would be dead, and fail one by one where this package is found before colcon's.
ROS_ROOMS = ('nodes', 'transport', 'testbed', 'bench', 'watch')
ROS_MODULES = {
    'dnn_offload.demo': (
        '__main__', 'closing', 'live_values', 'live_view', 'navigation_node', 'outcome_files',
        'phases', 'pictures', 'script', 'verdict',
    ),
    'dnn_offload.doctor.children': ('look_around', 'measure_link', 'try_camera'),
}  # fmt: skip

ROOT = Path(__file__).resolve().parent
VERSION = ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')
README = ROOT / 'README.md'


class BuildRosFree(build_py):
    """Leaves out single modules, for which setuptools has no setting."""

    def find_package_modules(self, package, package_dir):
        """List (package, module, file) of a package."""
        found = super().find_package_modules(package, package_dir)
        left_out = ROS_MODULES.get(package, ())
        return [entry for entry in found if entry[1] not in left_out]


setup(
    name='dnn_offload',
    version=VERSION,
    description='Runs a neural network partly on a robot and partly on an edge server',
    long_description=README.read_text(encoding='utf-8') if README.is_file() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_namespace_packages(
        include=['dnn_offload', 'dnn_offload.*'],
        exclude=[f'dnn_offload.{room}{rest}' for room in ROS_ROOMS for rest in ('', '.*')],
    ),
    cmdclass={'build_py': BuildRosFree},
    package_data={'dnn_offload': ['data/**/*', 'data/*']},
    install_requires=[
        'numpy>=1.26',
        'scipy>=1.11',
        'psutil>=5.9',
        'opencv-python-headless>=4.6',
        'zstandard>=0.21',
        'safetensors>=0.4',
        'matplotlib>=3.6',
        'PyYAML>=6',
        'rich>=13',
    ],
    extras_require={
        'torch': ['torch>=2.6', 'torchvision', 'pillow'],
        'onnxruntime': ['onnxruntime>=1.31'],
        'openvino': ['openvino>=2024.0'],
    },
    entry_points={'console_scripts': ['dnn-offload = dnn_offload.cli.main:main']},
    zip_safe=False,
)
