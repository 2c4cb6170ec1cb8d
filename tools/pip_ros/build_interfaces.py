# SPDX-License-Identifier: Apache-2.0
"""Build a wheel of a message-only ROS 2 package against the ROS wheels of this Python.

The generators, templates, headers and libraries all come with ``ros-rclpy`` from PyPI; what is
added here is the order in which they are called, the compiler and the wheel. No CMake, no ament,
no colcon.

The generator functions called are not a promised interface of ROS. They are the same in Jazzy
(rosidl 4.6.6) and Kilted (4.9.5); the wheel that comes out fits exactly the ROS wheels it was
built against.
"""

from __future__ import annotations

import argparse
from contextlib import redirect_stdout
import importlib.util
import io
import json
import os
from pathlib import Path
import re
import shutil
import sys
import sysconfig
import tempfile
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from interface_compiler import (
    compile_libraries,
    COMPILERS,
    Generated,
    InterfaceBuildError,
    InterfacePackage,
    TYPESUPPORTS,
)
from interface_wheel import Files, write_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = Path(sys.prefix)
SHARE = PREFIX / 'share'

GENERATORS = (
    'rosidl_adapter',
    'rosidl_generator_c',
    'rosidl_generator_py',
    'rosidl_generator_type_description',
    'rosidl_typesupport_c',
    *TYPESUPPORTS,
)
PACKAGE_REFERENCE = re.compile(r'^(\w+)/\w+', re.MULTILINE)


def check_requirements() -> None:
    """Check that generators, compilers and Python's headers are there.

    Raises:
        InterfaceBuildError: If one of them is missing.
    """
    missing = [name for name in GENERATORS if importlib.util.find_spec(name) is None]
    if missing or not (SHARE / 'rosidl_generator_c' / 'resource').is_dir():
        found = (
            f'without {", ".join(missing)}' if missing else f'without {SHARE}/rosidl_generator_c'
        )
        raise InterfaceBuildError(
            f'{sys.executable} is {found}, expected the ROS wheels of PyPI; '
            f"install them into it: pip install '.[ros]'"
        )
    compilers = [command[0] for command in COMPILERS.values() if not shutil.which(command[0])]
    if compilers:
        raise InterfaceBuildError(
            f'{" and ".join(compilers)} not found on PATH, expected a C and a C++ compiler; '
            f'install them (Debian, Ubuntu: apt install gcc g++)'
        )
    header = Path(sysconfig.get_path('include'), 'Python.h')
    if not header.is_file():
        raise InterfaceBuildError(
            f"{header} not found, expected Python's C headers; "
            f'install them (Debian, Ubuntu: apt install python3-dev)'
        )


def read_package(folder: Path) -> InterfacePackage:
    """Read name, version, messages and message dependencies of a package folder.

    Raises:
        InterfaceBuildError: If the folder has no package.xml or no messages, or needs a message
            package that is not installed.
    """
    manifest = folder / 'package.xml'
    messages = tuple(sorted(path.relative_to(folder) for path in folder.glob('msg/*.msg')))
    if not (manifest.is_file() and messages):
        raise InterfaceBuildError(
            f'{folder} has no package.xml or no msg/*.msg, expected a ROS 2 message package; '
            f'name its folder'
        )
    root = ET.parse(manifest).getroot()  # noqa: S314 - our own file, not input from outside
    name = (root.findtext('name') or '').strip()
    return InterfacePackage(
        folder=folder,
        name=name,
        version=(root.findtext('version') or '').strip(),
        messages=messages,
        dependencies=tuple(sorted(_message_dependencies(folder, name))),
    )


def _message_dependencies(folder: Path, own_name: str) -> set[str]:
    found = {'builtin_interfaces'}
    to_visit = [folder]
    while to_visit:
        for path in (to_visit.pop() / 'msg').glob('*.msg'):
            new = set(PACKAGE_REFERENCE.findall(path.read_text(encoding='utf-8')))
            new -= found | {own_name}
            found |= new
            to_visit += [SHARE / name for name in new]
    absent = sorted(name for name in found if not (SHARE / name).is_dir())
    if absent:
        raise InterfaceBuildError(
            f'{SHARE} has no {", ".join(absent)}, which {own_name} uses; '
            f'install: pip install {" ".join("ros-" + name.replace("_", "-") for name in absent)}'
        )
    return found


def generate_sources(package: InterfacePackage, include_root: Path) -> Generated:
    """Write C, C++ and Python code for every message of the package.

    Args:
        package: What to generate.
        include_root: Empty folder to write into.

    Returns:
        Where the code is.
    """
    from rosidl_adapter import convert_to_idl
    from rosidl_generator_c import generate_c
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    import rosidl_typesupport_c
    import rosidl_typesupport_fastrtps_c
    import rosidl_typesupport_introspection_c

    folder = include_root / package.name
    idls = tuple(
        Path(convert_to_idl(package.folder, package.name, message, folder))
        for message in package.messages
    )
    generated = Generated(include_root=include_root, idls=idls)

    def arguments(tool: str, **more: list[str]) -> str:
        return str(_write_arguments(package, generated, tool, **more))

    include_paths = [f'{name}:{SHARE / name}' for name in package.dependencies]
    generate_type_hash(arguments('rosidl_generator_type_description', include_paths=include_paths))
    descriptions = [f'msg/{idl.name}:{idl.with_suffix(".json")}' for idl in idls]
    generate_c(arguments('rosidl_generator_c', type_description_tuples=descriptions))
    fastrtps, introspection = (arguments(name) for name in TYPESUPPORTS)
    rosidl_typesupport_fastrtps_c.generate_typesupport_fastrtps_c(fastrtps)
    rosidl_typesupport_introspection_c.generate_c(introspection)
    rosidl_typesupport_c.generate_c(arguments('rosidl_typesupport_c'), list(TYPESUPPORTS))
    generate_py(arguments('rosidl_generator_py'), ['rosidl_typesupport_c'])
    return generated


def _write_arguments(
    package: InterfacePackage, generated: Generated, tool: str, **more: list[str]
) -> Path:
    """Write the argument file that every generator takes, and the tool's visibility header."""
    resource = SHARE / tool / 'resource'
    header = f'{tool}__visibility_control.h'
    template = resource / f'{header}.in'
    if template.is_file():
        text = template.read_text(encoding='utf-8')
        text = text.replace('@PROJECT_NAME@', package.name)
        text = text.replace('@PROJECT_NAME_UPPER@', package.name.upper())
        (generated.folder / 'msg' / header).write_text(text, encoding='utf-8')
    arguments = {
        'package_name': package.name,
        'output_dir': str(generated.folder),
        'template_dir': str(resource),
        'idl_tuples': [f'{generated.folder}:msg/{idl.name}' for idl in generated.idls],
        'target_dependencies': [],
        'ros_interface_files': [str(package.folder / message) for message in package.messages],
        'ros_interface_dependencies': [
            f'{name}:{idl}'
            for name in package.dependencies
            for idl in (SHARE / name).glob('*/*.idl')
        ],
        **more,
    }
    path = generated.include_root / f'{tool}.json'
    path.write_text(json.dumps(arguments), encoding='utf-8')
    return path


def wheel_files(
    package: InterfacePackage, generated: Generated, extension: Path, libraries: Sequence[Path]
) -> Files:
    """Collect the wheel's files: module, libraries, interface definitions, ament index entries."""
    data = f'{package.name}-{package.version}.data/data'
    share = f'{data}/share/{package.name}'
    index = f'{data}/share/ament_index/resource_index'
    interfaces = sorted([str(path) for path in package.messages])
    interfaces += sorted(f'msg/{idl.name}' for idl in generated.idls)
    files: Files = {
        f'{package.name}/__init__.py': b'',
        f'{package.name}/{extension.name}': extension.read_bytes(),
        f'{share}/package.xml': (package.folder / 'package.xml').read_bytes(),
        f'{index}/packages/{package.name}': b'',
        f'{index}/rosidl_interfaces/{package.name}': '\n'.join(interfaces).encode(),
    }
    for path in sorted((generated.folder / 'msg').iterdir()):
        if path.suffix == '.py':
            files[f'{package.name}/msg/{path.name}'] = path.read_bytes()
        elif path.suffix in {'.idl', '.json'}:
            files[f'{share}/msg/{path.name}'] = path.read_bytes()
    for message in package.messages:
        files[f'{share}/{message}'] = (package.folder / message).read_bytes()
    for library in libraries:
        files[f'{data}/lib/{library.name}'] = library.read_bytes()
    return files


def build(folder: Path, out_dir: Path) -> Path:
    """Build the wheel of one message package.

    Args:
        folder: Package folder with ``package.xml`` and ``msg/*.msg``; services and actions are not
            looked at.
        out_dir: Existing folder for the wheel.

    Returns:
        Path of the wheel.

    Raises:
        InterfaceBuildError: If something is missing or the compiler fails.
    """
    check_requirements()
    os.environ.setdefault('AMENT_PREFIX_PATH', str(PREFIX))  # the generators look packages up
    package = read_package(folder.resolve())
    with tempfile.TemporaryDirectory(prefix=f'{package.name}-') as scratch:
        with redirect_stdout(io.StringIO()):  # the adapter prints two lines per message
            generated = generate_sources(package, Path(scratch))
        extension, libraries = compile_libraries(package, generated)
        files = wheel_files(package, generated, extension, libraries)
    return write_wheel(package.name, package.version, files, out_dir)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: package folder in, wheel out."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('package_dir', type=Path, help='folder with package.xml and msg/*.msg')
    parser.add_argument('out_dir', type=Path, help='existing folder for the wheel')
    options = parser.parse_args(argv)
    try:
        print(build(options.package_dir, options.out_dir))
    except InterfaceBuildError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
