"""Synthetic seismic images with salt bodies: pure functions of a random generator.

Sediment is a layered reflectivity, bent by dips and folds, dragged up along the salt and cut by faults, convolved with
a Ricker wavelet. Salt is chaotic: noise of the same period whose grain has no common direction. Both have mean zero and
like strength, and every image its own brightness, contrast and period, so no grey level and no linear filter tells them
apart; only the coherence of the layers does, and the bright reflection of the salt's top.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

SIDE = 101
PERIODS = (7.0, 15.0)
"""Dominant periods of the wavelet in pixels: tiles come from surveys of different resolution."""

_MARGIN = 200
"""Samples of the trace above and below the tile, so that bent layers do not run out of it."""

Field = np.ndarray


def ricker(period: float, half: int = 16) -> np.ndarray:
    """The Ricker wavelet (second derivative of a Gaussian), 2·half+1 samples, of unit energy."""
    wave = _ricker_at(np.arange(-half, half + 1), period)
    return wave / np.linalg.norm(wave)


def _ricker_at(distance: Field, period: float) -> Field:
    """The zero-phase wavelet of height 1 at ``distance`` pixels from its centre."""
    t = np.square(distance * np.pi / period)
    return (1 - 2 * t) * np.exp(-t)


def _curve(rng: np.random.Generator, smooth: float) -> np.ndarray:
    """A smooth random function on 0…100 with zero mean and unit variance."""
    noise = gaussian_filter1d(rng.standard_normal(SIDE + 200), smooth)[100:-100]
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def _blur(field: Field, sigma: float) -> Field:
    return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def _patches(rng: np.random.Generator, length: float) -> Field:
    """A smooth random field that changes over about ``length`` pixels; zero mean, unit variance, 101×101."""
    knots = int(np.ceil(SIDE / length)) + 2
    return _unit(cv2.resize(rng.standard_normal((knots, knots)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def _unit(field: Field) -> Field:
    return (field - field.mean()) / (field.std() + 1e-6)


def _grid() -> tuple[Field, Field]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    return y, x


def sediment(rng: np.random.Generator, period: float = 9.0, drag: Field | float = 0.0) -> Field:
    """Layers with dips, folds and faults; zero mean, unit variance, 101×101.

    Args:
        period: of the wavelet, in pixels.
        drag: by how many pixels the layers are pulled up, 101×101.
    """
    y, x = _grid()
    depth = y + rng.normal(0, 0.28) * (x - SIDE / 2) + rng.uniform(0, 6) * _curve(rng, 24)[None, :] + drag
    # Folds fade with depth, so layers are not parallel copies of one curve.
    depth += rng.uniform(0, 4) * _curve(rng, 14)[None, :] * (1 - y / SIDE)
    # Layers thicken and thin along x, and are never quite smooth.
    depth += (y - SIDE / 2) * 0.12 * _curve(rng, 35)[None, :]
    depth += rng.uniform(0.2, 0.7) * _patches(rng, 10)
    # However bent, no layer folds over.
    depth[1:] = depth[0] + np.cumsum(np.diff(depth, axis=0).clip(0.3, 2.5), axis=0)
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.45, 0.35, 0.15, 0.05])):
        slope, place = rng.uniform(-0.35, 0.35), rng.uniform(0.1, 0.9) * SIDE
        throw = rng.uniform(0.3, 0.8) * period * rng.choice([-1, 1])
        depth += throw / (1 + np.exp(-np.clip(x - place - slope * (y - SIDE / 2), -20, 20) / 0.7))
    # Few strong interfaces among many weak ones, as impedance contrasts are, in packages of changing strength.
    samples = SIDE + 2 * _MARGIN
    reflectivity = rng.laplace(0, 1, samples) * rng.choice([0.25, 1.0], samples, p=[0.5, 0.5])
    reflectivity *= np.exp(0.3 * _unit(gaussian_filter1d(rng.standard_normal(samples), 12)))
    trace = np.convolve(reflectivity, ricker(period, half=2 * round(period)), mode="same")
    layers = np.interp(depth + _MARGIN, np.arange(samples), trace)
    return _unit(layers * np.exp(0.3 * _patches(rng, 30)))


def chaos(rng: np.random.Generator, period: float = 9.0) -> Field:
    """Noise of the wavelet's period whose grain turns from place to place; zero mean, unit variance, 101×101."""
    sigma = period / 4.4
    # Short streaks in two crossing directions and a grain without any: scattered energy in real salt looks so.
    tilt = rng.uniform(0.4, 1.1)
    parts = [_band(rng, sigma, angle) for angle in (None, tilt, -tilt)]
    weights = np.exp([_patches(rng, 30) for _ in parts])
    mixed = sum(weight * part for weight, part in zip(weights, parts)) / np.sqrt(np.square(weights).sum(axis=0))
    return _unit(mixed)


def _band(rng: np.random.Generator, sigma: float, angle: float | None) -> Field:
    """Band-passed noise, drawn out along ``angle`` (radians from the horizontal); unit variance, 101×101."""
    noise = rng.standard_normal((SIDE + 30, SIDE + 30))
    band = _blur(noise, sigma) - _blur(noise, 1.6 * sigma)
    if angle is not None:
        half = int(np.ceil(1.7 * sigma))
        streak = np.zeros((2 * half + 1, 2 * half + 1))
        dy, dx = round(half * np.sin(angle)), round(half * np.cos(angle))
        cv2.line(streak, (half - dx, half + dy), (half + dx, half - dy), 1.0)
        band = cv2.filter2D(band, -1, streak)
    return _unit(band[15:-15, 15:-15])


def _shape(rng: np.random.Generator, area: int) -> Field:
    """A field whose largest ``area`` values form a salt body of a likely shape for that area."""
    y, x = _grid()
    share = area / SIDE**2
    if area <= 60:
        # Tiny masks are bodies that the tile's border cuts off.
        ey, ex = rng.choice([0, SIDE - 1], 2)
        cy, cx = (ey, rng.uniform(0, SIDE)) if rng.random() < 0.5 else (rng.uniform(0, SIDE), ex)
        return -np.hypot((y - cy) * rng.uniform(0.8, 1.6), (x - cx) * rng.uniform(0.5, 1.2))
    side = rng.choice([-1, 1])
    rough = rng.uniform(0.3, 1.2)

    def edge(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high) * _curve(rng, 18) + rough * _curve(rng, 2.5)

    kinds: list[Callable[[], Field]] = [
        # A dome: salt below.
        lambda: y + rng.uniform(-0.25, 0.25) * x - edge(5, 15)[None, :],
        # A flank that rises to one side.
        lambda: (y - SIDE / 2) * rng.uniform(0.25, 1) + (x - SIDE / 2) * side - edge(3, 9)[None, :],
        # The base of salt: salt above.
        lambda: (SIDE - y) + rng.uniform(-0.3, 0.3) * x - edge(4, 12)[None, :],
        # A steep flank.
        lambda: (x - SIDE / 2) * side + rng.uniform(-0.3, 0.6) * y + edge(3, 10)[:, None],
        # A diapir: a stem with a round head, from the bottom up.
        lambda: _diapir(rng, y, x) + edge(2, 5)[None, :] / 3,
        # A body that floats in the sediment.
        lambda: (
            -np.hypot((y - rng.uniform(15, 95)) / rng.uniform(0.4, 1.0), x - rng.uniform(5, 95))
            + edge(2, 5)[None, :]
            + edge(2, 4)[:, None]
        ),
    ]
    floating = 0.12 if share < 0.6 else 0.03
    weights = np.array([0.08, 0.32, 0.17, 0.28, 0.10, floating])
    return _blur(kinds[rng.choice(len(kinds), p=weights / weights.sum())](), 0.8)


def _diapir(rng: np.random.Generator, y: Field, x: Field) -> Field:
    top, centre = rng.uniform(5, 60), rng.uniform(10, 90) + rng.uniform(-0.2, 0.2) * y
    below = y - top
    # Distance to the axis grows above the top, and more slowly beside the stem.
    return -np.hypot(x - centre, np.minimum(below, 0) * 1.3) - 0.15 * np.maximum(-below, 0)


def salt_mask(rng: np.random.Generator, area: int, equal_rows: int = 0) -> np.ndarray:
    """A salt body of about ``area`` pixels (exactly, without equal rows), uint8 {0, 1}, 101×101, never full.

    Args:
        equal_rows: so many rows from the bottom are equal, as where a tile lies along a vertical flank; 101 for all.
    """
    area = int(np.clip(area, 1, SIDE**2 - 1))
    if equal_rows:
        width = float(np.clip(round(area / SIDE), 1, SIDE - 1))
        above = np.maximum(SIDE - equal_rows - np.arange(SIDE), 0)
        widths = np.clip(width + 0.6 * above * np.sin(rng.uniform(0.1, 0.4) * np.sqrt(above) + 0.3), 0, SIDE - 1)
        mask = (np.arange(SIDE)[None, :] < np.round(widths)[:, None]).astype(np.uint8)
        return mask if rng.random() < 0.5 else np.ascontiguousarray(mask[:, ::-1])
    field = _shape(rng, area).ravel()
    mask = np.zeros(SIDE**2, np.uint8)
    mask[np.argsort(-field, kind="stable")[:area]] = 1
    return mask.reshape(SIDE, SIDE)


def _distance(mask: np.ndarray) -> Field:
    """Pixels to the salt's outline: positive inside, negative outside, 101×101."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    return np.where(mask > 0, inside - 0.5, 0.5 - outside).astype(float)


def _outline(rng: np.random.Generator, distance: Field, period: float) -> Field:
    """The reflection of the salt's surface, a wavelet along its normal: strong at the top, weak at flanks and base."""
    smooth = _blur(np.clip(distance, -12, 12), 3.0)
    down, across = np.gradient(smooth)
    facing = down / (np.hypot(down, across) + 1e-6)  # 1 where the surface faces up, -1 at the base
    top = np.clip(facing, 0, 1) ** 0.5 * rng.uniform(2.2, 3.8)
    flank = rng.uniform(0.2, 0.9)
    base = np.clip(-facing, 0, 1) * rng.uniform(0.5, 1.5)
    along = np.exp(0.3 * _patches(rng, 16))
    return (np.maximum(top, flank) - base) * along * _ricker_at(distance, 0.8 * period)


def _water(rng: np.random.Generator, field: Field, period: float) -> Field:
    """Still water above a sea floor, in an image without salt."""
    y, x = _grid()
    below = y - rng.uniform(10, 60) - rng.normal(0, 0.1) * (x - SIDE / 2) - rng.uniform(0, 3) * _curve(rng, 20)
    floor = rng.uniform(1.5, 3) * _ricker_at(below, 0.8 * period)
    return field / (1 + np.exp(-np.clip(below, -20, 20) / 0.5)) + floor


def image_of(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A seismic image with salt where ``mask`` is 1; uint8, 101×101, brightness and contrast its own."""
    period = float(np.exp(rng.uniform(*np.log(PERIODS))))
    if mask.any():
        distance = _distance(mask)
        drag = rng.uniform(0, 12) * np.exp(np.minimum(distance, 0) / rng.uniform(8, 25))
        blend = np.clip(_blur(mask.astype(float), 0.6), 0, 1)
        strength = rng.uniform(0.6, 1.1)
        field = (1 - blend) * sediment(rng, period, drag) + blend * chaos(rng, period) * strength
        field += _outline(rng, distance, period)
    else:
        field = sediment(rng, period)
        if rng.random() < 0.10:
            field = _water(rng, field, period)
    grain = _unit(_blur(rng.standard_normal((SIDE, SIDE)), rng.uniform(0.5, 1.2)))
    field = field + grain * rng.uniform(0.05, 0.6)
    level = rng.normal(0.48, 0.09) + rng.uniform(0.07, 0.16) * _unit(field)
    return (level.clip(0, 1) * 255).round().astype(np.uint8)
