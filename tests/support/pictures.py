"""Pictures to upload: ordinary ones, animated ones, and ones that want to do harm."""

import struct
import zlib
from io import BytesIO

from PIL import Image


def picture(width: int, height: int, format: str = "PNG", **options: object) -> bytes:
    """A picture whose left half is red and right half blue, so that turning it shows."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height))
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def animation(width: int, height: int, frames: int = 3, format: str = "GIF") -> bytes:
    """Frames of different colours."""
    images = [Image.new("RGB", (width, height), (80 * number % 256, 200, 30)) for number in range(frames)]
    out = BytesIO()
    images[0].save(out, format, save_all=True, append_images=images[1:], duration=50)
    return out.getvalue()


def pixel_bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))
