# SPDX-License-Identifier: Apache-2.0
"""An RGB and a thermal camera that are not there: a scenario of the simulated world, live.

The scenario is rendered into memory at start, then played in real time, again and again, with
stamps of this machine's clock. Cameras can be made to fail while it plays, e.g.
``ros2 param set /rig_simulator fault.thermal frozen``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterUninitializedException,
)
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from rgbt_perception.convert import FRAME_IDS
from rgbt_perception.errors import BackendUnavailableError, ConfigError
from rgbt_perception.ros.messages import build_image, header_of, import_vision_msgs
from rgbt_perception.ros.player_process import run_player
from rgbt_perception.ros.qos import latched_qos, result_qos
from rgbt_perception.ros.rig_messages import (
    build_camera_info,
    build_transform,
    build_truth_message,
    import_tf2_msgs,
)
from rgbt_perception.simulated_rig import (
    check_fault,
    Clip,
    ClipPlayer,
    fault_names,
    NO_FAULT,
    render_clip,
    SimulatedImage,
)
from rgbt_perception.simulation import load_scenario, rig_cameras, SAMPLE_DRIVE, ScenarioChanges
from rgbt_perception.types import Modality

NODE_NAME = 'rig_simulator'
RIG_FRAME = 'rig'
ENCODINGS = {Modality.RGB: 'rgb8', Modality.THERMAL: 'mono16'}
POLL_S = 0.02
LOG_PERIOD_S = 5.0
FAULT_PREFIX = 'fault.'
# Default and what it means; all but the faults are read once.
PARAMETERS: dict[str, tuple[Any, str]] = {
    'scenario': (SAMPLE_DRIVE, 'Name of a shipped scenario, or path of a YAML file.'),
    'seed': (-1, 'Seed instead of that of the scenario; -1 = that of the scenario.'),
    'duration_s': (0.0, 'Length instead of that of the scenario, s; 0.0 = that of the scenario.'),
    'rate_hz': (0.0, 'Rate of both cameras instead of those of the scenario; 0.0 = those.'),
    'scale': (1.0, 'Size of both images, as a part of what the scenario says.'),
    'rate_scale': (1.0, 'How much faster than rendered it is played.'),
    'loop': (True, 'Play it again and again; otherwise the node ends after the last image.'),
    'fault.rgb': (NO_FAULT, 'How the RGB camera fails now; may be changed at any time.'),
    'fault.thermal': (NO_FAULT, 'How the thermal camera fails now; may be changed at any time.'),
}


class RigSimulatorNode(Node):
    """Publishes both cameras of a scenario, their models, the rig's transforms and the truth."""

    def __init__(self) -> None:
        """Declare the parameters and read the scenario.

        Raises:
            ConfigError: If a parameter or the scenario cannot be used.
        """
        super().__init__(NODE_NAME)
        values = self._declare()
        self._rate_scale, self._has_loop = values['rate_scale'], values['loop']
        self._faults = {item: values[f'{FAULT_PREFIX}{item.value}'] for item in Modality}
        for modality, name in self._faults.items():
            check_fault(modality, name)
        self._scenario = load_scenario(values['scenario'], _changes(values))
        self._player: ClipPlayer | None = None
        self._images = {
            item: self.create_publisher(Image, f'{item.value}/image_raw', result_qos())
            for item in Modality
        }
        self._infos = {
            item: self.create_publisher(CameraInfo, f'{item.value}/camera_info', result_qos())
            for item in Modality
        }
        self._truth = self._create_truth()
        self._transforms: Any = None
        self._cameras: dict[Modality, Any] = {}
        self.add_on_set_parameters_callback(self._on_parameters)

    def play(self) -> None:
        """Render, then publish until the end or until interrupted."""
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self)
        try:
            clip = self._render(executor)
            if clip is not None:
                self._cameras = rig_cameras(clip.rig)
                self._publish_transforms(clip)
                self._play(clip, executor)
        finally:
            executor.remove_node(self)

    def _render(self, executor: SingleThreadedExecutor) -> Clip | None:
        """Render the clip; None when interrupted."""
        started = time.monotonic()
        self.get_logger().info(
            f'rendering {self._scenario.duration_s:g} s; images come when that is done'
        )
        for index, clip in enumerate(render_clip(self._scenario)):
            if not self.context.ok():
                return None
            if clip is not None:
                self.get_logger().info(
                    f'{len(clip.images)} images rendered in {time.monotonic() - started:.1f} s, '
                    f'{clip.size_mib:.0f} MiB: playing'
                )
                return clip
            self.get_logger().info(
                f'{index + 1} images rendered', throttle_duration_sec=LOG_PERIOD_S
            )
            executor.spin_once(timeout_sec=0.0)
        return None

    def _play(self, clip: Clip, executor: SingleThreadedExecutor) -> None:
        start = time.monotonic()
        player = ClipPlayer(
            clip=clip,
            start_ns=self.get_clock().now().nanoseconds,
            rate_scale=self._rate_scale,
            has_loop=self._has_loop,
        )
        for modality, name in self._faults.items():
            player.set_fault(modality, name)
        self._player = player
        while self.context.ok() and not player.is_over:
            for image in player.take(time.monotonic() - start):
                self._publish(image)
            if player.num_skipped:
                self.get_logger().warning(
                    f'{player.num_skipped} images left out: this machine cannot keep up; expected '
                    f'time for all of them; use a smaller scale or rate_scale',
                    throttle_duration_sec=LOG_PERIOD_S,
                )
            wait_s = start + player.next_s() - time.monotonic()
            executor.spin_once(timeout_sec=min(max(wait_s, 0.0), POLL_S))

    def _publish(self, image: SimulatedImage) -> None:
        frame = image.frame
        header = header_of(frame)
        modality = frame.modality
        self._images[modality].publish(build_image(frame.pixels, ENCODINGS[modality], header))
        self._infos[modality].publish(build_camera_info(self._cameras[modality], header))
        if image.truth is not None and self._truth is not None:
            self._truth.publish(build_truth_message(image.truth, header))

    def _publish_transforms(self, clip: Clip) -> None:
        messages = import_tf2_msgs()
        if messages is None:
            self.get_logger().info('no /tf_static: tf2_msgs is not installed')
            return
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=RIG_FRAME)
        cameras = {Modality.RGB: clip.rig.rgb, Modality.THERMAL: clip.rig.thermal}
        transforms = [
            build_transform(camera.rotation, camera.position, header, FRAME_IDS[item])
            for item, camera in cameras.items()
        ]
        self._transforms = self.create_publisher(messages.TFMessage, '/tf_static', latched_qos())
        self._transforms.publish(messages.TFMessage(transforms=transforms))

    def _create_truth(self) -> Any:
        try:
            return self.create_publisher(
                import_vision_msgs().Detection2DArray, '~/truth', result_qos()
            )
        except BackendUnavailableError as error:
            self.get_logger().warning(f'no ground truth: {error}')
            return None

    def _declare(self) -> dict[str, Any]:
        try:
            values: dict[str, Any] = {
                name: self.declare_parameter(name, default, _descriptor(name)).value
                for name, (default, _) in PARAMETERS.items()
            }
        except (
            InvalidParameterTypeException,
            InvalidParameterValueException,
            ParameterUninitializedException,
        ) as error:
            raise ConfigError(
                f'{error}; expected the types of '
                f'{ {name: default for name, (default, _) in PARAMETERS.items()} }; a number with '
                f'a point is a double: write 5.0, not 5'
            ) from error
        for name in ('rate_scale', 'scale'):
            if not 0.0 < values[name] < float('inf'):
                raise ConfigError(
                    f'{name} is {values[name]}, expected a number above 0; correct it'
                )
        return values

    def _on_parameters(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Check new faults, then let the cameras fail: all of them or none."""
        chosen = {
            Modality(item.name.removeprefix(FAULT_PREFIX)): item.value
            for item in parameters
            if item.name.startswith(FAULT_PREFIX)
        }
        try:
            for modality, name in chosen.items():
                check_fault(modality, name)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        for modality, name in chosen.items():
            self._faults[modality] = name
            if self._player is not None:
                self._player.set_fault(modality, name)
        return SetParametersResult(successful=True)


def _descriptor(name: str) -> ParameterDescriptor:
    is_fault = name.startswith(FAULT_PREFIX)
    text = PARAMETERS[name][1]
    if is_fault:
        choices = ', '.join(fault_names(Modality(name.removeprefix(FAULT_PREFIX))))
        return ParameterDescriptor(description=text, additional_constraints=f'One of {choices}.')
    return ParameterDescriptor(description=text, read_only=True)


def _changes(values: dict[str, Any]) -> ScenarioChanges:
    return ScenarioChanges(
        seed=values['seed'] if values['seed'] >= 0 else None,
        duration_s=values['duration_s'] or None,
        rate_hz=values['rate_hz'] or None,
        scale=None if values['scale'] == 1.0 else values['scale'],
    )


def main(args: list[str] | None = None) -> int:
    """Play the scenario named by the parameter ``scenario``; return the exit status."""
    return run_player(RigSimulatorNode, name=NODE_NAME, extra='sim', args=args)


if __name__ == '__main__':
    sys.exit(main())
