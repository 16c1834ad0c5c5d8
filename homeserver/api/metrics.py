"""The server's figures, for Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import hmac

from homeserver.http.reply import Reply
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route
from homeserver.protocol.errors import Forbidden
from homeserver.runtime.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RequestMetrics:
    """The Router's `observer`: counts answers, and how long they took, by route."""

    def __init__(self, metrics: Metrics) -> None:
        self._answers = metrics.counter(
            "postroom_http_answers_total", "Answers to HTTP requests", "method", "path", "status"
        )
        self._times = metrics.timer(
            "postroom_http_answer_seconds", "From request to answer, without sending", "method", "path"
        )

    def __call__(self, request: Request, route: Route | None, status: int, seconds: float) -> None:
        """The path is the route's, so that there are only so many."""
        method, path = ("other", "unknown") if route is None else (route.method, route.path)
        self._answers.add(method, path, str(status))
        if route is not None and not route.long_poll:
            self._times.note(seconds, method, path)


def metrics_routes(metrics: Metrics, bearer_token: str | None) -> tuple[Route, ...]:
    """GET /_postroom/metrics, for those who know the token if there is one."""

    async def show(services: object, request: Request) -> Reply:
        if bearer_token is not None and not _is_same(request.access_token(), bearer_token):
            raise Forbidden("The metrics are shown to those who send the configured bearer token")
        return Reply(200, metrics.render(), {"Content-Type": CONTENT_TYPE})

    return (Route("GET", "/_postroom/metrics", show, Auth.NONE),)


def _is_same(given: str | None, wanted: str) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), wanted.encode())
