"""Every method, written out. Needs no torch."""

from .drwr import SINGLE_IMAGE as DRWR_SINGLE_IMAGE
from .drwr import SPEC as DRWR
from .dvr import SPEC as DVR
from .interface import MethodSpec
from .visual_hull import SPEC as VISUAL_HULL

METHODS: dict[str, MethodSpec] = {
    "visual_hull": VISUAL_HULL,
    "drwr": DRWR,
    "dvr": DVR,
    "drwr_single_image": DRWR_SINGLE_IMAGE,
}
