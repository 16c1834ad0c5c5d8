"""Multi-stage login as a state machine: flows offered, stages done, what is left.

The state is a value: each step gives a new `StageSession`, which `to_json` and `from_json` carry through the
database. No password or other credential of the client ever enters it (CVE-2023-41335).
https://spec.matrix.org/latest/client-server-api/#user-interactive-authentication-api
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from homeserver.protocol.errors import BadJson, Forbidden, MatrixError
from homeserver.protocol.json_values import Json, JsonObject

PASSWORD: Final = "m.login.password"  # noqa: S105 (the name of a stage)
RECAPTCHA: Final = "m.login.recaptcha"
SSO: Final = "m.login.sso"
EMAIL: Final = "m.login.email.identity"
MSISDN: Final = "m.login.msisdn"
DUMMY: Final = "m.login.dummy"
REGISTRATION_TOKEN: Final = "m.login.registration_token"  # noqa: S105
TERMS: Final = "m.login.terms"
OAUTH: Final = "m.oauth"

Flow: TypeAlias = tuple[str, ...]


class StagesNeeded(MatrixError):
    """Stages are left: the 401 whose body tells the client how to go on."""

    status, errcode, default = 401, "M_UNAUTHORIZED", "More authentication is needed"

    def __init__(self, session: "StageSession", refusal: MatrixError | None = None) -> None:
        """`refusal` says why the stage just tried failed; the client may try again."""
        super().__init__(None if refusal is None else refusal.message)
        self.session = session
        self.refusal = refusal

    def body(self) -> JsonObject:
        """The 401 body: errcode and error only when a stage has been refused."""
        return self.session.body(self.refusal)


@dataclass(frozen=True, slots=True)
class StageSession:
    """How far one client has come with one action.

    `purpose` names what is being authorised and for whom ("DELETE /devices/ABC @alice:example.org"): stages
    done for one purpose never count for another. `answers` are facts that stages leave for the action, such
    as the registration token used: never credentials.
    """

    session_id: str
    purpose: str
    flows: tuple[Flow, ...]
    params: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))
    done: tuple[str, ...] = ()
    answers: Mapping[str, Json] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_complete(self) -> bool:
        """Every stage of some flow has been done, in the flow's order."""
        return self.done in self.flows

    @property
    def next_stages(self) -> frozenset[str]:
        """The stages that may be tried now: those that follow what is done, in any flow."""
        count = len(self.done)
        return frozenset(
            flow[count] for flow in self.flows if len(flow) > count and flow[:count] == self.done
        )

    def require_purpose(self, purpose: str) -> None:
        """Raises Forbidden when the session was begun for something else."""
        if purpose != self.purpose:
            raise Forbidden("This authentication session was begun for another action: start again")

    def require_next(self, stage: str) -> None:
        """Raises StagesNeeded when the stage is done already, belongs to no flow or comes too early."""
        if stage in self.done:
            raise StagesNeeded(self)
        if stage not in self.next_stages:
            expected = " or ".join(sorted(self.next_stages))
            raise StagesNeeded(self, Forbidden(f"{stage[:100]} cannot be done now: next is {expected}"))

    def complete(self, stage: str, answer: Json = None) -> "StageSession":
        """The session after `stage`; itself when nothing was left. Raises as `require_next` does."""
        if self.is_complete:
            return self
        self.require_next(stage)
        answers = self.answers if answer is None else {**self.answers, stage: answer}
        return replace(self, done=(*self.done, stage), answers=answers)

    def body(self, refusal: MatrixError | None = None) -> JsonObject:
        """What a client is told while stages are left."""
        body: JsonObject = {} if refusal is None else refusal.body()
        if self.done:
            body["completed"] = list(self.done)
        body["flows"] = [{"stages": list(flow)} for flow in self.flows]
        body["params"] = dict(self.params)
        body["session"] = self.session_id
        return body

    def to_json(self) -> JsonObject:
        """Everything `from_json` needs."""
        return {
            "session": self.session_id,
            "purpose": self.purpose,
            "flows": [list(flow) for flow in self.flows],
            "params": dict(self.params),
            "done": list(self.done),
            "answers": dict(self.answers),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "StageSession":
        """Reads what `to_json` wrote. Raises BadJson when it was not `to_json`."""
        match value:
            case {
                "session": str(session_id),
                "purpose": str(purpose),
                "flows": list(flows),
                "params": dict(params),
                "done": list(done),
                "answers": dict(answers),
            }:
                kept = tuple(_stage_names(flow) for flow in flows)
                return cls(session_id, purpose, kept, params, _stage_names(done), answers)
        raise BadJson("This is not a stored authentication session")


def _stage_names(value: Json) -> Flow:
    if not isinstance(value, list):
        raise BadJson("This is not a stored authentication session")
    return tuple(str(name) for name in value)


def begin(
    session_id: str, purpose: str, *, flows: Sequence[Sequence[str]], params: Mapping[str, Json] | None = None
) -> StageSession:
    """A session with nothing done. `flows` holds at least one flow, each with at least one stage.

    The specification forbids an action that never asks: without a real stage, offer DUMMY.
    """
    if not flows or not all(flows):
        raise ValueError("an action needs at least one flow, and a flow at least one stage")
    offered = {stage for flow in flows for stage in flow}
    shown = {stage: value for stage, value in (params or {}).items() if stage in offered}
    return StageSession(session_id, purpose, tuple(tuple(flow) for flow in flows), MappingProxyType(shown))


@dataclass(frozen=True, slots=True)
class Attempt:
    """The `auth` object of a request. Without a stage the client asks whether one was done elsewhere."""

    session_id: str | None
    stage: str | None
    fields: Mapping[str, Json] = field(repr=False)
    """The whole object: credentials are in here, so it is neither kept nor logged."""


def parse_attempt(auth: Json) -> Attempt | None:
    """The attempt in the request's `auth` key, None when there is none. Raises BadJson."""
    if auth is None:
        return None
    if not isinstance(auth, dict):
        raise BadJson("auth must be an object")
    session_id, stage = auth.get("session"), auth.get("type")
    if session_id is not None and not isinstance(session_id, str):
        raise BadJson("auth.session must be a string")
    if stage is not None and not isinstance(stage, str):
        raise BadJson("auth.type must be a string")
    return Attempt(session_id, stage, auth)
