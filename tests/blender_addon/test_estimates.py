"""What the panel tells before the click, and the file it learns from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from backend.methods.interface import QUALITIES
from tests.addon_parts import estimates, methods, protocol

Estimate, Estimates = estimates.Estimate, estimates.Estimates
REQUEST = protocol.Reconstruct(("a.png",), "mesh.npz")


def result(seconds: float, memory_gib: float = 1.0, **words: Any) -> protocol.Result:
    values: dict[str, Any] = {"method": "dvr", "quality": "draft", "device": "cpu", "seed": 0}
    return protocol.Result(
        output="mesh.npz",
        seconds=seconds,
        stage_seconds={},
        vertices=3,
        faces=1,
        watertight=True,
        silhouette_iou={},
        warnings=(),
        peak_memory_gib=memory_gib,
        **(values | words),
    )


def expected(history: estimates.Estimates, views: int = 8, device: str = "cpu", speed: float = 1.0):
    return history.expect("dvr", "draft", device, views, speed)


# Without earlier runs -----------------------------------------------------------------------------


def test_every_method_states_time_and_memory_for_every_quality() -> None:
    for spec in methods.METHODS.values():
        for numbers in (spec.seconds, spec.memory_gib):
            assert tuple(numbers) == QUALITIES
            assert sorted(numbers.values()) == list(numbers.values())
            assert min(numbers.values()) > 0


def test_calibration_scales_the_methods_own_seconds(tmp_path: Path) -> None:
    history, spec = Estimates(tmp_path / "history.json"), methods.METHODS["dvr"]
    one = expected(history)
    assert one == Estimate(spec.seconds["draft"], spec.memory_gib["draft"], "calibration")
    assert expected(history, speed=2.0).seconds == one.seconds / 2
    assert expected(history, views=16).seconds == 1.5 * one.seconds
    assert 0 < expected(history, speed=0.0).seconds < 10_000


# With earlier runs --------------------------------------------------------------------------------


def test_earlier_runs_win_and_their_median_counts(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "histoire é.json"
    for seconds, memory in [(10.0, 1.0), (12.0, 3.0), (90.0, 2.0)]:
        Estimates(file).record(REQUEST, 8, result(seconds, memory))
    history = Estimates(file)
    assert expected(history) == Estimate(12.0, 3.0, "earlier runs")
    assert expected(history, views=16).seconds == 18.0
    assert expected(history, device="cuda").source == "calibration"
    assert list(file.parent.iterdir()) == [file]


def test_only_the_newest_runs_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    for seconds in [1000.0] * 25 + [5.0] * 20:
        Estimates(file).record(REQUEST, 8, result(seconds))
    assert expected(Estimates(file)).seconds == 5.0
    assert file.read_text(encoding="utf-8").count("seconds") == 20


def test_two_open_histories_do_not_forget_each_others_runs(tmp_path: Path) -> None:
    one, other = Estimates(tmp_path / "history.json"), Estimates(tmp_path / "history.json")
    one.record(REQUEST, 8, result(10.0))
    other.record(REQUEST, 8, result(20.0))
    assert expected(Estimates(tmp_path / "history.json")).seconds == 15.0


def test_runs_with_parameters_of_the_artist_count_for_those_only(tmp_path: Path) -> None:
    history = Estimates(tmp_path / "history.json")
    own = protocol.Reconstruct(("a.png",), "mesh.npz", params={"resolution": 300})
    history.record(own, 8, result(500.0))
    assert expected(history).source == "calibration"
    with_own = history.expect("dvr", "draft", "cpu", 8, 1.0, own.params)
    assert with_own.seconds == 500.0
    aligned = protocol.Reconstruct(("a.png",), "mesh.npz", params={"align": "none"})
    history.record(aligned, 8, result(5.0))
    assert expected(history).seconds == 5.0


def test_a_finer_grid_than_usual_takes_longer_by_its_cells(tmp_path: Path) -> None:
    history = Estimates(tmp_path / "runs.json")
    usual = history.expect("visual_hull", "standard", "cpu", 8, 1.0)
    finer = history.expect("visual_hull", "standard", "cpu", 8, 1.0, {"resolution": 192})
    assert finer.seconds == pytest.approx(8 * usual.seconds)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"[" * 100_000,
        b'{"runs": 3}',
        b'{"runs": {"dvr draft cpu": 3}}',
        b'{"runs": {"dvr draft cpu": [{"views": 8}]}}',
        b'{"runs": {"dvr draft cpu": [{"views": 8, "seconds": NaN, "memory_gib": 1}]}}',
        b'{"runs": {"dvr draft cpu": [{"views": 1e400, "seconds": 1, "memory_gib": 1}]}}',
    ],
)
def test_a_damaged_history_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "history.json"
    file.write_bytes(content)
    history = Estimates(file)
    assert expected(history).source == "calibration"
    history.record(REQUEST, 8, result(5.0))
    assert expected(Estimates(file)).seconds == 5.0


def test_a_history_that_cannot_be_written_is_kept_in_mind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = Estimates(tmp_path / "file" / "history.json")
    history.record(REQUEST, 8, result(5.0))
    history.record(REQUEST, 8, result(7.0))
    assert expected(history).seconds == 6.0


# Words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "memory", "words"),
    [
        (0.2, 0.25, "about 1 s, 0.2 GiB"),
        (7.4, 1.0, "about 7 s, 1 GiB"),
        (18.0, 1.5, "about 20 s, 1.5 GiB"),
        (58.0, 2.0, "about 1 min, 2 GiB"),
        (200.0, 12.3, "about 3 min, 12 GiB"),
        (8000.0, 2.0, "about 2 h, 2 GiB"),
    ],
)
def test_words(seconds: float, memory: float, words: str) -> None:
    assert Estimate(seconds, memory, "calibration").words == words


def test_warning_only_when_it_will_not_fit() -> None:
    estimate = Estimate(20.0, 4.0, "calibration")
    assert estimate.warning(4.0) == estimate.warning(None) == ""
    assert "about 4 GiB of memory and only 2.1 GiB is free" in estimate.warning(2.13)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' own file")
def test_available_memory() -> None:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal"))
    available = estimates.available_memory_gib()
    assert available is not None
    assert 0 < available < total / 2**20
