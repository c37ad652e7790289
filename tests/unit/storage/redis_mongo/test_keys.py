"""Every Redis key comes from the prefix."""

from __future__ import annotations

import pytest

from worchflow.storage.redis_mongo.keys import Keys


def test_the_seeds_three_structures_have_the_seeds_names() -> None:
    keys = Keys("shop")
    assert keys.queue == "shop:queue"
    assert keys.execution("a-1") == "shop:execution:a-1"
    assert keys.steps("a-1") == "shop:steps:a-1"


def test_ours_stand_beside_them() -> None:
    keys = Keys("shop")
    assert keys.inflight("w1") == "shop:inflight:w1"
    assert keys.delayed == "shop:delayed"
    assert keys.control == "shop:control"
    assert keys.updates("a-1") == "shop:updates:a-1"
    assert keys.progress("a-1") == "shop:progress:a-1"


@pytest.mark.parametrize(
    ("prefix", "tag"),
    [
        ("shop", None),
        ("{shop}", "shop"),
        ("eu-{shop}-1", "shop"),
        ("a{}b", None),
    ],
)
def test_the_hash_tag_is_what_redis_cluster_hashes(
    prefix: str, tag: str | None
) -> None:
    assert Keys(prefix).hash_tag == tag


def test_a_tagged_prefix_puts_all_keys_into_one_slot() -> None:
    from redis.crc import key_slot  # noqa: PLC0415 - this test alone needs it

    keys = Keys("{shop}")
    slots = {
        key_slot(key.encode())
        for key in (
            keys.queue,
            keys.delayed,
            keys.execution("a{b}c"),
            keys.steps("x"),
            keys.inflight("w"),
        )
    }
    assert len(slots) == 1
