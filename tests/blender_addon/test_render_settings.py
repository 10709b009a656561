"""What Blender's side adds to the settings of the cameras; they have tests of their own."""

from __future__ import annotations

from typing import Any

import pytest

from backend.errors import InputError
from tests.addon_parts import render_settings


def test_the_scenes_cameras_are_a_sampler_too() -> None:
    settings = render_settings.make_settings({"sampler": "scene", "views": "12", "light": "scene"})
    assert (settings.sampler, settings.views, settings.light) == ("scene", 12, "scene")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "workbench", "light": "scene"}, "lights of its own"),
        ({"elevation_low": 50, "elevation_high": 10}, "the lowest elevation"),
        ({"samples": 0}, "render: samples must be between 1 and"),
        ({"view": 3}, "no setting 'view'"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        render_settings.make_settings(values)
    assert type(caught.value).__name__ == InputError.__name__  # of the add-on's own package
