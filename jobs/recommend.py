"""Recommend to one user from a few ratings.

python -m jobs.recommend --model URI --ratings "ITEM:RATING,…" [--user "FEATURE=VALUE,…"] [-k 10]
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

import metarec
from jobs import command
from metarec.config import Config
from metarec.errors import RequestError

if TYPE_CHECKING:
    from metarec.learner import Learner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--model", required=True, metavar="URI", help="such as models:/metarec-synthetic@champion")
    parser.add_argument("--ratings", required=True, metavar="ITEM:RATING,…", help='such as "50:5,181:4"; "" = none')
    parser.add_argument("--user", default="", metavar="FEATURE=VALUE,…", help='such as "age=25,gender=F"')
    parser.add_argument("-k", type=int, default=10, help="how many items to recommend (10)")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Print the k best items for the user.

    Raises:
        RequestError: the ratings or features cannot be read, or name what the model does not know.
        RegistryError: there is no such model.
    """
    ratings, user = parse_ratings(arguments.ratings), parse_user(arguments.user)
    learner = _pull(arguments.model, config)
    best = learner.adapt(ratings, user=user).recommend(arguments.k)
    rows = [(f"{place}", each.item, each.title, f"{each.score:.2f}") for place, each in enumerate(best, start=1)]
    print(render(rows, learner.words.row))


def parse_ratings(text: str) -> list[tuple[str, float]]:
    """`50:5,181:4` as (item, rating) pairs; the item ends at the last colon.

    Raises:
        RequestError: a part is not of that form.
    """
    return [_parse_rating(part.strip()) for part in text.split(",") if text.strip()]


def parse_user(text: str) -> dict[str, str]:
    """`age=25,gender=F` as a dictionary.

    Raises:
        RequestError: a part is not of that form, or a feature is given twice.
    """
    user: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not equals or name in user:
            fault = "is given twice" if name in user else "is not of the form FEATURE=VALUE"
            raise RequestError(f'--user: {part.strip()!r} {fault}; write it like "age=25,gender=F"')
        user[name] = value
    return user


def render(rows: Sequence[tuple[str, str, str, str]], called: str = "item") -> str:
    """A table of place, item (or whatever it is called), title and score."""
    table = [("", called, "title", "score"), *rows]
    place, item, title, score = (max(len(row[column]) for row in table) for column in range(4))
    return "\n".join(f"{p:>{place}}  {i:<{item}}  {t:<{title}}  {s:>{score}}" for p, i, t, s in table)


def _pull(model: str, config: Config) -> "Learner":
    if not model.startswith(("models:", "runs:")):
        return metarec.pull(model)
    from metarec.tracking import store_uri

    return metarec.pull(model, tracking_uri=store_uri(config))


def _parse_rating(part: str) -> tuple[str, float]:
    item, colon, rating = part.rpartition(":")
    try:
        value = float(rating)
    except ValueError:
        colon = ""
        value = 0.0
    if not colon or not item.strip():
        raise RequestError(f'--ratings: {part!r} is not of the form ITEM:RATING; write it like "50:5,181:4"')
    return item.strip(), value


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
