import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metarec.config import Config, with_values
from metarec.data.movielens import GENRES_100K, MovieLens1M, MovieLens100k
from metarec.data.sources import open_source
from metarec.errors import DataError


def flags(*genres):
    return "|".join("1" if genre in genres else "0" for genre in GENRES_100K)


@pytest.fixture
def ml_100k(tmp_path):
    """Two made-up users and two made-up films in the raw format."""
    (tmp_path / "u.data").write_text("1\t2\t4\t881250949\n2\t1\t5\t881250950\n2\t7\n")
    (tmp_path / "u.user").write_text("1|24|M|baker|85711\n2|60|F|miller|V3N4P\n")
    films = [
        f"1|Émile (1995)|01-Jan-1995||http://x/?a%20b|{flags('Comedy', 'War')}",
        f"2|unknown||||{flags('unknown')}",
    ]
    (tmp_path / "u.item").write_bytes("\n".join(films).encode("latin-1"))
    return MovieLens100k(str(tmp_path))


@pytest.fixture
def ml_1m(tmp_path):
    """One made-up user and two made-up films, ratings as text."""
    (tmp_path / "ratings.dat").write_text("1::2::4::978300760\n1::1::5::978300761\n")
    (tmp_path / "users.dat").write_text("1::F::25::10::48067\n")
    films = "1::Tréfle: A Story (1995)::Drama|Comedy\n2::Untitled::Drama\n"
    (tmp_path / "movies.dat").write_bytes(films.encode("latin-1"))
    return MovieLens1M(str(tmp_path))


def read(source):
    (part,) = source.parts()
    return source.read(part)


def test_ratings_of_100k_are_read_with_their_row_and_a_torn_line_as_a_fault(ml_100k):
    rows = read(ml_100k).to_pylist()
    assert rows[1] == {
        "row": 2,
        "user": "2",
        "item": "1",
        "timestamp": "881250950",
        "scenario": None,
        "fault": None,
        "target.rating": "5",
    }
    assert rows[2]["fault"] == "2 fields where 4 are expected: 2\t7"


def test_users_of_100k_have_an_age_group_gender_occupation_and_the_start_of_the_zip_code(ml_100k):
    users = ml_100k.side("user")
    assert {name: column.to_pylist() for name, column in users.features.items()} == {
        "age": ["18", "56"],
        "gender": ["M", "F"],
        "occupation": ["baker", "miller"],
        "zip": ["8", "V"],
    }


def test_items_of_100k_have_a_title_genres_and_the_year_of_release(ml_100k):
    items = ml_100k.side("item")
    assert items.title.to_pylist() == ["Émile (1995)", "unknown"]
    assert items.features["genres"].to_pylist() == [["Comedy", "War"], []]
    assert items.features["year"].to_pylist() == ["1995", None]


def test_ratings_of_1m_are_read_from_text_with_two_colons(ml_1m):
    rows = read(ml_1m)
    assert rows["user"].to_pylist() == ["1", "1"]
    assert rows["item"].to_pylist() == ["2", "1"]
    assert rows["target.rating"].to_pylist() == ["4", "5"]


def test_ratings_of_1m_are_read_from_parquet_where_it_is_there(ml_1m, tmp_path):
    table = {"user_id": [3], "item_id": [4], "rating": pa.array([2.0], pa.float32()), "timestamp": [None]}
    table["timestamp"] = pa.array([None], pa.int64())
    pq.write_table(pa.table(table), tmp_path / "ratings.parquet")
    (row,) = read(ml_1m).to_pylist()
    assert (row["user"], row["item"], row["target.rating"], row["timestamp"]) == ("3", "4", 2.0, None)


def test_items_of_1m_take_the_year_from_the_title(ml_1m):
    items = ml_1m.side("item")
    assert items.title[0].as_py() == "Tréfle: A Story (1995)"
    assert items.features["year"].to_pylist() == ["1995", None]
    assert items.features["genres"].to_pylist() == [["Drama", "Comedy"], ["Drama"]]


def test_items_of_1m_have_directors_and_actors_where_the_extra_file_knows_them(ml_1m, tmp_path):
    extra = {"item_id": [2], "content_rating": ["PG"], "directors": [["D"]], "actors": [["A", "B"]]}
    pq.write_table(pa.table(extra), tmp_path / "movies_extra.parquet")
    features = ml_1m.side("item").features
    assert features["directors"].to_pylist() == [None, ["D"]]
    assert features["actors"].to_pylist() == [None, ["A", "B"]]
    assert features["content_rating"].to_pylist() == [None, "PG"]


def test_genres_of_1m_are_those_of_the_extra_file_where_that_is_wanted_and_a_film_has_some_there(ml_1m, tmp_path):
    extra = {"item_id": [2, 1], "content_rating": ["PG", "G"], "directors": [["D"], ["E"]], "actors": [["A"], ["B"]]}
    genres = pa.array([["Family", "Music"], []], pa.list_(pa.string()))
    pq.write_table(pa.table(extra | {"genres": genres}), tmp_path / "movies_extra.parquet")
    items = MovieLens1M(ml_1m.folder, extra_genres=True).side("item")
    assert items.features["genres"].to_pylist() == [["Drama", "Comedy"], ["Family", "Music"]]
    assert list(items.features) == ["genres", "year", "content_rating", "directors", "actors"]
    assert ml_1m.side("item").features["genres"].to_pylist() == [["Drama", "Comedy"], ["Drama"]]


def test_genres_of_an_extra_file_that_is_not_there_are_refused(ml_1m):
    with pytest.raises(
        DataError, match=r"holds no movies_extra\.parquet; put it there or set data\.extra_genres=false"
    ):
        MovieLens1M(ml_1m.folder, extra_genres=True).side("item")


def test_the_content_hash_follows_the_content_and_not_the_folder(ml_100k, tmp_path):
    before = ml_100k.content_hash()
    moved = tmp_path.parent / "moved"
    tmp_path.rename(moved)
    assert MovieLens100k(str(moved)).content_hash() == before
    (moved / "u.user").write_text("1|25|M|baker|85711\n")
    assert MovieLens100k(str(moved)).content_hash() != before


def test_a_missing_file_is_named_with_what_to_check(ml_100k, tmp_path):
    (tmp_path / "u.user").unlink()
    with pytest.raises(DataError, match=r"u\.user does not exist; check data\.path \(or METAREC_DATA\)"):
        ml_100k.content_hash()


def test_a_folder_without_ratings_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither ratings\.parquet nor ratings\.dat"):
        MovieLens1M(str(tmp_path)).parts()


def test_without_a_folder_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("METAREC_DATA", raising=False)
    with pytest.raises(DataError, match=r"set data\.path to it, or METAREC_DATA"):
        open_source(with_values(Config(), {"data.source": "movielens-100k"}))


@pytest.mark.parametrize(
    ("source", "name", "counts"),
    [("movielens-100k", "ml-100k", (100_000, 943, 1_682)), ("movielens-1m", "ml-1m", (1_000_209, 6_040, 3_706))],
)
def test_the_real_sets_have_their_published_counts(metarec_data, source, name, counts):
    settings = {"data.source": source, "data.path": str(metarec_data / name)}
    rows = read(open_source(with_values(Config(), settings)))
    found = (rows.num_rows, len(rows["user"].unique()), len(rows["item"].unique()))
    assert found == counts
