"""The JSON object that holds what a codec made of a payload."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Literal

from pydantic_core import from_json

from ..foundations.errors import SerializationError
from ..foundations.limits import check_size
from .plain_json import with_article
from .serializer import origin

if TYPE_CHECKING:
    from ..foundations.types import Payload
    from .serializer import Codec

CODEC_KEY = "worchflow:codec"
MAX_PAYLOAD_BYTES = 15 * 1024 * 1024
"""After the codec; MongoDB refuses documents above 16 MiB."""


class Envelope:
    """Passes payloads through the codec, if there is one, and back.

    `{"worchflow:codec": "<base64>"}` marks what a codec made, so that payloads from
    before the codec was configured are still read.
    """

    def __init__(self, codec: Codec | None) -> None:
        self._codec = codec

    @property
    def has_codec(self) -> bool:
        """Whether what is sealed differs from the text."""
        return self._codec is not None

    def seal(self, text: str, where: str) -> Payload:
        """The payload to store for a JSON text."""
        if self._codec is None:
            return text
        data = self._apply("encode", text.encode(), where)
        payload = f'{{"{CODEC_KEY}":"{b64encode(data).decode()}"}}'
        check_size(payload, MAX_PAYLOAD_BYTES, f"{where} after the codec")
        return payload

    def open(self, payload: Payload | None, where: str) -> str:
        """The JSON text of a payload; `SerializationError` when it cannot be had."""
        if not isinstance(payload, str):
            raise SerializationError(f"{where} holds nothing: its payload is missing")
        sealed = _sealed(payload)
        if sealed is None:
            return payload
        if self._codec is None:
            raise SerializationError(
                f"{where} was written with a codec: configure the same one here with "
                "codec="
            )
        try:
            data = b64decode(sealed, validate=True)
            return self._apply("decode", data, where).decode()
        except ValueError:  # no base64, or no UTF-8
            raise SerializationError(
                f"{where} does not come back from the codec as text: it was damaged, "
                "or written with another codec"
            ) from None

    def _apply(
        self, direction: Literal["encode", "decode"], data: bytes, where: str
    ) -> bytes:
        try:
            result: object = getattr(self._codec, direction)(data)
        except Exception as error:  # noqa: BLE001  # a user's codec
            # Neither its message nor a chain to it: both may quote the data.
            raised = origin(error)
            message = f"{where}: the codec's {direction} raised {raised}"
        else:
            if isinstance(result, bytes):
                return result
            message = (
                f"{where}: the codec's {direction} returned {with_article(result)} "
                "instead of bytes"
            )
        raise SerializationError(message)


def is_sealed(text: str) -> bool:
    """Whether a text has the shape of an envelope, which no user's value may have."""
    return _sealed(text) is not None


def _sealed(text: str) -> str | None:
    if CODEC_KEY not in text:
        return None
    try:
        found: dict[str, object] | object = from_json(text)
    except (ValueError, TypeError):
        return None
    has_shape = isinstance(found, dict) and [*found] == [CODEC_KEY]
    return str(from_json(text)[CODEC_KEY]) if has_shape else None
