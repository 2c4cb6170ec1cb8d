# SPDX-License-Identifier: Apache-2.0
"""Make ``vision_msgs`` importable next to a ROS that came from PyPI, where it is not offered.

A Python that already has it is left alone. On a robot it comes from apt, as
ros-<distro>-vision-msgs; this script refuses to put its own build beside a ROS distribution.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
import subprocess
import sys
import tempfile

from build_interfaces import build
from interface_compiler import InterfaceBuildError
from interface_wheel import BUILT_AGAINST

PACKAGE = Path(__file__).resolve().parent / 'interfaces' / 'vision_msgs'
# In a process of its own: type support built against other ROS wheels can end the process.
PROBE = (
    'from vision_msgs.msg import Detection2DArray as message; '
    'message.__class__.__import_type_support__()'
)


def is_usable() -> bool:
    """Whether vision_msgs can be imported with its type support."""
    probe = subprocess.run([sys.executable, '-c', PROBE], capture_output=True, check=False)
    return probe.returncode == 0


def stale_requirements() -> list[str]:
    """List the ROS wheels that changed since our vision_msgs was built, none if not ours."""
    try:
        recorded = importlib.metadata.requires('vision_msgs') or []
    except importlib.metadata.PackageNotFoundError:
        return []
    pairs = [line.split('==') for line in recorded if line.partition('==')[0] in BUILT_AGAINST]
    return [name for name, version in pairs if _installed_version(name) != version]


def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_ros_origin() -> None:
    """Check that rclpy is the one from PyPI, inside this Python's own prefix.

    Raises:
        InterfaceBuildError: If there is no rclpy, or it belongs to a ROS distribution.
    """
    spec = importlib.util.find_spec('rclpy')
    if spec is None or spec.origin is None:
        raise InterfaceBuildError(
            f'{sys.executable} has no rclpy, expected the one from PyPI; '
            f"install it: pip install '.[ros]'"
        )
    if not Path(spec.origin).is_relative_to(sys.prefix):
        raise InterfaceBuildError(
            f'rclpy comes from {Path(spec.origin).parent}, expected it under {sys.prefix}; '
            f'this is a ROS distribution: apt install ros-$ROS_DISTRO-vision-msgs'
        )


def install() -> str:
    """Build and install vision_msgs unless it is there.

    Returns:
        One sentence that says what was done.

    Raises:
        InterfaceBuildError: If it cannot be built here.
    """
    stale = stale_requirements()
    if is_usable() and not stale:
        return 'vision_msgs is installed already: nothing to do'
    check_ros_origin()
    with tempfile.TemporaryDirectory(prefix='vision_msgs-wheel-') as folder:
        wheel = build(PACKAGE, Path(folder))
        pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index']
        result = subprocess.run(
            [*pip, '--force-reinstall', str(wheel)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise InterfaceBuildError(
                f'pip did not install {wheel.name}, expected it to; '
                f'its message: {result.stderr.strip()}'
            )
    if not is_usable():
        raise InterfaceBuildError(
            f'{wheel.name} was built but cannot be imported, expected it to fit the installed '
            f"ROS wheels; install the tested ones: pip install -c constraints/runtime.txt '.[ros]'"
        )
    why = f' (built anew, changed since: {", ".join(stale)})' if stale else ''
    return f'built and installed {wheel.name}{why}'


def main() -> int:
    """Run the command line: no arguments."""
    try:
        print(install())
    except InterfaceBuildError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
