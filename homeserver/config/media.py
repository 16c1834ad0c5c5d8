"""Uploaded files: where they live, how large they may be."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class ThumbnailSize:
    width: int
    height: int
    method: Literal["crop", "scale"]


DEFAULT_THUMBNAILS = (
    ThumbnailSize(32, 32, "crop"),
    ThumbnailSize(96, 96, "crop"),
    ThumbnailSize(320, 240, "scale"),
    ThumbnailSize(640, 480, "scale"),
    ThumbnailSize(800, 600, "scale"),
)


@dataclass(frozen=True)
class Media:
    path: Path = Path("media")
    max_upload_mib: int = 50
    quota_per_user_mib: int | None = None
    async_upload_hours: int = 24
    async_uploads_per_user: int = 100
    max_image_megapixels: int = 32
    unauthenticated_before: date | None = None
    thumbnails: tuple[ThumbnailSize, ...] = DEFAULT_THUMBNAILS
