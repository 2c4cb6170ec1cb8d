# SPDX-License-Identifier: Apache-2.0
"""Pictures of results for people: label map as a tint, boxes, and a status bar.

All pictures are uint8 RGB. Thermal is shown stretched by the card's normaliser in false colours.
"""

from __future__ import annotations

import colorsys
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import ModelCard
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.registration import Registration
from rgbt_perception.types import ByteArray, DominanceState, Frame, Mode, Result, UNLABELED

Color = tuple[int, int, int]

# R, G, B. Things are vivid, stuff is muted, so that people stand out from streets.
CLASS_COLORS: dict[str, Color] = {
    'sky': (120, 170, 220),
    'road': (120, 100, 150),
    'sidewalk': (165, 135, 90),
    'building': (150, 150, 165),
    'vegetation': (85, 150, 85),
    'pole': (200, 185, 160),
    'person': (255, 85, 85),
    'rider': (255, 110, 190),
    'bicycle': (255, 205, 60),
    'motorbike': (255, 150, 40),
    'car': (70, 160, 255),
    'truck': (80, 220, 230),
    'animal': (190, 120, 255),
}
STUFF_OPACITY, THING_OPACITY = 0.3, 0.5
RGB_COLOR: Color = (90, 200, 250)
THERMAL_COLOR: Color = (255, 140, 60)
_WHITE: Color = (240, 240, 240)
_GREY: Color = (150, 150, 150)
_DARK: Color = (18, 18, 22)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_BAR_OPACITY = 0.78
# Below this height the picture is too small for writing on it, px.
MIN_BAR_IMAGE_HEIGHT = 160


def draw_overlay(
    result: Result, card: ModelCard, registration: Registration | None = None
) -> ByteArray:
    """Draw a result on its reference image.

    When only the thermal image was used it is also the background, brought onto the RGB grid.

    Args:
        result: What to draw.
        card: Names and colours of the classes, and the thermal normaliser.
        registration: How thermal pixels come onto the RGB grid; None = resized.

    Returns:
        Picture, shape (h, w, 3), uint8, size of the reference image.
    """
    if result.mode is Mode.THERMAL_ONLY and result.pair.thermal is not None:
        picture = _paint_thermal(result, result.pair.thermal, card, registration)
    else:
        picture = _paint_reference(result.pair.reference, card)
    picture = _tint(picture, result.label_map, card)
    _draw_boxes(picture, result, card)
    _draw_status_bar(picture, result)
    return picture


def draw_side_by_side(
    result: Result, card: ModelCard, registration: Registration | None = None
) -> ByteArray:
    """Draw RGB with everything on the left, thermal with the boxes on the right.

    Args:
        result: What to draw.
        card: Names and colours of the classes, and the thermal normaliser.
        registration: How thermal pixels come onto the RGB grid; None = resized.

    Returns:
        Picture, shape (h, 2 * w, 3), uint8; a missing camera is an empty panel that says so.
    """
    size_hw = result.pair.reference.size_hw
    rgb, thermal = result.pair.rgb, result.pair.thermal
    if rgb is None:
        left = _empty_panel(size_hw, 'no RGB frame')
    else:
        left = _tint(np.array(rgb.pixels, np.uint8), result.label_map, card)
        _draw_boxes(left, result, card)
    if thermal is None:
        right = _empty_panel(size_hw, 'no thermal frame')
    else:
        right = _paint_thermal(result, thermal, card, registration)
        if rgb is None:
            right = _tint(right, result.label_map, card)
        _draw_boxes(right, result, card)
    for panel, name, color in ((left, 'RGB', RGB_COLOR), (right, 'THERMAL', THERMAL_COLOR)):
        _draw_panel_name(panel, name, color)
    picture = np.concatenate([left, right], axis=1)
    picture[:, size_hw[1] - 1 : size_hw[1] + 1] = _DARK
    _draw_status_bar(picture, result)
    return picture


def color_label_map(label_map: ByteArray, card: ModelCard) -> ByteArray:
    """Colour class ids.

    Args:
        label_map: Class ids, shape (h, w), uint8.
        card: Names of the classes.

    Returns:
        Colours, shape (h, w, 3), uint8 RGB; unlabeled and unknown ids are black.
    """
    palette = np.zeros((UNLABELED + 1, 3), np.uint8)
    for class_id, name in enumerate(card.segmentation_classes):
        palette[class_id] = class_color(name, class_id)
    return palette[label_map]


def class_color(name: str, class_id: int) -> Color:
    """Return the colour of a class, the same wherever its name appears."""
    if name in CLASS_COLORS:
        return CLASS_COLORS[name]
    hue = (class_id * 0.618) % 1.0  # golden ratio: neighbours differ most
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 0.6, 0.95))
    return red, green, blue


def _paint_reference(frame: Frame, card: ModelCard) -> ByteArray:
    if frame.pixels.ndim == 3:
        return np.array(frame.pixels, np.uint8)
    return _false_colors(card.thermal_normaliser(frame.pixels))


def _paint_thermal(
    result: Result, thermal: Frame, card: ModelCard, registration: Registration | None
) -> ByteArray:
    image = card.thermal_normaliser(thermal.pixels)
    if result.pair.rgb is not None:
        registration = registration or Registration(RegistrationConfig())
        image = registration.register(image, result.pair.rgb.size_hw)
    return _false_colors(image)


def _false_colors(normalised: NDArray[Any]) -> ByteArray:
    grey = (np.clip(normalised, 0.0, 1.0) * 255).astype(np.uint8)
    colored = cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB), np.uint8)


def _tint(picture: ByteArray, label_map: ByteArray, card: ModelCard) -> ByteArray:
    opacity = np.zeros(UNLABELED + 1, np.float32)
    for class_id, name in enumerate(card.segmentation_classes):
        is_thing = name in card.detection_classes
        opacity[class_id] = THING_OPACITY if is_thing else STUFF_OPACITY
    share = opacity[label_map]
    tinted = cv2.blendLinear(picture, color_label_map(label_map, card), 1 - share, share)
    return np.asarray(tinted, np.uint8)


def _ui_scale(picture: ByteArray) -> float:
    return max(0.75, len(picture) / 480)


def _draw_boxes(picture: ByteArray, result: Result, card: ModelCard) -> None:
    scale = _ui_scale(picture)
    thickness = max(1, round(1.5 * scale))
    detections = result.detections
    for index in reversed(range(len(detections))):  # the best on top
        class_id = int(detections.class_ids[index])
        name = card.detection_classes[class_id]
        color = class_color(name, class_id)
        x0, y0, x1, y1 = (round(float(value)) for value in detections.boxes_xyxy[index])
        corners = ((x0, y0), (x1 - 1, y1 - 1))
        cv2.rectangle(
            picture, *corners, _DARK, thickness + 2, cv2.LINE_AA
        )  # readable on any image
        cv2.rectangle(picture, *corners, color, thickness, cv2.LINE_AA)
        text, size = f'{name} {detections.scores[index]:.2f}', scale * 0.34
        max_c = float(result.temperatures.max_c[index])
        if math.isfinite(max_c):
            text = f'{name} {max_c:.0f} C {detections.scores[index]:.2f}'
        if cv2.getTextSize(text, _FONT, size, 1)[0][0] > 1.6 * (x1 - x0):
            text = f'{detections.scores[index]:.2f}'  # in a crowd the colour names the class
        _draw_chip(picture, text, (x0, y0), color, size)


def _draw_chip(
    picture: ByteArray, text: str, corner_xy: tuple[int, int], color: Color, size: float
) -> None:
    """Write dark text on a coloured chip above a corner, or below it at the top of the image."""
    (width, height), baseline = cv2.getTextSize(text, _FONT, size, 1)
    pad = 2
    chip_h = height + baseline + 2 * pad
    x = min(max(corner_xy[0], 0), max(picture.shape[1] - width - 2 * pad, 0))
    y = corner_xy[1] - chip_h if corner_xy[1] >= chip_h else corner_xy[1]
    cv2.rectangle(picture, (x, y), (x + width + 2 * pad, y + chip_h - 1), color, cv2.FILLED)
    _write(picture, text, (x + pad, y + pad + height), _DARK, size)


def _write(
    picture: ByteArray, text: str, left_bottom: tuple[int, int], color: Color, size: float
) -> None:
    cv2.putText(picture, text, left_bottom, _FONT, size, color, 1, cv2.LINE_AA)


def _empty_panel(size_hw: tuple[int, int], text: str) -> ByteArray:
    panel = np.full((*size_hw, 3), _DARK, np.uint8)
    size = _ui_scale(panel) * 0.6
    (width, height), _ = cv2.getTextSize(text, _FONT, size, 1)
    _write(panel, text, ((size_hw[1] - width) // 2, (size_hw[0] + height) // 2), _GREY, size)
    return panel


def _draw_panel_name(panel: ByteArray, name: str, color: Color) -> None:
    if panel.shape[0] >= MIN_BAR_IMAGE_HEIGHT:
        _draw_chip(panel, name, (0, 0), color, _ui_scale(panel) * 0.4)


def _draw_status_bar(picture: ByteArray, result: Result) -> None:
    """Write mode, dominance and latency on a dark bar along the lower edge."""
    if picture.shape[0] < MIN_BAR_IMAGE_HEIGHT:
        return
    scale = _ui_scale(picture)
    width, bar_h, size = picture.shape[1], round(28 * scale), 0.42 * scale
    bar = picture[-bar_h:]
    bar[:] = cv2.addWeighted(bar, 1 - _BAR_OPACITY, np.full_like(bar, _DARK), _BAR_OPACITY, 0)
    margin, text_y = round(8 * scale), round(19 * scale)
    mode_color = {
        Mode.FUSED: (110, 220, 130),
        Mode.RGB_ONLY: RGB_COLOR,
        Mode.THERMAL_ONLY: THERMAL_COLOR,
        Mode.NONE: (255, 70, 70),
    }[result.mode]
    radius = round(4 * scale)
    center_xy = (margin + radius, bar_h // 2)
    cv2.circle(bar, center_xy, radius, mode_color, cv2.FILLED, cv2.LINE_AA)
    mode_text, text_x = result.mode.value.replace('_', ' ').upper(), margin + round(14 * scale)
    _write(bar, mode_text, (text_x, text_y), mode_color, size)
    text_x += cv2.getTextSize(mode_text, _FONT, size, 1)[0][0] + margin
    reason_w = cv2.getTextSize(result.mode_reason, _FONT, 0.36 * scale, 1)[0][0]
    if text_x + reason_w < width // 2 - round(130 * scale):  # else it would touch the scale
        _write(bar, result.mode_reason, (text_x, text_y), _GREY, 0.36 * scale)
    latency = f'{result.times.latency_ms:.0f} ms'
    (latency_w, _), _ = cv2.getTextSize(latency, _FONT, size, 1)
    _write(bar, latency, (width - latency_w - margin, text_y), _WHITE, size)
    _draw_mdi_scale(bar, result, centre_x=width // 2, scale=scale)


def _draw_mdi_scale(bar: ByteArray, result: Result, *, centre_x: int, scale: float) -> None:
    """Draw the index from thermal (-1, left) to RGB (+1, right) as a bar from the middle."""
    dominance = result.dominance
    half, y, thick = round(60 * scale), bar.shape[0] // 2, max(2, round(4 * scale))
    size = 0.36 * scale
    cv2.rectangle(bar, (centre_x - half, y - 1), (centre_x + half, y + 1), _GREY, cv2.FILLED)
    (thermal_w, text_h), _ = cv2.getTextSize('thermal', _FONT, size, 1)
    text_y, gap = y + text_h // 2, round(8 * scale)
    _write(bar, 'thermal', (centre_x - half - thermal_w - gap, text_y), THERMAL_COLOR, size)
    text = 'RGB'
    if dominance.valid and math.isfinite(dominance.mdi):
        end_x = centre_x + round(half * dominance.mdi)
        color = RGB_COLOR if dominance.mdi > 0 else THERMAL_COLOR
        left, right = sorted((centre_x, end_x))
        cv2.rectangle(bar, (left, y - thick), (right, y + thick), color, cv2.FILLED)
        text = f'RGB   mdi {dominance.mdi:+.2f}'
        if dominance.state is not DominanceState.SINGLE:
            text += f' ({dominance.state.value})'
    cv2.line(bar, (centre_x, y - thick - 2), (centre_x, y + thick + 2), _WHITE, 1)
    _write(bar, text, (centre_x + half + gap, text_y), RGB_COLOR, size)
