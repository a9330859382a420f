"""pip: the ROS-free part of dnn_offload and its command line. Nodes are built by colcon."""

from pathlib import Path
import xml.etree.ElementTree as ElementTree

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')
README = ROOT / 'README.md'

setup(
    name='dnn_offload',
    version=VERSION,
    description='Runs a neural network partly on a robot and partly on an edge server',
    long_description=README.read_text(encoding='utf-8') if README.is_file() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_namespace_packages(include=['dnn_offload', 'dnn_offload.*']),
    package_data={'dnn_offload': ['data/**/*', 'data/*']},
    install_requires=[
        'numpy>=1.26',
        'scipy>=1.11',
        'networkx>=2.8',
        'psutil>=5.9',
        'opencv-python-headless>=4.6',
        'zstandard>=0.21',
        'safetensors>=0.4',
        'matplotlib>=3.6',
        'PyYAML>=6',
        'rich>=13',
    ],
    extras_require={'torch': ['torch>=2.6', 'torchvision', 'pillow']},
    entry_points={'console_scripts': ['dnn-offload = dnn_offload.cli.main:main']},
    zip_safe=False,
)
