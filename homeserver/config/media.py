"""Uploaded files: where they live, how large they may be."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from homeserver.config import checks
from homeserver.runtime.settings import setting

SIDE = checks.between(1, 4096)


@dataclass(frozen=True)
class ThumbnailSize:
    width: int = field(metadata={"check": SIDE})
    height: int = field(metadata={"check": SIDE})
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
    max_upload_mib: int = setting(50, check=checks.at_least(1))
    quota_per_user_mib: int | None = setting(None, check=checks.at_least(0))
    async_upload_hours: int = setting(24, check=checks.at_least(1))
    async_uploads_per_user: int = setting(100, check=checks.at_least(1))
    max_remote_mib: int = setting(100, check=checks.at_least(1))
    remote_cache_mib: int = setting(10_240, check=checks.at_least(0))
    remote_cache_days: int = setting(30, check=checks.at_least(1))
    max_image_megapixels: int = setting(32, check=checks.at_least(1))
    unauthenticated_before: date | None = None
    thumbnails: tuple[ThumbnailSize, ...] = DEFAULT_THUMBNAILS
