"""Multi-stage authentication: what binds a session, what a proof is good for."""

from typing import Any

import pytest

from homeserver.protocol.errors import Forbidden
from homeserver.protocol.ids import UserId
from homeserver.protocol.login_stages import DUMMY, PASSWORD, REGISTRATION_TOKEN, Flow, StagesNeeded
from homeserver.runtime.database import Database, Transaction
from homeserver.services.accounts.stages import LIFETIME_MS, PASSWORD_ONLY, Action, Proof, Stages
from tests.support.accounts import PASSWORD as SECRET
from tests.support.accounts import House, Person, open_house
from tests.support.clock import FakeClock
from tests.support.running import result

ALICE = UserId("@alice:test")
TWO_STAGES: tuple[Flow, ...] = ((REGISTRATION_TOKEN, DUMMY),)
DUMMY_ONLY: tuple[Flow, ...] = ((DUMMY,),)


def action(
    auth: Any = None, body: Any = None, path: str = "/register", user_id: UserId | None = None
) -> Action:
    return Action("POST", path, body or {"username": "bob"}, auth, user_id, "1.2.3.4")


def needed(stages: Stages, asked: Action, flows: Any) -> dict[str, Any]:
    """The body of the 401."""
    with pytest.raises(StagesNeeded) as refusal:
        result(stages.prove(asked, flows))
    assert refusal.value.status == 401
    return dict(refusal.value.body())


def rows(house: House) -> list[Any]:
    def read(txn: Transaction) -> list[Any]:
        return txn.rows("SELECT session_hash, state, body_hash FROM login_sessions")

    return result(house.database.read(read))


@pytest.fixture
def stages(house: House) -> Stages:
    return house.accounts.stages


@pytest.fixture
def token(house: House) -> str:
    return result(house.accounts.registration_tokens.create("once", uses_allowed=1)).token


def token_auth(session: str | None = None) -> dict[str, Any]:
    return {"type": REGISTRATION_TOKEN, "token": "once", **({"session": session} if session else {})}


def test_asking_without_auth_tells_the_flows_and_stores_nothing(house: House, stages: Stages) -> None:
    body = needed(stages, action(), DUMMY_ONLY)
    assert body["flows"] == [{"stages": [DUMMY]}]
    assert body["session"]
    assert "errcode" not in body
    assert "completed" not in body
    assert rows(house) == []


def test_a_single_stage_may_be_done_with_and_without_a_session(stages: Stages) -> None:
    session = needed(stages, action(), DUMMY_ONLY)["session"]
    assert result(stages.prove(action({"type": DUMMY, "session": session}), DUMMY_ONLY)) == Proof()
    assert result(stages.prove(action({"type": DUMMY}), DUMMY_ONLY)) == Proof()


def test_the_flows_may_be_asked_for_with_another_body(stages: Stages) -> None:
    session = needed(stages, action(body={"nothing": "yet"}), DUMMY_ONLY)["session"]
    result(stages.prove(action({"type": DUMMY, "session": session}, {"username": "bob"}), DUMMY_ONLY))


@pytest.mark.parametrize(
    "session",
    ["made up", "", "psu_x.1.2", "psu_x", "..", "psu_x.zz.0123456789abcdef0123456789abcdef", "\ud800"],
)
def test_a_session_that_was_never_begun_is_refused_with_a_new_one(stages: Stages, session: str) -> None:
    body = needed(stages, action({"type": DUMMY, "session": session}), DUMMY_ONLY)
    assert body["errcode"] == "M_FORBIDDEN"
    assert body["session"] not in ("", session)


def test_a_session_is_for_one_action_of_one_user(stages: Stages) -> None:
    session = needed(stages, action(), DUMMY_ONLY)["session"]
    auth = {"type": DUMMY, "session": session}
    assert needed(stages, action(auth, path="/other"), DUMMY_ONLY)["errcode"] == "M_FORBIDDEN"
    assert needed(stages, action(auth, user_id=ALICE), DUMMY_ONLY)["errcode"] == "M_FORBIDDEN"


def test_a_session_expires(stages: Stages, time: FakeClock) -> None:
    session = needed(stages, action(), DUMMY_ONLY)["session"]
    time.advance(LIFETIME_MS / 1000)
    assert needed(stages, action({"type": DUMMY, "session": session}), DUMMY_ONLY)["errcode"] == "M_FORBIDDEN"


def test_stages_are_done_one_after_the_other(house: House, stages: Stages, token: str) -> None:
    first = needed(stages, action(), TWO_STAGES)["session"]
    second = needed(stages, action(token_auth(first)), TWO_STAGES)
    assert (second["completed"], second["session"]) == ([REGISTRATION_TOKEN], first)
    assert "errcode" not in second

    proof = result(stages.prove(action({"type": DUMMY, "session": first}), TWO_STAGES))

    assert (proof.registration_token, proof.token_is_reserved) == ("once", True)
    result(house.database.write(stages.settle, proof))
    assert rows(house) == []
    used = result(house.accounts.registration_tokens.token("once"))
    assert (used.pending, used.completed) == (0, 1)


def test_stages_out_of_order_are_refused(stages: Stages, token: str) -> None:
    body = needed(stages, action({"type": DUMMY}), TWO_STAGES)
    assert body["errcode"] == "M_FORBIDDEN"
    assert "completed" not in body


def test_after_the_first_stage_the_body_may_not_change(stages: Stages, token: str) -> None:
    session = needed(stages, action(token_auth()), TWO_STAGES)["session"]
    auth = {"type": DUMMY, "session": session}
    with pytest.raises(Forbidden, match="changed"):
        result(stages.prove(action(auth, {"username": "mallory"}), TWO_STAGES))
    with pytest.raises(Forbidden, match="another action"):
        result(stages.prove(action(auth, path="/account/deactivate"), TWO_STAGES))
    result(stages.prove(action(auth), TWO_STAGES))


def test_the_order_of_keys_in_the_body_does_not_matter(stages: Stages, token: str) -> None:
    session = needed(stages, action(token_auth(), {"a": 1, "b": {"c": 1, "d": 2}}), TWO_STAGES)["session"]
    auth = {"type": DUMMY, "session": session}
    result(stages.prove(action(auth, {"b": {"d": 2, "c": 1}, "a": 1}), TWO_STAGES))


def test_a_stored_session_survives_a_restart(
    stages: Stages, token: str, sqlite_database: Database, time: FakeClock
) -> None:
    session = needed(stages, action(token_auth()), TWO_STAGES)["session"]
    restarted = open_house(sqlite_database, time).accounts.stages
    assert (
        result(restarted.prove(action({"type": DUMMY, "session": session}), TWO_STAGES)).registration_token
        == "once"
    )


def test_no_password_and_no_session_id_is_stored(
    house: House, stages: Stages, token: str, alice: Person
) -> None:
    """CVE-2023-41335: a password is neither in the session nor to be guessed from it."""
    body = {"username": "bob", "password": "hunter2hunter2"}
    session = needed(stages, action(token_auth(), body), TWO_STAGES)["session"]
    other = needed(stages, action(token_auth(), body), TWO_STAGES)
    assert other["errcode"] == "M_FORBIDDEN"  # the only use is reserved
    flows = ((PASSWORD, DUMMY),)
    auth = {"type": PASSWORD, "user": "alice", "password": SECRET}
    needed(stages, action(auth, body), flows)

    stored = rows(house)

    assert len(stored) == 2
    assert stored[0][2] != stored[1][2]  # keyed: equal bodies do not show
    text = repr(stored)
    assert "hunter2" not in text
    assert SECRET not in text
    assert session not in text


def test_a_reserved_use_is_free_again_when_its_session_expires(
    house: House, stages: Stages, token: str, time: FakeClock
) -> None:
    needed(stages, action(token_auth()), TWO_STAGES)
    assert result(house.accounts.registration_tokens.token("once")).pending == 1
    assert not result(house.accounts.registration_tokens.is_valid("once"))
    time.advance(LIFETIME_MS / 1000 + 3600)
    assert result(house.accounts.registration_tokens.token("once")).pending == 0
    assert rows(house) == []


def test_a_proof_serves_once(house: House, stages: Stages, token: str) -> None:
    session = needed(stages, action(token_auth()), TWO_STAGES)["session"]
    asked = action({"type": DUMMY, "session": session})
    one, two = result(stages.prove(asked, TWO_STAGES)), result(stages.prove(asked, TWO_STAGES))
    result(house.database.write(stages.settle, one))
    with pytest.raises(Forbidden):
        result(house.database.write(stages.settle, two))
    assert needed(stages, asked, TWO_STAGES)["errcode"] == "M_FORBIDDEN"


def test_of_two_who_spend_the_last_use_one_is_refused(house: House, stages: Stages, token: str) -> None:
    flows: tuple[Flow, ...] = ((REGISTRATION_TOKEN,),)
    one = result(stages.prove(action(token_auth()), flows))
    two = result(stages.prove(action(token_auth()), flows))
    result(house.database.write(stages.settle, one))
    with pytest.raises(Forbidden):
        result(house.database.write(stages.settle, two))


def test_without_a_type_the_client_learns_how_far_it_is(stages: Stages, token: str) -> None:
    session = needed(stages, action(token_auth()), TWO_STAGES)["session"]
    body = needed(stages, action({"session": session}), TWO_STAGES)
    assert (body["completed"], body["session"]) == ([REGISTRATION_TOKEN], session)


class TestPasswordStage:
    """The password of whoever is signed in, or of whoever is named."""

    def prove(self, stages: Stages, user_id: UserId | None = ALICE, **auth: Any) -> Proof:
        return result(stages.prove(action({"type": PASSWORD, **auth}, user_id=user_id), PASSWORD_ONLY))

    def refused(self, stages: Stages, user_id: UserId | None = ALICE, **auth: Any) -> Any:
        return needed(stages, action({"type": PASSWORD, **auth}, user_id=user_id), PASSWORD_ONLY)["errcode"]

    def test_the_requester_needs_no_name(self, stages: Stages, alice: Person) -> None:
        assert self.prove(stages, password=SECRET).user_id == ALICE

    @pytest.mark.parametrize("name", ["alice", "@alice:test", "Alice", "@ALICE:test"])
    def test_names_are_understood_in_all_forms(self, stages: Stages, alice: Person, name: str) -> None:
        identifier = {"type": "m.id.user", "user": name}
        assert self.prove(stages, identifier=identifier, password=SECRET).user_id == ALICE
        assert self.prove(stages, user=name, password=SECRET).user_id == ALICE
        assert self.prove(stages, None, user=name, password=SECRET).user_id == ALICE

    def test_what_is_wrong_is_refused_and_may_be_tried_again(
        self, house: House, stages: Stages, alice: Person
    ) -> None:
        house.register("bob")
        assert self.refused(stages, password="wrong") == "M_FORBIDDEN"
        assert self.refused(stages, user="bob", password=SECRET) == "M_FORBIDDEN"
        assert self.refused(stages, user="@alice:elsewhere", password=SECRET) == "M_FORBIDDEN"
        assert self.refused(stages, identifier={"type": "m.id.phone"}, password=SECRET) == "M_FORBIDDEN"
        assert self.refused(stages) == "M_MISSING_PARAM"
        assert self.refused(stages, None, password=SECRET) == "M_MISSING_PARAM"
        assert self.refused(stages, identifier="alice", password=SECRET) == "M_BAD_JSON"


def test_a_stage_this_server_does_not_know_is_refused(stages: Stages) -> None:
    flows: tuple[Flow, ...] = (("org.example.unknown",),)
    assert needed(stages, action({"type": "org.example.unknown"}), flows)["errcode"] == "M_FORBIDDEN"
