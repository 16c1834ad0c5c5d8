"""Thumbnails: sizes, formats, and files that want to do harm."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from homeserver.config.media import Media as MediaConfig
from homeserver.protocol.errors import TooLarge
from homeserver.runtime.database import Database
from homeserver.services.media import MediaServices
from homeserver.services.media.downloads import Download
from homeserver.services.media.thumbnails import CannotThumbnail, Thumbnail, Wanted, sniff
from tests.support.clock import FakeClock
from tests.support.media import ALICE, ANY, SERVER, open_media, pieces
from tests.support.pictures import animation, opened, picture, pixel_bomb
from tests.support.running import result


@pytest.fixture
def media(root: Path, sqlite_database: Database, time: FakeClock) -> MediaServices:
    services = open_media(root, sqlite_database, time)
    result(services.start())
    return services


def uploaded(media: MediaServices, data: bytes) -> Download:
    media_id = result(media.uploads.upload(ALICE, ANY, pieces(data)))
    return result(media.downloads.find(SERVER, media_id, timeout_ms=0))


def thumbnail(
    media: MediaServices,
    data: bytes,
    width: int,
    height: int,
    method: str = "scale",
    *,
    animated: bool = False,
) -> Thumbnail:
    return result(media.thumbnails.thumbnail(uploaded(media, data), Wanted(width, height, method, animated)))


def bytes_of(media: MediaServices, made: Thumbnail) -> bytes:
    return result(media.thumbnails.content(made).read(0, made.size))


@pytest.mark.parametrize(
    ("original", "wanted", "made"),
    [
        ((1000, 1000), (320, 240, "scale"), (320, 320)),
        ((1000, 500), (320, 240, "scale"), (480, 240)),
        ((500, 1000), (300, 200, "scale"), (320, 640)),
        ((1000, 1000), (32, 32, "crop"), (32, 32)),
        ((1000, 500), (80, 80, "crop"), (96, 96)),
        ((1000, 500), (60, 30, "crop"), (96, 48)),
        ((100, 60), (96, 96, "crop"), (60, 60)),
        ((50, 40), (96, 96, "crop"), (50, 40)),
        ((200, 100), (320, 240, "scale"), (200, 100)),
        ((2000, 100), (320, 240, "scale"), (2000, 100)),
        ((3000, 2000), (2500, 1900, "scale"), (3000, 2000)),
    ],
)
def test_never_smaller_than_wanted_nor_larger_than_the_picture(
    media: MediaServices, original: tuple[int, int], wanted: tuple[int, int, str], made: tuple[int, int]
) -> None:
    found = thumbnail(media, picture(*original), *wanted)

    assert opened(bytes_of(media, found)).size == made


@pytest.mark.parametrize(
    ("format", "content_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/png"), ("WEBP", "image/jpeg")],
)
def test_formats(media: MediaServices, format: str, content_type: str) -> None:
    found = thumbnail(media, picture(400, 400, format), 32, 32, "crop")

    assert found.content_type == content_type
    assert opened(bytes_of(media, found)).size == (32, 32)


def test_a_small_picture_is_its_own_thumbnail(media: MediaServices) -> None:
    data = picture(20, 20, "WEBP")

    found = thumbnail(media, data, 32, 32, "crop")

    assert (found.content_type, bytes_of(media, found)) == ("image/webp", data)


def test_transparency_is_kept(media: MediaServices) -> None:
    out = BytesIO()
    Image.new("RGBA", (300, 300), (255, 0, 0, 40)).save(out, "WEBP", lossless=True)

    found = thumbnail(media, out.getvalue(), 96, 96, "crop")

    assert found.content_type == "image/png"
    assert opened(bytes_of(media, found)).convert("RGBA").getpixel((5, 5))[3] == 40


def test_pictures_stand_upright(media: MediaServices) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned by 90 degrees clockwise
    data = picture(800, 400, "JPEG", exif=exif)

    found = opened(bytes_of(media, thumbnail(media, data, 100, 200, "crop")))

    assert found.size[1] == 2 * found.size[0]
    top, bottom = found.getpixel((10, 5)), found.getpixel((10, found.size[1] - 5))
    assert top[0] > 200 > bottom[0]  # red was left and is now above


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_animations_move_only_if_asked(media: MediaServices, format: str) -> None:
    data = animation(400, 400, format=format)

    moving = opened(bytes_of(media, thumbnail(media, data, 96, 96, "crop", animated=True)))
    still = opened(bytes_of(media, thumbnail(media, data, 96, 96, "crop")))

    assert (moving.format, moving.n_frames, moving.size) == ("WEBP", 3, (96, 96))
    assert getattr(still, "n_frames", 1) == 1


def test_a_small_animation_is_made_still(media: MediaServices) -> None:
    data = animation(20, 20)

    assert bytes_of(media, thumbnail(media, data, 32, 32, animated=True)) == data
    assert opened(bytes_of(media, thumbnail(media, data, 32, 32))).format == "PNG"


def test_a_thumbnail_is_made_once(media: MediaServices, root: Path) -> None:
    data = picture(400, 400)
    first = thumbnail(media, data, 90, 90, "crop")
    first.path.write_bytes(b"kept")

    assert bytes_of(media, thumbnail(media, data, 96, 96, "crop")) == b"kept"


def test_one_picture_has_few_thumbnails(media: MediaServices) -> None:
    found = uploaded(media, picture(100, 100))
    for width in range(20, 60):
        made = result(media.thumbnails.thumbnail(found, Wanted(width, 90, "crop", animated=False)))

    assert len(list(made.path.parent.iterdir())) <= 32


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe",
        b"II*\x00" + b"\0" * 50,
    ],
    ids=["empty", "short", "svg", "pdf", "postscript", "tiff"],
)
def test_only_known_images_are_given_to_a_decoder(media: MediaServices, data: bytes) -> None:
    with pytest.raises(CannotThumbnail) as raised:
        thumbnail(media, data, 32, 32)

    assert (raised.value.status, raised.value.errcode) == (400, "M_UNKNOWN")


def test_a_broken_image_has_no_thumbnail(media: MediaServices) -> None:
    with pytest.raises(CannotThumbnail):
        thumbnail(media, picture(400, 400)[:200], 32, 32)


def test_a_tiff_that_looks_like_a_png_is_refused(media: MediaServices) -> None:
    with pytest.raises(CannotThumbnail):
        thumbnail(media, b"\x89PNG\r\n\x1a\n" + picture(400, 400, "TIFF"), 32, 32)


def test_pixel_bombs_are_refused_before_they_go_off(media: MediaServices) -> None:
    bomb = pixel_bomb(60_000, 60_000)

    for _ in range(2):
        with pytest.raises(TooLarge):
            thumbnail(media, bomb, 32, 32)


def test_a_decoder_that_needs_too_much_memory_is_ended(
    root: Path, sqlite_database: Database, time: FakeClock
) -> None:
    """The limit on pixels does not catch it; the limit on the process's memory does."""
    media = open_media(root, sqlite_database, time, MediaConfig(max_image_megapixels=10_000))
    result(media.start())

    with pytest.raises((TooLarge, CannotThumbnail)):
        thumbnail(media, pixel_bomb(60_000, 60_000), 32, 32)


def test_sniffing_looks_at_the_bytes() -> None:
    assert [sniff(picture(5, 5, kind)[:16]) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP")] == [
        "PNG", "JPEG", "GIF", "WEBP", None,
    ]  # fmt: skip
