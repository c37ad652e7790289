"""Where measurements are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from worchflow.bench.places import SQLiteStore, nearest_folder
from worchflow.bench.redis_mongo_place import with_database
from worchflow.foundations.errors import StoreUnavailable
from worchflow.storage.sqlite.peers import folder_of


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://a:1/shop", "mongodb://a:1/x"),
        ("mongodb://a:1", "mongodb://a:1/x"),
        ("mongodb://a:1,b:2/?replicaSet=r", "mongodb://a:1,b:2/x?replicaSet=r"),
        # Who signs in does it where the user is kept.
        ("mongodb://u:p@a/shop", "mongodb://u:p@a/x?authSource=shop"),
        ("mongodb://u:p@a", "mongodb://u:p@a/x?authSource=admin"),
        ("mongodb://u:p@a/s?authSource=q", "mongodb://u:p@a/x?authSource=q"),
        ("mongodb+srv://u:p@a/s?w=1", "mongodb+srv://u:p@a/x?w=1&authSource=s"),
    ],
)
def test_a_measurement_has_a_database_of_its_own(url: str, expected: str) -> None:
    assert with_database(url, "x") == expected


def test_a_file_is_made_on_the_disk_of_the_database_that_is_not_there_yet(
    tmp_path: Path,
) -> None:
    assert nearest_folder(tmp_path / ".worchflow" / "worchflow.db") == tmp_path


def test_nothing_is_left_of_a_place(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()

    with SQLiteStore(deep, "strict").place() as place:
        database = Path(place["sqlite"])
        database.write_text("data")
        assert database.is_relative_to(tmp_path)
        # Where those go whose path would be too long beside the database.
        sockets = folder_of(database)
        sockets.mkdir()

    assert list(deep.iterdir()) == []
    assert not sockets.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "data", "strict")
    store._parent = tmp_path / "gone"

    with pytest.raises(StoreUnavailable, match="no folder for the measurement"):
        store.place().__enter__()
