"""What other servers say of their files."""

import pytest

from homeserver.services.media.remote import file_name_of


@pytest.mark.parametrize(
    ("content_disposition", "name"),
    [
        (None, None),
        ("inline", None),
        ("attachment; filename=a.png", "a.png"),
        ("attachment; filename=a.png; filename*=utf-8''%C3%A9.png", "é.png"),
        ("attachment; filename*=idna''a.png", None),
        ("attachment; filename*=undefined''a.png", None),
        ("attachment; filename*=utf-8%00''a.png", None),
        ("attachment; filename*=nonsense''a.png", "a.png"),
        ('attachment; filename="a\r\nX-Evil: 1"', "aX-Evil: 1"),
    ],
)
def test_the_name_of_a_file(content_disposition: str | None, name: str | None) -> None:
    """However it is written, it is a name or none: never an error."""
    assert file_name_of(content_disposition) == name
