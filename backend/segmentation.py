"""Automatic masks: a plain background told by the colour of the picture's border, or a graph cut.

Colours are compared in CIELAB (D65): lightness in [0, 100] and two colour axes whose angle is the
hue and whose length is the chroma. A distance of about 2 is just visible.

Masks lean to the fat side: a visual hull can carve off what is too much, but nothing gives back a
limb that a mask has lost.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

LARGEST_SIDE = 1600
"""Larger pictures are segmented at this size; the contour stays sub-pixel."""

GRAPH_CUT_SIDE = 400
"""Graph cuts work at this size: beyond it they take seconds and find nothing more."""

CENTRAL = 0.75
"""Half-width, of the picture's, of the middle in which a graph cut first looks for the object."""

PLAIN_SHARE = 0.8
"""Share of the border that few colours must explain before the background counts as plain."""

UNIFORM_SHARE = 0.6
"""The same share for one perfectly even colour: the rest is an object that fills the picture."""

NOISY = 1.5
"""Spread of a background, in CIELAB units, from which the picture is smoothed before deciding."""

DARK = 15.0
"""Lightness below which a background looks like the shadows on an object."""

MOST_CHANGES = 9
"""Changes of colour along the border of a plain background, at most."""

GROWTH_ROUNDS = 3
"""Rounds in which the background grows into its own soft shadows and gradients."""

SPECK = 1e-3
"""Pieces and holes below this share of the object are noise."""

THREAD = 1e-2
"""Pieces below this share are noise too where they are but a few pixels wide."""


def automatic_mask(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Find the object in a picture.

    Args:
        pixels: ``[H, W, 3]`` float32 sRGB in [0, 1], 16 pixels a side at least.

    Returns:
        Coverage ``[H, W]`` float32 in [0, 1], and how it was found: "plain background" or
        "segmentation".
    """
    height, width = pixels.shape[:2]
    small = _shrunk(pixels, LARGEST_SIDE)
    coverage, source = plain_background_mask(small), "plain background"
    if coverage is None:
        coverage, source = graph_cut_mask(small), "segmentation"
    coverage = without_specks(coverage)
    if small is not pixels:
        coverage = cv2.resize(coverage, (width, height), interpolation=cv2.INTER_LINEAR)
    return coverage, source


def _shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = [max(1, round(length * scale)) for length in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


# --- plain background ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Backdrop:
    """One smoothly varying background colour.

    Attributes:
        coefficients: ``[6, 3]`` of :func:`_surfaces`, giving (lightness, a, b).
        low, high: ``[3]`` range of the colours it was seen to have.
        spread: Standard deviation of the border about it, a robust estimate.
    """

    coefficients: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spread: float


def plain_background_mask(pixels: np.ndarray) -> np.ndarray | None:
    """Tell the object from a background of one to four smoothly varying colours.

    Args:
        pixels: ``[H, W, 3]`` float32 sRGB in [0, 1].

    Returns:
        Coverage ``[H, W]`` float32, or None where the border is not plain.
    """
    colours = _lab(pixels)
    ring = _border_ring(pixels.shape[:2])
    backdrops = _find_backdrops(colours, ring)
    if backdrops and max(backdrop.spread for backdrop in backdrops) > NOISY:
        colours = cv2.GaussianBlur(colours, (0, 0), 1.0)
        backdrops = _find_backdrops(colours, ring)
    if not backdrops:
        return None
    distance, tolerance = _distance_to_backdrops(colours, backdrops)
    background = _reached_from_border(distance < tolerance)
    if all(_is_unlit(backdrop) for backdrop in backdrops):
        # Gaps and holes may as well be the object's own shadows.
        return _soft_edge(_without_gaps(~background), distance)
    distance, background = _grown(colours, background, distance, tolerance)
    background |= _see_through_holes(distance / tolerance, background)
    return _soft_edge(~background, distance)


def _lab(pixels: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(pixels, np.float32), cv2.COLOR_RGB2LAB)


def _border_width(shape: tuple[int, ...]) -> int:
    return max(2, round(0.015 * min(shape)))


def _border_ring(shape: tuple[int, ...]) -> np.ndarray:
    width = _border_width(shape)
    ring = np.ones(shape, bool)
    ring[width:-width, width:-width] = False
    return ring


def _surfaces(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The six quadratic terms ``[..., 6]`` of positions in [-1, 1]."""
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).astype(np.float32)


def _positions(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    y, x = (np.linspace(-1, 1, length, dtype=np.float32) for length in shape[:2])
    return np.broadcast_to(x, shape[:2]), np.broadcast_to(y[:, None], shape[:2])


def _find_backdrops(colours: np.ndarray, ring: np.ndarray) -> list[_Backdrop]:
    """The fewest colours that explain the ring; none when four do not."""
    x, y = (axis[ring] for axis in _positions(ring.shape))
    terms, samples = _surfaces(x, y), colours[ring]
    left, found = np.ones(len(samples), bool), []
    for _ in range(4):
        backdrop, explained = _densest_backdrop(terms, samples, left)
        if explained.sum() < 0.03 * len(samples):
            break
        found.append(backdrop)
        left &= ~explained
        if len(found) == 1 and backdrop.spread < 0.3 and left.mean() < 1 - UNIFORM_SHARE:
            return found
        if left.mean() < 1 - PLAIN_SHARE:
            return found if _in_few_stretches(colours, found) else []
    return []


def _in_few_stretches(colours: np.ndarray, backdrops: list[_Backdrop]) -> bool:
    """Whether each colour keeps to its own stretches of the border, as no pattern does."""
    terms = _surfaces(*_positions(colours.shape))
    relative = np.stack(
        [_distance_to(colours, _colours_of(b, terms)) / _tolerance(b) for b in backdrops]
    )
    which = np.where(relative.min(axis=0) < 1, relative.argmin(axis=0), -1)
    edge = _border_width(which.shape) // 2
    which = which[edge : which.shape[0] - edge, edge : which.shape[1] - edge]
    around = np.concatenate([which[0], which[:, -1], which[-1, ::-1], which[::-1, 0]])
    window = max(3, len(around) // 50)
    votes = np.stack(
        [np.convolve(around == k, np.ones(window), "valid") for k in np.unique(around)]
    )
    changes = int((np.diff(votes.argmax(axis=0)) != 0).sum())
    return changes <= MOST_CHANGES


def _densest_backdrop(
    terms: np.ndarray, samples: np.ndarray, left: np.ndarray
) -> tuple[_Backdrop, np.ndarray]:
    """Fit the commonest colour among ``samples[left]``, growing from its mode along gradients."""
    _, inverse, counts = np.unique(
        (samples[left] / 8).astype(np.int64), axis=0, return_inverse=True, return_counts=True
    )
    mode = np.median(samples[left][inverse.reshape(-1) == counts.argmax()], axis=0)
    used = left & (np.linalg.norm(samples - mode, axis=1) < 12)
    backdrop = _fit_backdrop(terms[used], samples[used])
    for _ in range(3):
        distance = np.linalg.norm(samples - _colours_of(backdrop, terms), axis=1)
        used = left & (distance < _tolerance(backdrop))
        if used.sum() < 12:
            break
        backdrop = _fit_backdrop(terms[used], samples[used])
    return backdrop, used


def _fit_backdrop(terms: np.ndarray, samples: np.ndarray) -> _Backdrop:
    # The ridge keeps a colour that was seen on one side only from running off across the picture.
    ridge = 0.01 * len(terms) * np.diag([0.0, 1, 1, 1, 1, 1])
    coefficients = np.linalg.solve(
        terms.T.astype(np.float64) @ terms + ridge, terms.T.astype(np.float64) @ samples
    ).astype(np.float32)
    residuals = np.linalg.norm(samples - terms @ coefficients, axis=1)
    low, high = np.percentile(samples, [2, 98], axis=0).astype(np.float32)
    # The median length of a 3-D normal deviate is 1.54 standard deviations.
    return _Backdrop(coefficients, low, high, float(np.median(residuals)) / 1.54)


def _colours_of(backdrop: _Backdrop, terms: np.ndarray) -> np.ndarray:
    return np.clip(terms @ backdrop.coefficients, backdrop.low, backdrop.high)


def _is_unlit(backdrop: _Backdrop) -> bool:
    """Whether it is a photographed darkness: noisy, and like the shadows on an object."""
    return bool(backdrop.high[0] < DARK) and backdrop.spread > 0.05


def _tolerance(backdrop: _Backdrop) -> float:
    # What is unlit is never quite black nor even: stands and cloths show a little.
    smallest = 12.0 if _is_unlit(backdrop) else 4.0
    return float(np.clip(2.5 + 4 * backdrop.spread, smallest, 12.0))


def _distance_to_backdrops(
    colours: np.ndarray, backdrops: list[_Backdrop]
) -> tuple[np.ndarray, np.ndarray]:
    """CIELAB distance ``[H, W]`` to the nearest background, in its shadow or not; its tolerance."""
    terms = _surfaces(*_positions(colours.shape))
    predicted = [_colours_of(backdrop, terms) for backdrop in backdrops]
    distances = np.stack([_distance_to(colours, colour) for colour in predicted])
    tolerances = np.array([_tolerance(backdrop) for backdrop in backdrops], np.float32)
    nearest = (distances / tolerances[:, None, None]).argmin(axis=0)
    distance = np.take_along_axis(distances, nearest[None], axis=0)[0]
    tolerance = tolerances[nearest]
    for first, second in itertools.combinations(range(len(backdrops)), 2):
        seam = _near(distances[first] < tolerances[first]) & _near(
            distances[second] < tolerances[second]
        )
        mixed = _distance_to_mixture(colours[seam], predicted[first][seam], predicted[second][seam])
        distance[seam] = np.minimum(distance[seam], mixed)
    return distance, tolerance


def _near(region: np.ndarray) -> np.ndarray:
    return cv2.dilate(region.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0


def _distance_to(colours: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """Distance to the colours that the backdrop may take in a shadow.

    Only a background with a strong hue has shadows that cannot be mistaken for a grey object: they
    may be darker, and somewhat greyer or stronger, but keep the hue.
    """
    chroma = np.linalg.norm(backdrop[..., 1:], axis=-1)
    strength = np.clip((chroma - 12) / 16, 0, 1)
    hue = np.arctan2(backdrop[..., 2], backdrop[..., 1])
    along = colours[..., 1] * np.cos(hue) + colours[..., 2] * np.sin(hue)
    across = colours[..., 1] * np.sin(hue) - colours[..., 2] * np.cos(hue)
    lightness = backdrop[..., 0]
    darker = colours[..., 0] - np.clip(colours[..., 0], lightness * (1 - 0.6 * strength), lightness)
    weakest, strongest = chroma * (1 - 0.4 * strength), chroma * (1 + 0.3 * strength)
    paler = along - np.clip(along, weakest, strongest)
    return np.sqrt(darker**2 + paler**2 + across**2)


def _distance_to_mixture(colours: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance to the blends of two backgrounds, as their blurred seam shows them."""
    step = second - first
    share = ((colours - first) * step).sum(axis=-1) / np.maximum((step**2).sum(axis=-1), 1e-6)
    return np.linalg.norm(colours - first - np.clip(share, 0, 1)[..., None] * step, axis=-1)


def _grown(
    colours: np.ndarray, background: np.ndarray, distance: np.ndarray, tolerance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let the background grow into its own soft shadows: the new distance and background."""
    for _ in range(GROWTH_ROUNDS):
        distance = np.minimum(distance, 1.5 * _distance_to_nearby(colours, background))
        grown = _reached_from_border(distance < tolerance)
        settled = (grown ^ background).mean() < 1e-4
        background = grown
        if settled:
            break
    return distance, background


def _distance_to_nearby(colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Distance to the mean colour of the background close by; infinite where there is none."""
    sigma = max(1.0, 0.012 * min(background.shape))
    weight = background.astype(np.float32)
    near = cv2.GaussianBlur(weight, (0, 0), sigma)
    mean = cv2.GaussianBlur(colours * weight[..., None], (0, 0), sigma)
    mean /= np.maximum(near, 1e-6)[..., None]
    return np.where(near > 0.05, np.linalg.norm(colours - mean, axis=-1), np.inf)


def _reached_from_border(similar: np.ndarray) -> np.ndarray:
    """The part of ``similar`` that joins the border through gaps wider than two pixels."""
    kernel = np.ones((3, 3), np.uint8)
    wide = cv2.erode(similar.astype(np.uint8), kernel)
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    reached = np.isin(labels, np.unique(rim[rim > 0]))
    return similar & (cv2.dilate(reached.astype(np.uint8), kernel, iterations=2) > 0)


def _see_through_holes(relative: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Enclosed regions whose colour is the background's own and not only similar to it."""
    similar = ((relative < 1) & ~background).astype(np.uint8)
    core = cv2.erode(similar, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=4)
    smallest = max(16.0, 0.002 * float((~background).sum()))
    holes = np.zeros_like(background)
    for label in range(1, count):
        if stats[label, cv2.CC_STAT_AREA] < smallest:
            continue
        region = labels == label
        if np.percentile(relative[region], 60) < 0.5:
            holes |= region
    return (cv2.dilate(holes.astype(np.uint8), np.ones((3, 3), np.uint8)) & similar) > 0


def _without_gaps(inside: np.ndarray) -> np.ndarray:
    """Close gaps narrower than 4 % of the picture, and every hole."""
    size = 2 * round(0.02 * min(inside.shape)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    padded = np.pad(inside.astype(np.uint8), size)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    _, labels = cv2.connectedComponents(1 - closed, connectivity=4)
    outside = labels == labels[0, 0]
    return ~outside[size:-size, size:-size]


def _soft_edge(inside: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Coverage of the outermost two pixels: their colour's share of the object's colour nearby."""
    deep = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8))
    deep = deep.astype(np.float32)
    weight = cv2.blur(deep, (7, 7))
    mean = cv2.blur(distance * deep, (7, 7)) / np.maximum(weight, 1e-6)
    largest = cv2.dilate(distance, np.ones((5, 5), np.uint8))
    reference = np.where(weight > 1e-6, np.minimum(mean, largest), largest)
    share = np.clip(distance / np.maximum(reference, 1e-3), 0, 1)
    return np.where(deep > 0, 1.0, np.where(inside, share, 0.0)).astype(np.float32)


# --- graph cut -----------------------------------------------------------------------------------


def graph_cut_mask(pixels: np.ndarray) -> np.ndarray:
    """Cut the object out of a background that is not plain.

    C. Rother, V. Kolmogorov, A. Blake, "GrabCut", SIGGRAPH 2004, started from the colours that
    the border does not have; the contour is then fitted to the full picture by a guided filter
    (K. He, J. Sun, X. Tang, "Guided Image Filtering", ECCV 2010, equations 5, 6 and 8).

    Args:
        pixels: ``[H, W, 3]`` float32 sRGB in [0, 1].

    Returns:
        Coverage ``[H, W]`` float32.
    """
    small = _shrunk(pixels, GRAPH_CUT_SIDE)
    cut = _grab_cut(small)
    height, width = pixels.shape[:2]
    coarse = cv2.resize(cut, (width, height), interpolation=cv2.INTER_LINEAR)
    scale = max(1.0, width / small.shape[1])
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    fine = _guided_filter(grey, coarse, round(2 * scale))
    return np.clip((fine - 0.5) * 2 + 0.5, 0, 1)


def _grab_cut(pixels: np.ndarray) -> np.ndarray:
    cv2.setRNGSeed(0)
    labels = _first_guess(pixels)
    picture = cv2.cvtColor(np.rint(pixels * 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, (0, 0, 1, 1), *models, 5, cv2.GC_INIT_WITH_MASK)
    return ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)


def _first_guess(pixels: np.ndarray) -> np.ndarray:
    """GrabCut's labels: the border is background, a rounded middle probably the object.

    The middle leaves much of the background outside: its colours must all be known from there,
    whereas an object that goes beyond is found again from its own.
    """
    x, y = _positions(pixels.shape)
    central = np.abs(x) ** 3 + np.abs(y) ** 3 < CENTRAL**3
    labels = np.where(central, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[_border_ring(pixels.shape[:2])] = cv2.GC_BGD
    return labels


def _guided_filter(guide: np.ndarray, image: np.ndarray, radius: int) -> np.ndarray:
    window = (2 * radius + 1, 2 * radius + 1)
    mean_guide, mean_image = cv2.blur(guide, window), cv2.blur(image, window)
    covariance = cv2.blur(guide * image, window) - mean_guide * mean_image
    variance = cv2.blur(guide * guide, window) - mean_guide**2
    slope = covariance / (variance + 1e-4)
    offset = mean_image - slope * mean_guide
    return cv2.blur(slope, window) * guide + cv2.blur(offset, window)


# --- what a mask looks like ----------------------------------------------------------------------


def without_specks(coverage: np.ndarray) -> np.ndarray:
    """Remove small pieces, fill small holes: see :data:`SPECK` and :data:`THREAD`."""
    inside = coverage >= 0.5
    if not inside.any():
        return coverage
    largest = component_sizes(inside)[0]
    kept = _large_components(inside, SPECK * largest) & ~_threads(inside, THREAD * largest)
    filled = ~_large_components(~kept, SPECK * largest)
    near = cv2.dilate(kept.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(filled & ~kept, 1.0, np.where(near, coverage, 0.0)).astype(np.float32)


def component_sizes(inside: np.ndarray) -> list[int]:
    """Areas in pixels of the 8-connected pieces of a bool image, largest first."""
    stats = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)[2]
    return sorted((int(area) for area in stats[1:, cv2.CC_STAT_AREA]), reverse=True)


def _large_components(inside: np.ndarray, smallest: float) -> np.ndarray:
    """The 8-connected pieces of ``inside`` of an area of ``smallest`` or more, as a bool image."""
    image = inside.astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(image, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    return large[labels.astype(np.intp)]


def _threads(inside: np.ndarray, largest: float) -> np.ndarray:
    """The pieces of ``inside`` of an area below ``largest`` that are only a few pixels wide."""
    image = inside.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(image, connectivity=8)
    depth = np.zeros(count, np.float32)
    pieces = labels.astype(np.intp)
    np.maximum.at(depth, pieces, cv2.distanceTransform(image, cv2.DIST_L2, 3))
    thread = (stats[:, cv2.CC_STAT_AREA] < largest) & (depth <= max(2.0, 0.006 * min(inside.shape)))
    thread[0] = False
    return thread[pieces]
