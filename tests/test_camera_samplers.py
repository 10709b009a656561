"""Where cameras stand, measured from the cameras themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.camera_samplers import (
    CAMERA_SAMPLERS,
    PROJECTIONS,
    CameraSettings,
    sample_cameras,
    settings_from,
)
from backend.errors import InputError
from backend.named_views import NAMED_VIEWS, named_cameras


def cameras(category: str = "objects", seed: int = 0, **values: Any) -> list[Any]:
    settings = settings_from(CameraSettings, "render", values)
    return sample_cameras(settings, category, np.random.default_rng(seed))


def angles(seen: list[Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Azimuths in [0, 360), elevations and distances from where the cameras are."""
    x, y, z = np.stack([camera.centre for camera in seen]).T
    distances = np.sqrt(x**2 + y**2 + z**2)
    return np.degrees(np.arctan2(x, -y)) % 360, np.degrees(np.arcsin(z / distances)), distances


EVERY = [
    {"sampler": sampler, "projection": projection, "shift_x": 0.1, "shift_y": -0.05}
    for sampler in CAMERA_SAMPLERS
    for projection in PROJECTIONS
]


@pytest.mark.parametrize("values", EVERY, ids=lambda v: f"{v['sampler']}-{v['projection']}")
def test_every_camera_looks_through_the_middle_with_z_up(values: dict[str, Any]) -> None:
    for camera in cameras(views=40, resolution=100, **values):
        pixel, depth = camera.project(np.zeros(3))
        np.testing.assert_allclose(pixel, [100 * (0.5 - 0.1), 100 * (0.5 - 0.05)], atol=1e-9)
        assert depth > 0
        above, _ = camera.project(np.array([0.0, 0.0, 0.1]))
        assert above[1] <= pixel[1] + 1e-9
        assert abs(above[0] - pixel[0]) < 1e-9
        np.testing.assert_allclose(np.linalg.det(camera.world_to_camera), 1.0)


@pytest.mark.parametrize("projection", PROJECTIONS)
@pytest.mark.parametrize("field_of_view", [20.0, 90.0])
def test_the_unit_cube_fits_into_every_picture(projection: str, field_of_view: float) -> None:
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    for camera in cameras(
        views=200, projection=projection, field_of_view=field_of_view, distance_jitter=0.5
    ):
        pixels, depths = camera.project(corners)
        assert (depths > 0).all()
        assert ((pixels >= 0) & (pixels <= 224)).all()


def test_hemisphere_is_even_over_its_area() -> None:
    azimuths, elevations, distances = angles(cameras(views=4000, distance_jitter=0.25))
    # Heights, not elevations, are uniform on a sphere; four standard errors of a mean.
    heights = np.sin(np.radians(elevations))
    assert heights.min() >= 0
    assert abs(heights.mean() - 0.5) < 4 / np.sqrt(12 * 4000)
    counts = np.histogram(azimuths, 12, (0, 360))[0]
    assert ((counts - 4000 / 12) ** 2 / (4000 / 12)).sum() < 31.3  # chi2, 11, one in a thousand
    nearest = distances.min()
    assert distances.max() <= 1.25 * nearest * 1.001
    assert abs(distances.mean() / nearest - 1.125) < 0.01


def test_uniform_azimuth_keeps_to_its_ranges() -> None:
    values = {"sampler": "azimuth", "elevation_low": 15, "elevation_high": 60}
    azimuths, elevations, _ = angles(cameras(views=3000, **values, azimuth_range=120))
    assert 15 <= elevations.min() < 15.1
    assert 59.9 < elevations.max() <= 60
    assert abs(elevations.mean() - 37.5) < 4 * 45 / np.sqrt(12 * 3000)
    around_front = (azimuths + 180) % 360 - 180
    assert -60 <= around_front.min() < -59
    assert 59 < around_front.max() <= 60


@pytest.mark.parametrize(
    ("category", "low", "high"), [("Chair", -30, 60), ("sofa", 15, 60), ("car", 0, 10)]
)
def test_categories_of_ig_gan_have_their_own_elevations(
    category: str, low: float, high: float
) -> None:
    values = {"sampler": "azimuth", "elevation_low": 0, "elevation_high": 10}
    seen = cameras(category, views=1000, **values, category_elevations=True)
    _, elevations, _ = angles(seen)
    assert low <= elevations.min() < low + 1
    assert high - 1 < elevations.max() <= high


def test_ring_of_mvcnn() -> None:
    azimuths, elevations, distances = angles(cameras(sampler="ring", views=12))
    np.testing.assert_allclose(azimuths, 30.0 * np.arange(12), atol=1e-9)
    np.testing.assert_allclose(elevations, 30.0)
    np.testing.assert_allclose(distances, distances[0])


def test_fibonacci_covers_the_sphere() -> None:
    seen = cameras(sampler="fibonacci", views=200)
    centres = np.stack([camera.centre / np.linalg.norm(camera.centre) for camera in seen])
    np.testing.assert_allclose(centres.mean(axis=0), 0.0, atol=0.01)
    nearest = np.sort(centres @ centres.T, axis=1)[:, -2]
    spacing = np.degrees(np.arccos(nearest))
    even = np.degrees(np.sqrt(4 * np.pi / 200))  # the side of each one's share of the area
    assert spacing.min() > 0.7 * even
    assert spacing.max() < 1.2 * even


def test_named_views_are_those_of_drawings() -> None:
    seen = cameras(sampler="named", projection="orthographic")
    blank = [np.ones((8, 8))] * 6
    for camera, other in zip(seen, named_cameras(NAMED_VIEWS, blank, "as_drawn")[0], strict=True):
        ours, theirs = camera.world_to_camera[:3, :3], other.world_to_camera[:3, :3]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_seeds_decide_and_more_views_keep_the_first() -> None:
    first, again, other = cameras(views=5), cameras(views=9)[:5], cameras(views=5, seed=1)
    poses = [np.stack([c.world_to_camera for c in seen]) for seen in (first, again, other)]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert np.abs(poses[0] - poses[2]).max() > 0.1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"views": 0}, "views must be between 1 and"),
        ({"views": "many"}, "must be of type int"),
        ({"sampler": "sphere"}, "must be one of hemisphere"),
        ({"sampler": "scene"}, "must be one of hemisphere"),
        ({"elevation_low": 50, "elevation_high": 10}, "the lowest elevation"),
        ({"view": 3}, "no setting 'view'"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_from(CameraSettings, "render", values)
