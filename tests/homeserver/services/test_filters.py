"""Filters: uploaded once, named for ever."""

import orjson
import pytest

from homeserver.protocol.errors import BadJson, LimitExceeded, NotFound, TooLarge
from tests.support.personal import ALICE, BOB, House
from tests.support.running import result

DEFINITION = {"room": {"timeline": {"limit": 5, "types": ["m.room.message"]}}}


def test_a_filter_is_read_back_and_applied(house: House) -> None:
    filter_id = result(house.filters.upload(ALICE, DEFINITION))
    assert not filter_id.startswith("{")
    for now in (house, house.restart()):
        assert orjson.loads(result(now.filters.definition(ALICE, filter_id))) == DEFINITION
        assert result(now.filters.get(ALICE, filter_id)).room.timeline.limit == 5


def test_the_same_filter_has_the_same_id(house: House) -> None:
    reordered = {"room": {"timeline": {"types": ["m.room.message"], "limit": 5}}}
    first = result(house.filters.upload(ALICE, DEFINITION))
    assert result(house.filters.upload(ALICE, reordered)) == first
    assert result(house.restart().filters.upload(ALICE, DEFINITION)) == first
    assert result(house.filters.upload(ALICE, {})) != first


def test_users_share_what_is_equal_but_not_each_others_filters(house: House) -> None:
    filter_id = result(house.filters.upload(ALICE, DEFINITION))
    with pytest.raises(NotFound):
        result(house.filters.get(BOB, filter_id))
    assert result(house.filters.upload(BOB, DEFINITION)) == filter_id
    assert house.filters.remembered(BOB, filter_id) is house.filters.remembered(ALICE, filter_id)


def test_an_unknown_filter_is_not_found(house: House) -> None:
    with pytest.raises(NotFound):
        result(house.filters.definition(ALICE, "nothing"))
    assert house.filters.remembered(ALICE, "nothing") is None


def test_what_is_no_filter_is_refused(small_house: House) -> None:
    with pytest.raises(BadJson):
        result(small_house.filters.upload(ALICE, {"room": []}))
    with pytest.raises(TooLarge):
        result(small_house.filters.upload(ALICE, {"note": "x" * 70_000}))


def test_the_number_of_filters_is_limited(small_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeserver.services.filters.MOST_FILTERS", 1)
    result(small_house.filters.upload(ALICE, DEFINITION))
    result(small_house.filters.upload(ALICE, DEFINITION))
    with pytest.raises(LimitExceeded):
        result(small_house.filters.upload(ALICE, {}))
