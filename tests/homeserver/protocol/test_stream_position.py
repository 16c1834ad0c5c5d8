import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.protocol.errors import InvalidParam
from homeserver.protocol.stream_position import (
    StreamPosition,
    TopologicalPosition,
    parse_page_token,
    parse_sync_token,
    sync_token,
)


@given(st.integers(0, 10**18 - 1))
def test_a_sync_token_comes_back_as_its_position(position):
    assert parse_sync_token(sync_token(position)) == position


@given(st.integers(0, 10**18 - 1), st.integers(-(10**18) + 1, 10**18 - 1))
def test_a_page_token_comes_back_as_its_place(depth, event_nid):
    place = TopologicalPosition(depth, event_nid)
    assert parse_page_token(str(place)) == place


def test_a_sync_token_is_a_page_token():
    assert parse_page_token("s17") == StreamPosition(17)
    assert str(StreamPosition(17)) == sync_token(17) == "s17"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "17",
        "s-1",
        "s1_000",
        "s 1",
        "s1 ",
        "s1\n",
        "s٣",
        "S1",
        "s1.0",
        "s" + "9" * 19,
        "t1-2",
        "x1",
        "s0x1",
    ],
)
def test_nonsense_is_no_sync_token(text):
    with pytest.raises(InvalidParam):
        parse_sync_token(text)


@pytest.mark.parametrize(
    "text", ["", "t", "t1", "t1-", "t-1-2", "t1--", "t1-2-3", "t1_2", "t٣-1", "t1-2\n", "s"]
)
def test_nonsense_is_no_page_token(text):
    with pytest.raises(InvalidParam):
        parse_page_token(text)


def test_places_in_history_are_ordered_by_depth_then_number():
    places = [TopologicalPosition(2, 5), TopologicalPosition(1, 9), TopologicalPosition(2, -3)]
    assert sorted(places) == [places[1], places[2], places[0]]
