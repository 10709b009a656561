"""What every method offers: its description, its parameters and one call.

Needs numpy at most, so that the panel can draw a method's parameters without torch.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from ..geometry.mesh import Mesh
    from ..views import Camera, Views


QUALITIES = ("draft", "standard", "high")


def param(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a method's ``Params``: one line here is the slider, the option and the JSON key.

    Args:
        default: Value used when neither the user nor the quality preset sets one.
        description: One sentence; the panel's tooltip and the command line's help.
        minimum: Smallest accepted number, inclusive.
        maximum: Largest accepted number, inclusive.
        choices: The accepted words of a text parameter.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    return field(default=default, metadata=metadata)


MakePreview = Callable[[], "Mesh | None"]
"""Makes a mesh to look at meanwhile, if there is anything to see yet."""


class Report(Protocol):
    """Tells progress and asks whether to go on."""

    def __call__(self, fraction: float, message: str, preview: MakePreview | None = None) -> None:
        """Report that ``fraction`` in [0, 1] of the method's work is done.

        Args:
            fraction: Share of the work that is done.
            message: The stage's name, as the progress bar shows it.
            preview: Makes a mesh in the unit cube to look at meanwhile. Called before this returns,
                and only if somebody looks.

        Raises:
            Cancelled: The user no longer wants the result.
        """
        ...


class Reconstructor(Protocol):
    """A method that is loaded and ready on its device."""

    def reconstruct(self, views: Views, report: Report) -> Mesh:
        """Return a closed mesh in the unit cube of ``views``."""
        ...


class SingleImageReconstructor(Reconstructor, Protocol):
    """A method that makes out from one photograph where its camera stood."""

    def camera(self, views: Views) -> Camera:
        """The camera of the one square picture in ``views``, whose own camera means nothing.

        Returns:
            In the unit cube of the object's canonical pose: it faces -Y, Z is up.
        """
        ...


@dataclass(frozen=True)
class MethodSpec:
    """A method's front page: what the panel and ``methods`` show, and how its parameters are made.

    Attributes:
        name: The word on the command line; the folder's name below ``backend/methods`` too, but
            where ``folder`` names another.
        label: Name on the panel.
        summary: One sentence: what it needs and what it gives.
        citation: The paper.
        minimum_views: Fewest views that it accepts.
        needs_cameras: Whether every view must have a camera. A method that needs none is a
            :class:`SingleImageReconstructor`.
        needs_checkpoint: Whether it needs trained weights.
        params: Frozen dataclass whose fields are made by :func:`param`.
        presets: Parameter values that each quality sets; a value given by the user wins.
        image_size: Pixels along the side of the square working images, for each quality.
        seconds: What each quality takes for 8 views on the reference machine (2 cores), about.
        memory_gib: Main memory that each quality takes at its highest, about.
        maximum_views: Most views that it accepts, or None.
        folder: Folder name below ``backend/methods``, for the second method of one paper.
    """

    name: str
    label: str
    summary: str
    citation: str
    minimum_views: int
    needs_cameras: bool
    needs_checkpoint: bool
    params: type
    presets: Mapping[str, Mapping[str, Any]]
    image_size: Mapping[str, int]
    seconds: Mapping[str, float]
    memory_gib: Mapping[str, float]
    maximum_views: int | None = None
    folder: str = ""

    def why_not(self, views: int, checkpoint: str, noun: str = "view") -> str:
        """Why the method cannot be used with so many views and these weights; empty if it can."""
        if self.needs_checkpoint and not checkpoint:
            return f"{self.label} needs a checkpoint (trained weights), and none is chosen."
        if checkpoint and not self.needs_checkpoint:
            return f"{self.label} takes no checkpoint."
        if views < self.minimum_views:
            return f"{self.label} needs {_counted(self.minimum_views, noun)} or more, got {views}."
        if self.maximum_views is not None and views > self.maximum_views:
            return f"{self.label} reads {_counted(self.maximum_views, noun)}, got {views}."
        return ""

    def make_params(self, quality: str, values: Mapping[str, Any]) -> Any:
        """Build ``Params``: the user's values, else the quality's preset, else the defaults.

        Text is converted to the field's type; ranges and choices are checked.

        Raises:
            InputError: Unknown parameter, unreadable value, or a value outside its range.
        """
        fields = {f.name: f for f in dataclasses.fields(self.params)}
        chosen: dict[str, Any] = dict(self.presets.get(quality, {}))
        for name, value in values.items():
            if name not in fields:
                raise InputError(
                    f"{self.name} has no parameter '{name}'; it has: {', '.join(fields)}."
                )
            chosen[name] = checked_value(self.name, fields[name], value)
        return self.params(**chosen)

    def load(
        self, params: Any, device: str, seed: int, checkpoint: str | None = None
    ) -> Reconstructor:
        """Import the method's heavy half and make it ready on ``device``."""
        folder = self.folder or self.name
        module = importlib.import_module(f".{folder}.reconstruct", __package__)
        return module.load(checkpoint, params, device, seed)


def _counted(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def checked_value(owner: str, param_field: dataclasses.Field, value: Any) -> Any:
    """A value of a field made by :func:`param`, converted to the field's type.

    Args:
        owner: How messages call whose field it is.
        param_field: The field.
        value: A value of its type, or text.

    Raises:
        InputError: It cannot be converted, or lies outside the range or the choices.
    """
    metadata, name = param_field.metadata, param_field.name
    try:
        value = _converted(type(param_field.default), value)
    except (TypeError, ValueError):
        kind = type(param_field.default).__name__
        raise InputError(f"{owner}: {name} must be of type {kind}, got '{value}'.") from None
    choices = metadata["choices"]
    if choices and value not in choices:
        raise InputError(f"{owner}: {name} must be one of {', '.join(choices)}, got '{value}'.")
    low, high = metadata["minimum"], metadata["maximum"]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        too_low = low is not None and not value >= low
        too_high = high is not None and not value <= high
        if too_low or too_high:
            bounds = f"between {low} and {high}" if high is not None else f"{low} or more"
            raise InputError(f"{owner}: {name} must be {bounds}, got {value}.")
    return value


def _converted(kind: type, value: Any) -> Any:
    if kind is bool and isinstance(value, str):
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if value.lower() not in words:
            raise ValueError(value)
        return words[value.lower()]
    if kind is int and isinstance(value, float) and value != int(value):
        raise ValueError(value)
    return kind(value)
