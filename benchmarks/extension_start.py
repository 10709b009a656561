"""How long Blender takes to switch the extension on: the median of several fresh Blenders.

    python benchmarks/extension_start.py --runs 9

Each run is a process of its own, as at Blender's start; an untimed one writes Python's byte code
first. An empty extension goes before: the first one of a session loads Blender's own extension
system. Blender 4.2 to 4.4 have not loaded numpy by then unless another add-on has, so both cases
are measured. Needs the module bpy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODULE = "bl_ext.user_default.image_to_mesh"
EMPTY = "bl_ext.user_default.empty"
LIMIT = 0.1  # seconds

ENABLE = f"""
import json, sys, time
import bpy
import addon_utils
if sys.argv[1] == "numpy":
    import numpy
addon_utils.extensions_refresh()
addon_utils.enable({EMPTY!r}, default_set=True)
before = set(sys.modules)
begin = time.perf_counter()
addon_utils.enable({MODULE!r}, default_set=True)
enabled = time.perf_counter() - begin
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
begin = time.perf_counter()
addon_utils.disable({MODULE!r}, default_set=True)
disabled = time.perf_counter() - begin
own = sorted(loaded - set(sys.stdlib_module_names))
version = bpy.app.version_string
print("\\n" + json.dumps(dict(enabled=enabled, disabled=disabled, loaded=own, version=version)))
"""


def install(profile: Path) -> None:
    """Put the extension, and an empty one, where Blender unpacks them."""
    extension = profile / "extensions/user_default/image_to_mesh"
    for name in ("backend", "blender_addon"):
        ignored = shutil.ignore_patterns("*.pyc", "__pycache__")
        shutil.copytree(ROOT / name, extension / name, ignore=ignored)
    for name in ("__init__.py", "blender_manifest.toml"):
        shutil.copy(ROOT / name, extension)
    empty = extension.with_name("empty")
    empty.mkdir()
    manifest = (ROOT / "blender_manifest.toml").read_text(encoding="utf-8")
    manifest = manifest.replace('id = "image_to_mesh"', 'id = "empty"')
    (empty / "blender_manifest.toml").write_text(manifest, encoding="utf-8")
    code = "def register():\n    pass\n\ndef unregister():\n    pass\n"
    (empty / "__init__.py").write_text(code, encoding="utf-8")


def run_blender(profile: Path, loaded_before: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", ENABLE, loaded_before],
        env={**environment, "BLENDER_USER_RESOURCES": os.fspath(profile)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="blender-profile-") as folder:
        profile = Path(folder)
        install(profile)
        run_blender(profile, "nothing")
        with_numpy = [run_blender(profile, "numpy") for _ in range(runs)]
        bare = [run_blender(profile, "nothing") for _ in range(runs)]
    return {
        "blender": bare[0]["version"],
        "runs": runs,
        "limit_s": LIMIT,
        "numpy_loaded_s": statistics.median(run["enabled"] for run in with_numpy),
        "nothing_loaded_s": statistics.median(run["enabled"] for run in bare),
        "switch_off_s": statistics.median(run["disabled"] for run in bare),
        "loaded": bare[0]["loaded"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="How long switching the extension on takes.")
    parser.add_argument("--runs", type=int, default=9, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    arguments = parser.parse_args()
    figures = measure(arguments.runs)
    print(f"Blender {figures['blender']}, {arguments.runs} runs, medians; limit {LIMIT} s")
    for words, name in [
        ("switch on, numpy loaded before", "numpy_loaded_s"),
        ("switch on, as Blender starts", "nothing_loaded_s"),
        ("switch off", "switch_off_s"),
    ]:
        print(f"{words:32}{figures[name]:7.3f} s")
    print(f"loaded, Python's own aside: {', '.join(figures['loaded'])}")
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
