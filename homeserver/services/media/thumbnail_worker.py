"""Makes one thumbnail: a program of its own, because decoders of images have bugs.

Run as `python thumbnail_worker.py SOURCE TARGET JOB`; the server never imports it. It limits its own
memory, time and file size before it looks at the source, and answers one line of JSON:

    {"made": "jpg" | "png" | "webp"}    the thumbnail is in TARGET
    {"made": "original"}                the source is small enough to be its own thumbnail
    {"refused": "too large" | "not an image"}
"""

import json
import os
import resource
import sys
from typing import NamedTuple

from PIL import Image, ImageOps, ImageSequence

MEMORY_BYTES = 1024**3
CPU_SECONDS = 20
FILE_BYTES = 64 * 1024**2
MAX_FRAMES = 150


class Job(NamedTuple):
    format: str
    width: int
    height: int
    method: str
    animated: bool
    max_pixels: int


class Refused(Exception):
    """No thumbnail can be made."""


def limit_resources() -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    os.nice(5)


def thumbnail_size(job: Job, width: int, height: int) -> tuple[int, int] | None:
    """The size to make, never larger than the image; None when the image is no larger than asked.

    "scale" keeps the aspect of the image and covers the wanted box, "crop" has the aspect of the box.
    """
    if width <= job.width and height <= job.height:
        return None
    if job.method == "scale":
        factor = max(job.width / width, job.height / height)
        if factor >= 1:
            return None
        return max(1, round(width * factor)), max(1, round(height * factor))
    factor = min(1.0, width / job.width, height / job.height)
    return max(1, int(job.width * factor)), max(1, int(job.height * factor))


def make(source: str, target: str, job: Job) -> str:
    with Image.open(source, formats=[job.format]) as image:
        if image.width * image.height > job.max_pixels:
            raise Refused("too large")
        is_animated = bool(getattr(image, "is_animated", False))
        turned = image.getexif().get(0x0112, 1) >= 5
        size = thumbnail_size(job, *(image.size[::-1] if turned else image.size))
        if size is None and (job.animated or not is_animated):
            return "original"
        if is_animated and job.animated and size is not None:
            return _make_animated(image, target, job, size)
        if size is not None:
            image.draft(None, (size[1], size[0]) if turned else size)
        upright = ImageOps.exif_transpose(image)
        return _save(_resized(upright, size or upright.size, job.method), target, job.format)


def _resized(image: Image.Image, size: tuple[int, int], method: str) -> Image.Image:
    if image.mode not in {"RGB", "RGBA", "L"}:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if method == "crop":
        return ImageOps.fit(image, size, method=Image.Resampling.LANCZOS)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _save(image: Image.Image, target: str, source_format: str) -> str:
    if source_format in {"PNG", "GIF"} or image.mode == "RGBA":
        image.save(target, "PNG")
        return "png"
    image.save(target, "JPEG", quality=82, progressive=True, icc_profile=image.info.get("icc_profile"))
    return "jpg"


def _make_animated(image: Image.Image, target: str, job: Job, size: tuple[int, int]) -> str:
    frames, durations_ms = [], []
    for number, frame in enumerate(ImageSequence.Iterator(image)):
        if number >= MAX_FRAMES:
            break
        durations_ms.append(int(frame.info.get("duration", 100)))
        frames.append(_resized(frame.convert("RGBA"), size, job.method))
    options = {"duration": durations_ms, "loop": 0, "quality": 70, "method": 2}
    frames[0].save(target, "WEBP", save_all=True, append_images=frames[1:], **options)
    return "webp"


def main(source: str, target: str, job_text: str) -> None:
    limit_resources()
    job = Job(**json.loads(job_text))
    Image.MAX_IMAGE_PIXELS = None  # ours is checked before anything is decoded
    try:
        answer = {"made": make(source, target, job)}
    except Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "too large"}
    except Exception:  # Pillow raises nearly everything for broken files
        answer = {"refused": "not an image"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
