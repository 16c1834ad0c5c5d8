import json

import pytest

from homeserver.protocol import login_stages
from homeserver.protocol.errors import BadJson, Forbidden
from homeserver.protocol.login_stages import DUMMY, EMAIL, PASSWORD, TERMS, StageSession, StagesNeeded, begin

PURPOSE = "POST /delete_devices @alice:example.org"


@pytest.fixture
def session():
    return begin(
        "xyz", PURPOSE, flows=[[TERMS, DUMMY], [TERMS, EMAIL]], params={TERMS: {"policies": {}}, "x": 1}
    )


def test_the_first_answer_offers_flows_and_params_but_no_error(session):
    assert StagesNeeded(session).status == 401
    assert StagesNeeded(session).body() == {
        "flows": [{"stages": [TERMS, DUMMY]}, {"stages": [TERMS, EMAIL]}],
        "params": {TERMS: {"policies": {}}},
        "session": "xyz",
    }


def test_stages_done_show_as_completed_until_a_flow_is_complete(session):
    assert not session.is_complete
    halfway = session.complete(TERMS)
    assert halfway.body()["completed"] == [TERMS]
    assert halfway.next_stages == {DUMMY, EMAIL}
    assert halfway.complete(EMAIL).is_complete
    assert halfway.complete(DUMMY).is_complete


def test_a_stage_out_of_order_is_refused_with_the_same_401(session):
    with pytest.raises(StagesNeeded) as refused:
        session.complete(EMAIL)
    assert refused.value.body()["errcode"] == "M_FORBIDDEN"
    assert refused.value.body()["flows"]
    assert "completed" not in refused.value.body()


def test_a_done_stage_is_not_tried_again(session):
    halfway = session.complete(TERMS)
    with pytest.raises(StagesNeeded) as refused:
        halfway.require_next(TERMS)
    assert "errcode" not in refused.value.body()
    assert refused.value.body()["completed"] == [TERMS]


def test_an_unknown_stage_is_refused(session):
    with pytest.raises(StagesNeeded) as refused:
        session.require_next(PASSWORD)
    assert refused.value.body()["errcode"] == "M_FORBIDDEN"


def test_a_finished_session_stays_finished(session):
    done = session.complete(TERMS).complete(DUMMY)
    assert done.complete(DUMMY) is done
    assert done.next_stages == set()


def test_a_wrong_password_says_so_and_leaves_the_session_open():
    session = begin("xyz", PURPOSE, flows=[[PASSWORD]])
    refusal = StagesNeeded(session, Forbidden("Wrong password"))
    assert refusal.body() == {
        "errcode": "M_FORBIDDEN",
        "error": "Wrong password",
        "flows": [{"stages": [PASSWORD]}],
        "params": {},
        "session": "xyz",
    }


def test_stages_done_for_one_action_do_not_count_for_another(session):
    session.require_purpose(PURPOSE)
    with pytest.raises(Forbidden):
        session.require_purpose("POST /delete_devices @bob:example.org")


def test_a_session_survives_storage(session):
    halfway = session.complete(TERMS, {"version": "1.2"})
    again = StageSession.from_json(json.loads(json.dumps(halfway.to_json())))
    assert again == halfway
    assert again.answers == {TERMS: {"version": "1.2"}}
    assert again.complete(DUMMY).is_complete


@pytest.mark.parametrize("stored", [{}, {"session": 1}, {"session": "a", "purpose": "b", "flows": [1]}])
def test_what_was_not_stored_by_us_is_refused(stored):
    with pytest.raises(BadJson):
        StageSession.from_json(stored)


def test_an_action_cannot_be_free_of_stages():
    with pytest.raises(ValueError):
        begin("xyz", PURPOSE, flows=[[]])
    with pytest.raises(ValueError):
        begin("xyz", PURPOSE, flows=[])


def test_attempts_are_read_from_the_auth_object():
    assert login_stages.parse_attempt(None) is None
    attempt = login_stages.parse_attempt({"type": PASSWORD, "session": "xyz", "password": "secret"})
    assert (attempt.stage, attempt.session_id) == (PASSWORD, "xyz")
    assert "secret" not in repr(attempt)
    assert login_stages.parse_attempt({"session": "xyz"}).stage is None


@pytest.mark.parametrize("auth", ["m.login.dummy", [], {"type": 1}, {"session": {}}])
def test_a_malformed_auth_object_is_bad_json(auth):
    with pytest.raises(BadJson):
        login_stages.parse_attempt(auth)
