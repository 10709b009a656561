"""Click the button in a windowed Blender and photograph the panel: ``make test-window``.

    make test-window BLENDER=/opt/blender/blender PICTURES=out/window

Needs Blender 4.3 or later and, on the PATH, Xvfb, xdotool and ImageMagick's ``import``. The window
opens on a display of its own, so nothing is seen of it, and with an empty profile.
``inside_blender.py`` is what runs in it; exit code 0 means that all it looked at was right.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCREEN = "1120x800"
LIMIT = 300  # seconds
LARGEST_PICTURE = 300_000  # bytes
TOOLS = {"Xvfb": "xvfb", "xdotool": "xdotool", "import": "imagemagick"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Test and photograph the extension in a window.")
    parser.add_argument("--blender", default="blender", help="command that starts Blender")
    parser.add_argument("--archive", type=Path, required=True, help="the extension's zip")
    parser.add_argument("--python", type=Path, required=True, help="what the backend runs with")
    parser.add_argument("--pictures", type=Path, required=True, help="folder for the pictures")
    arguments = parser.parse_args()
    command = shlex.split(arguments.blender)
    if missing := [tool for tool in (command[0], *TOOLS) if shutil.which(tool) is None]:
        packages = " ".join(TOOLS.values())
        sys.exit(f"Not found: {', '.join(missing)}. BLENDER=... names Blender; Debian: {packages}.")
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(arguments.pictures / "dataset", ignore_errors=True)  # an earlier run's
    # Not resolved: a virtual environment's Python is a link, and is known by where it lies.
    python = Path(os.path.abspath(arguments.python))  # noqa: PTH100
    words = [arguments.archive.resolve(), python, arguments.pictures.resolve()]
    with tempfile.TemporaryDirectory(prefix="blender-profile-") as profile, display() as name:
        environment = {"DISPLAY": name, "BLENDER_USER_RESOURCES": profile, "TMPDIR": profile}
        sys.exit(run(command, environment, [*map(str, words), str(ROOT / "examples/drawings")]))


@contextlib.contextmanager
def display() -> Iterator[str]:
    """A display that nobody sees; its name."""
    words = ["-displayfd", "1", "-screen", "0", f"{SCREEN}x24", "+extension", "GLX"]
    server = subprocess.Popen(
        ["Xvfb", *words, "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        yield f":{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def run(command: list[str], environment: dict[str, str], words: list[str]) -> int:
    """Run Blender to its end; the exit code for all of it."""
    width, height = SCREEN.split("x")
    command += ["--factory-startup", "--window-geometry", "0", "0", width, height]
    command += ["--python-exit-code", "1", "--python", f"{Path(__file__).parent}/inside_blender.py"]
    begin = time.time()
    blender = subprocess.run(
        [*command, "--", *words],
        env={**os.environ, "LIBGL_ALWAYS_SOFTWARE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    print(blender.stdout)
    said = blender.stdout.splitlines()
    pictures = [p for p in Path(words[2]).glob("panel-*.png") if p.stat().st_mtime >= begin - 1]
    workers = [int(line.split()[1]) for line in said if line.startswith("WORKER ")]
    problems = {
        f"Blender ended with {blender.returncode}": blender.returncode != 0,
        "it did not come to the end": "ALL SEEN" not in said,
        "there was a traceback": "Traceback" in blender.stdout,
        "there are no pictures": not pictures,
        "a picture is too large": any(p.stat().st_size > LARGEST_PICTURE for p in pictures),
        "the backend outlived Blender": any(is_alive(worker) for worker in workers),
    }
    found = [problem for problem, is_there in problems.items() if is_there]
    print("\n".join(str(p) for p in sorted(pictures)), *found, sep="\n")
    return 1 if found else 0


def is_alive(process: int) -> bool:
    """Whether it still runs, some moments after Blender's end."""
    for _ in range(30):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    main()
