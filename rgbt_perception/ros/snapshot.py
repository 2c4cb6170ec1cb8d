# SPDX-License-Identifier: Apache-2.0
"""A folder for a bug report: the newest pair, what became of it, settings, diagnostics, versions.

::

    snapshot_<stamp of the reference frame>/
      rgb.png            as received
      thermal.png        as received, 8 or 16 bits; temperatures (32FC1) go to thermal.npy
      result.json        detections, mode, dominance, times; or why there is no result
      overlay.png        the result drawn on its reference image
      parameters.yaml    all settings, to be given back with --params-file
      cameras.json       camera_info, as far as any came
      diagnostics.json   the last six statuses
      versions.txt       of the package, its libraries, the engine and the model
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import shutil
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np

from rgbt_perception.errors import RGBTError, SnapshotError
from rgbt_perception.overlay import draw_overlay
from rgbt_perception.replay import result_to_dict
from rgbt_perception.ros.cameras import info_values
from rgbt_perception.ros.param_file import param_file_text
from rgbt_perception.types import NS_PER_S

if TYPE_CHECKING:
    import threading

    from diagnostic_msgs.msg import DiagnosticStatus
    from sensor_msgs.msg import CameraInfo

    from rgbt_perception.config import PerceptionConfig
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Frame, Modality, Pair, Result

MAX_SNAPSHOTS = 20
TURN_TIMEOUT_S = 5.0
PREFIX = 'snapshot_'
LIBRARIES = ('numpy', 'opencv-python-headless', 'opencv-python', 'PyYAML', 'onnxruntime', 'torch')


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SnapshotSource:
    """What is known about one pair.

    Attributes:
        pair: The pair.
        config: Settings it was processed with.
        result: Its result, None when there is none.
        problem: Why there is no result, '' otherwise.
        statuses: The last diagnostics.
        infos: Newest camera_info of each camera that sent one.
    """

    pair: Pair
    config: PerceptionConfig
    result: Result | None = None
    problem: str = ''
    statuses: list[DiagnosticStatus] = field(default_factory=list)
    infos: dict[Modality, CameraInfo] = field(default_factory=dict)

    def with_context(
        self, *, statuses: list[DiagnosticStatus], infos: dict[Modality, CameraInfo]
    ) -> SnapshotSource:
        """Return the same with what the node knows now."""
        return dataclasses.replace(self, statuses=statuses, infos=infos)


def write_snapshot(source: SnapshotSource, pipeline: Pipeline, turn: threading.Lock) -> Path:
    """Write a snapshot into a new private folder below ``output.snapshot_dir``.

    Args:
        source: What to write.
        pipeline: What ran; asked for its card, engine and registration.
        turn: Held while the pipeline's registration is used.

    Returns:
        The folder; a snapshot that fails leaves none.

    Raises:
        SnapshotError: If the folder cannot be written, or holds the most snapshots already.
    """
    root = Path(source.config.output.snapshot_dir).expanduser()
    folder: Path | None = None
    try:
        folder = _new_folder(root, source.pair.reference.stamp_ns)
        _write_images(folder, source.pair)
        _write_result(folder, source, pipeline, turn)
        text = param_file_text(source.config)
        (folder / 'parameters.yaml').write_text(text, encoding='utf-8')
        infos = {item.value: info_values(info) for item, info in source.infos.items()}
        _write_json(folder / 'cameras.json', infos)
        _write_json(folder / 'diagnostics.json', [_status_values(s) for s in source.statuses])
        (folder / 'versions.txt').write_text(_versions(pipeline), encoding='utf-8')
    except Exception as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, SnapshotError) or not isinstance(error, (OSError, RGBTError)):
            raise
        raise SnapshotError(
            f"cannot write a snapshot below '{root}' ({getattr(error, 'strerror', '') or error}); "
            f'expected a folder with room that this user may write; correct output.snapshot_dir'
        ) from error
    return folder


def _new_folder(root: Path, stamp_ns: int) -> Path:
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if sum(1 for _ in root.glob(f'{PREFIX}*')) >= MAX_SNAPSHOTS:
        raise SnapshotError(
            f"'{root}' holds {MAX_SNAPSHOTS} snapshots, expected fewer; move or delete them"
        )
    stem = f'{PREFIX}{stamp_ns // NS_PER_S}.{stamp_ns % NS_PER_S:09d}'
    for count in range(MAX_SNAPSHOTS):
        folder = root / (f'{stem}_{count + 1}' if count else stem)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return folder
    raise SnapshotError(f"'{root / stem}' exists already, expected a new name; move it away")


def _write_images(folder: Path, pair: Pair) -> None:
    if pair.rgb is not None:
        _write_png(
            folder / 'rgb.png', cv2.cvtColor(np.asarray(pair.rgb.pixels), cv2.COLOR_RGB2BGR)
        )
    if pair.thermal is not None:
        _write_thermal(folder, pair.thermal)


def _write_thermal(folder: Path, frame: Frame) -> None:
    if frame.pixels.dtype == np.float32:
        np.save(folder / 'thermal.npy', frame.pixels, allow_pickle=False)
    else:
        _write_png(folder / 'thermal.png', np.asarray(frame.pixels))


def _write_png(path: Path, pixels: Any) -> None:
    path.write_bytes(cv2.imencode('.png', pixels)[1].tobytes())


def _write_result(
    folder: Path, source: SnapshotSource, pipeline: Pipeline, turn: threading.Lock
) -> None:
    result = source.result
    values: dict[str, Any] = {'problem': source.problem}
    if result is not None:
        values = result_to_dict(result, pipeline.card.detection_classes)
        values['times_ms'] = dataclasses.asdict(result.times)
    _write_json(folder / 'result.json', values)
    if result is None or not turn.acquire(timeout=TURN_TIMEOUT_S):
        return  # an engine that hangs is itself worth a snapshot
    try:
        overlay = draw_overlay(result, pipeline.card, pipeline.registration)
    finally:
        turn.release()
    _write_png(folder / 'overlay.png', cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')


def _status_values(status: DiagnosticStatus) -> dict[str, Any]:
    return {
        'name': status.name,
        'level': ('OK', 'WARN', 'ERROR', 'STALE')[status.level[0]],
        'message': status.message,
        'hardware_id': status.hardware_id,
        'values': {item.key: item.value for item in status.values},
    }


def _versions(pipeline: Pipeline) -> str:
    card, engine = pipeline.card, pipeline.engine
    names = ('rgbt_perception', 'rclpy', *LIBRARIES)
    lines = [f'{name} {version}' for name in names if (version := _version(name))]
    model = f'{card.name} version {card.version}'
    lines += [
        f'python {platform.python_version()}',
        f'system {platform.platform()}',
        f'ros_distro {os.environ.get("ROS_DISTRO", "unknown")}',
        f'rmw {_rmw()}',
        f'engine {engine.backend}, {engine.device}, {engine.precision}',
        f'model {model}, weights {card.weights_sha256}, graph {card.graph_sha256}',
    ]
    return '\n'.join(lines) + '\n'


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _rmw() -> str:
    from rclpy.utilities import get_rmw_implementation_identifier

    return get_rmw_implementation_identifier()
