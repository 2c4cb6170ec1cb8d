# SPDX-License-Identifier: Apache-2.0
"""Build, test and inspect the package with colcon, in a scratch folder outside the repository.

Exit status alone is not trusted: colcon can print an error, install nothing and still end with 0.
So the files that `ros2 run` and `ros2 launch` look for are looked for here, and the tool and the
node are started.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = 'rgbt_perception'
ROOT = Path(__file__).resolve().parents[1]
NODE_DEADLINE_S = 30.0
EXECUTABLES = ('perception_node', 'bag_player_node', 'rgbt')
# Fast, and about the package as a whole; the rest has run under plain pytest already.
TESTS = ('test/project', 'test/ros/test_vision_msgs.py')


class ColconCheckError(RuntimeError):
    """The colcon build is not what a robot needs; the text says where."""


def run(command: Sequence[str], *, cwd: Path, environment: dict[str, str]) -> None:
    """Run one command and let its output through.

    Raises:
        ColconCheckError: If it ends with anything but 0.
    """
    print(f'$ {" ".join(command)}', flush=True)
    status = subprocess.run(command, cwd=cwd, env=environment, check=False).returncode
    if status:
        raise ColconCheckError(f"'{' '.join(command)}' ended with {status}, expected 0")


def build_environment() -> dict[str, str]:
    """Copy this process's environment, with this Python's own executables first."""
    environment = dict(os.environ)
    environment['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{environment["PATH"]}'
    environment['PYTHONWARNINGS'] = 'ignore'  # setup.py install is deprecated and colcon's way
    return environment


def installed_environment(install: Path) -> dict[str, str]:
    """Describe the environment that sourcing the workspace gives."""
    packages = sysconfig.get_path('purelib', vars={'base': str(install)})
    environment = dict(os.environ)
    environment['PYTHONPATH'] = packages
    environment['AMENT_PREFIX_PATH'] = f'{install}{os.pathsep}{sys.prefix}'
    return environment


def missing_files(install: Path) -> list[str]:
    """List what should be installed and is not: executables, and every file of ``share``."""
    folders = [name for name in ('launch', 'config', 'bags') if (ROOT / name).is_dir()]
    shipped = [
        path.relative_to(ROOT)
        for name in folders
        for path in sorted((ROOT / name).rglob('*'))
        if path.is_file() and '__pycache__' not in path.parts
    ]
    expected = [
        *(Path('lib', PACKAGE, name) for name in EXECUTABLES),
        *(Path('share', PACKAGE, name) for name in ('launch', 'config', 'package.xml')),
        *(Path('share', PACKAGE) / path for path in shipped),
        Path('share/ament_index/resource_index/packages', PACKAGE),
    ]
    return [str(path) for path in expected if not (install / path).exists()]


def check_executables(install: Path, workspace: Path) -> None:
    """Start the installed tool and node.

    Raises:
        ColconCheckError: If one does not start, or runs code from elsewhere.
    """
    environment = installed_environment(install)
    executables = install / 'lib' / PACKAGE
    run([str(executables / 'rgbt'), '--help'], cwd=workspace, environment=environment)
    check_node(executables / 'perception_node', cwd=workspace, environment=environment)
    where = f'import {PACKAGE}; print({PACKAGE}.__file__)'
    result = subprocess.run(
        [sys.executable, '-c', where],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    if not Path(result.stdout.strip()).is_relative_to(install):
        raise ColconCheckError(f'{PACKAGE} comes from {result.stdout.strip()}, expected {install}')


def check_node(executable: Path, *, cwd: Path, environment: dict[str, str]) -> None:
    """Start a node, see it from another one, and end it as Ctrl-C does.

    Raises:
        ColconCheckError: If it ends by itself, does not appear in time, or does not end.
    """
    import rclpy

    name = 'colcon_check_target'
    print(f'$ {executable} --ros-args -r __node:={name}', flush=True)
    command = [str(executable), '--ros-args', '-r', f'__node:={name}']
    with (
        rclpy.init(),
        subprocess.Popen(command, cwd=cwd, env=environment) as process,
    ):
        watcher = rclpy.create_node('colcon_check')
        deadline = time.monotonic() + NODE_DEADLINE_S
        try:
            while name not in watcher.get_node_names():
                if process.poll() is not None:
                    raise ColconCheckError(
                        f'{executable.name} ended with {process.returncode}, expected it to run'
                    )
                if time.monotonic() > deadline:
                    raise ColconCheckError(
                        f'{executable.name} was not seen within {NODE_DEADLINE_S:g} s'
                    )
                rclpy.spin_once(watcher, timeout_sec=0.1)
        finally:
            watcher.destroy_node()
            interrupt(process)
    print(f'{executable.name} was seen as /{name} and ended with {process.returncode}', flush=True)


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """End a process as Ctrl-C does.

    Raises:
        ColconCheckError: If it goes on; it is killed then.
    """
    process.send_signal(signal.SIGINT)
    try:
        process.wait(NODE_DEADLINE_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise ColconCheckError(
            f'the node went on for {NODE_DEADLINE_S:g} s after SIGINT, expected it to end'
        ) from error


def check(workspace: Path) -> None:
    """Build, inspect, start and test in an empty workspace.

    Raises:
        ColconCheckError: If one of these fails.
    """
    (workspace / 'src').mkdir()
    (workspace / 'src' / PACKAGE).symlink_to(ROOT)
    environment = build_environment()
    colcon = [sys.executable, '-m', 'colcon']
    install = workspace / 'install'

    run([*colcon, 'build', '--merge-install'], cwd=workspace, environment=environment)
    missing = missing_files(install)
    if missing:
        raise ColconCheckError(f'colcon built without {", ".join(missing)}; look at setup.py')
    check_executables(install, workspace)
    test = [*colcon, 'test', '--merge-install', '--return-code-on-test-failure']
    shown = ['--event-handlers', 'console_direct+']
    run([*test, *shown, '--pytest-args', *TESTS], cwd=workspace, environment=environment)
    run([*colcon, 'test-result', '--verbose'], cwd=workspace, environment=environment)
    if not list((workspace / 'build').rglob('pytest.xml')):
        raise ColconCheckError('colcon test ran nothing, expected a pytest.xml under build/')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: an optional workspace folder to keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--workspace', type=Path, help='empty folder to use and keep')
    options = parser.parse_args(argv)
    try:
        if options.workspace:
            check(options.workspace.resolve())
        else:
            with tempfile.TemporaryDirectory(prefix='rgbt-colcon-') as folder:
                check(Path(folder).resolve())
    except ColconCheckError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print('colcon build, installed files, executables and colcon test: all right')
    return 0


if __name__ == '__main__':
    sys.exit(main())
