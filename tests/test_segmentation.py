"""Automatic masks against shapes whose exact coverage is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.segmentation import (
    automatic_mask,
    component_sizes,
    graph_cut_mask,
    plain_background_mask,
    without_specks,
)

SIZE = (180, 240)
CENTRE, RADIUS, HOLE = (116.3, 92.7), 55.4, 18.2
SAMPLES = 8


def disc(
    centre: tuple[float, float] = CENTRE, radius: float = RADIUS, size: tuple[int, int] = SIZE
) -> np.ndarray:
    """Coverage of a disc about ``centre`` (x, y), by 8 x 8 samples a pixel."""
    y, x = ((np.arange(length * SAMPLES, dtype=np.float64) + 0.5) / SAMPLES for length in size)
    inside = np.hypot(x[None] - centre[0], y[:, None] - centre[1]) < radius
    blocks = inside.reshape(size[0], SAMPLES, size[1], SAMPLES)
    return blocks.mean(axis=(1, 3)).astype(np.float32)


def ring() -> np.ndarray:
    return disc() - disc(radius=HOLE)


def composed(
    coverage: np.ndarray, colour: tuple[float, float, float], background: np.ndarray
) -> np.ndarray:
    share = coverage[..., None]
    return (share * np.array(colour) + (1 - share) * background).astype(np.float32)


def plain(colour: tuple[float, float, float]) -> np.ndarray:
    return np.broadcast_to(np.array(colour), (*SIZE, 3))


def gradient() -> np.ndarray:
    y, x = np.mgrid[0 : 1 : SIZE[0] * 1j, 0 : 1 : SIZE[1] * 1j]
    shade = 0.95 - 0.25 * y - 0.1 * (x - 0.5) ** 2
    return np.stack([shade, shade, 0.97 * shade], axis=-1)


def horizon() -> np.ndarray:
    background = plain((0.25, 0.3, 0.4)).copy()
    background[100:] = (0.4, 0.42, 0.75)
    return cv2.GaussianBlur(background, (0, 0), 1.2)


def noisy() -> np.ndarray:
    return plain((0.4, 0.42, 0.75)) + np.random.default_rng(3).normal(0, 0.02, (*SIZE, 3))


def checks() -> np.ndarray:
    """A pattern of four colours that no plain background has."""
    rng = np.random.default_rng(5)
    colours = np.array([[0.2, 0.5, 0.25], [0.55, 0.65, 0.3], [0.1, 0.25, 0.1], [0.7, 0.75, 0.6]])
    tiles = colours[rng.integers(0, 4, (36, 48))]
    return np.kron(tiles, np.ones((5, 5, 1))) + rng.normal(0, 0.02, (*SIZE, 3))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Soft intersection over union."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


@pytest.mark.parametrize(
    "background",
    [plain((1, 1, 1)), plain((0.5, 0.5, 0.5)), plain((0, 0, 0)), gradient(), horizon()],
    ids=["white", "grey", "black", "gradient", "horizon"],
)
def test_ring_on_plain_background_keeps_its_contour_and_its_hole(background: np.ndarray):
    picture = composed(ring(), (0.75, 0.35, 0.2), background)
    coverage, source = automatic_mask(picture)
    assert source == "plain background"
    assert iou(coverage, ring()) > 0.99
    assert coverage[round(CENTRE[1]), round(CENTRE[0])] == 0


def test_contour_is_subpixel():
    coverage = plain_background_mask(composed(disc(), (0.8, 0.2, 0.1), plain((1, 1, 1))))
    assert coverage is not None
    radius = np.sqrt(coverage.sum() / np.pi)
    assert abs(radius - RADIUS) < 0.05
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    found = (x * coverage).sum() / coverage.sum(), (y * coverage).sum() / coverage.sum()
    assert np.hypot(found[0] - CENTRE[0], found[1] - CENTRE[1]) < 0.05


def test_noise_of_a_camera_leaves_the_disc():
    coverage, source = automatic_mask(composed(disc(), (0.75, 0.4, 0.2), noisy()))
    assert source == "plain background"
    assert iou(coverage, disc()) > 0.98


def test_shadow_on_coloured_background_is_background():
    shadow = disc((150.0, 130.0), 40.0)[..., None]
    background = (
        plain((0.4, 0.42, 0.75)) * (1 - 0.4 * cv2.GaussianBlur(shadow, (0, 0), 6))[..., None]
    )
    coverage, _ = automatic_mask(composed(disc(), (0.75, 0.4, 0.2), background))
    assert iou(coverage, disc()) > 0.98


def test_grey_part_as_dark_as_a_shadow_is_kept_on_grey_background():
    coverage, _ = automatic_mask(composed(disc(), (0.42, 0.42, 0.42), plain((0.6, 0.6, 0.6))))
    assert iou(coverage, disc()) > 0.99


def test_object_that_fills_the_picture_is_told_from_even_background():
    truth = disc(radius=105.0)
    coverage, source = automatic_mask(composed(truth, (0.2, 0.3, 0.6), plain((1, 1, 1))))
    assert source == "plain background"
    assert iou(coverage, truth) > 0.99


def test_thin_limb_is_kept():
    limb = np.zeros(SIZE, np.float32)
    limb[90:93, 160:225] = 1
    coverage, _ = automatic_mask(
        composed(np.maximum(disc(), limb), (0.3, 0.3, 0.3), plain((1, 1, 1)))
    )
    assert coverage[90:93, 160:225].min() >= 0.5


def test_enclosed_part_that_is_only_similar_to_the_background_is_no_hole():
    picture = composed(disc(), (0.2, 0.3, 0.6), plain((1, 1, 1)))
    picture = composed(disc(radius=HOLE), (0.96, 0.96, 0.96), picture)
    coverage, _ = automatic_mask(picture)
    assert iou(coverage, disc()) > 0.99


def test_shadow_gap_of_an_object_on_black_is_closed():
    picture = composed(disc(), (0.7, 0.7, 0.65), plain((0.01, 0.01, 0.01)))
    picture[80:84, 100:175] = 0.01  # a crease in full shadow, open to the background
    noise = np.random.default_rng(2).normal(0, 0.01, picture.shape)
    picture = (picture + noise).clip(0, 1).astype(np.float32)
    coverage, _ = automatic_mask(picture)
    assert iou(coverage, disc()) > 0.985


def test_rendered_darkness_hides_nothing_that_differs_from_it():
    coverage, _ = automatic_mask(composed(ring(), (0.08, 0.08, 0.09), plain((0, 0, 0))))
    assert iou(coverage, ring()) > 0.98  # of so little contrast half an edge pixel is lost


def test_graph_cut_finds_a_disc_on_a_pattern():
    rng = np.random.default_rng(7)
    texture = cv2.GaussianBlur(rng.normal(0, 1, (*SIZE, 3)), (0, 0), 3) * 0.5
    picture = composed(disc(), (0, 0, 0), checks())
    picture += disc()[..., None] * (np.array([0.8, 0.3, 0.45]) + texture).astype(np.float32)
    picture = picture.clip(0, 1)
    coverage, source = automatic_mask(picture)
    assert source == "segmentation"
    assert iou(coverage, disc()) > 0.9


def test_graph_cut_is_deterministic():
    picture = composed(disc(), (0.8, 0.3, 0.45), checks()).clip(0, 1)
    np.testing.assert_array_equal(graph_cut_mask(picture), graph_cut_mask(picture))


def test_large_pictures_are_segmented_smaller_and_answered_at_their_size():
    size = (500, 2000)
    truth = disc((990.6, 260.2), 191.3, size)
    picture = composed(truth, (0.8, 0.2, 0.1), np.ones((*size, 3)))
    coverage, _ = automatic_mask(picture)
    assert coverage.shape == size
    assert iou(coverage, truth) > 0.99


def test_pattern_is_not_called_plain():
    assert plain_background_mask(checks().astype(np.float32).clip(0, 1)) is None


def test_empty_picture_has_an_empty_mask():
    coverage, source = automatic_mask(np.full((*SIZE, 3), 0.3, np.float32))
    assert source == "plain background"
    assert not coverage.any()


def test_specks_go_and_pinholes_close_but_a_second_piece_stays():
    mask = np.zeros((100, 100), np.float32)
    mask[10:70, 10:70] = 1
    mask[40, 40] = 0
    mask[90, 90] = 1
    mask[80:90, 20:30] = 1
    cleaned = without_specks(mask)
    assert component_sizes(cleaned >= 0.5) == [3600, 100]
