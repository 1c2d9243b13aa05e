"""Words on pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from viewers.arrows import COMMAND_COLOUR, VELOCITY_COLOUR

_INK = (28, 34, 42)
_PAPER = (255, 255, 255)
_OPACITY = 0.72
_SMALLEST = 9
"""Height of letters, pixels; what is too wide even then is cut off."""
_COLOURS = {
    "told": tuple(round(200 * c) for c in COMMAND_COLOUR),
    "walked": tuple(round(230 * c) for c in VELOCITY_COLOUR),
    "good": (20, 120, 60),
    "bad": (185, 35, 25),
}

Line = list[tuple[str, str]]
"""Words one after another, each with its style: empty, bold, told, walked, good or bad."""


def write_label(picture: ndarray, lines: list[Line], corner: str = "bottom") -> None:
    """Write words into the lower or upper (`top`) left corner of a picture, uint8 [height, width, 3 or 4]."""
    height = picture.shape[0]
    words = tuple(tuple(line) for line in lines)
    for size in range(max(_SMALLEST, round(height / 34)), _SMALLEST - 1, -1):
        pad = round(0.7 * size)
        patch = _draw(words, size, pad)
        if patch.shape[1] <= picture.shape[1] - 2 * pad:
            break
    h, w = min(patch.shape[0], height - 2 * pad), min(patch.shape[1], picture.shape[1] - 2 * pad)
    if h < 1 or w < 1:
        return
    y = pad if corner == "top" else height - pad - h
    place = picture[y : y + h, pad : pad + w, :3]
    ink = patch[:h, :w].astype(np.uint16)
    share = ink[..., 3:]
    place[:] = (place * (255 - share) + ink[..., :3] * share) // 255


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@cache
def _last() -> dict:
    return {}


def _draw(lines: tuple[tuple[tuple[str, str], ...], ...], size: int, pad: int) -> ndarray:
    """Words on paper, uint8 [h, w, 4]; the last picture is kept, as words change seldom."""
    kept = _last()
    if (lines, size) in kept:
        return kept[lines, size]
    step = round(1.45 * size)
    width = max(sum(_font(size, style == "bold").getlength(word) for word, style in line) for line in lines)
    box = (round(width) + 2 * pad, step * len(lines) + pad)
    paper = Image.new("RGBA", box, (*_PAPER, 0))
    draw = ImageDraw.Draw(paper)
    draw.rounded_rectangle((0, 0, box[0] - 1, box[1] - 1), pad // 2, fill=(*_PAPER, round(255 * _OPACITY)))
    for row, line in enumerate(lines):
        x = float(pad)
        for word, style in line:
            font = _font(size, style == "bold")
            draw.text((x, pad // 2 + row * step), word, fill=(*_COLOURS.get(style, _INK), 255), font=font)
            x += font.getlength(word)
    if len(kept) > 16:
        kept.clear()
    kept[lines, size] = np.array(paper)
    return kept[lines, size]
