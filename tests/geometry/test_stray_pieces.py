"""Pieces of a solid that the silhouettes need, and phantoms that they do without."""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from backend.geometry.silhouettes import Silhouettes, without_stray_pieces
from backend.geometry.visual_hull import grid_points
from tests.shapes import Hit, ball, camera, cameras_around, in_unit_cube, views_of

RESOLUTION = 96

Ball = tuple[float, tuple[float, float, float]]
BODY: Ball = (0.25, (-0.1, 0.0, 0.0))


def field_of(*balls: Ball) -> np.ndarray:
    points = grid_points(RESOLUTION).numpy()
    depths = [radius - np.linalg.norm(points - centre, axis=-1) for radius, centre in balls]
    return (np.max(depths, axis=0) * RESOLUTION).astype(np.float32)


def pieces(field: np.ndarray) -> int:
    return int(np.max(np.asarray(label(field > 0, connectivity=1))))


def silhouettes_of(*balls: Ball, views: int = 8) -> Silhouettes:
    def hit(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
        hits: list[Hit] = [ball(radius, centre) for radius, centre in balls]
        return np.any([one(origins, directions) for one in hits], axis=0)

    front_and_right = [camera((0, -2, 0), 256, True), camera((2, 0, 0), 256, True)]
    cameras = front_and_right if views == 2 else cameras_around(views, 256)
    return Silhouettes.of(in_unit_cube(views_of(hit, cameras)))


def test_a_small_piece_stays_if_it_fills_some_part_of_a_mask_alone():
    bead: Ball = (0.03, (0.3, 0.0, 0.1))
    both = field_of(BODY, bead)
    assert pieces(both) == 2
    assert (without_stray_pieces(silhouettes_of(BODY, bead), both) == both).all()


def test_a_phantom_that_hides_behind_the_object_in_every_view_goes():
    whole: Ball = (0.4, (0.0, 0.0, 0.0))
    phantom: Ball = (0.05, (0.33, 0.33, 0.0))
    assert pieces(field_of(whole, phantom)) == 2
    cleared = without_stray_pieces(silhouettes_of(whole, views=2), field_of(whole, phantom))
    assert ((cleared > 0) == (field_of(whole) > 0)).all()


def test_of_pieces_that_hide_each_other_enough_stay_to_fill_the_masks():
    """Front and right views of two balls: four places where the balls may be."""
    places = [(x, y, 0.0) for x in (-0.2, 0.2) for y in (-0.2, 0.2)]
    true = [(0.1, places[0]), (0.1, places[3])]
    cleared = without_stray_pieces(
        silhouettes_of(*true, views=2), field_of(*((0.1, place) for place in places))
    )
    assert pieces(cleared) in (2, 3)
    filled = field_of(*true) > 0
    assert ((cleared > 0).any(axis=1) == filled.any(axis=1)).all()
    assert ((cleared > 0).any(axis=0) == filled.any(axis=0)).all()


def test_one_piece_is_returned_as_it_is():
    one = field_of(BODY)
    assert without_stray_pieces(silhouettes_of(BODY), one) is one
