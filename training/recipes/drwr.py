"""DRWR's network from silhouettes: one image to a shape in a category's common frame.

Z. Han et al., "DRWR: A Differentiable Renderer without Rendering for Unsupervised 3D Structure
Learning from Silhouette Images", ICML 2020; with unknown cameras, E. Insafutdinov and A.
Dosovitskiy, "Unsupervised Learning of Shape and Pose with Differentiable Point Clouds", NeurIPS
2018, section 3.3, as N. Zubic and P. Lio, "An Effective Loss Function for Generating 3D Models from
Single 2D Image without Rendering", 2021, take it over.

The shape is a point cloud or, for DPC-V, which the papers compare with, an occupancy grid.

A step shows the network one random picture of each object and asks for its shape; the loss sees
it in V other random pictures, of which it knows the masks and, with known cameras, from where
they were taken. All pictures are cut out around their masks as the backend cuts photographs out,
the input a little wider or narrower and beside the middle, as automatic masks are. With unknown
cameras K heads guess how each of the V cameras was turned; only the guess whose loss is least is
learnt from, and teaches the student, which is what is used later.

No 3-D truth is learnt from; it scores only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from backend.errors import InputError
from backend.geometry.cameras import Cameras
from backend.geometry.point_cloud import interpolate
from backend.geometry.visual_hull import grid_points
from backend.images import MARGIN
from backend.methods.drwr.camera_fit import cloud_silhouette
from backend.methods.drwr.losses import (
    LossForm,
    LossTerms,
    SilhouetteTargets,
    default_terms,
    silhouette_targets,
    view_losses,
)
from backend.methods.drwr.model import project_visible
from backend.methods.drwr.network import (
    POINTS,
    DrwrNetwork,
    NetworkSettings,
    Prediction,
    from_settings,
    is_grid_size,
    matrix_to_quaternion,
    network_image,
    quaternion_to_matrix,
)
from backend.methods.drwr.projection import projection_losses, voxel_losses
from backend.methods.drwr.single_image import surface_level, surface_points
from backend.methods.interface import checked_value, param

from ..baselines import constant_cloud, mean_chamfer, nearest_images
from ..datasets import RenderedDataset
from ..metrics import (
    chamfer_dpc,
    cloud_distances,
    iou,
    mean_and_best,
    silhouette_iou,
    thinned,
    voxelised,
)
from .interface import Group, RecipeSpec, TrainingData

WIDE_START, STRONG_START = 16.0, 30.0
"""The recommended form's repulsion first reaches and pushes so many times as far and as hard.

That drives points across the gaps between an object's parts; with a short reach from the start they
never come to most chairs' legs, as nothing in the loss draws points to where none are.
"""

STUDENT_WEIGHT = 20.0
"""DPC's weight of the student's loss."""

BLUR = (3.0, 0.5)
"""Standard deviation in cells of the projection loss' Gaussian, at its start and in the end."""

SCORED_VIEWS = 5
"""Input pictures of each object that is scored, as in the papers."""

RIGHT_ANGLE_ERROR = 30.0
"""Degrees below which a viewpoint counts as found (S. Tulsiani and J. Malik, CVPR 2015)."""

SCORED_CELLS = 32
"""Along the grid of ``iou_32``."""

PICTURED = 4
CONSTANT_POINTS = 4000


@dataclass(frozen=True)
class Options:
    """What can be chosen about the training."""

    image_size: int = param(
        64, "Pixels along input images and masks: 32, 64 or 128.", minimum=16, maximum=256
    )
    points: int = param(
        0,
        "Points of the cloud, or of the voxels' surface when it is scored; 0 for the papers' "
        "2,000, 8,000 or 16,000 at 32, 64 or 128 pixels.",
        minimum=0,
        maximum=200_000,
    )
    shape: str = param(
        "points",
        "points, or voxels: an occupancy grid of `grid` cells along each axis, which takes "
        "--loss projection; the papers' baseline DPC-V.",
        choices=("points", "voxels"),
    )
    loss: str = param(
        "recommended",
        "recommended, or the forms that were published (paper) and released (released), whose "
        "time grows with the square of the points; projection is DPC's, the papers' baseline.",
        choices=("recommended", "released", "paper", "projection"),
    )
    views: int = param(4, "Pictures of each object in a step.", minimum=1, maximum=64)
    cameras: str = param(
        "known",
        "known, or unknown: how each picture's camera was turned is then learnt as well.",
        choices=("known", "unknown"),
    )
    candidates: int = param(4, "Guesses of each unknown camera's rotation.", minimum=1, maximum=64)
    warmup: int = param(
        0, "First steps that take the projection loss.", minimum=0, maximum=10_000_000
    )
    spreading: int = param(
        5000,
        "First steps in which the repulsion, from wide and strong, becomes narrow and weak, or the "
        "projection's blur narrows; about half of all steps.",
        minimum=0,
        maximum=10_000_000,
    )
    pull: float = param(1.0, "Multiplies the pull of the silhouettes.", minimum=0.0, maximum=1000.0)
    push: float = param(
        1.0, "Multiplies the push of the points on one another.", minimum=0.0, maximum=1000.0
    )
    smooth: bool = param(
        True, "Pull from any distance; without, only at the outline (DRWR's table 4)."
    )
    omega: bool = param(True, "The published forms' weights omega (DRWR's table 4).")
    delta: bool = param(True, "The published forms' bias delta (DRWR's table 4).")
    grid: int = param(
        32, "Cells along the grid of the projection loss and of voxels.", minimum=8, maximum=128
    )
    keep: float = param(
        1.0,
        "Share of the points that the projection loss sees at first, drawn anew in each step; it "
        "becomes all of them while the blur narrows. DPC takes 0.07.",
        minimum=0.001,
        maximum=1.0,
    )
    width: float = param(
        1.0, "Multiplies the width of every layer of the network.", minimum=1 / 16, maximum=4.0
    )
    learning_rate: float = param(
        3e-4, "Of Adam; the papers take 0.0001.", minimum=1e-8, maximum=1.0
    )
    halving: int = param(
        0,
        "Steps in which the learning rate falls to a half; 0 keeps it.",
        minimum=0,
        maximum=10_000_000,
    )
    jitter: float = param(
        0.06,
        "How much wider, narrower and off the middle input images are cut out, of their side.",
        minimum=0.0,
        maximum=0.3,
    )
    colors: float = param(
        0.2, "How far the colors of input images vary in brightness and tint.", minimum=0.0,
        maximum=1.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check what two options say together.

        Raises:
            InputError: They contradict each other.
        """
        if self.loss in ("recommended", "projection") and not (self.omega and self.delta):
            raise InputError(
                f"the loss {self.loss} has neither omega nor delta to leave out; choose "
                "--loss released or paper."
            )
        if self.loss == "projection" and not (self.smooth and self.pull == self.push == 1):
            raise InputError(
                "the loss projection neither pulls nor pushes: leave out pull, push and smooth."
            )
        if self.shape == "voxels":
            self._check_voxels()
        if self.keep < 1 and self.loss != "projection" and not self.warmup:
            raise InputError(
                f"keep ({self.keep:g}) leaves points out of the projection loss, which is not "
                "used: choose --loss projection, give --warmup, or leave keep out."
            )
        if (self.loss == "projection" or self.warmup) and self.image_size % self.grid:
            raise InputError(
                f"the projection's grid ({self.grid}) must divide the image size "
                f"({self.image_size})."
            )

    def _check_voxels(self) -> None:
        if self.loss != "projection":
            raise InputError(
                f"the loss {self.loss} asks for points; for --shape voxels choose --loss "
                "projection."
            )
        if not is_grid_size(self.grid):
            raise InputError(
                f"the grid of voxels must be a power of two from 8 such as 32, got {self.grid}."
            )
        if self.keep < 1:
            raise InputError("voxels have no points to leave out: leave out keep.")

    @property
    def number_of_points(self) -> int:
        """Points of the cloud."""
        return self.points or POINTS.get(self.image_size, self.image_size**2)


# Pictures -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CutOut:
    """A square around an object: ``left``, ``top`` and ``side`` in pixels of the whole picture."""

    left: int
    top: int
    side: int

    def pixels(self, picture: np.ndarray) -> np.ndarray:
        """The square ``[side, side, C]`` out of ``[H, W, C]``, zero beyond the picture."""
        height, width = picture.shape[:2]
        square = np.zeros((self.side, self.side, picture.shape[2]), picture.dtype)
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.side, height), min(self.left + self.side, width)
        if bottom > top and right > left:
            square[top - self.top : bottom - self.top, left - self.left : right - self.left] = (
                picture[top:bottom, left:right]
            )
        return square

    def intrinsics(self, whole: np.ndarray, size: int) -> np.ndarray:
        """Intrinsics ``[3, 3]`` of the square at ``size`` pixels."""
        zoom = size / self.side
        to_square = [[zoom, 0, -zoom * self.left], [0, zoom, -zoom * self.top], [0, 0, 1]]
        return np.array(to_square, np.float32) @ whole


def around(alpha: np.ndarray) -> CutOut:
    """The square that ``backend.images`` cuts out around a mask ``[H, W]`` (uint8).

    Raises:
        ValueError: The mask is empty.
    """
    rows, columns = (np.flatnonzero((alpha > 25).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("the mask is empty")
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = math.ceil(max(bottom - top, right - left) * (1 + 2 * MARGIN))
    return CutOut(int((left + right - side) // 2), int((top + bottom - side) // 2), side)


def jittered(square: CutOut, amount: float, random: np.random.Generator) -> CutOut:
    """A square that is up to ``amount`` of its side wider or narrower, and off the middle."""
    grow, right, down = random.uniform(-amount, amount, 3)
    side = max(1, round(square.side * (1 + grow)))
    left = square.left + (square.side - side) / 2 + right * square.side / 2
    top = square.top + (square.side - side) / 2 + down * square.side / 2
    return CutOut(round(left), round(top), side)


def input_image(
    picture: np.ndarray, square: CutOut, size: int, tint: np.ndarray | None = None
) -> np.ndarray:
    """What the network sees: ``[3, S, S]`` float32 out of ``[H, W, 4]`` uint8.

    Args:
        picture: Straight sRGB and alpha.
        square: To cut out.
        size: Pixels S.
        tint: ``[3]`` exponents of the colours; 1 changes nothing.
    """
    values = square.pixels(picture).astype(np.float32) / 255
    colors = values[..., :3] if tint is None else values[..., :3] ** tint
    return network_image(colors, values[..., 3], size)


def mask_of(picture: np.ndarray, square: CutOut, size: int) -> np.ndarray:
    """Coverage ``[S, S]`` float32 of a square."""
    coverage = square.pixels(picture[..., 3:])[..., 0].astype(np.float32) / 255
    how = cv2.INTER_AREA if square.side >= size else cv2.INTER_LINEAR
    return cv2.resize(coverage, (size, size), interpolation=how)


class Samples:
    """Samples of a split: an image of an object, and its silhouettes in other pictures."""

    def __init__(self, data: RenderedDataset, options: Options) -> None:
        """Draw from a split.

        Raises:
            InputError: Its objects have too few views.
        """
        if data.views < options.views:
            raise InputError(
                f"the dataset has {data.views} views of each object but {options.views} are asked "
                "for; ask for fewer or render more."
            )
        self.data = data
        self.options = options

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.data)

    def sample(self, index: int, random: np.random.Generator) -> dict[str, np.ndarray]:
        """One training sample.

        Returns:
            ``image`` ``[3, S, S]`` and its camera's ``quaternion`` ``[4]``; of V other pictures
            ``mask`` ``[V, S, S]``, ``intrinsics`` ``[V, 3, 3]``, ``world_to_camera``
            ``[V, 4, 4]`` and ``orthographic`` ``[V]``; ``pull`` ``[V, P, P]`` where the loss needs
            it; ``pictures`` ``[V, 3, S, S]`` where cameras are unknown.
        """
        options, size = self.options, self.options.image_size
        order = random.permutation(self.data.views)
        shown, seen = int(order[0]), order[-options.views :].tolist()
        sample = {
            "image": self._image(index, shown, random),
            "quaternion": self._quaternion(index, shown),
        }
        squares = [self._square(index, view) for view in seen]
        pictures = [self.data.images[index, view] for view in seen]
        masks = np.stack(
            [mask_of(p, square, size) for p, square in zip(pictures, squares, strict=True)]
        )
        intrinsics = [
            square.intrinsics(self.data.intrinsics[index, view], size)
            for view, square in zip(seen, squares, strict=True)
        ]
        sample |= {
            "mask": masks,
            "intrinsics": np.stack(intrinsics),
            "world_to_camera": self.data.world_to_camera[index, seen],
            "orthographic": self.data.orthographic[index, seen],
        }
        if options.loss != "projection":
            sample["pull"] = self._targets(masks).pull.numpy()
        if options.cameras == "unknown":
            sample["pictures"] = np.stack([self._image(index, view, random) for view in seen])
        return sample

    def _targets(self, masks: np.ndarray) -> SilhouetteTargets:
        known, form = np.ones(masks.shape, bool), cast(LossForm, self.options.loss)
        return silhouette_targets(masks, known, form, smooth=self.options.smooth)

    def _image(self, index: int, view: int, random: np.random.Generator) -> np.ndarray:
        square = jittered(self._square(index, view), self.options.jitter, random)
        # Brightness, and a little tint.
        exponents = random.normal(size=1) + 0.3 * random.normal(size=3)
        tint = np.exp(self.options.colors * exponents).astype(np.float32)
        return input_image(self.data.images[index, view], square, self.options.image_size, tint)

    def _square(self, index: int, view: int) -> CutOut:
        return object_square(self.data, index, view)

    def _quaternion(self, index: int, view: int) -> np.ndarray:
        rotation = self.data.world_to_camera[index, view, :3, :3]
        return matrix_to_quaternion(rotation).astype(np.float32)


def object_square(data: RenderedDataset, index: int, view: int) -> CutOut:
    """The square around an object in one of its pictures.

    Raises:
        InputError: The object is not in the picture.
    """
    alpha = data.images[index, view, :, :, 3]  # not below: InputError is a ValueError as well
    try:
        return around(alpha)
    except ValueError:
        raise InputError(
            f"{data.keys[index]} is not to be seen in its view {view}; render it again, or leave "
            "it out."
        ) from None


# The loss -----------------------------------------------------------------------------------------


def hindsight(candidates: Tensor, losses: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Each picture's least loss over its candidate rotations (DPC, equation 10).

    Gradients flow to the winners alone: the candidates are compared without any, then the winners'
    losses are found again.

    Args:
        candidates: ``[M, K, 4]`` quaternions.
        losses: From rotations ``[M, 4]``, one for each picture, to losses ``[M]``.

    Returns:
        The winners' losses ``[M]`` and the winners ``[M, 4]``.
    """
    with torch.no_grad():
        scores = torch.stack([losses(one) for one in candidates.unbind(1)], dim=1)
    best = scores.argmin(dim=1)
    winners = candidates[torch.arange(len(best), device=best.device), best]
    return losses(winners), winners


def student_loss(winners: Tensor, student: Tensor) -> Tensor:
    """Mean of ``1 - Re(q_winner conj(q_student))^2``, which is sin^2 of half the angle between.

    Args:
        winners: ``[M, 4]`` unit quaternions; no gradient flows to them.
        student: ``[M, 4]``.
    """
    return (1 - (winners.detach() * student).sum(-1).square()).mean()


def some_points(points: Tensor, share: float) -> Tensor:
    """A random share of each cloud: DPC's point dropout.

    Args:
        points: ``[M, N, 3]``.
        share: How many of them are kept, rounded, and at least one; with 1 nothing is drawn.

    Returns:
        ``[M, K, 3]``, drawn for each cloud alone with torch's default generator.
    """
    if share == 1:
        return points
    count = max(1, round(share * points.shape[1]))
    order = torch.rand(points.shape[:2], device=points.device).argsort(dim=1)
    return points.gather(1, order[:, :count, None].expand(-1, -1, 3))


def turned(cameras: Cameras, quaternions: Tensor) -> Cameras:
    """The cameras with other rotations: where they look at the origin, they keep their distance."""
    pose = cameras.world_to_camera.clone()
    pose[:, :3, :3] = quaternion_to_matrix(quaternions)
    return replace(cameras, world_to_camera=pose)


class DrwrRecipe:
    """DRWR with its options and dataset; see the module."""

    def __init__(
        self,
        options: Options,
        dataset: Path,
        category: str,
        network: NetworkSettings | None = None,
    ) -> None:
        """Make the recipe; a network that is trained already says itself what it is built from."""
        self.options = options
        self.dataset = dataset
        self.category = category
        self._network = network
        self._splits: dict[str, RenderedDataset] = {}
        self._baselines: dict[str, dict[str, float]] = {}

    def model(self) -> nn.Module:
        """The network, freshly initialised."""
        return DrwrNetwork(self.network_settings)

    def training_data(self) -> TrainingData:
        """The training split's samples."""
        return Samples(self._split("train"), self.options)

    def param_groups(self, model: nn.Module) -> dict[str, Group]:
        """One group."""
        halving = self.options.halving
        schedule = (lambda step: 0.5 ** (step / halving)) if halving else None
        rate = self.options.learning_rate
        return {"network": Group(list(model.parameters()), rate, schedule=schedule)}

    def loss(
        self, model: nn.Module, group: str, batch: Mapping[str, Tensor], step: int
    ) -> dict[str, Tensor]:
        """``silhouettes``, DRWR's loss, and ``student``, the pose student's."""
        views = batch["mask"].shape[1]
        pictures = batch["pictures"].flatten(0, 1) if "pictures" in batch else None
        prediction: Prediction = model(batch["image"], pictures)
        shapes = prediction.shapes.float().repeat_interleave(views, dim=0)
        if self._projects(step):
            shapes = some_points(shapes, self._kept(step))
        size = batch["mask"].shape[-1]
        cameras = Cameras(
            batch["intrinsics"].flatten(0, 1),
            batch["world_to_camera"].flatten(0, 1),
            batch["orthographic"].flatten(0, 1),
            (size, size),
        )
        objective = self._objective(batch, step)
        if prediction.candidates is None:
            losses, rotations = objective(shapes, cameras), batch["quaternion"]
        else:
            losses, rotations = hindsight(
                prediction.candidates.float(), lambda q: objective(shapes, turned(cameras, q))
            )
        student = student_loss(rotations, prediction.student.float())
        return {"silhouettes": losses.mean(), "student": STUDENT_WEIGHT * student}

    def _objective(
        self, batch: Mapping[str, Tensor], step: int
    ) -> Callable[[Tensor, Cameras], Tensor]:
        """What a step asks: from M shapes and M cameras to losses ``[M]``.

        Shapes are points ``[M, N, 3]``, or occupancies ``[M, R, R, R]``.
        """
        options, masks = self.options, batch["mask"].flatten(0, 1)
        if options.shape == "voxels":
            return lambda occupancy, cameras: voxel_losses(occupancy, cameras, masks)
        if self._projects(step):
            sigma = self._blur(step)
            return lambda points, cameras: projection_losses(
                points, cameras, masks, sigma, options.grid
            )
        inside = (masks >= 0.5).to(masks.dtype)
        pull = batch["pull"].flatten(0, 1)
        margin = (pull.shape[-1] - masks.shape[-1]) // 2
        form = cast(LossForm, options.loss)
        targets = SilhouetteTargets(form, pull, margin, inside, None, inside.mean((1, 2)))
        terms = self._terms(targets, step)
        return lambda points, cameras: view_losses(
            targets, terms, *project_visible(cameras, points)
        )

    def _projects(self, step: int) -> bool:
        return self.options.loss == "projection" or step < self.options.warmup

    def _kept(self, step: int) -> float:
        """Share of the points that the projection loss sees."""
        return self.options.keep + (1 - self.options.keep) * self._spread(step)

    def _blur(self, step: int) -> float:
        # In tenths, so that few different kernels are made.
        return round(BLUR[0] + (BLUR[1] - BLUR[0]) * self._spread(step), 1)

    def _spread(self, step: int) -> float:
        """How far the cloud's spreading has come, 0 to 1."""
        return min(1.0, step / self.options.spreading) if self.options.spreading else 1.0

    def _terms(self, targets: SilhouetteTargets, step: int) -> LossTerms:
        options = self.options
        terms = default_terms(targets, options.number_of_points)
        left = 0.0
        if options.loss == "recommended":
            left = 1 - self._spread(max(0, step - options.warmup))
        return replace(
            terms,
            alpha=terms.alpha * options.pull,
            beta=terms.beta * options.push * STRONG_START**left,
            sigma=terms.sigma * WIDE_START**left,
            omega=options.omega,
            delta=options.delta,
        )

    def settings(self) -> dict[str, Any]:
        """The network, and the options that trained it."""
        return {"network": asdict(self.network_settings), "options": asdict(self.options)}

    @cached_property
    def network_settings(self) -> NetworkSettings:
        """What the network is built from; its cameras' distance is the training split's mean."""
        if self._network:
            return self._network
        options, data = self.options, self._split("train")
        distances = data.world_to_camera[..., 2, 3][~data.orthographic]
        return NetworkSettings(
            image_size=options.image_size,
            points=options.number_of_points,
            width=options.width,
            candidates=options.candidates if options.cameras == "unknown" else 0,
            distance=float(distances.mean()) if len(distances) else 0.0,
            voxels=options.grid if options.shape == "voxels" else 0,
        )

    def _split(self, split: str) -> RenderedDataset:
        if split not in self._splits:
            self._splits[split] = RenderedDataset(self.dataset, split, self.category)
        return self._splits[split]

    # Scores ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self, model: nn.Module, split: str, report: Callable[[int, int], None]
    ) -> dict[str, float]:
        """Scores of a split's objects, each from several input pictures; nothing is random.

        ``cd_dpc_mean`` and ``cd_dpc_best`` over the input pictures, for voxels of points on their
        surface; ``iou_32`` of the cells that hold a point, or of the voxels themselves;
        ``mask_iou`` of the cloud's silhouettes in the other pictures; the student's
        ``viewpoint_error``, the median in degrees, and ``viewpoint_found``, the share below 30; and
        beside them ``cd_dpc`` of the best constant cloud (``constant_cd_dpc``) and of the training
        object whose picture is most similar (``retrieval_cd_dpc``), and ``cd_of_constant``, the
        quotient of the first and the constant's.

        With unknown cameras the common frame is any; one rotation, found in the validation split,
        turns it into the dataset's.
        """
        alignment = np.eye(3)
        if self.network_settings.candidates:
            alignment = common_rotation(*self._rotations(model, "val"))
        data = self._split(split)
        scores = []
        for index in range(len(data)):
            report(index, len(data))
            scores.append(self._object_scores(model, data, index, alignment))
        report(len(data), len(data))
        mean, best = mean_and_best(np.array([one["cd_dpc"] for one in scores]))
        angles = np.concatenate([one["angles"] for one in scores])
        baselines = self._baseline_scores(split)
        return {
            "cd_dpc_mean": mean,
            "cd_dpc_best": best,
            "iou_32": float(np.mean([one["iou_32"] for one in scores])),
            "mask_iou": float(np.mean([one["mask_iou"] for one in scores])),
            "viewpoint_error": float(np.median(angles)),
            "viewpoint_found": float((angles < RIGHT_ANGLE_ERROR).mean()),
            **baselines,
            "cd_of_constant": mean / baselines["constant_cd_dpc"],
        }

    def _predict(
        self, model: nn.Module, data: RenderedDataset, index: int, views: list[int]
    ) -> tuple[Tensor, np.ndarray]:
        """Shapes and rotations ``[V, 3, 3]``, float64, from some pictures of an object.

        Shapes are points ``[V, N, 3]``, or occupancies ``[V, R, R, R]``.
        """
        size = self.options.image_size
        images = [
            input_image(data.images[index, view], object_square(data, index, view), size)
            for view in views
        ]
        device = next(model.parameters()).device
        prediction: Prediction = model(torch.as_tensor(np.stack(images), device=device))
        rotations = quaternion_to_matrix(prediction.student.cpu().double())
        return prediction.shapes.cpu().double(), rotations.numpy()

    def _cloud(self, shape: Tensor) -> np.ndarray:
        """Points ``[N, 3]`` that stand for a predicted shape."""
        settings = self.network_settings
        return surface_points(shape.numpy(), settings.points) if settings.voxels else shape.numpy()

    def _cells(self, shape: Tensor, alignment: np.ndarray) -> np.ndarray:
        """Which of 32³ cells a shape fills when it is turned by ``alignment``, ``[32, 32, 32]``."""
        if not self.network_settings.voxels:
            return voxelised(shape.numpy() @ alignment.T, SCORED_CELLS)
        centres = grid_points(SCORED_CELLS).flatten(0, 2).double() @ torch.as_tensor(alignment)
        values = interpolate(shape[None], centres).view((SCORED_CELLS,) * 3)
        return (values > surface_level(shape.numpy())).numpy()

    def _object_scores(
        self, model: nn.Module, data: RenderedDataset, index: int, alignment: np.ndarray
    ) -> dict[str, Any]:
        views = scored_views(data)
        shapes, rotations = self._predict(model, data, index, views)
        clouds = np.stack([self._cloud(shape) for shape in shapes]) @ alignment.T
        truth, solid = thinned(data.surface(index)[0]), data.voxels(index, SCORED_CELLS)
        true_rotations = data.world_to_camera[index, views, :3, :3]
        return {
            "cd_dpc": [chamfer_dpc(cloud_distances(cloud, truth)) for cloud in clouds],
            "iou_32": np.mean([iou(self._cells(shape, alignment), solid) for shape in shapes]),
            "mask_iou": self._unseen_iou(data, index, views, clouds),
            "angles": rotation_angles(rotations @ alignment.T, true_rotations),
        }

    def _unseen_iou(
        self, data: RenderedDataset, index: int, views: list[int], clouds: np.ndarray
    ) -> float:
        """Mean IoU of each cloud's silhouettes in the pictures that it was not predicted from."""
        size = self.options.image_size
        squares = [object_square(data, index, view) for view in views]
        masks = [
            mask_of(data.images[index, view], square, size) >= 0.5
            for view, square in zip(views, squares, strict=True)
        ]
        ious = []
        for shown, cloud in enumerate(clouds):
            for other in [i for i in range(len(views)) if i != shown] or [shown]:
                camera = view_camera(data, index, views[other], squares[other], size)
                pixels = camera.project(torch.as_tensor(cloud))[0][0].numpy()
                ious.append(silhouette_iou(cloud_silhouette(pixels, size), masks[other]))
        return float(np.mean(ious))

    def _rotations(self, model: nn.Module, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The student's and the true rotations ``[M, 3, 3]`` of a split's scored pictures."""
        data = self._split(split)
        views = scored_views(data)
        found = [self._predict(model, data, index, views)[1] for index in range(len(data))]
        true = [data.world_to_camera[index, views, :3, :3] for index in range(len(data))]
        return np.concatenate(found), np.concatenate(true).astype(np.float64)

    # What must be beaten --------------------------------------------------------------------------

    def _baseline_scores(self, split: str) -> dict[str, float]:
        if split not in self._baselines:
            data, train = self._split(split), self._split("train")
            truths = [thinned(data.surface(index)[0]) for index in range(len(data))]
            retrieved = [
                chamfer_dpc(cloud_distances(self._thin_surface(nearest), truth))
                for nearest, truth in zip(self._retrieved(data, train), truths, strict=True)
            ]
            self._baselines[split] = {
                "constant_cd_dpc": mean_chamfer(self._constant, truths),
                "retrieval_cd_dpc": float(np.mean(retrieved)),
            }
        return self._baselines[split]

    @cached_property
    def _constant(self) -> np.ndarray:
        surfaces = [self._thin_surface(index) for index in range(len(self._split("train")))]
        return constant_cloud(surfaces, CONSTANT_POINTS)

    def _thin_surface(self, index: int) -> np.ndarray:
        """A training object's surface, thin enough for many comparisons."""
        return thinned(self._split("train").surface(index)[0], 0.02)

    def _retrieved(self, data: RenderedDataset, train: RenderedDataset) -> list[int]:
        """For each object, from its first scored picture, the most similar training object."""
        views = range(0, train.views, max(1, train.views // 8))
        shown = [(index, view) for index in range(len(train)) for view in views]
        known = np.stack([self._thumbnail(train, *one) for one in shown])
        first = scored_views(data)[0]
        asked = np.stack([self._thumbnail(data, index, first) for index in range(len(data))])
        return [shown[found][0] for found in nearest_images(asked, known)]

    def _thumbnail(self, data: RenderedDataset, index: int, view: int) -> np.ndarray:
        square = object_square(data, index, view)
        image = input_image(data.images[index, view], square, 24)
        return np.concatenate([image, mask_of(data.images[index, view], square, 24)[None]])

    # Pictures -------------------------------------------------------------------------------------

    @torch.no_grad()
    def pictures(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Of some validation objects: the image, and the shape's points over two masks.

        Where cloud and mask agree it is grey, the cloud alone is red, the mask alone blue.
        """
        data, size = self._split("val"), self.options.image_size
        rows = {}
        for index in range(min(PICTURED, len(data))):
            views = scored_views(data)[:2]
            shapes, _ = self._predict(model, data, index, views[:1])
            cloud = torch.as_tensor(self._cloud(shapes[0]))
            squares = [object_square(data, index, view) for view in views]
            image = input_image(data.images[index, views[0]], squares[0], size)
            panels = [np.rint(image.transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)]
            for view, square in zip(views, squares, strict=True):
                camera = view_camera(data, index, view, square, size)
                pixels = camera.project(cloud)[0][0].numpy()
                mask = mask_of(data.images[index, view], square, size) >= 0.5
                panels.append(_compared(cloud_silhouette(pixels, size), mask))
            row = np.concatenate(panels, axis=1)
            name = data.keys[index].replace("/", "_")
            rows[name] = row.repeat(3, axis=0).repeat(3, axis=1)
        return rows


def scored_views(data: RenderedDataset) -> list[int]:
    """The input pictures that are scored, spread over the views."""
    count = min(SCORED_VIEWS, data.views)
    return [round(i * data.views / count) for i in range(count)]


def view_camera(
    data: RenderedDataset,
    index: int,
    view: int,
    square: CutOut,
    size: int,
    dtype: torch.dtype = torch.float64,
) -> Cameras:
    """The camera of a cut-out at ``size`` pixels."""
    intrinsics = square.intrinsics(data.intrinsics[index, view], size)
    return Cameras(
        torch.as_tensor(intrinsics[None], dtype=dtype),
        torch.as_tensor(data.world_to_camera[index, view][None], dtype=dtype),
        torch.as_tensor(data.orthographic[index, view][None]),
        (size, size),
    )


def _compared(found: np.ndarray, mask: np.ndarray) -> np.ndarray:
    colors = np.array([[20, 20, 20], [60, 90, 230], [230, 70, 50], [200, 200, 200]], np.uint8)
    return colors[2 * found.astype(int) + mask]


def rotation_angles(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angles ``[M]`` in degrees between rotations ``[M, 3, 3]``."""
    cosines = (np.einsum("mij,mij->m", found, true) - 1) / 2
    return np.degrees(np.arccos(cosines.clip(-1, 1)))


def common_rotation(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The one rotation ``[3, 3]`` that turns learnt points into the dataset's frame.

    Each picture says ``true^T found``; of those, the one that most others agree with within 30
    degrees is averaged with them (F. L. Markley et al., "Averaging Quaternions", 2007). Pictures
    whose camera was not found so have no say.

    Args:
        found: ``[M, 3, 3]`` learnt world to camera.
        true: ``[M, 3, 3]`` the dataset's.
    """
    said = matrix_to_quaternion(true.transpose(0, 2, 1) @ found)
    agree = np.abs(said @ said.T) > math.cos(math.radians(RIGHT_ANGLE_ERROR) / 2)
    near = said[agree[agree.sum(axis=1).argmax()]]
    mean = np.linalg.eigh(near.T @ near)[1][:, -1]
    return quaternion_to_matrix(torch.as_tensor(mean)).numpy()


# The front page -----------------------------------------------------------------------------------


def _make(options: Options, dataset: Path, category: str) -> DrwrRecipe:
    return DrwrRecipe(options, dataset, category)


def _restore(settings: Mapping[str, Any], dataset: Path, category: str) -> DrwrRecipe:
    fields = {field.name: field for field in dataclasses.fields(Options)}
    given = settings.get("options")
    if not isinstance(given, Mapping) or set(given) - set(fields):
        raise InputError(
            "drwr: the model card's options are not this version's; train the checkpoint again."
        )
    options = {name: checked_value("drwr", fields[name], value) for name, value in given.items()}
    with torch.device("meta"):
        network = from_settings(settings).settings
    return DrwrRecipe(Options(**options), dataset, category, network)


SPEC = RecipeSpec(
    name="drwr",
    method="drwr_single_image",
    summary="One image to a point cloud, learned from silhouettes with known or unknown cameras.",
    citation="Z. Han et al., DRWR: A Differentiable Renderer without Rendering, ICML 2020",
    options=Options,
    make=_make,
    restore=_restore,
    best=("cd_dpc_mean", "lowest"),
    batch_size=8,
    steps=100_000,
)
