"""What the machine says of itself; in a fresh process where torch must be absent or another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from backend import machine

ROOT = Path(__file__).parents[1]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="measured through /proc")


def said(expression: str, *options: str, **environment: str) -> str:
    """What an expression about ``machine`` gives in a fresh process."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from backend import machine\n"
    code += f"print({expression})"
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_nothing_heavy_is_imported() -> None:
    loaded = said("machine.devices(), machine.torch_version(), 'torch' in sys.modules")
    assert loaded.endswith(" False")


def test_torch_is_told_as_installed() -> None:
    assert machine.torch_version() == torch.__version__
    assert machine.torch_is_for_cuda() == (torch.version.cuda is not None)


def test_without_torch_and_numpy() -> None:
    """``-S`` leaves out the installed libraries."""
    names = "[device['name'] for device in machine.devices()]"
    without = said(f"[machine.torch_version()], machine.speed(), {names}", "-S")
    assert without == "[''] 1.0 ['cpu']"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cuda: Optional[str] = '12.8'", "True"),
        ('cuda = "11.8"', "True"),
        ("cuda: Optional[str] = None", "False"),
        ("hip: Optional[str] = '6.0'", "False"),
    ],
)
def test_a_cuda_build_is_known_by_its_version_file(
    tmp_path: Path, line: str, expected: str
) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")
    text = f"from typing import Optional\n__version__ = '2.13.0'\n{line}\n"
    (package / "version.py").write_text(text, encoding="utf-8")
    assert said("machine.torch_is_for_cuda()", PYTHONPATH=str(tmp_path)) == expected


@pytest.mark.cuda
def test_the_card_is_the_one_that_torch_uses() -> None:
    card = machine.nvidia_card()
    assert card is not None
    properties = torch.cuda.get_device_properties(0)
    assert card["label"] == properties.name
    assert card["memory_gib"] == pytest.approx(properties.total_memory / 2**30, rel=0.02)


def test_the_processor() -> None:
    processor = machine.devices()[-1]
    assert processor["name"] == "cpu"
    assert processor["label"]
    assert processor["memory_gib"] == pytest.approx(machine.total_memory() / 2**30, abs=0.1)
    assert machine.speed() > 0


def test_memory_of_this_process() -> None:
    before = machine.process_memory(os.getpid())
    block = np.ones(200 << 20, np.uint8)
    after = machine.process_memory(os.getpid())
    assert after - before == pytest.approx(block.nbytes, rel=0.1)
    assert machine.peak_memory() >= after * 0.99
    assert machine.process_memory(2**22 + 1) == 0  # no such process


@LINUX
def test_peak_begins_anew() -> None:
    block = np.ones(200 << 20, np.uint8)
    high = machine.peak_memory()
    del block
    machine.reset_peak_memory()
    assert machine.peak_memory() < high - (150 << 20)
