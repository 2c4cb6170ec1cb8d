# SPDX-License-Identifier: Apache-2.0
"""The published models behind the inputs and outputs that every model of the runtime has.

The runtime gives images in 0..1 less the grey level of the padding (see
``published_card.view_as_model_card``) and asks for the tensors of ``card.OUTPUT_NAMES``. A
detector answers with what is left after its own suppression, in rows of a fixed number; a
segmentation model with the average of its windows, at the size of the input.

Differs from the release: the padding lies where the runtime puts it, on both sides, and boxes are
clipped to the whole input, padding included; the runtime clips them to the image.
"""

from __future__ import annotations

import math

import torch
from torch import nn, Tensor

from rgbt_models.card import ModelCard
from rgbt_models.published.mask_rcnn import Instances
from rgbt_models.published.models import (
    load_detector,
    load_segmenter,
    PublishedDetector,
    PublishedSegmenter,
)
from rgbt_models.published.sliding import segment_by_windows, STEP_PX, WINDOW_PX
from rgbt_models.published_card import PublishedCard

# Of classes and rows without a detection: a score of 1e-35.
NOTHING_LOGIT = -80.0
# Scores are kept this far from 0 and 1, so that their logits are finite.
SCORE_MARGIN = 1e-7
SHARE_STRIDE = 16


class PublishedRuntime(nn.Module):
    """A published model with the inputs and outputs of ``rgbt_models.build.RGBTModel``."""

    pad_level: float
    mean: Tensor
    std: Tensor

    def __init__(
        self, *, card: PublishedCard, model: PublishedDetector | PublishedSegmenter
    ) -> None:
        """Put the parts together.

        Args:
            card: Channel order, constants, grey level of the padding, size of a window.
            model: A detector for a card of task detection, else a segmenter.
        """
        super().__init__()
        self.model = model
        self.window = card.input_hw[0]
        self.step = round(self.window * STEP_PX / WINDOW_PX)
        self.is_bgr = card.channel_order == 'bgr'
        self.pad_level = card.pad_level / 255
        means, stds = (card.rgb_mean, card.thermal_mean), (card.rgb_std, card.thermal_std)
        self.register_buffer('mean', torch.tensor(means)[:, None, :, None, None], persistent=False)
        self.register_buffer('std', torch.tensor(stds)[:, None, :, None, None], persistent=False)

    def forward(self, rgb: Tensor, thermal: Tensor, available: Tensor) -> dict[str, Tensor]:
        """Run the model as its authors do.

        Args:
            rgb: (b, 3, h, w), channels R, G, B in 0..1, less the grey level of the padding.
            thermal: (b, 3, h, w), one channel in 0..1 replicated, less the same level.
            available: (b, 2) in {0, 1}, RGB first. An absent image becomes the mean image, for
                which the published models were not trained.

        Returns:
            Tensors by the names in ``OUTPUT_NAMES``. Of a detector: class logits (b, n, k) whose
            sigmoid is the score, boxes (b, n, 4) px, and no segmentation class. Of a segmentation
            or saliency model: logits (b, k, h, w), and no detection class. Share map, shares and
            entropies are NaN or empty: these models do not give them.

        Raises:
            EncoderError: If the model cannot take the size.
        """
        channels = rgb.flip(1) if self.is_bgr else rgb
        images = [
            self._standardise(image, available[:, index], index)
            for index, image in enumerate((channels, thermal))
        ]
        outputs = _no_outputs(rgb)
        if isinstance(self.model, PublishedDetector):
            outputs.update(self._detect(self.model, *images))
        else:
            outputs['segmentation_logits'] = segment_by_windows(
                self.model, *images, window=self.window, step=self.step
            )
        return outputs

    def _standardise(self, image: Tensor, available: Tensor, index: int) -> Tensor:
        standardised = (image + self.pad_level - self.mean[index]) / self.std[index]
        return standardised * available[:, None, None, None]

    @staticmethod
    def _detect(model: PublishedDetector, rgb: Tensor, thermal: Tensor) -> dict[str, Tensor]:
        height, width = rgb.shape[-2:]
        num_classes = model.heads.roi_head.bbox_head.num_classes
        rows = [
            _as_rows(found, num_rows=model.heads.limits.max_detections, num_classes=num_classes)
            for found in model(rgb, thermal, clip_hw=(height, width))
        ]
        logits, boxes = zip(*rows, strict=True)
        return {'class_logits': torch.stack(logits), 'boxes_xyxy': torch.stack(boxes)}


def load_runtime(card: ModelCard) -> PublishedRuntime:
    """Load the published model that a card is the view of, in evaluation mode.

    Raises:
        CardError: If the folder holds no converted model.
        WeightsError: If the weights are missing, altered or do not fit.
    """
    published: PublishedCard
    model: PublishedDetector | PublishedSegmenter
    if card.detection_classes:
        published, model = load_detector(card.folder)
    else:
        published, model = load_segmenter(card.folder)
    return PublishedRuntime(card=published, model=model).eval()


def _as_rows(found: Instances, *, num_rows: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return logits (num_rows, k) and boxes (num_rows, 4) of the detections of one image."""
    logits = found.scores.new_full((num_rows, num_classes), NOTHING_LOGIT)
    boxes = found.boxes_xyxy.new_zeros(num_rows, 4)
    count = len(found.scores)
    of_scores = torch.logit(found.scores.double(), eps=SCORE_MARGIN).to(logits)
    logits[torch.arange(count, device=logits.device), found.class_ids] = of_scores
    boxes[:count] = found.boxes_xyxy
    return logits, boxes


def _no_outputs(image: Tensor) -> dict[str, Tensor]:
    """Return every output of images (b, 3, h, w) for a model that gives none of them."""
    b, _, height, width = image.shape
    grid_hw = (height // SHARE_STRIDE, width // SHARE_STRIDE)
    return {
        'class_logits': image.new_zeros(b, 0, 0),
        'boxes_xyxy': image.new_zeros(b, 0, 4),
        'segmentation_logits': image.new_zeros(b, 0, height, width),
        'share_map': image.new_full((b, 1, *grid_hw), math.nan),
        'rgb_shares': image.new_zeros(b, 0),
        'entropies': image.new_full((b, 2), math.nan),
    }
