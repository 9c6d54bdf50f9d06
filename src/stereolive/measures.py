"""What can be measured of pictures and face crops: numbers without a verdict, each explained where its limit stands
(``quality.QualityThresholds``)."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from stereolive.depth import disc
from stereolive.images import as_8bit, as_grey
from stereolive.rig import Rig
from stereolive.types import Face, FaceCrop, ImageArray, Location

View = Literal["first", "second"]
STRIPS = 8
"""Side by side, in which ``banding`` looks for the same wave; a divisor of the width of ``cells``."""
NEAREST_MM = 300.0
"""Of what ``mirror_gain`` compares."""
DARK_STRIP = 6.0
"""Of 255: in strips of less than this, median, nothing is looked for, as long as half of the strips are left."""
MATCHED_RADIUS = 0.32
"""Of the disc that ``mismatch_px`` looks at, per side of the crop: hair and what covers a face are at its rim."""
CONSTANT_SD = 0.5
"""Values of a line that differ by less, of 255, come from a dead line: light and noise differ by more."""


def cells(image: ImageArray) -> NDArray[np.float32]:
    """The picture in some 160 cells across (H, 160), of 255. Unlike ``as_8bit`` this lifts a dark picture of more than
    8 bits as if it had 10 bits at least: what is dark must stay dark."""
    surplus = 0 if image.dtype == np.uint8 else max(2, int(image.max()).bit_length() - 8)
    grey = as_grey((image >> surplus).astype(np.uint8))
    height = max(24, round(160 * grey.shape[0] / grey.shape[1]))
    return cv2.resize(grey, (160, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def has_swapped_bytes(image: ImageArray) -> bool:
    """Whether a picture of 10 to 14 bits came in the wrong byte order: its low bytes are the high ones, which hold few
    values, while neither noise nor left-justified bits leave just the lowest ones in use."""
    return image.dtype == np.uint16 and int(image.max()) > 0x3FFF and 0 < int((image & 0xFF).max()) <= 0x3F


def structure(cells: NDArray[np.float32]) -> float:
    """Correlation of neighbouring cells after their slow changes were taken out: 0 for noise."""
    fast = cells - cv2.GaussianBlur(cells, (0, 0), 8)
    energy = float((fast * fast).mean())
    return float((fast[:, 1:] * fast[:, :-1]).mean()) / energy if energy > 1e-6 else 0.0


def sharpness(crop: FaceCrop, view: View) -> float:
    """How much steeper the steepest edges of the face are at 1 px of smoothing than at 3 px, in the direction where
    they are least so: a shaken picture keeps its edges along the movement."""
    grey = as_grey(getattr(crop, view)).astype(np.float32)
    margin = crop.size // 6
    slopes = []
    for sigma in (1.0, 3.0):
        smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
        x, y = (cv2.Sobel(smooth, cv2.CV_32F, 1 - axis, axis)[margin:-margin, margin:-margin] for axis in (0, 1))
        slopes.append([np.abs(x), np.abs(y), np.abs(x + y) * 0.707, np.abs(x - y) * 0.707])
    return min(_steepest(fine) / max(_steepest(coarse), 1e-3) for fine, coarse in zip(*slopes, strict=True))


def _steepest(slope: NDArray[np.float32]) -> float:
    values = slope.ravel()
    first = int(0.98 * (len(values) - 1))
    return float(np.partition(values, first)[first:].mean())


def mismatch_px(disparity_sd_px: NDArray[np.floating]) -> float:
    """What three tenths of the face and what is next to it exceed in standard deviation (G, G)."""
    return float(np.quantile(disparity_sd_px[disc(disparity_sd_px.shape[0], MATCHED_RADIUS)], 0.7))


def _gradients(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logarithm of the gradient's size, which lamps and spectra change least."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 2.0)
    size = np.log1p(np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))
    return np.asarray(size, np.float32)


def features(crop: FaceCrop, location: Location, rig: Rig) -> list[NDArray[np.float64]]:
    """Structure around each landmark (5,), against that of the whole face, in each view whose picture shows a face."""
    found = []
    sides: tuple[tuple[View, Face | None, NDArray[np.float64]], ...] = (
        ("first", location.face_first, crop.first_crop_from_rectified),
        ("second", location.face_second, crop.second_crop_from_rectified),
    )
    for view, face, affine in sides:
        if face is None:
            continue
        slope = np.expm1(_gradients(as_grey(getattr(crop, view))))
        marks = rig.rectification.rectify_points(face.landmarks, view) @ affine[:, :2].T + affine[:, 2]
        margin, reach = crop.size // 5, crop.size // 16
        whole = max(float(slope[margin:-margin, margin:-margin].mean()), 1e-3)
        places = np.clip(np.rint(marks), reach, crop.size - 1 - reach).astype(int)
        around = [slope[y - reach : y + reach + 1, x - reach : x + reach + 1].mean() / whole for x, y in places]
        found.append(np.array(around, np.float64))
    return found


def glare(crop: FaceCrop, view: View) -> float:
    """Share of the middle of the face that is saturated in every colour."""
    image = getattr(crop, view)
    margin = crop.size // 4
    inner = image[margin:-margin, margin:-margin]
    return float((inner.min(axis=2) >= 250).mean())


def banding(image: ImageArray, box: tuple[float, float, float, float]) -> tuple[float, float]:
    """Contrast of the wave in which rows are brighter and darker all across the picture, bands of a rolling shutter;
    and how much of that the face in ``box`` (x, y, width, height) has, at the same height.

    Bands of light have one phase and one contrast everywhere; what goes across in a room, shelves or collars, does not
    go on over the face before it. So of the wave that strips side by side have in common (their median), that part
    counts which every strip has, or half of that which all but one have.
    """
    grey = cells(image)
    rows = len(grey)
    # Light multiplies, so bands have one size in the logarithm.
    strips = grey.reshape(rows, STRIPS, -1)
    brightness = np.median(strips, axis=(0, 2))
    # Light shows no bands where there is none.
    lit = brightness >= min(DARK_STRIP, np.sort(brightness)[-STRIPS // 2])
    profiles = _fast_changes(np.median(np.log(strips[:, lit] + 2.0), axis=2))
    waves = np.fft.rfft(profiles * np.hanning(rows)[:, None], axis=0)[4 : rows // 3] * (4 / rows)
    common = np.median(waves.real, axis=1) + 1j * np.median(waves.imag, axis=1)
    direction = common / np.maximum(np.abs(common), 1e-9)
    least, second_least = np.sort((waves * direction.conj()[:, None]).real, axis=1)[:, :2].T
    contrasts = np.maximum(least, 0.5 * second_least)
    place = int(contrasts.argmax())
    contrast = max(0.0, float(contrasts[place]))

    x, y, width, height = (side * grey.shape[1] / image.shape[1] for side in box)
    top, bottom = max(0, int(y)), min(rows, math.ceil(y + height))
    left = min(max(0, int(x + 0.2 * width)), grey.shape[1] - 1)
    if bottom - top < 8:  # too few to see a wave in
        return contrast, 1.0
    middle = np.median(np.log(grey[:, left : max(left + 1, int(x + 0.8 * width))] + 2.0), axis=1)
    window = np.hanning(bottom - top + 2)[1:-1]
    turns = np.exp(-2j * np.pi * (place + 4) * np.arange(top, bottom) / rows)
    wave = 2 * (_fast_changes(middle[:, None])[top:bottom, 0] * window * turns).sum() / window.sum()
    return contrast, float((wave * direction[place].conj()).real) / max(contrast, 1e-9)


def _fast_changes(profiles: NDArray[np.floating]) -> NDArray[np.floating]:
    """Columns of row means without what changes over more than some six rows."""
    return profiles - cv2.GaussianBlur(profiles, (1, 37), 0, sigmaY=6)


def seam(image: ImageArray, box: tuple[float, float, float, float]) -> float:
    """The sharpest step from one row to the next within the face, against the rows around it.

    Torn pictures, lost packets and damaged JPEGs have a step in one row and none in its neighbours; what a lens draws
    is spread over several rows.
    """
    x, y, width, height = box
    rows = slice(max(0, int(y)), max(0, int(y + height)))
    left, right = max(0, int(x - width / 4)), max(0, int(x + 1.25 * width))
    part = as_grey(as_8bit(image)[rows, left:right]).astype(np.float32)
    if part.shape[0] < 8 or part.shape[1] < 8:
        return 0.0
    # Wide cells: a step goes on over their width, a dark picture's noise does not.
    wide = cv2.resize(part, (min(24, part.shape[1]), part.shape[0]), interpolation=cv2.INTER_AREA)
    # One of 255 keeps what noise is left in smooth pictures from looking like steps.
    steps = np.median(np.abs(np.diff(wide, axis=0)), axis=1) + 1.0
    around = np.maximum.reduce([steps[:-4], steps[1:-3], steps[3:-1], steps[4:]])
    return float((steps[2:-2] / around).max())


def block_seam(image: ImageArray) -> float:
    """The sharpest change of level, in any colour, that a whole row of the picture shares where rows of 8 x 8 blocks
    meet, against the rows around it.

    A JPEG's blocks store the difference of their level to the block before, so that data which are wrong, but not so
    wrong that a decoder notices, shift everything that follows.
    """
    part = _every_second_column(image)
    if len(part) < 24:
        return 0.0
    # Three of 255 keep the edges of furniture, which go over a part of the row alone, from looking like steps.
    level = np.abs(_steps_of_rows(part)) + 3.0
    around = np.maximum.reduce([level[:-4], level[1:-3], level[3:-1], level[4:]])
    return float((level[2:-2] / around)[5::8].max())  # of these, the sixth is between rows 7 and 8


def chroma_seam(image: ImageArray) -> float:
    """As ``block_seam`` for colour alone, whose blocks have 16 rows where every second row of it is stored.

    A decoder smooths such colour over the rows next to it, so those do not count among the rows around.
    """
    part = _every_second_column(image)
    if part.ndim == 2 or len(part) < 32:
        return 0.0
    planes = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2YCrCb), np.uint8)
    # Brightness goes only here: a copy of two of three planes takes long.
    level = np.abs(_steps_of_rows(planes)[:, 1:]) + 0.25
    around = np.maximum.reduce([level[:-6], level[1:-5], level[5:-1], level[6:]])
    return float((level[3:-3] / around)[12::16].max())  # of these, the thirteenth is between rows 15 and 16


def _every_second_column(image: ImageArray) -> NDArray[np.uint8]:
    """Of the 8-bit picture: enough of a row to tell its level."""
    height, width = image.shape[0], max(1, image.shape[1] // 2)
    pairs = as_8bit(image)[:, : 2 * width]
    # As [:, ::2], which takes five times as long.
    return np.asarray(cv2.resize(pairs, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _steps_of_rows(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean step (H - 1, planes) from every row to the next."""
    steps = cv2.subtract(picture[1:], picture[:-1], dtype=cv2.CV_16S)
    # What stands in the picture has edges of both signs, and a few strong ones, which shall not count for more.
    held = np.clip(steps, -16, 16)
    return np.asarray(cv2.reduce(held, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(len(held), -1), np.float32)


def mirror_gain(first: ImageArray, second: ImageArray, rig: Rig) -> float:
    """How much better the edges of both pictures agree in direction (correlation, -2 to 2) once one is mirrored.

    Directions, since lamps and spectra turn edges around but do not turn them away; of the whole pictures, because
    faces are like their mirror images and rooms are not.
    """
    scale = 96 / max(rig.first.size)
    width, height = (round(side * scale) for side in rig.first.size)
    # As if all were far away. What is nearer lies up to ``farthest`` cells from there: looked for around half of it.
    rotation = rig.rotation_second_from_first.T
    farthest = (rotation @ rig.translation_second_from_first_mm)[:2] * (scale * rig.first.focal_px / NEAREST_MM)
    moved = np.array([[scale, 0, -farthest[0] / 2], [0, scale, -farthest[1] / 2], [0, 0, 1]])
    laid_on_first = moved @ rig.first.matrix @ rotation @ np.linalg.inv(rig.second.matrix)
    across, down = (
        min(size // 3, 3 + math.ceil(abs(way) / 2)) for size, way in zip((width, height), farthest, strict=True)
    )
    small = cv2.resize(as_grey(as_8bit(first)), (width, height), interpolation=cv2.INTER_AREA)
    reference = _directions(np.asarray(small, np.uint8))
    # Warping takes single pixels: smooth before, as far as a cell reaches.
    side = max(1, round(max(rig.second.size) / 96))
    other = np.asarray(cv2.blur(as_grey(as_8bit(second)), (side, side)), np.uint8)
    agreement = []
    for view in (other, np.ascontiguousarray(other[:, ::-1])):
        laid = cv2.warpPerspective(view, laid_on_first, (width, height), borderMode=cv2.BORDER_REPLICATE)
        middle = _directions(np.asarray(laid, np.uint8))[down : height - down, across : width - across]
        agreement.append(float(cv2.matchTemplate(reference, middle, cv2.TM_CCOEFF_NORMED).max()))
    return agreement[1] - agreement[0]


def _directions(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cosine and sine (H, W, 2) of twice the direction of every edge; less where there is hardly one."""
    light = np.log(grey.astype(np.float32) + 4.0)
    x, y = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    size = np.hypot(x, y)
    weight = 1.0 / (size + 0.05 * float(size.mean()) + 0.02)
    return np.ascontiguousarray(np.stack([(x * x - y * y) * weight, 2 * x * y * weight], axis=2), np.float32)


def dead_lines(image: ImageArray, box: tuple[float, float, float, float]) -> float:
    """Share of the columns or the rows of a face's box, whichever is greater, that hold one value from end to end."""
    x, y, width, height = box
    rows, columns = slice(max(0, int(y)), max(0, int(y + height))), slice(max(0, int(x)), max(0, int(x + width)))
    part = as_grey(as_8bit(image)[rows, columns]).astype(np.float32)
    if min(part.shape) < 8:
        return 0.0
    return max(float((part.std(axis=axis) < CONSTANT_SD).mean()) for axis in (0, 1))


def pose(face: Face) -> tuple[float, float]:
    """Where the nose tip lies: along the line of the eyes from their middle, per eye distance; and on the way to the
    mouth."""
    eye, other_eye, nose, mouth, other_mouth = face.landmarks
    middle = (eye + other_eye) / 2
    along = other_eye - eye
    distance = max(float(np.linalg.norm(along)), 1e-6)
    across = along / distance
    down = np.array([-across[1], across[0]])
    to_mouth = float(((mouth + other_mouth) / 2 - middle) @ down)
    return float((nose - middle) @ across) / distance, float((nose - middle) @ down) / (to_mouth or 1e-6)
