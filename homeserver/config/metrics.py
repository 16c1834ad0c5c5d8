"""Who may read the figures that a listener with `metrics` among its apis shows."""

from dataclasses import dataclass

from homeserver.config.secrets import secret


@dataclass(frozen=True)
class Metrics:
    bearer_token: str | None = secret(None)
