"""What a job tells on its way: how far it is, how long it still takes, and how it looks so far."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import Cancelled
from .job_files import preview_path
from .protocol import Preview, Progress, Reconstruct

if TYPE_CHECKING:
    from .methods.interface import MakePreview

PROGRESS_SECONDS = 0.1
PREVIEW_SECONDS = 0.5
"""Least time between two messages of a kind."""

_PREVIEWS_KEPT = 2  # whoever was told of the last but one may be reading it now
_FIRST_SECONDS, _FIRST_FRACTION = 1.0, 0.05
_SMOOTHING_SECONDS = 3.0


class TimeLeft:
    """Estimates the time left by the rule of three, smoothed, because stages differ in pace."""

    def __init__(self, begin: float) -> None:
        self._begin = self._last = begin
        self._total: float | None = None

    def estimate(self, fraction: float, now: float) -> float | None:
        """Seconds left after ``fraction`` of the work, or None while it is too early to say.

        Args:
            fraction: In [0, 1].
            now: On the clock that gave ``begin``; never earlier than in the last call.
        """
        elapsed = now - self._begin
        if elapsed < _FIRST_SECONDS or fraction < _FIRST_FRACTION:
            return None
        total = elapsed / fraction
        weight = 1.0 - math.exp(-(now - self._last) / _SMOOTHING_SECONDS)
        self._total = total if self._total is None else self._total + weight * (total - self._total)
        self._last = now
        return 0.0 if fraction >= 1 else round(max(self._total - elapsed, 0.0), 1)


class Reporter:
    """The ``Report`` of a job whose listener sits in another process.

    Args:
        request: The job.
        send: Takes the messages.
        is_cancelled: Asked at every report.
    """

    def __init__(
        self,
        request: Reconstruct,
        send: Callable[[Progress | Preview], None],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._request, self._send, self._is_cancelled = request, send, is_cancelled
        self._time_left = TimeLeft(time.monotonic())
        self._said, self._said_at = "", -math.inf
        self._shown, self._shown_at = 0, -math.inf

    def __call__(self, fraction: float, message: str, preview: MakePreview | None = None) -> None:
        """Send what is due.

        Args:
            fraction: Share of the job that is done.
            message: The stage's name.
            preview: Makes a mesh in the world; asked for one only where it is shown: in a job that
                writes arrays, as the add-on's, and not too often.

        Raises:
            Cancelled: The user no longer wants the result.
        """
        if self._is_cancelled():
            raise Cancelled
        now = time.monotonic()
        if message != self._said or fraction >= 1 or now - self._said_at >= PROGRESS_SECONDS:
            left = self._time_left.estimate(fraction, now)
            self._send(Progress(round(fraction, 4), message, self._request.job, left))
            self._said, self._said_at = message, now
        if preview is not None and now - self._shown_at >= PREVIEW_SECONDS:
            self._show(preview)

    def _show(self, preview: MakePreview) -> None:
        from .mesh_files import ARRAYS_SUFFIX, write_mesh

        output = Path(self._request.output)
        if output.suffix.lower() != ARRAYS_SUFFIX or (mesh := preview()) is None:
            return
        self._shown += 1
        path = preview_path(output, self._shown)
        write_mesh(path, mesh, {})
        self._send(Preview(str(path), self._request.job))
        preview_path(output, self._shown - _PREVIEWS_KEPT).unlink(missing_ok=True)
        self._shown_at = time.monotonic()
