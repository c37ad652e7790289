"""Codecs for the tests: one that packs, one that encrypts, one that raises."""

from __future__ import annotations

import zlib

from cryptography.fernet import Fernet


class Zipped:
    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Encrypting:
    def __init__(self) -> None:
        self._key = Fernet(Fernet.generate_key())

    def encode(self, data: bytes) -> bytes:
        return self._key.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        return self._key.decrypt(data)


class Failing:
    def encode(self, data: bytes) -> bytes:
        raise ValueError(f"cannot take {data!r}")

    def decode(self, data: bytes) -> bytes:
        raise ValueError(f"cannot take {data!r}")
