"""Files too large to be made in memory first: written beside their place and moved into it.

``backend.files.write_files`` does the same for contents that fit into memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from backend.files import unwritable


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that becomes ``path`` when the block ends well, else disappears.

    Processes that write the same path at once do not disturb each other; the last one stays.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False
        ) as file:
            part = Path(file.name)
            try:
                yield cast(BinaryIO, file)
                file.close()
                part.chmod(0o666 & ~_umask())  # temporary files are for their owner only
                os.replace(part, path)
            except BaseException:
                file.close()
                part.unlink(missing_ok=True)
                raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Put what the system says about writing ``path`` into one sentence.

    Raises:
        InputError: The place cannot be written to.
        ReconstructionError: Writing failed, say because the disk is full.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def _umask() -> int:
    mask = os.umask(0)  # there is no way to ask without setting it
    os.umask(mask)
    return mask
