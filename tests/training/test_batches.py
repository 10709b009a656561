from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Mapping

import numpy as np
import pytest

from backend.errors import InputError, ReconstructionError
from training.batches import batches, object_of


class Numbers:
    """Each sample tells its object and a random number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, random: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {"index": np.array(index), "random": random.random(2, np.float32)}


class Broken(Numbers):
    def sample(self, index: int, random: np.random.Generator) -> Mapping[str, np.ndarray]:
        if index == 3:
            raise InputError("a/b/points.npz is damaged.")
        return super().sample(index, random)


class Dying(Numbers):
    def sample(self, index: int, random: np.random.Generator) -> Mapping[str, np.ndarray]:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(index, random)


def drawn(steps: range, **words) -> list[tuple[int, float]]:
    """What each slot gave, in the order in which it was drawn."""
    parts = [part for step in batches(Numbers(7), steps, 6, seed=5, **words) for part in step]
    indices = np.concatenate([part["index"] for part in parts])
    randoms = np.concatenate([part["random"] for part in parts])
    return list(zip(indices.tolist(), randoms[:, 1].tolist(), strict=True))


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_every_pass_has_every_object_once_and_its_own_order(seed: int) -> None:
    passes = [[object_of(slot, 9, seed) for slot in range(9 * n, 9 * n + 9)] for n in range(4)]
    assert all(sorted(one) == list(range(9)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert passes[0] != [object_of(slot, 9, seed + 1) for slot in range(9)]


def test_slots_follow_the_order_and_draw_independently() -> None:
    found = drawn(range(5))
    assert [index for index, _ in found] == [object_of(slot, 7, 5) for slot in range(30)]
    assert len({random for _, random in found}) == 30


def test_a_resumed_run_sees_what_the_unbroken_one_does() -> None:
    assert drawn(range(5))[3 * 6 :] == drawn(range(3, 5))


def test_workers_change_nothing() -> None:
    assert drawn(range(5), workers=2) == drawn(range(5))


@pytest.mark.parametrize(("processes", "parts"), [(2, 1), (1, 3), (3, 2), (6, 1)])
def test_processes_and_parts_share_every_step_out(processes: int, parts: int) -> None:
    for step in range(3):
        whole = drawn(range(step, step + 1))
        words = {"processes": processes, "parts": parts}
        shares = [drawn(range(step, step + 1), rank=rank, **words) for rank in range(processes)]
        assert {len(share) for share in shares} == {6 // processes}
        assert list(itertools.chain(*shares)) == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_is_one_sentence(workers: int) -> None:
    with pytest.raises(InputError) as caught:
        list(batches(Broken(7), range(3), 6, seed=5, workers=workers))
    assert str(caught.value) == "a/b/points.npz is damaged."


def test_a_dead_worker_is_reported() -> None:
    with pytest.raises(ReconstructionError, match=r"draws the data died.* use fewer --workers"):
        list(batches(Dying(7), range(3), 6, seed=5, workers=1))
