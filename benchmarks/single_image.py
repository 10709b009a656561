"""How long one photograph takes with trained weights, and what of it is what.

    .venv/bin/python benchmarks/single_image.py --checkpoint model.safetensors PICTURE...

Each picture is reconstructed in turn, as the backend's worker does for the panel; the first one,
which imports the libraries, is reported apart from the warm ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from backend.checkpoints import read_model_card
from backend.pipeline import reconstruct
from backend.protocol import Reconstruct, Result


def run(picture: Path, arguments: argparse.Namespace, method: str, folder: str) -> Result:
    request = Reconstruct(
        inputs=(str(picture),),
        output=str(Path(folder) / "mesh.glb"),
        method=method,
        checkpoint=str(arguments.checkpoint),
        quality=arguments.quality,
        texture=arguments.texture,
        device=arguments.device,
    )
    return reconstruct(request, lambda fraction, message, preview=None: None)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times of one photograph to a mesh.")
    parser.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FILE")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--texture", default="vertex", choices=("vertex", "uv", "none"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    method = read_model_card(arguments.checkpoint)["method"]
    with tempfile.TemporaryDirectory() as folder:
        first = run(arguments.pictures[0], arguments, method, folder).seconds
        warm = [
            run(picture, arguments, method, folder)
            for _ in range(arguments.repeats)
            for picture in arguments.pictures
        ]
    seconds = [result.seconds for result in warm]
    print(f"first {first:.2f} s; warm: median {statistics.median(seconds):.2f} s,", end=" ")
    print(f"longest {max(seconds):.2f} s")
    stages = {
        name: statistics.median(result.stage_seconds[name] for result in warm)
        for name in warm[0].stage_seconds
    }
    for name, value in stages.items():
        print(f"  {name:20} {value:.2f} s")
    print("closed:", sum(result.watertight for result in warm), "of", len(warm))
    if arguments.json:
        print(json.dumps({"first": first, "warm": seconds, "stages": stages}))


main()
