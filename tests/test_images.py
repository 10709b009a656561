"""Reading, masks and working pictures, on files that the tests write themselves."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import InputError
from backend.images import (
    Picture,
    find_mask,
    image_size,
    mirrored,
    read_image,
    undistorted,
    working_views,
)
from backend.views import Camera, Similarity, View

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (5, 7, 4)).astype(np.uint8)
WORDS = RNG.integers(0, 65536, (5, 7, 4)).astype(np.uint16)

# EXIF 2.3, tag 0x0112: what the stored row 0 and column 0 are on the upright picture, undone.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a),
}


def png16(values: np.ndarray) -> bytes:
    """A 16-bit PNG of 1 (grey), 2 (grey, alpha), 3 or 4 channels, written by hand."""
    height, width, channels = values.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff16(values: np.ndarray, orientation: int = 1) -> bytes:
    """An uncompressed little-endian 16-bit TIFF of 1, 3 or 4 channels, written by hand."""
    height, width, channels = values.shape
    data = values.astype("<u2").tobytes()
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 1 if channels == 1 else 2}
    tags |= {273: 0, 274: orientation, 277: channels, 278: height, 279: len(data)}
    tags |= {338: 2} if channels == 4 else {}
    bits_at = 8 + 2 + 12 * len(tags) + 4
    tags[273] = bits_at + 2 * channels
    if channels > 2:
        tags[258] = bits_at
    counts = {258: channels}
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, counts.get(tag, 1), value)
        for tag, value in sorted(tags.items())
    )
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + directory + bits + data


def assert_picture(picture: Picture, values: np.ndarray, largest: float, tolerance: float = 1e-6):
    """Compare with ``[H, W, C]`` stored values of grey, grey + alpha, RGB or RGBA."""
    channels = values.shape[2]
    colours = values[..., :1].repeat(3, axis=2) if channels < 3 else values[..., :3]
    assert picture.pixels.dtype == np.float32
    np.testing.assert_allclose(picture.pixels, colours / largest, atol=tolerance)
    if channels in (1, 3):
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert picture.alpha.dtype == np.float32
        np.testing.assert_allclose(picture.alpha, values[..., -1] / largest, atol=tolerance)


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless_8_bit_files_keep_their_values(tmp_path: Path, ending: str, mode: str):
    channels = len(mode)
    if ending == "webp" and mode == "LA":
        mode, channels = "RGBA", 4
    values = BYTES[..., :channels]
    path = tmp_path / f"picture.{ending}"
    picture = Image.fromarray(values.squeeze(), mode)
    if ending == "webp":
        picture.save(path, lossless=True, exact=True)
    else:
        picture.save(path)
    assert_picture(read_image(path), values, 255)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_its_values(tmp_path: Path, channels: int):
    path = tmp_path / "tiefe Bilder ü.png"
    path.write_bytes(png16(WORDS[..., :channels]))
    assert_picture(read_image(path), WORDS[..., :channels], 65535)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_tiff_keeps_its_values_and_is_turned_once(
    tmp_path: Path, channels: int, orientation: int
):
    path = tmp_path / "picture.tiff"
    path.write_bytes(tiff16(WORDS[..., :channels], orientation))
    expected = UPRIGHT[orientation](WORDS[..., :channels])
    assert_picture(read_image(path), expected, 65535)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("ending", ["png", "tif", "webp", "jpg"])
def test_exif_orientation_is_undone(tmp_path: Path, ending: str, orientation: int):
    stored = np.full((16, 32, 3), 255, np.uint8)
    stored[:8, :8], stored[8:, :8] = (255, 0, 0), (0, 0, 255)  # no symmetry leaves this as it is
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(stored).save(path, exif=exif, lossless=True, quality=98, subsampling=0)
    expected = UPRIGHT[orientation](stored)
    assert_picture(read_image(path), expected, 255, 0.03 if ending == "jpg" else 1e-6)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_of_16_bit_png_is_undone(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    carrier = io.BytesIO()
    Image.new("L", (1, 1)).save(carrier, "PNG", exif=exif)
    written = carrier.getvalue()
    start = written.index(b"eXIf") - 4
    length = struct.unpack(">I", written[start : start + 4])[0]
    plain = png16(WORDS[..., :3])
    path = tmp_path / "picture.png"
    path.write_bytes(plain[:33] + written[start : start + 12 + length] + plain[33:])
    expected = UPRIGHT[orientation](WORDS[..., :3])
    assert_picture(read_image(path), expected, 65535)
    assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_kind(tmp_path: Path, mode: str):
    colour = (200, 200, 200) if mode == "L" else (200, 80, 40)
    picture = Image.new("RGB", (20, 10), colour).convert(mode)
    picture.save(tmp_path / "picture.jpg", quality=95)
    expected = np.broadcast_to(np.array(colour), (10, 20, 3))
    assert_picture(read_image(tmp_path / "picture.jpg"), expected, 255, 0.015)


def test_palette_with_a_transparent_colour(tmp_path: Path):
    picture = Image.new("P", (3, 2), 1)
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "picture.png", transparency=0)
    expected = np.broadcast_to(np.array([200, 100, 50, 255]), (2, 3, 4)).copy()
    expected[0, 0] = 10, 20, 30, 0
    assert_picture(read_image(tmp_path / "picture.png"), expected, 255)


def test_black_and_white_bits(tmp_path: Path):
    values = BYTES[..., :1] > 127
    Image.fromarray(values[..., 0]).save(tmp_path / "picture.png")
    assert_picture(read_image(tmp_path / "picture.png"), values, 1)


@pytest.mark.parametrize("ending", ["webp", "gif", "tif"])
def test_first_frame_of_several(tmp_path: Path, ending: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / f"picture.{ending}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert_picture(read_image(path), np.broadcast_to([255, 0, 0], (8, 8, 3)), 255, 0.02)


@pytest.mark.parametrize("reader", [read_image, image_size])
@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "does not exist"), (b"", "is empty"), (b"no picture at all", "is not an image")],
)
def test_what_is_no_image_is_named(tmp_path: Path, reader, content, sentence: str):
    path = tmp_path / "front.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"front\.png.* {sentence}"):
        reader(path)


def test_folder_is_no_image(tmp_path: Path):
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


def noise_file(path: Path) -> bytes:
    values = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(values).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_file_is_named(tmp_path: Path, ending: str, share: float):
    path = tmp_path / f"front.{ending}"
    content = noise_file(path)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"front\."):
        read_image(path)


@pytest.mark.parametrize("write", [png16, tiff16])
def test_truncated_16_bit_file_is_named(tmp_path: Path, write):
    path = tmp_path / "front.image"
    path.write_bytes(write(RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16))[:9000])
    with pytest.raises(InputError, match=r"front\.image is damaged"):
        read_image(path)


@pytest.mark.parametrize("megapixels", [101, 150, 400])
def test_huge_picture_is_refused_in_words(tmp_path: Path, megapixels: int, recwarn):
    content = bytearray(png16(WORDS[..., :3]))
    content[16:24] = struct.pack(">II", 10_000, megapixels * 100)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path = tmp_path / "front.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"front\.png has more than 100 megapixels"):
        image_size(path)
    assert not recwarn.list


def test_floating_point_tiff_is_refused_in_words(tmp_path: Path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "front.tif")
    with pytest.raises(InputError, match="32 bits a channel"):
        read_image(tmp_path / "front.tif")


# --- masks ---------------------------------------------------------------------------------------


def disc(
    centre: tuple[float, float], radius: float, size: tuple[int, int] = (120, 160)
) -> np.ndarray:
    """Coverage ``[H, W]`` of a disc about ``centre`` (x, y), by 8 x 8 samples a pixel."""
    y, x = ((np.arange(8 * length) + 0.5) / 8 for length in size)
    inside = np.hypot(x[None] - centre[0], y[:, None] - centre[1]) < radius
    return inside.reshape(size[0], 8, size[1], 8).mean(axis=(1, 3)).astype(np.float32)


def picture_of(coverage: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    red, white = np.array([0.8, 0.2, 0.1]), np.ones(3)
    share = coverage[..., None]
    return Picture((share * red + (1 - share) * white).astype(np.float32), alpha)


DISC = disc((85.3, 58.6), 30.2)


def save_grey(path: Path, coverage: np.ndarray) -> Path:
    Image.fromarray(np.rint(coverage * 255).astype(np.uint8)).save(path)
    return path


def test_the_users_file_comes_first(tmp_path: Path):
    path = save_grey(tmp_path / "mask.png", DISC)
    other = disc((40.0, 40.0), 20.0)
    mask = find_mask(picture_of(other, alpha=other), "front.png", path, "auto")
    assert mask.source == "file"
    assert mask.warnings == ()
    np.testing.assert_allclose(mask.coverage, DISC, atol=1 / 255)


def test_mask_file_may_hold_its_mask_in_alpha(tmp_path: Path):
    values = np.zeros((120, 160, 4), np.uint8)
    values[..., 3] = np.rint(DISC * 255)
    Image.fromarray(values).save(tmp_path / "mask.png")
    mask = find_mask(picture_of(DISC), "front.png", tmp_path / "mask.png", "auto")
    np.testing.assert_allclose(mask.coverage, DISC, atol=1 / 255)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_mask_file_of_the_same_shape_is_resized(tmp_path: Path, scale: float):
    size = (round(120 * scale), round(160 * scale))
    scaled = disc((85.3 * scale, 58.6 * scale), 30.2 * scale, size)
    mask = find_mask(
        picture_of(DISC), "front.png", save_grey(tmp_path / "mask.png", scaled), "auto"
    )
    assert mask.coverage.shape == DISC.shape
    np.testing.assert_allclose(centroid(mask.coverage), centroid(DISC), atol=0.02)
    assert mask.coverage.sum() == pytest.approx(DISC.sum(), rel=2e-3)


def test_mask_file_of_another_shape_is_refused(tmp_path: Path):
    path = save_grey(tmp_path / "mask.png", np.ones((100, 160), np.float32))
    with pytest.raises(InputError, match=r"mask\.png is 160 x 100 .* front\.png is 160 x 120"):
        find_mask(picture_of(DISC), "front.png", path, "auto")


def test_alpha_comes_second():
    mask = find_mask(picture_of(disc((40.0, 40.0), 20.0), alpha=DISC), "front.png", None, "auto")
    assert mask.source == "alpha"
    np.testing.assert_array_equal(mask.coverage, DISC)


@pytest.mark.parametrize("alpha", [None, np.full(DISC.shape, 0.99, np.float32)])
def test_without_usable_alpha_the_mask_is_automatic(alpha: np.ndarray | None):
    mask = find_mask(picture_of(DISC, alpha), "front.png", None, "auto")
    assert mask.source == "plain background"
    assert mask.warnings == ()
    assert np.minimum(mask.coverage, DISC).sum() / np.maximum(mask.coverage, DISC).sum() > 0.99


@pytest.mark.parametrize(
    ("alpha", "found"), [(None, "no alpha channel"), (np.ones_like(DISC), "opaque")]
)
def test_mode_alpha_takes_nothing_else(alpha: np.ndarray | None, found: str):
    with pytest.raises(InputError, match=rf"front\.png has .*{found}"):
        find_mask(picture_of(DISC, alpha), "front.png", None, "alpha")


@pytest.mark.parametrize(
    "picture",
    [picture_of(np.zeros_like(DISC)), picture_of(DISC, alpha=np.zeros_like(DISC))],
    ids=["plain background", "alpha"],
)
def test_empty_mask_is_an_error(picture: Picture):
    with pytest.raises(InputError, match=r"no object found in front\.png"):
        find_mask(picture, "front.png", None, "auto")


def test_black_mask_file_is_an_error(tmp_path: Path):
    path = save_grey(tmp_path / "mask.png", np.zeros_like(DISC))
    with pytest.raises(InputError, match=r"no object found in front\.png .*white means object"):
        find_mask(picture_of(DISC), "front.png", path, "auto")


def test_tiny_picture_has_no_automatic_mask():
    with pytest.raises(InputError, match=r"front\.png is smaller than 16 pixels"):
        find_mask(Picture(np.ones((10, 40, 3), np.float32)), "front.png", None, "auto")


def warnings_of(alpha: np.ndarray) -> tuple[str, ...]:
    return find_mask(picture_of(alpha, alpha), "front.png", None, "auto").warnings


def test_warning_when_nearly_full():
    alpha = np.ones((100, 100), np.float32)
    alpha[:, :3] = 0
    full, touches = warnings_of(alpha)
    assert full.startswith("front.png: the mask covers 97% of the picture")
    assert "right, top, bottom" in touches


def test_warning_counts_pieces_above_a_hundredth_of_the_largest():
    parts = ((50.0, 60.0), 30.0), ((110.0, 60.0), 12.0), ((140.0, 20.0), 5.0), ((140.0, 90.0), 1.5)
    (warning,) = warnings_of(np.maximum.reduce([disc(*part) for part in parts]))
    assert warning.startswith("front.png: the mask is in 3 pieces")


@pytest.mark.parametrize(
    ("centre", "sides"),
    [
        ((10.0, 60.0), "left"),
        ((150.0, 60.0), "right"),
        ((80.0, 10.0), "top"),
        ((150.0, 110.0), "right, bottom"),
    ],
)
def test_warning_names_the_sides_that_are_touched(centre: tuple[float, float], sides: str):
    (warning,) = warnings_of(disc(centre, 30.0))
    assert warning.startswith(f"front.png: the object touches the {sides} border")


# --- cameras of changed pictures -----------------------------------------------------------------


def camera_at(size: tuple[int, int], distortion: tuple[float, ...] = ()) -> Camera:
    turn = np.deg2rad(20)
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    pose[:3, 3] = 0.1, -0.2, 3.0
    intrinsics = np.array([[180.0, 0, size[1] / 2 + 3.3], [0, 175.0, size[0] / 2 - 2.1], [0, 0, 1]])
    return Camera(intrinsics, pose, size, distortion=distortion)


def distorted_pixel(camera: Camera, point: np.ndarray) -> np.ndarray:
    """Brown's model, as OpenCV documents it, written out."""
    x, y, z = camera.world_to_camera[:3, :3] @ point + camera.world_to_camera[:3, 3]
    x, y = x / z, y / z
    k1, k2, p1, p2, k3 = camera.distortion
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    bent = np.array(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ]
    )
    return camera.intrinsics[:2, :2] @ bent + camera.intrinsics[:2, 2]


def centroid(coverage: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: coverage.shape[0], : coverage.shape[1]] + 0.5
    return np.array([(x * coverage).sum(), (y * coverage).sum()]) / coverage.sum()


@pytest.mark.parametrize("point", [(0.5, 0.4, 0.1), (-0.9, 0.6, 0.0), (0.1, -0.3, 0.3)])
def test_undistorted_spot_is_where_the_camera_without_lens_sees_it(point):
    bent_camera = camera_at((120, 160), (-0.3, 0.1, 0.004, -0.006, 0.02))
    spot = disc(tuple(distorted_pixel(bent_camera, np.array(point))), 4.0)
    picture, camera = undistorted(picture_of(spot, spot), bent_camera)
    expected, _ = camera.project(np.array(point))
    assert camera.distortion == ()
    assert np.linalg.norm(distorted_pixel(bent_camera, np.array(point)) - expected) > 0.2
    assert picture.alpha is not None
    np.testing.assert_allclose(centroid(picture.alpha), expected, atol=0.05)
    np.testing.assert_allclose(centroid(1 - picture.pixels[..., 2]), expected, atol=0.05)


def test_picture_without_distortion_is_left_alone():
    picture = picture_of(DISC)
    same, camera = undistorted(picture, camera_at((120, 160), (0.0, 0.0)))
    assert same is picture
    assert camera.distortion == ()


def view_of(centre: tuple[float, float], radius: float, camera: Camera) -> View:
    coverage = disc(centre, radius, camera.image_size)
    return View("front.png", picture_of(coverage).pixels, coverage, camera)


@pytest.mark.parametrize("size", [32, 50, 64, 256])
@pytest.mark.parametrize("orthographic", [False, True])
def test_disc_stays_under_its_projected_centre(size: int, orthographic: bool):
    camera = camera_at((240, 320))
    camera = Camera(camera.intrinsics, camera.world_to_camera, (240, 320), orthographic)
    world, to_world = np.array([0.11, 0.23, -0.04]), Similarity(2.5, np.array([0.3, -0.1, 0.2]))
    pixel, _ = camera.project(world)
    views = working_views([view_of(tuple(pixel), 41.7, camera)], to_world, size)
    in_cube = (world - to_world.offset) / to_world.scale
    expected, _ = views.cameras[0].project(in_cube)
    assert views.cameras[0].image_size == (size, size)
    np.testing.assert_allclose(centroid(views.masks[0]), expected, atol=0.05)
    zoom = views.cameras[0].intrinsics[0, 0] / camera.in_unit_cube(to_world).intrinsics[0, 0]
    assert np.sqrt(views.masks[0].sum() / np.pi) == pytest.approx(41.7 * zoom, abs=0.05)


def test_disc_fills_the_square_but_for_the_margin():
    views = working_views([view_of((150.2, 100.9), 41.7, camera_at((240, 320)))], Similarity(), 128)
    inside = views.masks[0] >= 0.5
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    for ends in (rows, columns):
        assert 3 <= ends[0] <= 7
        assert 3 <= 127 - ends[-1] <= 7
    assert views.known.all()


@pytest.mark.parametrize("size", [32, 300])
def test_background_does_not_bleed_into_the_objects_edge(size: int):
    coverage = disc((150.2, 100.9), 41.7, (240, 320)).round()
    view = View("a", picture_of(coverage).pixels, coverage, camera_at((240, 320)))
    views = working_views([view], Similarity(), size)
    own = views.images[0][views.masks[0] > 0.02]
    np.testing.assert_allclose(own, np.broadcast_to([0.8, 0.2, 0.1], own.shape), atol=1e-4)
    np.testing.assert_allclose(views.images[0][0, 0], 1, atol=1e-6)


def test_enlarged_waves_keep_their_height():
    """Eight pixels long: linear interpolation takes 0.02 off their crests."""
    columns = np.arange(160) + 0.5
    row = (0.5 + 0.3 * np.sin(2 * np.pi * columns / 8)).astype(np.float32)
    mask = np.zeros((160, 160), np.float32)
    mask[30:130, 30:130] = 1
    view = View("a", np.tile(row[None, :, None], (160, 1, 3)), mask, camera_at((160, 160)))
    views = working_views([view], Similarity(), 432)  # four times 108 pixels from 26 on
    at = 26 + (np.arange(432) + 0.5) / 4
    expected = 0.5 + 0.3 * np.sin(2 * np.pi * at / 8)
    inside = slice(40, 392)
    error = np.abs(views.images[0, 216, inside, 0] - expected[inside])
    assert error.max() < 0.013


def test_beyond_a_touched_side_nothing_is_known():
    # The disc goes on beyond the left; the square also passes the top, where it does not.
    view = view_of((20.0, 47.0), 45.0, camera_at((240, 320)))
    views = working_views([view], Similarity(), 100)
    camera = views.cameras[0]
    zoom = camera.intrinsics[0, 0] / view.camera.intrinsics[0, 0]
    left = view.camera.intrinsics[0, 2] - camera.intrinsics[0, 2] / zoom
    top = view.camera.intrinsics[1, 2] - camera.intrinsics[1, 2] / zoom
    columns = left + (np.arange(100) + 0.5) / zoom
    assert left < -1
    assert top < -0.5
    assert not views.known[0][:, columns < -1].any()
    assert views.known[0][:, columns > 1].all()
    assert not views.masks[0][:, columns < -1].any()


def test_empty_mask_names_its_view():
    view = view_of((60.0, 60.0), 20.0, camera_at((120, 160)))
    empty = View("back.png", view.image, 0 * view.mask, view.camera)
    with pytest.raises(InputError, match=r"no object found in back\.png"):
        working_views([view, empty], Similarity(), 64)


@pytest.mark.parametrize("axis", [0, 1])
def test_mirrored_view_sees_the_mirrored_point(axis: int):
    camera, point, offset = camera_at((120, 160)), np.array([0.2, 0.1, -0.1]), 0.07
    pixel, _ = camera.project(point)
    (view,) = mirrored([view_of(tuple(pixel), 12.3, camera)], axis, offset)
    reflected = point.copy()
    reflected[axis] = 2 * offset - point[axis]
    expected, _ = view.camera.project(reflected)
    assert view.name == "front.png (mirrored)"
    np.testing.assert_allclose(centroid(view.mask), expected, atol=0.05)
    np.testing.assert_allclose(centroid(1 - view.image[..., 2]), expected, atol=0.05)
