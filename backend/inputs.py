"""From what the user named (files, a folder, a sheet of drawings) to views in the world."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .camera_files import find_camera_file, read_cameras
from .errors import InputError
from .files import png, write_files
from .images import Picture, find_mask, image_size, read_image, undistorted
from .named_views import NAMED_VIEWS, named_cameras, split_sheet
from .protocol import FindMask, Mask, Reconstruct
from .views import Camera, View

MASK_WORDS = ("auto", "alpha")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Inputs:
    """What a job starts from.

    Attributes:
        views: In the world.
        mask_sources: How each view's mask was found, by the view's name.
        warnings: One sentence each.
        hashes: SHA-256 of every file that was read, by its name.
        posed: Whether the views' cameras mean anything.
    """

    views: list[View]
    mask_sources: dict[str, str]
    warnings: list[str]
    hashes: dict[str, str]
    posed: bool = True


@dataclass
class _Pending:
    """A picture on its way to a view."""

    name: str
    picture: Picture
    camera: Camera | None = None
    mask_file: Path | None = None


@dataclass
class _Reading:
    """Collects what is said and read on the way."""

    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def picture(self, path: Path) -> Picture:
        self.files.append(path)
        return read_image(path)


def read_inputs(request: Reconstruct, align: str, needs_cameras: bool = True) -> Inputs:
    """Read the pictures, masks and cameras that ``request`` names.

    Args:
        request: What the user asked for.
        align: How named views agree on a scale, see ``named_views.named_cameras``.
        needs_cameras: Whether pictures of which nobody says from where they are seen are refused.

    Raises:
        InputError: Whatever cannot be used, in one sentence.
    """
    _check_one_source(request)
    reading, posed = _Reading(), True
    if request.sheet:
        views, sources = _read_sheet(request, align, reading)
    else:
        pending = _read_pictures(request, reading)
        views, sources = _masked(pending, request, reading)
        if request.views or any(item.camera is None for item in pending):
            names = request.views or _views_from_names(pending, needs_cameras)
            posed = bool(names)
            views = _with_named_cameras(views, names, align, reading) if posed else views
    return Inputs(views, sources, reading.warnings, _hashes(reading.files), posed)


def _check_one_source(request: Reconstruct) -> None:
    """Refuse a request that names nothing, or says twice from where the pictures were taken."""
    if not request.inputs:
        raise InputError("no input is named; give image files, or one folder with images.")
    given = [word for word in ("views", "sheet", "cameras") if getattr(request, word)]
    if len(given) > 1:
        raise InputError(
            f"--{' and --'.join(given)} each say from where the pictures are seen; give one."
        )


def _read_pictures(request: Reconstruct, reading: _Reading) -> list[_Pending]:
    """The pictures, with cameras where a camera file gives them."""
    paths = [Path(text) for text in request.inputs]
    for path in paths:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}.")
    folder = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    if folder is None and any(path.is_dir() for path in paths):
        raise InputError("give image files, or one folder; not a folder among files.")
    images = [] if folder else paths
    if request.views or not (request.cameras or (folder and not _holds_only_drawings(folder))):
        images = images or _images_in(paths[0])
        return _uniquely_named([_Pending(path.name, reading.picture(path)) for path in images])
    return _posed_pictures(request, folder, images, reading)


def _holds_only_drawings(folder: Path) -> bool:
    """Whether all that lies in a folder is called front.png and the like."""
    names = [path.stem.lower() for path in folder.iterdir()]
    return bool(names) and all(name in NAMED_VIEWS for name in names)


def _posed_pictures(
    request: Reconstruct, folder: Path | None, images: Sequence[Path], reading: _Reading
) -> list[_Pending]:
    """The pictures of a camera file."""
    camera_file = Path(request.cameras) if request.cameras else find_camera_file(folder or Path())
    if folder and request.cameras and not _names_its_images(camera_file):
        images = _images_in(folder)
    posed = read_cameras(camera_file, images, image_size)
    reading.warnings.extend(posed.warnings)
    reading.files.extend([camera_file] if camera_file.is_file() else [])
    pending = []
    for item in posed.images:
        picture, camera = undistorted(reading.picture(item.image), item.camera)
        pending.append(_Pending(item.image.name, picture, camera, item.mask))
    return _uniquely_named(pending)


def _names_its_images(camera_file: Path) -> bool:
    """Whether images are found through the camera file, and so need not be given."""
    return camera_file.suffix == ".json" or camera_file.name.endswith("_par.txt")


def _uniquely_named(pending: list[_Pending]) -> list[_Pending]:
    """Number the pictures whose names repeat, as those of several folders do."""
    names = [item.name for item in pending]
    for index, item in enumerate(pending):
        if names.count(item.name) > 1:
            item.name = f"{index:03d} {item.name}"
    return pending


def _images_in(folder: Path) -> list[Path]:
    """The images of a folder, or of the folder ``images`` in it."""
    for place in (folder, folder / "images"):
        inside = place.iterdir() if place.is_dir() else ()
        if found := sorted(path for path in inside if path.suffix.lower() in IMAGE_SUFFIXES):
            return found
    raise InputError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {folder}.")


def _masked(
    pending: Sequence[_Pending], request: Reconstruct, reading: _Reading
) -> tuple[list[View], dict[str, str]]:
    """Find every mask; the camera of a view without one is set later."""
    views, sources = [], {}
    for item, choice in zip(pending, _mask_choices(request.masks, len(pending)), strict=True):
        mode, mask_file = _mode_and_file(choice)
        mask_file = mask_file or item.mask_file
        if mask_file is not None:
            reading.files.append(mask_file)
        mask = find_mask(item.picture, item.name, mask_file, mode)
        reading.warnings.extend(mask.warnings)
        sources[item.name] = mask.source
        camera = item.camera or _placeholder(mask.coverage.shape)
        views.append(View(item.name, item.picture.pixels, mask.coverage, camera))
    return views, sources


def _mask_choices(masks: Sequence[str], count: int) -> Sequence[str]:
    """One choice for each of ``count`` pictures: "auto", "alpha" or a file."""
    if len(masks) == 1 and masks[0] in MASK_WORDS:
        return [masks[0]] * count
    if len(masks) != count:
        files = "masks" if set(masks) & set(MASK_WORDS) else "mask files"
        raise InputError(f"{len(masks)} {files} for {count} images; give one for each image.")
    return masks


def _mode_and_file(choice: str) -> tuple[str, Path | None]:
    """What ``find_mask`` takes for "auto", "alpha" or a file."""
    return (choice, None) if choice in MASK_WORDS else ("auto", Path(choice))


def write_mask(request: FindMask) -> Mask:
    """Find one picture's mask and write it as a grey PNG of the picture's size.

    Raises:
        InputError: The picture or the mask file cannot be used, or no object is found.
        ReconstructionError: Writing failed.
    """
    mode, mask_file = _mode_and_file(request.mask)
    image = Path(request.image)
    found = find_mask(read_image(image), image.name, mask_file, mode)
    grey = np.round(found.coverage.clip(0, 1) * 255).astype(np.uint8)
    write_files({Path(request.output): png(grey)})
    return Mask(request.image, request.output, found.source, found.warnings, request.job)


def _placeholder(size: tuple[int, ...]) -> Camera:
    return Camera(np.eye(3), np.eye(4), (size[0], size[1]), orthographic=True)


def _views_from_names(pending: Sequence[_Pending], needed: bool) -> tuple[str, ...]:
    """Named views out of file names such as ``front.png``; none if they are not called so.

    Raises:
        InputError: They are not called so, and views are needed.
    """
    stems = tuple(Path(item.name).stem.lower() for item in pending)
    if all(stem in NAMED_VIEWS for stem in stems):
        return stems
    if not needed:
        return ()
    raise InputError(
        f"{len(pending)} images but no cameras; say from where each is seen "
        "(--views front,right,...) or give a camera file (--cameras FILE)."
    )


def _with_named_cameras(
    views: Sequence[View], names: Sequence[str], align: str, reading: _Reading
) -> list[View]:
    cameras, warnings = named_cameras(names, [view.mask for view in views], align)
    reading.warnings.extend(warnings)
    return [replace(view, camera=camera) for view, camera in zip(views, cameras, strict=True)]


def _read_sheet(
    request: Reconstruct, align: str, reading: _Reading
) -> tuple[list[View], dict[str, str]]:
    """Cut one picture into its drawings."""
    if len(request.inputs) != 1 or not Path(request.inputs[0]).is_file():
        raise InputError(f"a sheet is one picture, got {len(request.inputs)} inputs or no file.")
    path = Path(request.inputs[0])
    whole, sources = _masked([_Pending(path.name, reading.picture(path))], request, reading)
    # A sheet's mask is in pieces on purpose.
    reading.warnings[:] = [text for text in reading.warnings if "pieces" not in text]
    image, mask = whole[0].image, whole[0].mask
    cuts = split_sheet(image, mask, request.sheet)
    views = [
        View(name, image[cut], mask[cut], _placeholder(mask[cut].shape))
        for name, cut in zip(request.sheet, cuts, strict=True)
    ]
    source = sources[path.name]
    named = _with_named_cameras(views, request.sheet, align, reading)
    return named, {view.name: source for view in named}


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of each file by its name; by its folder and name where two share the name."""
    unique = dict.fromkeys(files)
    names = [path.name for path in unique]
    keys = [p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}" for p in unique]
    return {key: _sha256(path) for key, path in zip(keys, unique, strict=True)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
