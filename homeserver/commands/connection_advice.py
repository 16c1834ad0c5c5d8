"""Why a connection to another server fails, and what its operator, or ours, can do about it."""

import socket
import ssl
from datetime import datetime
from typing import NamedTuple

from homeserver.runtime.http_client import Target

TIMEOUT_S = 5.0
NAME_SERVERS = "If it does not pass: do the name servers answer that /etc/resolv.conf names on this machine?"
GENERAL = "Certificate, port and firewall of that server must let strangers in."
MISMATCH = "mismatch"
DATED = ("has expired", "not yet valid")
UNASKED = ("Temporary failure", "could not be looked up within")

_ADVICE = (
    (
        ("Connection refused",),
        "Nothing listens there: is the server running, and is this its port? Where neither m.server nor"
        " an SRV record names one, it is 8448.",
    ),
    (
        ("no connection in time", "No answer within"),
        "A firewall on the way drops what comes, or what listens there does not speak TLS.",
    ),
    (("No route to host", "Network is unreachable"), "There is no way from this machine to that address."),
    (
        ("issuer", "self-signed", "self signed", "certificate signature failure"),
        "Its certificate is self-signed, or it leaves out those between its own and the authority's: it must"
        " send the whole chain (fullchain.pem). An authority of your own is named by `ca_file` in the"
        " section `federation`.",
    ),
    (("WRONG_VERSION_NUMBER",), "It speaks plain HTTP where TLS is expected: another port, or TLS is off."),
)


class Presented(NamedTuple):
    """What a server's certificate says of itself."""

    names: tuple[str, ...]
    begins: datetime
    ends: datetime


def advice_on(problem: str, target: Target, address: str) -> str:
    """What to do about a failure to connect, told by its message."""
    if MISMATCH in problem:
        shown = presented(address, target)
        of_whom = f"is for {', '.join(shown.names) or 'nobody'}" if shown else "is for another name"
        return (
            f"The certificate {of_whom}: it must be for {target.tls_name}, to which the server's name leads."
        )
    if any(words in problem for words in DATED):
        shown = presented(address, target)
        when = (
            f"is valid from {shown.begins:%Y-%m-%d %H:%M} to {shown.ends:%Y-%m-%d %H:%M} UTC" if shown else ""
        )
        return f"The certificate {when or 'is out of date'}: renew it, unless this machine's clock is wrong."
    return next((advice for words, advice in _ADVICE if any(word in problem for word in words)), GENERAL)


def advice_on_name(problem: str, host: str) -> str:
    """What to do about a name that has no address."""
    if any(words in problem for words in UNASKED):  # nobody says that there is no such name
        return NAME_SERVERS
    return f"Is {host} spelt right? Is its DNS in order?"


def presented(address: str, target: Target) -> Presented | None:
    """The certificate that is shown at the target, whoever signed it; None where there is none to be had."""
    from cryptography import x509  # noqa: PLC0415 - needed by nobody who has no trouble

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, target.port), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=target.tls_name) as connection,
        ):
            raw = connection.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(raw or b"")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return None
    shown = [str(name.value) for name in names]
    return Presented(tuple(shown[:10]), certificate.not_valid_before_utc, certificate.not_valid_after_utc)
