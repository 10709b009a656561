"""OpenEXR files: our own reader against our writer and against OpenCV's."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.errors import InputError
from backend.exr_files import read_exr, write_exr


def depth_image(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    depth = 2.0 + 0.01 * rows + 0.003 * np.sin(columns)
    return np.where(rows + columns < 12, np.inf, depth).astype(np.float32)


@pytest.mark.parametrize("size", [(1, 1), (16, 3), (17, 40), (50, 37)])
def test_what_is_written_is_read(tmp_path: Path, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).standard_normal(size).astype(np.float32)  # does not shrink
    channels = {"Y": depth_image(*size), "A.noise": noise, "zero": np.zeros(size, np.float32)}
    (tmp_path / "a.exr").write_bytes(write_exr(channels))
    found = read_exr(tmp_path / "a.exr")
    assert found.keys() == channels.keys()
    for name, values in channels.items():
        np.testing.assert_array_equal(found[name], values)


def test_depth_images_are_compact() -> None:
    """Half of them is beside the object, and the rest is smooth."""
    depth = np.where(np.arange(256)[:, None] < 128, np.inf, depth_image(256, 256))
    assert len(write_exr({"Y": depth})) < 0.5 * depth.size * 4


def test_opencv_reads_depth_images(tmp_path: Path) -> None:
    """In a process of its own: OpenCV reads OpenEXR only if asked to before it is imported."""
    (tmp_path / "a.exr").write_bytes(write_exr({"Y": depth_image(40, 30)}))
    code = "import cv2, numpy; numpy.save('a.npy', cv2.imread('a.exr', cv2.IMREAD_UNCHANGED))"
    environment = os.environ | {"OPENCV_IO_ENABLE_OPENEXR": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), depth_image(40, 30))


@pytest.mark.parametrize("fault", ["missing", "other", "cut", "half"])
def test_damaged_files_are_named(tmp_path: Path, fault: str) -> None:
    path, content = tmp_path / "a.exr", write_exr({"Y": depth_image(20, 20)})
    kind = content.index(b"Y\0") + 2
    faults = {
        "other": b"\x89PNG" + content[4:],
        "cut": content[:-60],
        "half": content[:kind] + struct.pack("<i", 1) + content[kind + 4 :],
    }
    if fault != "missing":
        path.write_bytes(faults[fault])
    with pytest.raises(InputError, match=r"a\.exr cannot be read as an OpenEXR image"):
        read_exr(path)
