"""Published vulnerabilities of Matrix homeservers, and the tests that show this one does not have them.

What servers do to each other has an index of its own in tests/peers/federation/adversary.
"""

import pytest

from tests.support.indexes import is_there

HERE = "security/test_known_vulnerabilities.py"
PROTOCOL = "homeserver/protocol"
INDEX = {
    "CVE-2026-45078, lock contention": (
        HERE, "test_cve_2026_45078_many_who_wait_for_one_lock_cost_little"
    ),
    "CVE-2026-45076, pages of rejected events": (
        HERE, "test_cve_2026_45076_pages_of_refused_events_do_not_end_the_history"
    ),
    "CVE-2024-53867, state after leaving": (
        "homeserver/services/sync/test_outside.py", "test_what_happens_after_does_not_come"
    ),
    "CVE-2024-53863, unexpected picture formats": (
        "homeserver/services/media/test_thumbnails.py", "test_only_known_images_are_given_to_a_decoder"
    ),
    "CVE-2024-53863, as a client would": (HERE, "test_cve_2024_53863_only_expected_formats_are_decoded"),
    "CVE-2023-4863, decoders": (
        "homeserver/services/media/test_thumbnails.py", "test_a_decoder_that_needs_too_much_memory_is_ended"
    ),
    "CVE-2024-52815, malicious invites": (HERE, "test_cve_2024_52815_no_invite_breaks_a_sync"),
    "CVE-2024-52815, malformed stored events": (
        "homeserver/services/rooms/test_damaged_rows.py",
        "test_a_damaged_message_is_left_out_of_sync_and_pages",
    ),
    "CVE-2024-52805, multipart bodies": (HERE, "test_cve_2024_52805_no_body_is_taken_apart_as_a_form"),
    "CVE-2024-52594, CVE-2023-32683, requests to private addresses": (
        "homeserver/runtime/test_http_client.py", "test_a_redirect_to_a_private_address_is_refused"
    ),
    "CVE-2024-41671, CVE-2020-10108, CVE-2020-10109, request smuggling": (
        "homeserver/http/test_bad_requests.py", "test_a_malformed_request_is_refused_and_ends_the_connection"
    ),
    "CVE-2024-41671, pipelining": (
        "homeserver/http/connection/test_requests.py", "test_pipelined_requests_are_answered_in_order"
    ),
    "CVE-2023-45129, server ACLs": (f"{PROTOCOL}/test_server_names.py", "test_a_hostile_list_costs_little"),
    "CVE-2023-41335, passwords in sessions": (
        "homeserver/services/accounts/test_stages.py", "test_no_password_and_no_session_id_is_stored"
    ),
    "CVE-2023-32682, deactivated accounts": (
        "homeserver/services/accounts/test_deactivation.py",
        "test_a_closed_account_is_logged_out_and_nobody_logs_in",
    ),
    "CVE-2022-31152, auth rules": (f"{PROTOCOL}/test_auth_rules.py", None),
    "CVE-2022-31152, power levels": (f"{PROTOCOL}/test_auth_rules_power_levels.py", None),
    "CVE-2022-31152, memberships": (f"{PROTOCOL}/test_auth_rules_membership.py", None),
    "CVE-2025-49090, CVE-2025-54315, state resolution and creators": (
        f"{PROTOCOL}/test_state_resolution.py", None
    ),
    "CVE-2021-41281, media paths": (HERE, "test_cve_2021_41281_no_media_id_is_a_path"),
    "CVE-2021-39163, CVE-2021-39164, private rooms": (HERE, "test_a_stranger"),
    "CVE-2021-29471, push rule patterns": (
        HERE, "test_cve_2021_29471_push_rules_with_hostile_patterns_cost_little"
    ),
    "CVE-2021-29471, globs": (
        f"{PROTOCOL}/test_globs.py",
        "test_hostile_patterns_cost_no_more_than_their_length_times_the_text",
    ),
    "CVE-2020-26891, HTML of the server": (
        HERE, "test_cve_2020_26891_nothing_that_a_client_says_comes_back_as_html"
    ),
    "CVE-2019-5885, predictable secrets": (HERE, "test_cve_2019_5885_secrets_are_random_and_long"),
    "Dendrite changelog 1157, registering an account that there is": (
        "homeserver/api/client/test_account.py", "test_a_taken_name_is_refused_before_and_after_the_stages"
    ),
    "tokens are stored as hashes": (
        "homeserver/services/accounts/test_sessions.py", "test_tokens_are_stored_as_hashes_only"
    ),
    "passwords are kept as argon2id": (
        "homeserver/services/accounts/test_passwords.py", "test_a_hash_is_argon2id_with_its_parameters"
    ),
    "names of accounts cannot be found out": (
        "homeserver/api/client/test_account.py",
        "test_an_unknown_name_and_a_wrong_password_are_told_apart_by_nobody",
    ),
    "the last use of a registration token": (
        "homeserver/services/accounts/test_stages.py", "test_of_two_who_spend_the_last_use_one_is_refused"
    ),
    "a refresh token used again": (
        "homeserver/services/accounts/test_sessions.py",
        "test_a_replaced_refresh_token_used_again_ends_the_session_softly",
    ),
    "media is sandboxed": ("homeserver/api/client/test_media.py", "test_every_file_is_sandboxed"),
    "pixel bombs": (
        "homeserver/services/media/test_thumbnails.py", "test_pixel_bombs_are_refused_before_they_go_off"
    ),
    "quotas": (
        "homeserver/services/media/test_uploads.py", "test_a_quota_holds_for_all_files_together"
    ),
    "X-Forwarded-For": ("homeserver/http/connection/test_requests.py", "test_where_a_request_comes_from"),
    "slow clients": ("homeserver/http/connection/test_endings.py", "test_a_head_that_trickles_is_refused"),
    "transaction ids": (
        "homeserver/services/rooms/test_transactions.py", "test_a_repeated_request_gets_the_same_event"
    ),
    "rate limits": ("security/test_rate_limits.py", "test_a_route_with_a_limit_has_it"),
    "any request whatever": ("homeserver/test_fuzz.py", "test_every_route_bears_every_input"),
}  # fmt: skip
"""What it is about: (the file below tests/, the test in it; None: the whole file)."""


@pytest.mark.parametrize(("file", "name"), INDEX.values(), ids=INDEX)
def test_the_test_is_there(file: str, name: str | None) -> None:
    assert is_there(file, name)
