from __future__ import annotations

import pytest

from worchflow.foundations.masking import mask_secrets, without_user

URLS = [
    ("redis://localhost:6379/0", "redis://localhost:6379/0", None),
    ("redis://:pw@localhost/0", "redis://:***@localhost/0", "redis://localhost/0"),
    ("rediss://ann:p:w@h/0", "rediss://ann:***@h/0", "rediss://h/0"),
    ("redis://ann@h/0", "redis://ann@h/0", "redis://h/0"),
    ("redis://:pw?pw@h/0", "redis://:***@h/0", "redis://h/0"),
    ("redis://ann:p@w?pw@h/0?db=1", "redis://ann:***@h/0?db=1", "redis://h/0?db=1"),
    ("redis://h/0?client_name=a@b", "redis://h/0?client_name=a@b", None),
    ("redis://h/0?password=pw&db=3", "redis://h/0?password=***&db=3", None),
    (
        "mongodb://ann:p@w/x@h1:1,h2:2/db?w=1",
        "mongodb://ann:***@h1:1,h2:2/db?w=1",
        "mongodb://h1:1,h2:2/db?w=1",
    ),
    (
        "mongodb+srv://ann:pw@h/db?authMechanismProperties=AWS_SESSION_TOKEN:x",
        "mongodb+srv://ann:***@h/db?authMechanismProperties=***",
        "mongodb+srv://h/db?authMechanismProperties=***",
    ),
    (
        "mongodb://h/?tlsCertificateKeyFilePassword=pw",
        "mongodb://h/?tlsCertificateKeyFilePassword=***",
        None,
    ),
    (
        "cannot reach redis://a:pw@h1 or redis://b:pw@h2 today",
        "cannot reach redis://a:***@h1 or redis://b:***@h2 today",
        "cannot reach redis://h1 or redis://h2 today",
    ),
    ("a@b.c and no URL: x://y", "a@b.c and no URL: x://y", None),
]


@pytest.mark.parametrize(("url", "masked", "bare"), URLS)
def test_no_secret_of_a_url_is_left(url: str, masked: str, bare: str | None) -> None:
    assert mask_secrets(url) == masked
    assert without_user(url) == (bare or masked)
    assert "pw" not in mask_secrets(url) + without_user(url)
