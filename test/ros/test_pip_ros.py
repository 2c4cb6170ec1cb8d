# SPDX-License-Identifier: Apache-2.0
"""tools/pip_ros leaves a machine with vision_msgs alone and says what is missing otherwise."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys
import zipfile

import build_interfaces
import install_vision_msgs
from interface_compiler import InterfaceBuildError
import interface_wheel
import pytest
from source_tree import ROOT

PACKAGE = ROOT / 'tools' / 'pip_ros' / 'interfaces' / 'vision_msgs'
needs_compiler = pytest.mark.skipif(
    not (shutil.which('gcc') and shutil.which('g++')), reason='needs a C compiler'
)


@pytest.fixture
def one_message(tmp_path) -> Path:
    """A package with a single message that refers to another package."""
    (tmp_path / 'msg').mkdir()
    (tmp_path / 'msg' / 'Reading.msg').write_text('std_msgs/Header header\nfloat32 value_c\n')
    (tmp_path / 'package.xml').write_text(
        '<package format="3"><name>probe_msgs</name><version>0.0.1</version></package>'
    )
    return tmp_path


def test_installed_vision_msgs_is_left_alone(monkeypatch):
    monkeypatch.setattr(install_vision_msgs, 'is_usable', lambda: True)
    monkeypatch.setattr(install_vision_msgs, 'stale_requirements', list)
    monkeypatch.setattr(install_vision_msgs, 'build', pytest.fail)
    assert install_vision_msgs.install() == 'vision_msgs is installed already: nothing to do'


def test_wheel_built_against_other_ros_wheels_is_stale(monkeypatch):
    recorded = ['ros-fastcdr==0.0.1', 'ros-std-msgs==5.5.1', 'numpy==1.0']
    installed = {'ros-fastcdr': '2.3.3', 'ros-std-msgs': '5.5.1'}
    monkeypatch.setattr('importlib.metadata.requires', lambda _name: recorded)
    monkeypatch.setattr('importlib.metadata.version', installed.__getitem__)
    assert install_vision_msgs.stale_requirements() == ['ros-fastcdr']


def test_vision_msgs_of_a_distribution_is_never_stale(monkeypatch):
    monkeypatch.setattr('importlib.metadata.requires', lambda _name: None)
    assert install_vision_msgs.stale_requirements() == []


def test_ros_distribution_is_sent_to_apt(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    with pytest.raises(InterfaceBuildError, match=r'apt install ros-\$ROS_DISTRO-vision-msgs'):
        install_vision_msgs.check_ros_origin()


def test_missing_compiler_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: None if name == 'g++' else f'/bin/{name}')
    with pytest.raises(InterfaceBuildError, match=r'g\+\+ not found .*; install them .*gcc g\+\+'):
        build_interfaces.check_requirements()


def test_missing_python_headers_are_named_with_their_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr('sysconfig.get_path', lambda *_arguments: str(tmp_path))
    monkeypatch.setattr('shutil.which', lambda name: f'/bin/{name}')
    with pytest.raises(InterfaceBuildError, match=r'Python\.h not found, .*python3-dev'):
        build_interfaces.check_requirements()


def test_missing_ros_wheels_are_named_with_their_remedy(monkeypatch):
    monkeypatch.setattr(build_interfaces, 'GENERATORS', ('rosidl_absent',))
    with pytest.raises(
        InterfaceBuildError, match=r"without rosidl_absent, .*pip install '\.\[ros"
    ):
        build_interfaces.check_requirements()


def test_folder_without_messages_is_refused(tmp_path):
    with pytest.raises(InterfaceBuildError, match=r'has no package\.xml or no msg/\*\.msg'):
        build_interfaces.read_package(tmp_path)


def test_unknown_message_package_is_named_with_its_remedy(one_message):
    (one_message / 'msg' / 'Other.msg').write_text('absent_msgs/Thing thing\n')
    with pytest.raises(InterfaceBuildError, match='pip install ros-absent-msgs'):
        build_interfaces.read_package(one_message)


def test_package_lists_messages_and_everything_they_refer_to(one_message):
    package = build_interfaces.read_package(one_message)
    assert (package.name, package.version) == ('probe_msgs', '0.0.1')
    assert package.messages == (Path('msg/Reading.msg'),)
    assert package.dependencies == ('builtin_interfaces', 'std_msgs')


def test_our_vision_msgs_has_the_twelve_messages_of_our_topics():
    names = {path.stem for path in (PACKAGE / 'msg').glob('*.msg')}
    assert names == {
        *('BoundingBox2D', 'BoundingBox2DArray', 'Classification', 'Detection2D'),
        *('Detection2DArray', 'LabelInfo', 'ObjectHypothesis', 'ObjectHypothesisWithPose'),
        *('Point2D', 'Pose2D', 'VisionClass', 'VisionInfo'),
    }


@needs_compiler
def test_built_wheel_holds_module_libraries_and_records(one_message, tmp_path_factory):
    wheel = build_interfaces.build(one_message, tmp_path_factory.mktemp('wheel'))
    tag = interface_wheel.wheel_tag()
    assert wheel.name == f'probe_msgs-0.0.1-{tag}.whl'
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = archive.read('probe_msgs-0.0.1.dist-info/METADATA').decode()
        record = archive.read('probe_msgs-0.0.1.dist-info/RECORD').decode()
    assert {
        'probe_msgs/msg/_reading.py',
        'probe_msgs/probe_msgs_s__rosidl_typesupport_c.so',
        'probe_msgs-0.0.1.data/data/lib/libprobe_msgs__rosidl_typesupport_fastrtps_c.so',
        'probe_msgs-0.0.1.data/data/lib/libprobe_msgs__rosidl_typesupport_introspection_c.so',
        'probe_msgs-0.0.1.data/data/share/probe_msgs/msg/Reading.json',
        'probe_msgs-0.0.1.data/data/share/ament_index/resource_index/packages/probe_msgs',
    } <= names
    assert {line.split(',')[0] for line in record.splitlines()} == names
    assert f'Requires-Dist: {interface_wheel.requirements()[0]}\n' in about


@needs_compiler
def test_compiler_message_is_passed_on(one_message, monkeypatch, tmp_path):
    monkeypatch.setattr(
        'interface_compiler.COMPILERS',
        {'.c': ('gcc', '-std=nonsense'), '.cpp': ('g++', '-std=nonsense')},
    )
    with pytest.raises(InterfaceBuildError, match=r'(?s)ended with 1 .*nonsense'):
        build_interfaces.build(one_message, tmp_path)
