# SPDX-License-Identifier: Apache-2.0
"""Settings of what is done: model, engine, fallback, dominance, outputs, diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

from rgbt_perception.config.settings import Group, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(Group):
    """Which model runs, and at what size."""

    card: str = setting('tiny', 'Name of a shipped model card, or a path to a card folder.')
    input_height: int = setting(0, 'Network input height, px; 0 = from the card.', ge=0, le=4096)
    input_width: int = setting(0, 'Network input width, px; 0 = from the card.', ge=0, le=4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(Group):
    """What executes the model, and what happens when it fails."""

    backend: str = setting(
        'auto',
        'Runtime of the network; auto takes the first that is installed and can run the card, in '
        'an order that suits the processor.',
        choices=('auto', 'tensorrt', 'openvino', 'onnx', 'torch'),
    )
    device: str = setting('cpu', "Where it runs: 'cpu' or 'cuda:N'.")
    precision: str = setting(
        'auto',
        'Numbers it computes with; auto: int8 or fp16 where the card has such a graph that passed '
        'its gate, bf16 with torch on CUDA, else fp32.',
        choices=('auto', 'fp32', 'bf16', 'fp16', 'int8'),
    )
    num_threads: int = setting(0, 'CPU threads; 0 = all cores but one.', ge=0, le=256)
    cache_dir: str = setting(
        '',
        'Private folder of built engines; empty: $XDG_CACHE_HOME/rgbt_perception/engines, else '
        'below ~/.cache.',
    )
    background_build: bool = setting(
        True,
        'A TensorRT engine that must be built first is built while the next backend serves.',
    )
    cuda_graph: bool = setting(True, 'On CUDA the work of an inference is recorded and replayed.')
    version_compatible: bool = setting(
        False,
        'TensorRT builds engines that later versions of the same major version run too; they may '
        'be slower.',
    )
    on_error: str = setting(
        'fallback',
        'After repeated failures: reopen the engine, then the next backend; deactivate the node; '
        'or raise, which ends the process.',
        choices=('fallback', 'deactivate', 'raise'),
    )
    max_failures: int = setting(
        3, 'So many failures in a row are repeated failures.', ge=1, le=1000
    )
    timeout_s: float = setting(
        1.5, 'An inference that takes longer is given up as hanging, s.', ge=0.1, le=3600.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputConfig(Group):
    """What is published."""

    score_threshold: float = setting(
        0.3, 'Smallest score of a published detection.', ge=0.0, le=1.0, live=True
    )
    nms_iou: float = setting(
        0.5, 'Boxes of a class overlapping more than this are merged.', ge=0.0, le=1.0, live=True
    )
    max_detections: int = setting(100, 'Most detections per pair.', ge=1, le=1000, live=True)
    box_votes: float = setting(
        5.0,
        'What a detection of score 1 adds to the logits of its class in its box: of which class '
        'an object is in the label map; 0 = nothing.',
        ge=0.0,
        le=20.0,
        live=True,
    )
    class_id_format: str = setting(
        'name', 'Content of class_id in detections.', choices=('name', 'index'), live=True
    )
    snapshot_dir: str = setting(
        '~/.ros/rgbt_perception', 'Folder in which ~/snapshot writes its own folders.'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackConfig(Group):
    """When a camera counts as missing, frozen or blind."""

    missing_after_s: float = setting(
        0.5,
        'A camera silent for this long is missing, s: the other is not held up.',
        ge=0.05,
        le=60,
        live=True,
    )
    dark_level: int = setting(
        12,
        'RGB is blind when its 99.5th percentile is at most this, 0..255.',
        ge=0,
        le=255,
        live=True,
    )
    min_contrast: float = setting(
        1.0,
        'A camera is blind when its standard deviation is below this, grey levels.',
        ge=0.0,
        live=True,
    )
    max_saturated: float = setting(
        0.6,
        'A camera is blind when more than this share of its pixels is at the top of the range '
        '(thermal.signal_bits).',
        ge=0.0,
        le=1.0,
        live=True,
    )
    frozen_after_s: float = setting(
        0.25,
        'A camera that repeats the same image for this long is frozen, s; 0 = never, as for '
        'simulated cameras without noise.',
        ge=0.0,
        le=60.0,
        live=True,
    )
    frozen_difference: float = setting(
        0.02,
        'Images whose mean difference is at most this are the same, grey levels or counts.',
        ge=0.0,
        le=1000.0,
        live=True,
    )
    recover_after_s: float = setting(
        0.3,
        'A camera that was blind or frozen is used again this long after its last bad frame, s.',
        ge=0.0,
        le=60.0,
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DominanceConfig(Group):
    """How the modality dominance index is found, and its temporal filter."""

    method: str = setting(
        'linear_share',
        'What the index says: which camera the network draws on (no cost), or in which camera the '
        'objects that it found show better (some milliseconds; by shares where it finds none).',
        choices=('linear_share', 'contrast'),
        live=True,
    )
    time_constant_s: float = setting(
        1.0, 'Time constant of the moving average, s; 0 = no filter.', ge=0.0, le=60.0, live=True
    )
    threshold: float = setting(
        0.2, 'One camera dominates beyond |mdi| of this.', ge=0.0, le=1.0, live=True
    )
    hysteresis: float = setting(
        0.1, 'Width of the band around the threshold in which the state holds.', ge=0.0, le=1.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticsConfig(Group):
    """What goes to /diagnostics."""

    period_s: float = setting(1.0, 'Time between two diagnostics messages, s.', ge=0.1, le=60.0)
    min_rgb_hz: float = setting(
        0.0, 'A lower RGB rate is warned of, Hz; 0 = no bound.', ge=0.0, le=1000.0, live=True
    )
    max_rgb_hz: float = setting(
        0.0, 'A higher RGB rate is warned of, Hz; 0 = no bound.', ge=0.0, le=1000.0, live=True
    )
    min_thermal_hz: float = setting(
        0.0, 'A lower thermal rate is warned of, Hz; 0 = no bound.', ge=0.0, le=1000.0, live=True
    )
    max_thermal_hz: float = setting(
        0.0, 'A higher thermal rate is warned of, Hz; 0 = no bound.', ge=0.0, le=1000.0, live=True
    )
    rate_slack: float = setting(
        0.1, 'Rates may miss their bounds by this share.', ge=0.0, le=1.0, live=True
    )
    max_stamp_age_s: float = setting(
        5.0, 'Stamps older than this are warned of, s.', ge=0.0, le=86_400.0, live=True
    )
    max_stamp_lead_s: float = setting(
        1.0,
        'Stamps further in the future than this are warned of, s.',
        ge=0.0,
        le=86_400.0,
        live=True,
    )
