# SPDX-License-Identifier: Apache-2.0
"""All metadata of the package: colcon, pip and bloom read it from here.

Lower bounds only; the versions that are tested together are in constraints/.
"""

from pathlib import Path

from setuptools import find_packages, setup

NAME = 'rgbt_perception'
SHARE = Path('share', NAME)
ROOT = Path(__file__).resolve().parent

TORCH = ['torch>=2.6', 'torchvision>=0.21', 'timm>=1.0', 'safetensors>=0.4.3']
ONNX = ['onnxruntime>=1.17']
OPENVINO = ['openvino>=2024.6']
SIM = ['embreex>=2.17.7']
EVALUATE = ['pycocotools>=2.0.8']

EXTRAS = {
    # The real rclpy with Fast DDS, for machines without a ROS distribution (x86-64 only). A robot
    # takes these from apt. vision_msgs is not on PyPI: tools/pip_ros builds it.
    'ros': [
        'ros-rclpy[fastrtps]>=7.1',
        'ros-diagnostic-msgs>=5.3',
        'ros-lifecycle-msgs>=2.0',
        'ros-rosgraph-msgs>=2.0',
        'ros-sensor-msgs>=5.3',
        'ros-std-srvs>=5.3',
    ],
    'onnx': ONNX,
    'openvino': OPENVINO,
    'tensorrt': ['tensorrt>=8.6', 'cuda-python>=12.0'],
    'torch': TORCH,
    'bags': ['rosbags>=0.10'],
    'evaluate': EVALUATE,
    'plot': ['matplotlib>=3.8'],
    'sim': SIM,
    # onnx, onnxscript and onnxruntime: the exporter and its parity check.
    'train': [
        *TORCH,
        *ONNX,
        *SIM,
        *EVALUATE,
        'lightning-fabric>=2.4',
        'onnx>=1.16',
        'onnxscript>=0.1',
        'peft>=0.13',
        'tensorboard>=2.16',
        'tqdm>=4.66',
    ],
    # rgbt export --precision int8 --target openvino, beside 'train'.
    'quantise': [*ONNX, *OPENVINO, 'nncf>=3.0', 'onnx>=1.16'],
    # Under this name colcon looks for pytest before it runs it (and for pytest-cov, to measure
    # coverage at every `colcon test`, which is why that one is below).
    'test': ['pytest>=8.0'],
    'dev': [
        'colcon-core>=0.16',
        'colcon-defaults>=0.2',
        'colcon-library-path>=0.2',
        'colcon-metadata>=0.2',
        'colcon-output>=0.2',
        'colcon-package-selection>=0.2',
        'colcon-python-setup-py>=0.2',
        'colcon-recursive-crawl>=0.2',
        'colcon-ros>=0.4',
        'colcon-test-result>=0.3',
        'mypy>=1.11',
        'pytest>=8.0',
        'pytest-cov>=5.0',
        'pytest-xdist>=3.6',
        'ruff>=0.9',
        'types-PyYAML>=6.0',
    ],
}


def share_files(folder, pattern='*'):
    """List the files of one folder of the tree, at every depth, for ``data_files``.

    Args:
        folder: Folder beside this file; it is copied to ``share/rgbt_perception/<folder>``.
        pattern: File names to take.

    Returns:
        One ``(target folder, [files])`` entry per folder that has matching files.
    """
    by_parent = {}
    for path in sorted((ROOT / folder).rglob(pattern)):
        relative = path.relative_to(ROOT)
        if path.is_file() and '__pycache__' not in relative.parts:
            by_parent.setdefault(relative.parent, []).append(str(relative))
    return [(str(SHARE / parent), files) for parent, files in by_parent.items()]


setup(
    name=NAME,
    version='0.1.0',
    description='RGB-thermal detection and segmentation for ROS 2, with the trust in each camera.',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    maintainer='rgbt_perception maintainers',
    maintainer_email='maintainers@rgbt-perception.invalid',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    packages=find_packages(include=['rgbt_models*', 'rgbt_perception*']),
    package_data={'rgbt_models': ['py.typed', 'cards/*/*'], 'rgbt_perception': ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (str(SHARE), ['package.xml']),
        *share_files('launch', '*.launch.py'),
        *share_files('config'),
        *share_files('bags'),
    ],
    zip_safe=False,
    python_requires='>=3.10',
    # The headless build of OpenCV: the same module without the window functions, which nothing
    # here calls. The other one, opencv-python, fails to import on a machine without libGL.so.1,
    # libxcb and glib (robots, containers, CI). Both provide `cv2`: keep one of them installed.
    install_requires=['numpy>=1.26', 'opencv-python-headless>=4.8', 'pyyaml>=6.0', 'rich>=13.0'],
    extras_require=EXTRAS,
    entry_points={
        'console_scripts': [
            'rgbt = rgbt_perception.cli.main:main',
            'perception_node = rgbt_perception.nodes.perception_node:main',
            'bag_player_node = rgbt_perception.nodes.bag_player_node:main',
            'rig_simulator_node = rgbt_perception.nodes.rig_simulator_node:main',
        ],
    },
)
