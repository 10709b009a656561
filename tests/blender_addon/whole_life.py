"""The extension's whole life in one Blender, run as a program by ``test_extension_build``.

    python -m tests.blender_addon.whole_life ARCHIVE PYTHON FRONT RIGHT TOP

Install the zip, switch it off and on, make a mesh, switch it off in the middle of the next one, on
again and make one more. All the while the extension's folder cannot be written and the network is
out of bounds. Blender itself then ends as usual: with something left registered 4.5 hangs there
and 4.2 crashes.
"""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

bpy: Any = importlib.import_module("bpy")
MODULE = "bl_ext.user_default.image_to_mesh"
BLENDERS_OWN = {"bl_ext", "bl_pkg", "_bpy_internal", "addon_utils", "gpu_extras", "numpy"}


def forbid_network() -> None:
    """Make every attempt an error: what Blender's offline mode promises."""
    assert not bpy.app.online_access

    def refuse(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
            raise RuntimeError(f"{event} in offline mode")

    sys.addaudithook(refuse)


def registered() -> set[str]:
    """All that can stay behind in Blender, by name; timers and commands cannot be listed."""
    handlers = {name: getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)}
    kinds = [getattr(bpy.types, name) for name in ("Scene", "Object", "Mesh", "WindowManager")]
    configurations = bpy.context.window_manager.keyconfigs
    keymaps = [m for c in configurations for m in c.keymaps]
    return {
        *(f"type {name}" for name in dir(bpy.types)),
        *(f"operator {name}" for name in dir(bpy.ops.image_to_mesh)),
        *(
            f"handler {name} {f.__name__}"
            for name, found in handlers.items()
            if isinstance(found, list)
            for f in found
        ),
        *(
            f"property {kind.__name__}.{p.identifier}"
            for kind in kinds
            for p in kind.bl_rna.properties
        ),
        *(f"key {keymap.name} {item.idname}" for keymap in keymaps for item in keymap.keymap_items),
    }


def our_modules() -> list[ModuleType]:
    return [module for name, module in sys.modules.items() if name.startswith(f"{MODULE}.")]


def our_timers(modules: list[ModuleType]) -> list[str]:
    functions = [f for m in modules for f in vars(m).values() if isinstance(f, FunctionType)]
    return [f.__qualname__ for f in functions if bpy.app.timers.is_registered(f)]


def command_is_gone(modules: list[ModuleType]) -> bool:
    """Blender refuses to take back a command twice."""
    [handle] = [m._handle for m in modules if m.__name__.endswith(".command_line")]
    try:
        bpy.utils.unregister_cli_command(handle)
    except ValueError:
        return True
    return False


def switch(on: bool) -> None:
    change = bpy.ops.preferences.addon_enable if on else bpy.ops.preferences.addon_disable
    assert change(module=MODULE) == {"FINISHED"}
    assert (MODULE in bpy.context.preferences.addons) == on


def switch_off_leaves_nothing(before: set[str]) -> None:
    modules = our_modules()
    added = registered() - before
    assert {"type IMAGE_TO_MESH_PT_main", "property Scene.image_to_mesh"} <= added, added
    switch(on=False)
    assert registered() == before, registered() ^ before
    assert our_timers(modules) == []
    assert command_is_gone(modules)


def make_read_only(folder: Path) -> None:
    """Nothing can be written there, not even byte code; whoever runs this is not almighty."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        (folder / "blender_addon" / "new").touch()
    except PermissionError:
        return
    raise AssertionError(f"{folder} can still be written")


def make_a_mesh(blender: Any) -> None:
    """Press the button; the mesh then stands in the middle of the references."""
    from tests.blender_addon.conftest import HALF_EDGES, MIDDLE

    for item in list(bpy.data.objects):
        item.select_set(item.type == "EMPTY")
    assert blender.ops.reconstruct() == {"FINISHED"}
    item = bpy.context.active_object
    vertices = np.array([item.matrix_world @ v.co for v in item.data.vertices])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, MIDDLE, atol=0.03)
    np.testing.assert_allclose((high - low) / 2, HALF_EDGES, atol=0.03)


def start_a_long_job(blender: Any) -> int:
    """Leave a job in its middle; returns the process that works on it."""
    blender.settings.quality, blender.settings.visual_hull.resolution = "high", 300
    current = blender.current
    current.start(blender.session.order_of_scene(bpy.context, ("Front", "Right", "Top")))
    until(lambda: current.job.fraction > 0.05, current.tick)
    return current.backend.hello.process


def until(condition: Callable[[], bool], meanwhile: Callable[[], object] = gc.collect) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never happened"
        meanwhile()
        time.sleep(0.02)


def main(archive: str, python: str, *drawings: str) -> None:
    forbid_network()
    before, loaded = registered(), set(sys.modules)
    bpy.ops.extensions.package_install_files(
        filepath=archive, repo="user_default", enable_on_install=False
    )
    make_read_only(Path(bpy.utils.user_resource("EXTENSIONS")) / "user_default/image_to_mesh")
    switch(on=True)
    new = {name.partition(".")[0] for name in set(sys.modules) - loaded}
    assert new <= BLENDERS_OWN | sys.stdlib_module_names, new
    print("FILE", sys.modules[MODULE].__file__)
    switch_off_leaves_nothing(before)
    switch(on=True)

    from tests.blender_addon.conftest import Blender
    from tests.child_programs import is_alive

    blender: Any = Blender()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, load_ui=False)
    for _ in range(2):
        blender.preferences.preferences().python = python
        if not bpy.data.objects:
            blender.stand_drawings([Path(drawing) for drawing in drawings])
        blender.settings.quality, blender.settings.visual_hull.resolution = "draft", 32
        make_a_mesh(blender)
        worker = start_a_long_job(blender)
        switch_off_leaves_nothing(before)
        until(lambda process=worker: not is_alive(process))
        switch(on=True)
        blender = Blender()
    switch_off_leaves_nothing(before)
    print("DONE")


if __name__ == "__main__":
    main(*sys.argv[1:])
