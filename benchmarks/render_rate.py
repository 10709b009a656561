"""How many views Blender's side renders in a second, what each pass costs, and memory over a run.

    .venv/bin/python benchmarks/render_rate.py
    .venv/bin/python benchmarks/render_rate.py --assets FOLDER --objects 200

The first form needs the module bpy. It renders one object of 31 thousand faces with a procedural
texture, as datasets are rendered (files included), with each engine and set of passes at each
resolution. "cycles 16, colour alone" is what Blender takes for the colours and nothing else: no
passes, no self-test, no files but one image for each view.

The second form renders asset files as the command does, by worker processes, and samples the
memory of the driver and of the workers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROFILE = tempfile.mkdtemp(prefix="render-rate-")
os.environ["BLENDER_USER_RESOURCES"] = PROFILE
MODULE = "bl_ext.user_default.image_to_mesh"

import bpy  # noqa: E402  it reads the profile's place when it is imported
import numpy as np  # noqa: E402

MODES: dict[str, dict[str, Any]] = {
    "cycles 16, mask": {"depth": False, "normal": False},
    "cycles 16, mask, depth": {"normal": False},
    "cycles 16, mask, depth, normal": {},
    "cycles 16, mask, depth, normal, albedo": {"albedo": True},
    "cycles 16 denoised, mask, depth, normal": {"denoise": True},
    "workbench, mask, depth": {"engine": "workbench", "normal": False},
    "workbench, mask, depth, normal": {"engine": "workbench"},
    "eevee 16, mask, depth, normal": {"engine": "eevee"},
}
BASE = "cycles 16, colour alone"


def switch_on() -> None:
    """The extension as Blender finds it installed."""
    import addon_utils  # pyright: ignore[reportMissingImports]  # found only once bpy is loaded

    extension = Path(PROFILE) / "extensions/user_default/image_to_mesh"
    for name in ("backend", "blender_addon"):
        shutil.copytree(ROOT / name, extension / name)
    for name in ("__init__.py", "blender_manifest.toml"):
        shutil.copy(ROOT / name, extension)
    addon_utils.extensions_refresh()
    bpy.ops.preferences.addon_enable(module=MODULE)


def part(name: str) -> Any:
    return importlib.import_module(f"{MODULE}.blender_addon.{name}")


@contextmanager
def quiet() -> Iterator[None]:
    """Blender writes every sample to the descriptor of stdout."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nothing)


def textured_head() -> Any:
    """Suzanne with three levels of subdivision: 31,488 faces, and noise for a texture."""
    bpy.ops.mesh.primitive_monkey_add(size=2)
    item: Any = bpy.context.object
    modifier = item.modifiers.new("Subdivision", "SUBSURF")
    modifier.levels = modifier.render_levels = 3
    item.data.shade_smooth()
    material: Any = bpy.data.materials.new("Noise")
    material.use_nodes = True
    tree = material.node_tree
    noise = tree.nodes.new("ShaderNodeTexNoise")
    noise.inputs["Scale"].default_value = 4
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    tree.links.new(noise.outputs["Color"], shader.inputs["Base Color"])
    item.data.materials.append(material)
    return item


def rounds(make: Callable[[], Callable[[int], None]], views: int, repeats: int) -> list[float]:
    """Seconds for a view in each of several rounds; the first view of a round sets up."""
    results = []
    for _ in range(repeats):
        render = make()
        render(0)
        start = time.perf_counter()
        for number in range(1, views + 1):
            render(number)
        results.append((time.perf_counter() - start) / views)
    return results


def measure(item: Any, resolution: int, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds for each view, by mode."""
    views_part, capture = part("render_views"), part("render_capture")
    dataset_part = part("render_dataset")
    samplers = importlib.import_module(f"{MODULE}.backend.camera_samplers")
    make_settings = part("render_settings").make_settings
    found: dict[str, list[float]] = {}
    for name, values in {BASE: {"depth": False, "normal": False}, **MODES}.items():
        if arguments.modes and not any(mode in name for mode in arguments.modes):
            continue
        if name.startswith("eevee") and not arguments.eevee:
            continue
        settings = make_settings(
            {"resolution": resolution, "views": arguments.views + 1, "field_of_view": 30} | values
        )
        cameras = samplers.sample_cameras(settings, "", np.random.default_rng(0))
        with capture.leaving_no_trace(), tempfile.TemporaryDirectory() as folder:
            captured = capture.capture([item], bpy.context.scene, item.name)
            test = views_part.SelfTest(captured)

            def colour(studio: Any, number: int, cameras: Any = cameras) -> None:
                studio._place(cameras[number])
                scene = studio._scenes[0]
                scene.view_layers[0].use_pass_z = False
                scene.cycles.seed = number
                with capture.without_render_result():
                    bpy.ops.render.render(scene=scene.name, write_still=True)

            def whole(studio: Any, number: int, used: Any = (settings, cameras, test)) -> None:
                settings, cameras, test = used
                view = studio.render(cameras[number], number)
                test.check(view, cameras[number], f"view {number}")
                files = views_part.view_files(view, number, settings)
                for file in files:
                    (Path(folder) / file).parent.mkdir(exist_ok=True)
                dataset_part.write_files({Path(folder) / f: c for f, c in files.items()})

            one = colour if name == BASE else whole
            seconds = []
            for _ in range(arguments.repeats):
                with views_part.Studio(captured, settings, threads=arguments.threads) as studio:
                    studio._scenes[0].render.filepath = str(Path(folder) / "colour.exr")
                    with quiet():
                        seconds += rounds(
                            lambda studio=studio, one=one: lambda n: one(studio, n),
                            arguments.views,
                            1,
                        )
        found[name] = seconds
        rate = 1 / statistics.median(seconds)
        print(f"  {name:44} {rate:8.2f} views/s", flush=True)
    return found


def memory_mib(pid: int) -> float:
    """Resident memory of a process; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def children_of(pid: int) -> list[int]:
    words = ["ps", "-o", "pid=", "--ppid", str(pid)]
    listed = subprocess.run(words, capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def over_many(arguments: argparse.Namespace) -> dict[str, Any]:
    """Memory while many assets are rendered."""
    dataset, command = part("render_dataset"), part("dataset_command")
    run, files = part("render_workers"), importlib.import_module(f"{MODULE}.backend.dataset_files")
    settings = part("render_settings").make_settings({"resolution": 128, "views": 4})
    items = dataset.items_of_assets(arguments.assets)[: arguments.objects]
    content = dataset.all_settings(settings)
    with tempfile.TemporaryDirectory() as folder:
        files.open_dataset(Path(folder) / "dataset", content)
        with command.worker_command(items) as start:
            workers = run.Workers(
                Path(folder) / "dataset", content, items, start, arguments.workers, 50
            )
            driver, highest = [], 0.0
            while workers.poll():
                driver.append((workers.progress.done, memory_mib(os.getpid())))
                highest = max([highest, *map(memory_mib, children_of(os.getpid()))])
                time.sleep(0.25)
    progress = workers.progress
    quarter = [m for done, m in driver if done <= progress.items / 4]
    last = [m for done, m in driver if done >= 3 * progress.items / 4]
    return {
        "objects": progress.items,
        "failed": len(progress.failures),
        "views_per_second": round(progress.views / progress.seconds, 2),
        "driver_mib_first_quarter": round(max(quarter, default=0)),
        "driver_mib_last_quarter": round(max(last, default=0)),
        "worker_mib_highest": round(highest),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Render rates of Blender's side.")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[128, 224])
    parser.add_argument("--views", type=int, default=12, help="in each round")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the median counts")
    parser.add_argument("--threads", type=int, default=0, help="of Cycles; 0 for all")
    parser.add_argument("--modes", nargs="+", help="only modes with these words in their names")
    parser.add_argument("--eevee", action="store_true", help="too; minutes without a GPU")
    parser.add_argument("--assets", type=Path, help="measure memory over these instead")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    switch_on()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, load_ui=False)
    if arguments.assets:
        result: dict[str, Any] = over_many(arguments)
        print("\n".join(f"{name:28} {value}" for name, value in result.items()))
    else:
        item, result = textured_head(), {}
        for resolution in arguments.resolutions:
            print(f"{resolution} x {resolution}", flush=True)
            seconds = measure(item, resolution, arguments)
            result[str(resolution)] = {k: 1 / statistics.median(v) for k, v in seconds.items()}
    if arguments.json:
        print(json.dumps(result))
    sys.stdout.flush()
    shutil.rmtree(PROFILE, ignore_errors=True)
    os._exit(0)  # bpy can hang at exit while the extension is registered


main()
