"""Work in child processes: every task has a result, whatever becomes of its process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.errors import ReconstructionError
from training.worker_pool import in_processes


def work(task: tuple[Path, int]) -> int:
    """Square a number; 3 ends the process, and 5 only the first time."""
    folder, number = task
    if number == 3 or (number == 5 and not (folder / "met").exists()):
        (folder / "met").touch()
        os._exit(9)
    if number == 8:
        raise ReconstructionError("the disk is full.")
    return number * number


def died(task: tuple[Path, int]) -> int:
    return -task[1]


def test_a_process_that_dies_takes_its_own_task_alone_with_it(tmp_path: Path) -> None:
    tasks = [(tmp_path, number) for number in range(8)]
    results = sorted(in_processes(work, tasks, 2, died))
    assert results == [-3, 0, 1, 4, 16, 25, 36, 49]


def test_errors_are_raised_here(tmp_path: Path) -> None:
    with pytest.raises(ReconstructionError, match="disk is full"):
        list(in_processes(work, [(tmp_path, 1), (tmp_path, 8)], 1, died))
    assert list(in_processes(work, [], 3, died)) == []


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def test_processes_are_renewed_and_the_work_goes_on() -> None:
    results = list(in_processes(double, range(120), 1, lambda number: (number, 0)))
    assert sorted(number for number, _ in results) == list(range(0, 240, 2))
    assert len({process for _, process in results}) > 1
