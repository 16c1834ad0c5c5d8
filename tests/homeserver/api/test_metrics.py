"""The figures for Prometheus: shown where configured, to whom it is configured."""

from homeserver.api.metrics import RequestMetrics, metrics_routes
from homeserver.http.request import Request
from homeserver.http.routing import Auth, Route, Router
from homeserver.protocol.errors import NotFound
from homeserver.protocol.json_values import JsonObject
from homeserver.runtime.metrics import Metrics
from tests.support.http import dispatch

TOKEN = "hush-hush"


async def found(services: object, request: Request) -> JsonObject:
    return {}


async def missing(services: object, request: Request, name: str) -> JsonObject:
    raise NotFound


ROUTES = (
    Route("GET", "/found", found, Auth.NONE),
    Route("GET", "/missing/{name}", missing, Auth.NONE),
    Route("GET", "/held", found, Auth.NONE, long_poll=True),
)


def router(metrics: Metrics, *, token: str | None = None) -> Router:
    routes = (*ROUTES, *metrics_routes(metrics, token))
    return Router(None, routes, authenticate=lambda request, route: None, observer=RequestMetrics(metrics))


def text(metrics: Metrics, observed: Router) -> str:
    answer = dispatch(observed, "GET", "/_postroom/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.body.decode()


def test_answers_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    observed = router(metrics)
    for path in ("/found", "/found", "/missing/a", "/missing/b", "/nowhere"):
        dispatch(observed, "GET", path)
    said = text(metrics, observed)
    assert 'postroom_http_answers_total{method="GET",path="/found",status="200"} 2' in said
    assert 'postroom_http_answers_total{method="GET",path="/missing/{name}",status="404"} 2' in said
    assert 'postroom_http_answers_total{method="other",path="unknown",status="404"} 1' in said


def test_times_are_noted_but_not_of_those_who_wait_on_purpose() -> None:
    metrics = Metrics()
    observed = router(metrics)
    dispatch(observed, "GET", "/found")
    dispatch(observed, "GET", "/held")
    said = text(metrics, observed)
    assert 'postroom_http_answer_seconds_count{method="GET",path="/found"} 1' in said
    assert 'path="/held"' not in said.partition("postroom_http_answer_seconds")[2]


def test_with_a_token_only_who_knows_it_sees_them() -> None:
    guarded = router(Metrics(), token=TOKEN)
    path = "/_postroom/metrics"
    assert dispatch(guarded, "GET", path).status == 403
    assert dispatch(guarded, "GET", path, headers={"Authorization": "Bearer wrong"}).status == 403
    assert dispatch(guarded, "GET", path, headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
