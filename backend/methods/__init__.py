"""Every method, written out. Needs no torch."""

from .drwr import SPEC as DRWR
from .dvr import SPEC as DVR
from .interface import MethodSpec
from .visual_hull import SPEC as VISUAL_HULL

METHODS: dict[str, MethodSpec] = {
    "visual_hull": VISUAL_HULL,
    "drwr": DRWR,
    "dvr": DVR,
}
