"""Recommend to one user from a few ratings, to all users of a table, or say what to ask a new user about.

python -m jobs.recommend --model URI --ratings "ITEM:RATING,…" [--user "FEATURE=VALUE,…"] [-k 10] [--explain]
python -m jobs.recommend --model URI --users FILE --out DIR [-k 10]
python -m jobs.recommend --model URI --ask N [--by variance|evidence|gradient]

With --items FILE, a table of items that were added after training, the model scores these from their features alone.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import metarec
from jobs import command
from jobs.command import say
from metarec.config import Config
from metarec.errors import RequestError

if TYPE_CHECKING:
    from metarec.serving.items_table import ItemsTable
    from metarec.serving.learner import AdaptedUser, Learner, Recommendation
    from metarec.serving.users_table import UsersTable

REASONS = 3
"""Contributions that `--explain` shows of each recommended item."""
NUM_RECOMMENDED = 10
"""Items where `-k` says nothing."""
QUESTIONS: Final = "variance"
"""How `--ask` chooses where `--by` says nothing."""
NAMED = 3
"""Unknown ids that a line names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--model", required=True, metavar="URI", help="such as models:/metarec-synthetic@champion")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ratings", metavar="ITEM:RATING,…", help='of one user, such as "50:5,181:4"; "" = none')
    what.add_argument(
        "--users", metavar="FILE", help="a Parquet or CSV table of ratings, oldest first; columns as tables.user, …"
    )
    what.add_argument("--ask", type=int, metavar="N", help="the N items to ask a new user about")
    parser.add_argument("--user", default="", metavar="FEATURE=VALUE,…", help='such as "age=25,gender=F"')
    parser.add_argument("-k", type=int, metavar="K", help=f"how many items to recommend ({NUM_RECOMMENDED})")
    parser.add_argument("--explain", action="store_true", help="what the user's ratings did to each score")
    parser.add_argument(
        "--items",
        metavar="FILE",
        help="a Parquet or CSV table of items added after training; columns as tables.item, tables.title and features",
    )
    parser.add_argument("--allow", metavar="FILE", help="recommend only these items; one id a line")
    parser.add_argument("--deny", metavar="FILE", help="never recommend these items; one id a line")
    parser.add_argument("--out", metavar="DIR", help="with --users: an empty folder for the Parquet files")
    parser.add_argument(
        "--by", choices=(QUESTIONS, "evidence", "gradient"), help=f"with --ask: the choice ({QUESTIONS})"
    )


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Print the k best items for the user, write those of all users of a table, or print what to ask.

    Raises:
        RequestError: the ratings or features cannot be read, or name what the model does not know.
        RegistryError: there is no such model.
    """
    check_arguments(arguments)
    arguments.k = NUM_RECOMMENDED if arguments.k is None else arguments.k
    arguments.by = arguments.by or QUESTIONS
    if arguments.users is not None:
        serve_table(config, arguments)
    elif arguments.ask is not None:
        ask(config, arguments)
    else:
        serve_one(config, arguments)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse arguments that the other arguments would leave without effect.

    Raises:
        RequestError: there is one, or `--users` stands without `--out`.
    """
    given, ratings = arguments.users is not None, arguments.ratings is not None
    if given != (arguments.out is not None):
        raise RequestError(
            "--users and --out go together: the table of ratings, and the folder for what is recommended"
        )
    for name in ("user", "explain"):
        if getattr(arguments, name) and not ratings:
            raise RequestError(f"--{name} needs --ratings, those of one user")
    if arguments.items is not None and arguments.ask is not None:
        raise RequestError(
            "--items: what to ask about is chosen by training ratings, which new items have none of; leave it out "
            "with --ask"
        )
    if arguments.by is not None and arguments.ask is None:
        raise RequestError("--by says how --ask chooses what to ask about; leave it out without --ask")
    if arguments.k is not None and arguments.ask is not None:
        raise RequestError("-k says how many items to recommend, --ask how many to ask about; leave one of them out")
    for name in ("allow", "deny"):
        if getattr(arguments, name) is not None and arguments.ask is not None:
            raise RequestError(f"--{name} says what may be recommended; leave it out with --ask")


def serve_one(config: Config, arguments: argparse.Namespace) -> None:
    """Print the k best items for one user."""
    ratings, features = parse_ratings(arguments.ratings), parse_user(arguments.user)
    learner = _with_items(_pull(arguments.model, config), config, arguments)
    user = learner.adapt(ratings, user=features)
    best = user.recommend(arguments.k, among=_allowed(learner, arguments))
    rows = [(f"{place}", each.item, each.title, f"{each.score:.2f}") for place, each in enumerate(best, start=1)]
    table, *lines = render(rows, learner.words.row).splitlines()
    print(table)
    for line, reasons in zip(lines, _reasons(user, best) if arguments.explain else [[]] * len(best), strict=True):
        print("\n".join([line, *reasons]))


def serve_table(config: Config, arguments: argparse.Namespace) -> None:
    """Write the k best items for each user of a table."""
    from metarec.serving.bulk import check_request, recommend_to_table
    from metarec.serving.users_table import read_users

    learner = _with_items(_pull(arguments.model, config), config, arguments)
    among = _allowed(learner, arguments) or learner.item_ids
    check_request(learner, arguments.out, k=arguments.k, among=among)
    table = read_users(learner, arguments.users, config.tables)
    for line in _notes(table):
        print(line)
    with command.ray_session():
        say(f"recommending to {table.users.num_rows:,} users of {table.num_rows:,} rows")
        recommend_to_table(learner, table.users, arguments.out, k=arguments.k, among=among)
    say(f"{table.users.num_rows:,} users have their items in {arguments.out}")


def ask(config: Config, arguments: argparse.Namespace) -> None:
    """Print the items to ask a new user about."""
    from metarec.serving.onboarding import choose_questions

    learner = _pull(arguments.model, config)
    chosen = choose_questions(learner, arguments.ask, by=arguments.by)
    rows = [(f"{place}", each.item, each.title, f"{each.value:.3f}") for place, each in enumerate(chosen, start=1)]
    print(render(rows, learner.words.row, arguments.by))


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


def render(rows: Sequence[tuple[str, str, str, str]], called: str = "item", value: str = "score") -> str:
    """A table of place, item (or whatever it is called), title and score (or whatever that is)."""
    table = [("", called, "title", value), *rows]
    place, item, title, score = (max(len(row[column]) for row in table) for column in range(4))
    return "\n".join(f"{p:>{place}}  {i:<{item}}  {t:<{title}}  {s:>{score}}" for p, i, t, s in table)


def _reasons(user: "AdaptedUser", best: Sequence["Recommendation"]) -> list[list[str]]:
    """For each recommended item the lines that say which ratings moved its score most."""
    explained = user.explain_all([each.item for each in best])
    return [[f"     {_reason(*each)}" for each in own[:REASONS]] for own in explained]


def _reason(item: str, title: str, rating: float, change: float) -> str:
    named = f"{title} ({item})" if title != item else item
    return f"{change:+.2f}  {rating:g} for {named}"


def _allowed(learner: "Learner", arguments: argparse.Namespace) -> Sequence[str] | None:
    """The items that the lists allow, or None where there are no lists; unknown ids are reported."""
    from metarec.serving.item_filters import allowed_items, read_ids

    if arguments.allow is None and arguments.deny is None:
        return None
    allow, deny = (None if place is None else read_ids(place) for place in (arguments.allow, arguments.deny))
    found = allowed_items(learner, allow=allow, deny=deny)
    if found.unknown:
        print(f"{len(found.unknown):,} listed {learner.words.rows} are unknown to the model: {_some(found.unknown)}")
    return found.items


def _with_items(learner: "Learner", config: Config, arguments: argparse.Namespace) -> "Learner":
    """The model with the items of a table that it does not know, where there is one; what was left out is reported."""
    from metarec.serving.items_table import read_items

    if arguments.items is None:
        return learner
    table = read_items(learner, arguments.items, config.tables)
    for line in _notes_on_items(table, arguments.items, learner.words.rows):
        print(line)
    return learner.with_items(table.new, table.titles) if table.new else learner


def _notes_on_items(table: "ItemsTable", place: str, rows: str) -> list[str]:
    """What of the table was left out, and what is not in it."""
    notes = [f"{count:,} rows of {place} left out: {reason}" for reason, count in table.unusable.items()]
    if table.num_known:
        notes.append(f"{table.num_known:,} {rows} of {place} are known to the model and stay as they are")
    if table.missing and table.new:
        notes.append(f"{place} has no column {', '.join(table.missing)}: unknown of its {len(table.new):,} new {rows}")
    return notes


def _notes(table: "UsersTable") -> list[str]:
    """What of the table was left out."""
    notes = [f"{count:,} rows left out: {reason}" for reason, count in table.unusable.items()]
    if table.unknown:
        rows = sum(table.unknown.values())
        notes.append(
            f"{rows:,} rows left out: the model does not know their {len(table.unknown):,} items: "
            f"{_some(list(table.unknown))}"
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


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
