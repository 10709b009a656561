"""Work on many objects in child processes: what goes wrong with one stops no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

DIED = "the process died, perhaps because the memory is full."

_TASKS_PER_PROCESS = 50
"""After which processes are renewed, so that no library's leak grows over thousands of objects."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    died: Callable[[Task], Result],
) -> Iterator[Result]:
    """Do every task in a child process.

    A dead process takes its pool with it, and the tasks next in line are under suspicion; each of
    them is tried alone, then the rest goes on.

    Args:
        work: Does one task; a function of a module, or a ``partial`` of one.
        tasks: What to do; they are pickled.
        workers: Processes at a time.
        died: The result of a task whose process died.

    Yields:
        The results, in the order in which they are done.

    Raises:
        Exception: Whatever ``work`` raises.
    """
    # Not max_tasks_per_child: a pool that has all its tasks at once then stops, with Python 3.11,
    # when its processes are due to be renewed.
    share = workers * _TASKS_PER_PROCESS
    for start in range(0, len(tasks), share):
        waiting = list(range(start, min(start + share, len(tasks))))
        while waiting:
            done = set()
            for index, result in _pool(work, tasks, waiting, workers):
                done.add(index)
                yield result
            left = [index for index in waiting if index not in done]
            suspects, waiting = left[: 2 * workers + 1], left[2 * workers + 1 :]
            for index in suspects:
                alone = next(_pool(work, tasks, [index], 1), None)
                yield died(tasks[index]) if alone is None else alone[1]


def _pool(
    work: Callable[[Task], Result], tasks: Sequence[Task], chosen: Sequence[int], workers: int
) -> Iterator[tuple[int, Result]]:
    """Results as they come, with their tasks' indices; ends early when a process died."""
    with ProcessPoolExecutor(
        min(workers, len(chosen)), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        futures = {pool.submit(work, tasks[index]): index for index in chosen}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            return
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
