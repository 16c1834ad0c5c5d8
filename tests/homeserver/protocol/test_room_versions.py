"""The table of room versions against the specification's own feature matrix."""

import pytest

from homeserver.protocol.errors import UnsupportedRoomVersion
from homeserver.protocol.room_versions import (
    DEFAULT_VERSION,
    ROOM_VERSIONS,
    EventIdFormat,
    StateResolution,
    room_version,
)

FROM = {
    "enforces_key_validity": 5,
    "strict_canonical_json": 6,
    "notification_levels_limited": 6,
    "knock": 7,
    "restricted": 8,
    "knock_restricted": 10,
    "integer_power_levels": 10,
    "redacts_in_content": 11,
    "redaction_keeps_create": 11,
    "redaction_keeps_third_party_signed": 11,
    "privileged_creators": 12,
    "room_id_is_create_hash": 12,
}
UNTIL = {"redactions_authorised": 2, "aliases_by_domain": 5, "creator_in_content": 10}


def test_versions_1_to_12_are_known_and_12_is_the_default():
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]
    assert all(row.version == version for version, row in ROOM_VERSIONS.items())
    assert DEFAULT_VERSION == "12"


@pytest.mark.parametrize("number", range(1, 13))
def test_each_rule_holds_from_the_version_that_brought_it(number):
    row = room_version(str(number))
    for name, first in FROM.items():
        assert getattr(row, name) is (number >= first), name
    for name, last in UNTIL.items():
        assert getattr(row, name) is (number <= last), name


@pytest.mark.parametrize("number", range(1, 13))
def test_event_ids_and_state_resolution(number):
    row = room_version(str(number))
    ids = {1: EventIdFormat.EXPLICIT, 2: EventIdFormat.EXPLICIT, 3: EventIdFormat.HASH}
    resolutions = {1: StateResolution.V1, 12: StateResolution.V2_1}
    assert row.event_id_format is ids.get(number, EventIdFormat.URL_SAFE_HASH)
    assert row.state_resolution is resolutions.get(number, StateResolution.V2)


@pytest.mark.parametrize("version", ["", "0", "13", "1.0", "org.example.custom", "x" * 1000])
def test_an_unknown_version_is_refused(version):
    with pytest.raises(UnsupportedRoomVersion) as refusal:
        room_version(version)
    assert len(refusal.value.message) < 200
