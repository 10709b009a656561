"""numpy, imported when it is first used.

Blender before 4.5 does not load numpy at its start, which takes about 0.1 s: an extension that did
so while it is being enabled would take that from everybody, whether they use it or not. So what
Blender reads when it enables the extension writes ``from ..backend.lazy_numpy import np``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
else:

    class _LazyNumpy:
        def __getattr__(self, name: str) -> Any:
            import numpy

            value = getattr(numpy, name)
            setattr(self, name, value)  # found at once the next time
            return value

    np = _LazyNumpy()
