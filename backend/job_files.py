"""What a job leaves on disk, so that one that was stopped leaves nothing. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .protocol import FindMask, Reconstruct

State = tuple[int, int]


def preview_path(output: Path, number: int) -> Path:
    """Where the preview of that number lies, beside the job's output."""
    return output.with_name(f"preview-{number}.npz")


def overlay_path(folder: Path, number: int) -> Path:
    """Where the overlay of a view lies; views are numbered from 0."""
    return folder / f"view-{number:03d}.png"


def file_state(path: Path) -> State | None:
    """Tells one version of a file from the next; None if there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


class JobFiles:
    """The files that a request may write; made before the work begins."""

    def __init__(self, request: Reconstruct | FindMask) -> None:
        self._output = Path(request.output)
        asks_for_mesh = isinstance(request, Reconstruct)
        self._picture = Path(request.preview) if asks_for_mesh and request.preview else None
        self._overlays = Path(request.overlays) if asks_for_mesh and request.overlays else None
        self._before = {path: file_state(path) for path in self._present()}

    def remove_parts(self, process: int) -> None:
        """Delete what a killed process was writing; ``files.write_files`` names the files so."""
        for folder in {path.parent for path in self._places()}:
            for part in folder.glob(f".*.{process}.part"):
                _remove(part)

    def remove(self, process: int) -> None:
        """Delete what the job has written so far, finished or not."""
        self.remove_parts(process)
        for path in self._present():
            if file_state(path) != self._before.get(path):
                _remove(path)
        if self._overlays:
            with suppress(OSError):
                self._overlays.rmdir()  # only if it is empty

    def _places(self) -> Iterator[Path]:
        yield self._output
        if self._picture:
            yield self._picture
        if self._overlays:
            yield overlay_path(self._overlays, 0)

    def _present(self) -> list[Path]:
        """Files that are there and that the job may have written."""
        found = [path for path in self._places() if path.is_file()]
        if self._output.suffix.lower() == ".npz":
            found += self._output.parent.glob("preview-*.npz")
        return found + sorted(self._overlays.glob("view-*.png") if self._overlays else ())


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
