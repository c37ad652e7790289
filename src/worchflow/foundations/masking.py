"""Takes the secrets out of URLs before anybody reads them."""

from __future__ import annotations

import re

# Up to the last @: a password that nobody escaped may hold one, a slash, or before any
# slash a question mark.
_USER_INFO = re.compile(r"(?<=://)([^:@/\s]*)(:?)(?:[^\s/]*@(?:[^\s?]*@)?|[^\s?]*@)")
_SECRET_OPTION = re.compile(
    r"([?&][^=&\s]*(?:pass|secret|token|key|credential|properties)[^=&\s]*=)[^&\s]*",
    re.IGNORECASE,
)


def mask_secrets(text: str) -> str:
    """Every URL in a text with `***` for its password and its secret options."""
    return _SECRET_OPTION.sub(r"\1***", _USER_INFO.sub(_masked, text))


def without_user(text: str) -> str:
    """The same, with user and password left out."""
    return _SECRET_OPTION.sub(r"\1***", _USER_INFO.sub("", text))


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}:***@" if match[2] else f"{match[1]}@"
