"""What a hostile server could try, and which test tries it.

First what any homeserver has to withstand, by subject; then what went wrong in other homeservers. What
clients could try has an index of its own in tests/security.
"""

import pytest

from tests.support.indexes import is_there

HERE = "peers/federation/adversary/"
API = "homeserver/api/federation/"

SIGNATURES = {
    "of the victim's own users": ("signatures", "an_event_in_the_name_of_a_user_of_the_victim"),
    "of a third server's users": ("signatures", "an_event_in_the_name_of_a_user_of_a_third_server"),
    "malformed, missing, by another key": ("signatures", "a_signature_that_is_none"),
    "in get_missing_events, event, event_auth, state": ("signatures", "forged_events_fetched_to_fill_gaps"),
    "in the answer to send_join": ("resident", "a_resident_server_that_invents_the_state"),
    "in templates": ("resident", "a_resident_server_that_lies_about_a_join"),
    "in backfill": ("resident", "backfill_never_changes_the_present"),
    "of invites": ("handed_in", "invites_that_are_none"),
    "of third-party invites": ("federation/test_third_party_invites.py", None),
    "by the server in the event ID, in versions 1 and 2": (
        "room_versions", "an_event_id_in_the_name_of_another_server"
    ),
    "of who authorises a restricted join": ("room_versions", "a_join_authorised_by_nobody"),
    "hash mismatch redacts": ("signatures", "content_changed_after_signing_is_redacted"),
    "what redaction keeps is what was signed": ("room_versions", "an_event_changed_on_its_way"),
    "keys valid at the event's time": ("room_versions", "a_key_that_had_expired"),
    "keys good for seven days at most": (
        "homeserver/services/test_key_ring.py", "test_but_not_for_more_than_seven_days"
    ),
    "old keys": ("signatures", "a_key_that_had_expired_when_the_event_was_made"),
    "key documents": ("signatures", "a_key_document_that_lies"),
    "what notaries say": (
        "homeserver/services/test_key_ring.py", "test_notaries_are_not_believed_without_both_signatures"
    ),
    "hearsay in place of what is known": (
        "homeserver/services/test_key_ring.py", "test_hearsay_does_not_replace_what_is_good_for_longer"
    ),
    "keys of small order": ("signatures", "points_with_which_anybody_can_sign"),
}  # fmt: skip
REQUESTS = {
    "destination, origin, method, target, body": ("requests", "requests_that_are_not_what_was_signed"),
    "replay at another server": ("requests", "a_request_for_another_server_is_not_taken"),
    "replay of a transaction": ("requests", "a_transaction_replayed"),
    "a body cut up": (f"{API}test_access.py", "test_a_body_cannot_stand_for_more_than_itself"),
    "the origin in the body": ("requests", "a_body_of_another_origin"),
    "costly forgeries": (
        f"{API}test_access.py", "test_looking_closely_at_signatures_is_limited_by_address"
    ),
    "typing of others": ("edus", "typing_of_others_users"),
    "presence of others": ("edus", "presence_of_others_users"),
    "users that there cannot be": ("edus", "users_that_there_cannot_be"),
    "path and body": ("handed_in", "a_join_under_another_event_id"),
    "type, membership, state key, sender": ("handed_in", "a_join_that_is_something_else"),
    "leaving and knocking for others": ("handed_in", "leaving_and_knocking_for_others"),
    "kicks as leaves": ("handed_in", "a_leave_that_is_a_kick"),
    "templates for others": ("handed_in", "templates_for_users_of_other_servers"),
}  # fmt: skip
AUTHORISATION = {
    "the rules of each version": ("homeserver/protocol/test_auth_rules.py", None),
    "power never given": ("authorisation", "power_that_was_never_given"),
    "auth events: doubled, wrong, unknown, rejected": ("authorisation", "wrong_auth_events"),
    "auth events of another room": ("authorisation", "auth_events_of_another_room"),
    "previous events of another room": ("crossed_rooms", "previous_events_of_another_room"),
    "secret state through previous events": (
        "crossed_rooms", "the_state_of_a_secret_room_through_an_event_that_follows_it"
    ),
    "redactions from another room": (
        "crossed_rooms", "a_redaction_that_waits_for_an_event_of_another_room"
    ),
    "event IDs in two rooms": ("crossed_rooms", "one_event_id_in_two_rooms"),
    "event IDs for two events": ("crossed_rooms", "one_event_id_for_what_is_fetched_and_what_is_sent"),
    "room versions that others claim": ("crossed_rooms", "a_resident_that_calls_a_room_another_version"),
    "creators": ("room_versions", "creators"),
    "restricted joins": ("room_versions", "restricted_rooms"),
    "knocks": ("room_versions", "knocking"),
    "power levels as strings": ("room_versions", "power_levels_that_are_no_numbers"),
    "a second creation": ("authorisation", "a_second_create_event"),
    "soft failure": ("authorisation", "who_was_banned_writes_on_an_old_branch"),
    "former power": ("authorisation", "who_was_demoted_uses_old_power"),
    "policy servers that lie": ("policy_servers", "an_answer_that_is_no_signature"),
    "forged recommendations": ("policy_servers", "a_server_that_claims_to_have_been_recommended"),
    "policy servers that hold people": ("policy_servers", "nobody_is_held_in_a_room"),
}  # fmt: skip
FORMS = {
    "numbers": ("room_versions", "numbers"),
    "numbers in old rooms": ("forms", "numbers_of_old_rooms"),
    "numbers in EDUs": ("edus", "numbers_in_edus_that_nobody_can_keep"),
    "keys that stand twice": ("requests", "duplicate_keys_in_a_request"),
    "half surrogates and NUL": ("forms", "characters_that_are_none"),
    "nesting": ("forms", "deep_nesting"),
    "nesting in fetched state": ("handed_in", "deep_nesting_in_a_room_that_is_joined"),
    "depth": ("forms", "the_deepest_event"),
    "event size": ("forms", "big_events"),
    "sizes of fields, in bytes": ("forms", "fields_of_more_than_255_bytes"),
    "sizes of transactions": ("requests", "too_many_in_one_transaction"),
    "what is no transaction": ("requests", "bodies_that_are_no_transaction"),
    "odd state": ("forms", "odd_state_does_not_break_the_room"),
    "odd EDUs": ("edus", "edus_that_make_no_sense"),
}  # fmt: skip
BOUNDS = {
    "forks": ("floods", "a_flood_of_forks"),
    "forks of the state": ("floods", "a_flood_of_forks_of_the_state"),
    "gaps": ("floods", "missing_events_without_end"),
    "costly questions": ("floods", "large_states_again_and_again"),
    "servers that are said to be in a room": ("resident", "a_resident_that_names_servers_without_end"),
    "keys that hang": (
        "homeserver/services/test_key_ring.py", "test_names_that_hang_do_not_keep_others_waiting"
    ),
    "waiting events": (
        "homeserver/services/federation/test_inbox.py",
        "test_a_server_of_which_too_much_waits_is_told_to_come_back",
    ),
    "who holds up a room": (
        "homeserver/services/federation/test_inbox_fairness.py",
        "test_a_server_that_holds_up_a_room_rests_while_others_have_something",
    ),
    "requests of a server": (f"{API}test_access.py", "test_each_server_has_so_many_requests"),
    "names of unknown servers": (
        f"{API}test_access.py", "test_names_of_unknown_servers_are_limited_by_address"
    ),
    "invites": (f"{API}test_rooms.py", "test_a_flood_of_invites_is_refused"),
    "presence": ("edus", "presence_that_says_too_much"),
    "key documents": (
        "homeserver/protocol/test_server_keys.py", "test_a_long_document_with_many_keys_is_kept_with_few"
    ),
    "a notary's answer": (f"{API}test_keys.py", "test_an_answer_has_a_size_whatever_others_published"),
    "answers": ("homeserver/runtime/test_http_client.py", "test_an_endless_answer_is_cut_off"),
    "what surrounds an answer's body": (
        "homeserver/runtime/test_http_client.py", "test_endless_words_around_a_body_are_cut_off"
    ),
    "answers in crumbs": (
        "homeserver/runtime/test_http_client.py",
        "test_a_body_in_crumbs_takes_no_more_memory_than_its_size",
    ),
    "answers that drip": ("homeserver/runtime/test_http_client.py", "test_a_file_that_drips"),
    "what surrounds a request's body": (
        "homeserver/http/test_bad_requests.py", "test_what_stands_around_a_body_has_a_limit"
    ),
    "requests in crumbs": (
        "homeserver/http/test_bad_requests.py",
        "test_a_body_in_crumbs_takes_no_more_memory_than_its_size",
    ),
    "log lines": ("homeserver/runtime/test_log_output.py", "test_what_others_say_stays_in_its_line"),
}  # fmt: skip
ADDRESSES = {
    "private addresses, however written": ("homeserver/runtime/test_addresses.py", None),
    "at the doors of a running server": ("peers/federation/test_addresses.py", None),
    "redirects": (
        "homeserver/runtime/test_http_client.py", "test_a_redirect_to_a_private_address_is_refused"
    ),
    "well-known files": ("homeserver/remote/test_server_discovery.py", "test_files_that_count_as_missing"),
    "files kept elsewhere": (
        "homeserver/remote/test_federation_media.py", "test_other_places_that_are_of_no_use"
    ),
    "line breaks": ("homeserver/runtime/test_http_client.py", "test_requests_cannot_be_broken_out_of"),
    "certificates": ("homeserver/runtime/test_http_client.py", "test_certificates_are_checked"),
    "names of files": ("homeserver/services/media/test_remote.py", "test_the_name_of_a_file"),
    "types of multipart answers": ("homeserver/remote/test_federation_media.py", "test_no_boundary"),
}  # fmt: skip
TOLD = {
    "rooms the server is not in": ("what_is_told", "rooms_that_a_server_is_not_in"),
    "history from before": ("what_is_told", "history_from_before_a_server_came"),
    "history from after": ("what_is_told", "history_from_after_a_server_left"),
    "what its users could not see": (
        f"{API}test_events.py", "test_what_none_of_its_users_could_see_comes_redacted"
    ),
    "access lists: upper and lower case": ("access_lists", "who_is_shut_out_stays_out_in_any_case"),
    "access lists: addresses": ("access_lists", "a_list_names_addresses"),
    "access lists: spellings of hosts": (
        "access_lists", "other_spellings_of_a_host_are_shut_out_with_it"
    ),
    "access lists: spellings of addresses": (
        "access_lists", "other_spellings_of_addresses_are_addresses"
    ),
    "access lists: every door": ("access_lists", "who_was_shut_out_later"),
    "access lists: EDUs": ("edus", "edus_of_a_server_that_the_room_shuts_out"),
}  # fmt: skip
PUBLISHED = {
    "CVE-2026-45078, lock contention": (
        "security/test_known_vulnerabilities.py",
        "test_cve_2026_45078_many_who_wait_for_one_lock_cost_little",
    ),
    "CVE-2026-45076, pages of rejected events": ("floods", "pages_full_of_what_nobody_may_see"),
    "CVE-2026-24044, a signing key that everybody has": (
        "signatures", "the_key_that_a_generator_without_randomness_made"
    ),
    "CVE-2026-24044, the key itself": ("signatures", "a_document_with_the_key_itself"),
    "CVE-2025-49090, CVE-2025-54315, rooms of version 12": ("authorisation", "creators_cannot_be_demoted"),
    "CVE-2025-54315, room IDs": ("room_versions", "a_room_id_that_is_no_hash"),
    "CVE-2025-30355, absurd numbers": ("forms", "absurd_numbers_in_an_event"),
    "CVE-2025-30355, any field": ("forms", "fields_of_the_wrong_form"),
    "CVE-2024-52815, members": ("forms", "membership_content_that_is_odd"),
    "CVE-2024-52815, invites": ("handed_in", "invites_with_odd_state"),
    "CVE-2024-52815, numbers": ("handed_in", "numbers_in_what_describes_a_room"),
    "CVE-2024-52594, private addresses": ("homeserver/runtime/test_addresses.py", None),
    "CVE-2024-31208, auth chains": ("floods", "an_auth_chain_without_end"),
    "CVE-2023-45129, slow access lists": ("floods", "access_control_lists_made_to_be_slow"),
    "CVE-2023-42453, receipts of others": ("edus", "receipts_of_others_users"),
    "CVE-2023-32323, large invites": ("handed_in", "invites_with_odd_state"),
    "CVE-2022-39374, rejected events in the state": ("authorisation", "rejected_power_cannot_be_used"),
    "CVE-2022-39335, event_auth for strangers": ("what_is_told", "rooms_that_a_server_is_not_in"),
    "CVE-2022-39200, get_missing_events": ("signatures", "forged_events_fetched_to_fill_gaps"),
    "CVE-2022-31152, GHSA-grvv-h2f9-7v9c, auth rules": ("homeserver/protocol/test_auth_rules.py", None),
    "CVE-2021-39163, CVE-2021-39164, private rooms": ("what_is_told", "rooms_that_a_server_is_not_in"),
    "CVE-2020-26257, room ID in the path": ("handed_in", "a_join_sent_to_another_room"),
}  # fmt: skip
"""CVE-2025-61672 and CVE-2023-43796 are about keys of devices, which there are none of yet."""

SUBJECTS = {
    "signatures": SIGNATURES, "requests": REQUESTS, "authorisation": AUTHORISATION, "forms": FORMS,
    "bounds": BOUNDS, "addresses": ADDRESSES, "told": TOLD, "published": PUBLISHED,
}  # fmt: skip
INDEX = {f"{name}: {what}": test for name, subject in SUBJECTS.items() for what, test in subject.items()}
"""What it is about: (the test's file below tests/, or which one here; the test in it, or None for all)."""


@pytest.mark.parametrize(("file", "name"), INDEX.values(), ids=INDEX)
def test_the_test_is_there(file: str, name: str | None) -> None:
    if "/" not in file:
        file, name = f"{HERE}test_{file}.py", f"test_{name}"
    assert is_there(file, name)
