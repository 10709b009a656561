"""Progress, time left and previews, on a clock of the test's own where time matters."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from backend.errors import Cancelled
from backend.geometry.mesh import Mesh
from backend.mesh_files import read_mesh
from backend.methods.interface import MakePreview
from backend.progress import PREVIEW_SECONDS, PROGRESS_SECONDS, Reporter, TimeLeft
from backend.protocol import Preview, Progress, Reconstruct

TRIANGLE = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))


def test_even_work_is_foretold_exactly() -> None:
    left = TimeLeft(100.0)
    for second in range(2, 40):
        assert left.estimate(second / 40, 100.0 + second) == pytest.approx(40 - second, abs=0.1)
    assert left.estimate(1.0, 140.0) == 0


def test_too_early_to_say() -> None:
    left = TimeLeft(0.0)
    assert left.estimate(0.5, 0.9) is None
    assert left.estimate(0.04, 20.0) is None
    assert left.estimate(0.05, 1.0) == pytest.approx(19)


def test_a_jump_of_the_fraction_moves_the_estimate_slowly() -> None:
    left = TimeLeft(0.0)
    assert left.estimate(0.1, 2.0) == pytest.approx(18)
    after = left.estimate(0.5, 2.1)
    assert after is not None
    assert 16 < after < 18
    settled = [left.estimate(0.5, 2.1 + step) for step in range(1, 4)][-1]
    assert settled is not None
    assert settled < 12


def heard(output: Path, seconds: float = 0.0, preview: MakePreview | None = None) -> list:
    """What is sent of a stage that reports as fast as it can."""
    messages: list[Progress | Preview] = []
    reporter = Reporter(Reconstruct(("a",), str(output), job="j"), messages.append)
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        reporter(0.5 * (now - begin) / seconds, "fitting", preview)
    reporter(1.0, "writing", preview)
    return messages


def test_progress_is_throttled_but_stages_are_not(tmp_path: Path) -> None:
    messages = heard(tmp_path / "mesh.npz", 0.55)
    assert [m.stage for m in messages[-2:]] == ["fitting", "writing"]
    assert len(messages) <= 0.55 / PROGRESS_SECONDS + 2
    assert messages[-1] == Progress(1.0, "writing", "j", None)


def test_previews_are_throttled_and_old_ones_go(tmp_path: Path) -> None:
    messages = heard(tmp_path / "mesh.npz", 3 * PREVIEW_SECONDS, lambda: TRIANGLE)
    shown = [message for message in messages if isinstance(message, Preview)]
    assert 2 < len(shown) <= 4
    assert all(message.job == "j" for message in shown)
    names = [f"preview-{number}.npz" for number in range(1, len(shown) + 1)]
    assert [Path(message.path).name for message in shown] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names[-2:]
    np.testing.assert_array_equal(read_mesh(Path(shown[-1].path)).vertices, TRIANGLE.vertices)


def test_only_arrays_have_previews(tmp_path: Path) -> None:
    messages = heard(tmp_path / "mesh.glb", preview=lambda: pytest.fail("made for nobody"))
    assert [type(message) for message in messages] == [Progress]
    assert list(tmp_path.iterdir()) == []


def test_cancel_is_raised_before_anything_is_sent() -> None:
    messages: list[Progress | Preview] = []
    reporter = Reporter(Reconstruct(("a",), "b.npz"), messages.append, lambda: True)
    with pytest.raises(Cancelled):
        reporter(0.1, "fitting", lambda: TRIANGLE)
    assert messages == []
