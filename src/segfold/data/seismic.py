"""Synthetic seismic images with salt bodies: pure functions of a random generator.

Sediment is a layered reflectivity, bent by dips and folds and cut by faults, convolved with a Ricker wavelet. Salt is
chaotic: noise of the same spectrum without a direction. Both have the same mean and variance, so no grey level and no
linear filter tells them apart; only the coherence of the layers does, and the bright reflection of the salt's top.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

SIDE = 101
_PERIOD = 9.0
"""Dominant period of the wavelet in pixels."""

Field = np.ndarray


def ricker(period: float, half: int = 16) -> np.ndarray:
    """The Ricker wavelet (second derivative of a Gaussian), 2·half+1 samples, of unit energy."""
    t = np.arange(-half, half + 1) * np.pi / period
    wave = (1 - 2 * t**2) * np.exp(-(t**2))
    return wave / np.linalg.norm(wave)


def _curve(rng: np.random.Generator, smooth: float, size: int = SIDE) -> np.ndarray:
    """A smooth random function on 0…size-1 with zero mean and unit variance."""
    noise = gaussian_filter1d(rng.standard_normal(size + 200), smooth)[100:-100]
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def _unit(field: Field) -> Field:
    return (field - field.mean()) / (field.std() + 1e-6)


def sediment(rng: np.random.Generator) -> Field:
    """Layers with dips, folds and faults; zero mean, unit variance, 101×101."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    depth = y + rng.normal(0, 0.12) * (x - SIDE / 2) + rng.uniform(0, 5) * _curve(rng, 22)[None, :]
    # Folds fade with depth, so layers are not parallel copies of one curve.
    depth += rng.uniform(0, 3) * _curve(rng, 15)[None, :] * (1 - y / SIDE)
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.35, 0.35, 0.2, 0.1])):
        slope, place = rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.9) * SIDE
        depth += np.where(x > place + slope * (y - SIDE / 2), rng.uniform(3, 9) * rng.choice([-1, 1]), 0)
    # Few strong interfaces among many weak ones, as impedance contrasts are.
    reflectivity = rng.laplace(0, 1, 400) * rng.choice([0.25, 1.0], 400, p=[0.5, 0.5])
    trace = np.convolve(reflectivity, ricker(_PERIOD * rng.uniform(0.8, 1.25)), mode="same")
    layers = np.interp(depth + 150, np.arange(400), trace)
    strength = 1 + 0.35 * _unit(gaussian_filter(rng.standard_normal((SIDE, SIDE)), 14))
    return _unit(layers * strength)


def chaos(rng: np.random.Generator) -> Field:
    """Noise with the wavelet's spectrum and no direction; zero mean, unit variance, 101×101."""
    sigma = _PERIOD / 4.4 * rng.uniform(0.85, 1.2)
    noise = rng.standard_normal((SIDE + 40, SIDE + 40))
    band = gaussian_filter(noise, sigma) - gaussian_filter(noise, 1.6 * sigma)
    return _unit(band[20:-20, 20:-20])


def _shape(rng: np.random.Generator, area: int) -> Field:
    """A field whose largest ``area`` values form a salt body of a likely shape for that area."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    share = area / SIDE**2
    if area <= 60:
        # Tiny masks are bodies that the tile's border cuts off.
        ey, ex = rng.choice([0, SIDE - 1], 2)
        cy, cx = (ey, rng.uniform(0, SIDE)) if rng.random() < 0.5 else (rng.uniform(0, SIDE), ex)
        return -np.hypot((y - cy) * rng.uniform(0.8, 1.6), (x - cx) * rng.uniform(0.5, 1.2))
    kinds: list[Callable[[], Field]] = [
        lambda: y - rng.uniform(6, 16) * _curve(rng, 14)[None, :],  # a dome, salt below
        lambda: (
            (y - SIDE / 2) * rng.uniform(0.5, 1) + (x - SIDE / 2) * rng.choice([-1, 1]) - 9 * _curve(rng, 12)[None, :]
        ),
        lambda: (SIDE - y) - rng.uniform(6, 14) * _curve(rng, 14)[None, :],  # salt above
        lambda: (x - SIDE / 2) * rng.choice([-1, 1]) + rng.uniform(4, 12) * _curve(rng, 14)[:, None],
        lambda: (
            -np.hypot((y - rng.uniform(20, 95)) / rng.uniform(0.5, 1.1), x - rng.uniform(5, 95))
            + 5 * _curve(rng, 9)[None, :]
            + 4 * _curve(rng, 9)[:, None]
        ),
    ]
    weights = np.array([0.34, 0.22, 0.12, 0.12, 0.20 if share < 0.6 else 0.05])
    field = kinds[rng.choice(len(kinds), p=weights / weights.sum())]()
    return gaussian_filter(field, 1.5)


def salt_mask(rng: np.random.Generator, area: int, vertical: bool = False) -> np.ndarray:
    """A salt body of about ``area`` pixels (exactly, unless vertical), uint8 {0, 1}, 101×101, never full.

    Args:
        vertical: all rows are equal, as where a tile lies along a steep flank.
    """
    area = int(np.clip(area, 1, SIDE**2 - 1))
    if vertical:
        width = int(np.clip(round(area / SIDE), 1, SIDE - 1))
        row = np.zeros(SIDE, np.uint8)
        start = int(rng.choice([0, SIDE - width]))
        row[start : start + width] = 1
        return np.tile(row, (SIDE, 1))
    field = _shape(rng, area).ravel()
    mask = np.zeros(SIDE**2, np.uint8)
    mask[np.argsort(-field, kind="stable")[:area]] = 1
    return mask.reshape(SIDE, SIDE)


def _top(rng: np.random.Generator, mask: np.ndarray) -> Field:
    """The reflection of the salt's upper surface: a wavelet along the normal, where the surface faces up."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
    distance = np.where(mask > 0, inside - 0.5, 0.5 - outside)
    facing = np.clip(gaussian_filter(np.gradient(gaussian_filter(mask.astype(float), 2.0), axis=0), 1.5) * 10, 0, 1)
    t = distance * np.pi / (_PERIOD * 0.8)
    return facing * (1 - 2 * t**2) * np.exp(-(t**2)) * rng.uniform(2.0, 3.5)


def image_of(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A seismic image with salt where ``mask`` is 1; uint8, 101×101, brightness and contrast its own."""
    blend = np.clip(gaussian_filter(mask.astype(float), 0.6), 0, 1)
    field = (1 - blend) * sediment(rng) + blend * chaos(rng) * rng.uniform(0.85, 1.1)
    if mask.any():
        field = field + _top(rng, mask)
    field += gaussian_filter(rng.standard_normal((SIDE, SIDE)), 0.6) * rng.uniform(0.15, 0.6)
    level = rng.normal(0.48, 0.06) + rng.uniform(0.08, 0.18) * _unit(field)
    return (level.clip(0, 1) * 255).round().astype(np.uint8)
