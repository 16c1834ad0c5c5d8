"""Accounts, signing in, and what belongs to an account."""

from homeserver.api.client import account, devices, login, openid, profiles
from homeserver.api.client.routes.prefixes import V1, V3
from homeserver.http.routing import Auth, Route

ACCOUNT = (
    Route("POST", f"{V3}/register", account.register, Auth.NONE, limited="registration_requests"),
    Route(
        "GET",
        f"{V3}/register/available",
        account.is_name_available,
        Auth.NONE,
        limited="registration_requests",
    ),
    Route(
        "GET",
        f"{V1}/register/m.login.registration_token/validity",
        account.is_registration_token_valid,
        Auth.NONE,
        limited="registration_token_checks",
    ),
    Route(
        "POST",
        f"{V3}/account/password",
        account.change_password,
        Auth.OPTIONAL,
        limited="account_changes",
    ),
    Route("POST", f"{V3}/account/deactivate", account.deactivate, Auth.OPTIONAL, limited="account_changes"),
    Route("GET", f"{V3}/account/3pid", account.third_party_ids, Auth.USER),
    Route("GET", f"{V3}/account/whoami", account.whoami, Auth.USER, for_guests=True),
)
LOGIN = (
    Route("GET", f"{V3}/login", login.flows, Auth.NONE),
    Route("POST", f"{V3}/login", login.log_in, Auth.NONE, limited="logins"),
    Route("POST", f"{V1}/login/get_token", login.login_token, Auth.USER, limited="account_changes"),
    Route("POST", f"{V3}/refresh", login.refresh, Auth.NONE, r0=False),
    Route("POST", f"{V3}/logout", login.log_out, Auth.USER, for_guests=True, for_locked=True),
    Route("POST", f"{V3}/logout/all", login.log_out_everywhere, Auth.USER, for_guests=True, for_locked=True),
)
PROFILES = (
    Route("GET", f"{V3}/profile/{{userId}}", profiles.profile, Auth.NONE),
    Route("GET", f"{V3}/profile/{{userId}}/{{keyName}}", profiles.field, Auth.NONE),
    Route(
        "PUT",
        f"{V3}/profile/{{userId}}/{{keyName}}",
        profiles.put_field,
        Auth.USER,
        limited="profile_changes",
        for_guests=True,
        for_suspended=False,
    ),
    Route(
        "DELETE",
        f"{V3}/profile/{{userId}}/{{keyName}}",
        profiles.delete_field,
        Auth.USER,
        limited="profile_changes",
        for_guests=True,
        for_suspended=False,
    ),
)
DEVICES = (
    Route("GET", f"{V3}/devices", devices.devices, Auth.USER, for_guests=True),
    Route("GET", f"{V3}/devices/{{deviceId}}", devices.device, Auth.USER, for_guests=True),
    Route(
        "PUT",
        f"{V3}/devices/{{deviceId}}",
        devices.rename,
        Auth.USER,
        limited="personal_settings",
        for_guests=True,
    ),
    Route("DELETE", f"{V3}/devices/{{deviceId}}", devices.delete, Auth.USER),
    Route("POST", f"{V3}/delete_devices", devices.delete_many, Auth.USER),
)
OPENID = (
    Route(
        "POST",
        f"{V3}/user/{{userId}}/openid/request_token",
        openid.request_token,
        Auth.USER,
        limited="account_changes",
    ),
)
