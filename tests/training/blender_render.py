"""Renders assets with Blender, as a child process of tests that must not import bpy themselves.

python blender_render.py PROFILE --assets FOLDER -o DATASET ...
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

profile, *words = sys.argv[1:]
os.environ["BLENDER_USER_RESOURCES"] = profile  # read by bpy when it is imported
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.blender_addon.conftest import MODULE, switch_on  # noqa: E402

importlib.import_module("bpy")
switch_on(Path(profile))
command_line = importlib.import_module(f"{MODULE}.blender_addon.command_line")
code = command_line.run(["render", *words])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # bpy can hang at exit while the extension is registered
