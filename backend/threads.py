"""Work on several cores, in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 8  # each holds what its item needs


def in_threads(function: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
    """What ``map`` gives, as a list, on all cores.

    Worth it where the time goes to OpenCV, numpy or torch on arrays of some size, which let other
    threads of Python work meanwhile.

    Raises:
        Exception: The first that ``function`` raised, in the order of the arguments.
    """
    with ThreadPoolExecutor(min(_MOST, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, *arguments))
