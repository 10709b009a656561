"""How many training views are rendered in a second without Blender, and how near they are to it.

    .venv/bin/python benchmarks/view_renderer.py
    .venv/bin/python benchmarks/view_renderer.py --assets FOLDER --compare

Views in a second of processor time on one core: balls of more and more faces and a textured one at
each resolution, without and with the files being written. With --assets, the first assets of a
folder instead of the balls. --compare renders them with Blender's Cycles too, where the module bpy
is installed: IoU of the masks, the share of pixels that only one has depth for, and how far the
depths differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import trimesh
from PIL import Image
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from backend.asset_files import list_assets  # noqa: E402
from backend.camera_samplers import sample_cameras, settings_from  # noqa: E402
from backend.dataset_files import read_dataset  # noqa: E402
from backend.exr_files import read_exr  # noqa: E402
from backend.files import write_files  # noqa: E402
from backend.studio_lights import SKY, STUDIO  # noqa: E402
from training.render import ViewSettings, render_views_dataset, view_files  # noqa: E402
from training.view_assets import ASSET_SUFFIXES, read_asset  # noqa: E402
from training.view_renderer import ViewRenderer  # noqa: E402

VIEWS = 12


def balls(folder: Path) -> None:
    """Balls of 320 to 81,920 faces, and one with a texture."""
    for level in (2, 3, 4, 5, 6):
        ball = trimesh.creation.icosphere(level, 0.5)
        ball.export(folder / f"ball of {len(ball.faces):06d} faces.ply")
    ball, rng = trimesh.creation.icosphere(4, 0.5), np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (512, 512, 3)).astype(np.uint8))
    material = PBRMaterial(baseColorTexture=picture)
    ball.visual = TextureVisuals(uv=np.asarray(ball.vertices)[:, :2] + 0.5, material=material)
    ball.export(folder / f"textured ball of {len(ball.faces):06d} faces.glb")


def rate(work: Callable[[int], Any], repeats: int) -> float:
    """Views in a second of processor time: the best of several rounds, the first left out."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.process_time()
        for number in range(VIEWS):
            work(number)
        seconds.append((time.process_time() - start) / VIEWS)
    return 1 / min(seconds[1:])


def rates(path: Path, resolution: int, repeats: int) -> dict[str, float]:
    """Of one asset, by what is made of each view."""
    found = {}
    mesh = read_asset(path, texture_size=4 * resolution)
    renderer = ViewRenderer(mesh)
    for name, passes in (
        ("picture and mask", {}),
        ("picture and mask, written", {}),
        ("with depth and normals, written", {"depth": True, "normal": True}),
    ):
        values = {"views": VIEWS, "resolution": resolution, **passes}
        settings = settings_from(ViewSettings, "views", values)
        cameras = sample_cameras(settings, "", np.random.default_rng(0))
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("image", "mask", "depth", "normal"):
                (Path(folder) / kind).mkdir()

            written = "written" in name

            def work(number: int, used: Any = (settings, cameras, written, folder)) -> None:
                settings, cameras, written, folder = used
                view = renderer.render(cameras[number], STUDIO, SKY["studio"], settings.normal)
                if written:
                    files = view_files(view, number, settings)
                    write_files({Path(folder) / file: c for file, c in files.items()})

            found[name] = rate(work, repeats)
    return {"faces": float(len(mesh.faces)), **found}


def compare(folder: Path, resolution: int, out: Path) -> dict[str, list[float]]:
    """Each asset's worst and mean IoU, and worst differences of depth, against Blender."""
    values = {"views": VIEWS, "resolution": resolution, "depth": True}
    render_views_dataset([folder], out / "ours", settings_from(ViewSettings, "views", values))
    program = ROOT / "tests/training/blender_render.py"
    words = ["--assets", folder, "-o", out / "blender", "--views", VIEWS, "--samples", 256]
    words += ["--resolution", resolution, "--depth", "--no-normal", "--bounces", 0]
    command = [sys.executable, program, out / "profile", *words]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    found = {}
    for key, entry in read_dataset(out / "ours")["objects"].items():
        if entry["status"] == "failed":
            continue
        rows = [differences(out / "blender" / key, out / "ours" / key, i) for i in range(VIEWS)]
        ious, missing, errors = np.array(rows).T
        found[key] = [*map(float, (ious.min(), ious.mean(), missing.max(), errors.max()))]
    return found


def differences(theirs: Path, ours: Path, number: int) -> tuple[float, float, float]:
    masks, depths = [], []
    for folder in (theirs, ours):
        mask = cv2.imread(str(folder / f"mask/{number:04d}.png"), cv2.IMREAD_GRAYSCALE)
        masks.append(np.asarray(mask) >= 128)
        depths.append(read_exr(folder / f"depth/{number:04d}.exr")["Y"])
    iou = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    one, other = (np.isfinite(depth) for depth in depths)
    errors = np.abs(depths[0][one & other] - depths[1][one & other])
    return iou, (one ^ other).sum() / (one | other).sum(), float(np.quantile(errors, 0.98))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--assets", type=Path, metavar="FOLDER")
    parser.add_argument("--objects", type=int, default=6, help="of FOLDER, for the rates")
    parser.add_argument("--resolutions", type=int, nargs="+", default=[64, 128, 224])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compare", action="store_true", help="with Blender, at 128 pixels")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="view-renderer-") as temporary:
        folder = arguments.assets or Path(temporary) / "balls"
        if not arguments.assets:
            folder.mkdir()
            balls(folder)
        for asset in list_assets(folder, ASSET_SUFFIXES)[: arguments.objects]:
            for resolution in arguments.resolutions:
                found = rates(asset.path, resolution, arguments.repeats)
                result[f"{asset.key} {resolution}"] = found
                words = ", ".join(f"{name} {value:.0f}" for name, value in found.items())
                print(f"{asset.key}, {resolution} x {resolution}: {words}", flush=True)
        if arguments.compare and importlib.util.find_spec("bpy") is None:
            print("not compared with Blender: the module bpy is not installed")
        elif arguments.compare:
            result["compared"] = compare(folder, 128, Path(temporary))
            for key, (worst, mean, missing, error) in result["compared"].items():
                masks = f"IoU {mean:.4f}, worst {worst:.4f}"
                print(f"{key}: {masks}; depth in one alone {missing:.2%}, 98% within {error:.1e}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
