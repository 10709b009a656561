"""The panels' words: every button, property and icon that they draw exists, in every state.

Without a window Blender draws no panel, so a layout that looks everything up takes the place of
Blender's; the real window is looked at by the window's own tests.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.blender_addon.conftest import MODULE

pytestmark = pytest.mark.blender


class Layout:
    """Looks up what it is asked to draw, and collects the texts."""

    def __init__(self, blender: Any, texts: list[str]) -> None:
        self._bpy, self.texts = blender.bpy, texts
        parameters = self._bpy.types.UILayout.bl_rna.functions["label"].parameters
        self._icons = {item.identifier for item in parameters["icon"].enum_items}

    def row(self, **_: Any) -> Layout:
        return self

    column = box = split = row

    def separator(self) -> None: ...

    def icon(self, image: Any) -> int:
        assert image is not None
        return 1

    def label(self, text: str = "", icon: str = "NONE", icon_value: int = 0) -> None:
        assert icon in self._icons
        self.texts.append(text)

    def prop(self, data: Any, name: str, icon: str = "NONE", **_: Any) -> None:
        assert icon in self._icons
        described = data.bl_rna.properties[name]
        assert described.description or name == "name"
        getattr(data, name)

    def operator(self, name: str, text: str = "", icon: str = "NONE", **_: Any) -> Any:
        assert icon in self._icons
        module, function = name.split(".")
        kind = getattr(getattr(self._bpy.ops, module), function).get_rna_type()
        self.texts.append(text or kind.name)
        return SimpleNamespace()

    def menu(self, name: str, text: str = "", icon: str = "NONE") -> None:
        assert icon in self._icons
        assert hasattr(self._bpy.types, name)

    def template_list(
        self, kind: str, _: str, data: Any, items: str, *rest: Any, **__: Any
    ) -> None:
        drawer = getattr(self._bpy.types, kind)
        for index, item in enumerate(getattr(data, items)):
            drawer.draw_item(None, self._bpy.context, self, data, item, 0, *rest, index, 0)

    def template_ID(self, data: Any, name: str, **_: Any) -> None:  # noqa: N802
        assert name in data.bl_rna.properties

    def progress(self, text: str, factor: float) -> None:
        assert 0 <= factor <= 1
        self.texts.append(text)


def drawn(blender: Any) -> str:
    """All that the panels and menus say now."""
    texts: list[str] = []
    context = blender.bpy.context
    seen = SimpleNamespace(
        scene=context.scene,
        view_layer=context.view_layer,
        active_object=context.active_object,
        preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
        region=SimpleNamespace(width=280),
    )
    for cls in blender.panels.CLASSES:
        poll = getattr(cls, "poll", None)
        if hasattr(cls, "draw") and (poll is None or poll(seen)):
            cls.draw(SimpleNamespace(layout=Layout(blender, texts)), seen)
    return " ".join(texts)


def test_without_references(blender: Any) -> None:
    said = drawn(blender)
    assert "Drag pictures into the viewport" in said
    assert "Visual Hull needs 2 references or more, got 0." in said


def test_without_a_backend(blender: Any) -> None:
    blender.preferences.preferences().python = "/no/such/python"
    said = drawn(blender)
    assert "There is no Python at" in said
    assert "Open Preferences" in said


def test_ready(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    said = drawn(blender)
    assert "Selected image empties Front Right Top" in said
    assert "About " in said


@pytest.mark.parametrize("view", ["EMPTY", "FRONT", "CAMERA", "STORED"])
@pytest.mark.parametrize("mask", ["AUTO", "ALPHA", "IMAGE"])
def test_every_kind_of_reference(blender: Any, drawings: list[Path], view: str, mask: str) -> None:
    blender.ops.add_files(filepath=str(drawings[0]))
    [reference] = blender.settings.references
    reference.view, reference.mask = view, mask
    blender.settings.remesh = "voxels" if mask == "AUTO" else "quads"
    assert ("colors go to an attribute" in drawn(blender)) == (blender.settings.texture == "uv")


def test_every_method_and_its_parameters(blender: Any) -> None:
    for name in blender.properties.PARAMETER_GROUPS:
        blender.settings.method = name
        group = blender.settings.parameters()
        for parameter in group.names():
            setattr(group, parameter, getattr(group, parameter))
        assert len(group.changed()) == len(group.names())
        drawn(blender)


def test_running_done_and_failed(blender: Any, drawings: list[Path]) -> None:
    blender.stand_drawings(drawings)
    settings = blender.settings
    settings.quality, settings.texture, settings.visual_hull.resolution = "draft", "vertex", 32
    blender.current.start(blender.session.order_of_scene(blender.bpy.context))
    assert "Cancel" in drawn(blender)
    blender.current.wait()
    blender.current.finish()
    blender.bpy.context.view_layer.update()
    said = drawn(blender)
    assert "Visual Hull, draft, seed 0" in said
    assert "Front 9" in said  # per cent
    assert "Recreate" in said
    assert "Running, torch" in said
    failure = blender.backend_process.Failure("The card failed.", "Choose the processor.", "cuda")
    blender.current.failure = failure
    assert "The card failed. Choose the processor. Open Preferences" in drawn(blender)


def test_every_operator_explains_itself(blender: Any) -> None:
    for cls in blender.bpy.types.Operator.__subclasses__():
        if cls.__module__.startswith(MODULE):
            module, _, function = cls.bl_idname.partition(".")
            kind = getattr(getattr(blender.bpy.ops, module), function).get_rna_type()
            assert kind.description
            assert not kind.description.endswith(".")
            for name, described in kind.properties.items():
                hidden = described.is_hidden or name in ("rna_type", "filepath")
                assert hidden or described.description, f"{cls.__name__}.{name}"
