# SPDX-License-Identifier: Apache-2.0
"""What people wear: materials, each with its own warmth, and the shapes they add to a body."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from rgbt_models.synthetic.materials import sample_colour, shade

if TYPE_CHECKING:
    from rgbt_models.synthetic.parts import Painter, Slot

Colour = tuple[float, float, float]

_VEST_COLOURS = ((0.62, 0.75, 0.06), (0.8, 0.28, 0.03))  # fluorescent yellow and orange
_COLD_CLAD_SHARE = 0.1
_DARK_TOPS, _DARK_TROUSERS = 0.52, 0.72  # shares that are black, dark grey or blue
_PALE_RATE = 0.18  # white, grey, beige; the rest is of any colour
_TWO_TONE_RATE = 0.25  # sleeves of another colour than the chest


class Outer(Enum):
    """What hangs from the waist or the shoulders."""

    NONE = 0
    COAT = 1
    SKIRT = 2
    DRESS = 3


class Headgear(Enum):
    """What sits on the head."""

    NONE = 0
    CAP = 1
    BEANIE = 2
    BRIM = 3  # a hat
    HOOD = 4
    HELMET = 5


_HEADGEAR_UP_TO = (
    (0.82, Headgear.NONE),
    (0.88, Headgear.CAP),
    (0.93, Headgear.BRIM),
    (0.97, Headgear.BEANIE),
    (1.0, Headgear.HELMET),  # on building sites
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clothes:
    """Material indices of one person, and the shapes of the clothes."""

    skin: int
    hand: int  # gloves or skin, often colder than the face
    top: int
    sleeve: int
    forearm: int
    trousers: int
    thigh: int
    shin: int
    shoe: int
    hair: int
    cover: int  # headgear
    chest: int  # the top, or a high-visibility vest over it
    outer_part: int  # coat tails, skirt
    bag: int
    outer: Outer
    headgear: Headgear
    has_hair: bool
    has_long_hair: bool
    bulk: float  # 1 = tight, 1.3 = a winter jacket
    outer_reach: float  # how far coat or skirt reach down the leg, 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weather:
    """What the air's temperature makes people wear: probabilities."""

    short_sleeves: float
    shorts: float
    coat: float
    gloves: float
    hood: float
    thinness: float  # times what clothes show of the body, 0.6 in hard frost

    @classmethod
    def of(cls, ambient_c: float) -> _Weather:
        warmth = min(max((ambient_c - 8.0) / 20.0, 0.0), 1.0)  # 0 at 8 C, 1 at 28 C
        return cls(
            short_sleeves=0.75 * warmth,
            shorts=0.5 * warmth,
            coat=0.4 * (1.0 - warmth),
            gloves=0.5 * (1.0 - warmth) ** 2,
            hood=0.18 * (1.0 - warmth),
            thinness=1.0 - 0.4 * min(max((18.0 - ambient_c) / 22.0, 0.0), 1.0),
        )


def sample_clothes(rng: np.random.Generator, slot: Slot, *, has_helmet: bool = False) -> Clothes:
    """Draw the clothes of a person for the weather.

    Clothes lie between air and body; in frost they are thick and show less of it. Some coats are
    so thick, or so recently brought out of a cool room, that they show the air's temperature: such
    people are colder than a sunlit wall.

    Args:
        rng: Source of randomness.
        slot: The person's place in the scene.
        has_helmet: Wear a helmet; False = whatever is drawn.
    """
    # Its own stream: how much is drawn depends on the weather, what comes after must not.
    (rng,) = rng.spawn(1)
    weather = _Weather.of(slot.ambient_c)
    tailor = slot.painter(solar=0.55, texture_rgb=0.1, texture_k=0.6)
    is_cold_clad = rng.random() < _COLD_CLAD_SHARE
    share = rng.uniform(0.07, 0.2) if is_cold_clad else rng.uniform(0.18, 0.46)
    share *= weather.thinness
    is_dark_clad = is_cold_clad and rng.random() < 0.5
    lower_share = float(np.clip(share + rng.uniform(-0.12, 0.12), 0.05, 0.8))
    tone = rng.uniform(0.12, 0.75)
    skin_share = rng.uniform(0.75, 1.0)
    skin_colour = (tone, tone * 0.68, tone * 0.5)
    skin = tailor(skin_colour, body_share=skin_share, solar=0.1, texture_rgb=0.03, texture_k=0.4)
    cold_hand = skin_share * rng.uniform(0.45 if slot.ambient_c < 15.0 else 0.85, 1.0)
    hand = tailor(skin_colour, body_share=cold_hand, solar=0.1, texture_rgb=0.03, texture_k=0.4)
    dark_rate = 1.0 if is_dark_clad else _DARK_TOPS
    cloth = {'body_share': share, 'texture_rgb': 0.12, 'texture_k': 0.7}
    top = tailor(_sample_cloth(rng, dark_rate), **cloth)
    other = tailor(_sample_cloth(rng, dark_rate), **cloth)
    long_sleeve = other if rng.random() < _TWO_TONE_RATE else top
    trousers_rate = 1.0 if is_dark_clad else _DARK_TROUSERS
    trousers = tailor(_sample_cloth(rng, trousers_rate), body_share=lower_share, texture_rgb=0.08)
    outer = _sample_outer(rng, weather)
    thigh, shin = _dress_legs(rng, tailor, outer, weather, (skin, trousers))
    is_short_sleeved = rng.random() < weather.short_sleeves and outer != Outer.COAT
    return Clothes(
        skin=skin,
        hand=top if rng.random() < weather.gloves else hand,
        top=top,
        sleeve=skin if is_short_sleeved and rng.random() < 0.25 else long_sleeve,
        forearm=hand if is_short_sleeved or rng.random() < 0.08 else long_sleeve,
        trousers=trousers,
        thigh=thigh,
        shin=shin,
        shoe=_sample_extra(rng, tailor, (0.05, 0.5)),
        hair=_sample_hair(rng, tailor),
        cover=_sample_cover(rng, tailor, has_helmet=has_helmet),
        chest=_sample_vest(rng, tailor) if rng.random() < 0.07 else top,
        outer_part=top if outer in (Outer.COAT, Outer.DRESS) else trousers,
        bag=_sample_extra(rng, tailor, (0.0, 0.25)),
        outer=outer,
        headgear=Headgear.HELMET if has_helmet else _sample_headgear(rng, weather),
        has_hair=rng.random() < 0.92,
        has_long_hair=rng.random() < 0.27,
        bulk=rng.uniform(1.0, 1.12 + 0.25 * weather.coat / 0.4),
        outer_reach=rng.uniform(0.2, 0.95),
    )


def _sample_cloth(rng: np.random.Generator, dark_rate: float) -> Colour:
    """Draw a colour that people wear: mostly dark, some white, grey or beige, some of any hue."""
    draw, level = rng.random(), rng.uniform(0.012, 0.09)
    if draw < dark_rate:  # from black and grey to navy and denim
        blue = 1.0 + 1.6 * max(rng.normal(0.0, 0.6), 0.0)
        return level, level * min(blue, 1.4) ** 0.5, level * blue
    if draw < dark_rate + _PALE_RATE:
        level = rng.uniform(0.12, 0.7)
        return level, level * rng.uniform(0.85, 1.0), level * rng.uniform(0.65, 1.0)
    return shade(sample_colour(rng), 0.8)


def _dress_legs(
    rng: np.random.Generator,
    tailor: Painter,
    outer: Outer,
    weather: _Weather,
    materials: tuple[int, int],
) -> tuple[int, int]:
    """Return the materials of thigh and shin, given those of skin and trousers."""
    skin, trousers = materials
    is_bare = rng.random() < weather.shorts
    if outer in (Outer.SKIRT, Outer.DRESS):
        if is_bare:
            return skin, skin
        colour, share = sample_colour(rng, is_dark=True), rng.uniform(0.4, 0.85)
        tights = tailor(colour, body_share=share, texture_rgb=0.03)
        return tights, tights
    return trousers, skin if is_bare else trousers


def _sample_outer(rng: np.random.Generator, weather: _Weather) -> Outer:
    draw = rng.random()
    if draw < weather.coat:
        return Outer.COAT
    if draw > 0.9:
        return Outer.DRESS if rng.random() < 0.45 else Outer.SKIRT
    return Outer.NONE


def _sample_headgear(rng: np.random.Generator, weather: _Weather) -> Headgear:
    draw = rng.random()
    if draw < weather.hood:
        return Headgear.HOOD
    if draw < 2.0 * weather.hood:
        return Headgear.BEANIE
    return next(headgear for below, headgear in _HEADGEAR_UP_TO if draw < below)


def _sample_extra(rng: np.random.Generator, tailor: Painter, shares: tuple[float, float]) -> int:
    """Draw shoes or a bag, mostly dark."""
    colour = sample_colour(rng, is_dark=rng.random() < 0.65)
    return tailor(colour, body_share=rng.uniform(*shares))


def _sample_hair(rng: np.random.Generator, tailor: Painter) -> int:
    level = rng.uniform(0.4, 6.0)
    colour = (0.05 * level, 0.04 * level, 0.03 * level)
    return tailor(colour, body_share=rng.uniform(0.35, 0.85), solar=0.4, texture_k=0.4)


def _sample_cover(rng: np.random.Generator, tailor: Painter, *, has_helmet: bool) -> int:
    share = rng.uniform(0.0, 0.3) if has_helmet else rng.uniform(0.1, 0.6)
    return tailor(sample_colour(rng), body_share=share, solar=0.45, is_glossy=has_helmet)


def _sample_vest(rng: np.random.Generator, tailor: Painter) -> int:
    # Worn loose over a coat it is cold, over a shirt warm.
    colour = _VEST_COLOURS[int(rng.integers(2))]
    return tailor(colour, body_share=rng.uniform(0.0, 0.55), solar=0.25, texture_rgb=0.05)
