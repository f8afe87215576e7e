"""The proof that a prepared dataset is what it claims: what is cold is cold, and nothing was fitted on it.

Everything is checked on the files alone, not on what preparation meant to do. Which claims there are follows from the
protocol that the manifest names. Files are read once for the claims on single users, and the training files once more
for the claims on what was fitted; no more than those with the same users are held at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from metarec.data import elsewhere_claims, fit_claims, place_claims, role_claims
from metarec.data.claim import AuditCheck, Files, Tables, Totals, merge, no_totals
from metarec.data.dataset import Dataset, Part
from metarec.data.histories import elsewhere_from_table, from_table
from metarec.data.parquet import read_parquet
from metarec.errors import LeakError
from metarec.schema import SPLITS, Split

__all__ = ["CHECKS", "CHECKS_OF_FILES", "AuditCheck", "audit", "require_clean"]

CHECKS_OF_FILES: tuple[Callable[[Files], Iterator[AuditCheck]], ...] = (
    role_claims.no_query_is_known,
    role_claims.roles_are_whole,
    role_claims.nothing_is_later,
    role_claims.first_raters_are_first,
    elsewhere_claims.elsewhere_is_not_here,
    elsewhere_claims.elsewhere_is_everything,
    elsewhere_claims.elsewhere_has_no_target,
)
"""What can be said of each user alone."""
CHECKS: tuple[Callable[[Totals], Iterator[AuditCheck]], ...] = (
    place_claims.each_user_stands_once,
    place_claims.cold_sides_are_cold,
    place_claims.held_out_scenarios_are_new,
    fit_claims.counts_are_of_training,
    fit_claims.vocabularies_are_of_training,
    fit_claims.ids_are_of_training,
    fit_claims.biases_are_of_training,
)


def audit(dataset: Dataset) -> list[AuditCheck]:
    """Check every claim on the files of a prepared dataset.

    Raises:
        StorageError: a file is missing or damaged.
    """
    tables = Tables(dataset, dataset.table("user"), dataset.table("item"))
    in_range: list[AuditCheck] = []
    of_files: list[AuditCheck] = []
    totals = no_totals(tables)
    for parts in dataset.buckets():
        files = _read(tables, parts)
        in_range = merge([*in_range, *place_claims.indices_are_in_range(files)])
        if not _violated(in_range):  # a wrong index cannot be looked up, so the other claims wait for these
            of_files = merge([*of_files, *(result for check in CHECKS_OF_FILES for result in check(files))])
            totals = totals.with_files(files)
    if _violated(in_range):
        return in_range
    return [*in_range, *(result for check in CHECKS for result in check(totals)), *of_files]


def require_clean(checks: Sequence[AuditCheck]) -> None:
    """Stop at the first claim that does not hold.

    Raises:
        LeakError: one does not.
    """
    for check in checks:
        if check.num_violations:
            raise LeakError(
                f"the audit found {check.num_violations:,} of {check.num_checked:,} against the claim that "
                f"{check.claim}: {check.example}; do not train on this dataset, delete its folder and prepare it again"
            )


def _read(tables: Tables, parts: Mapping[Split, Part]) -> Files:
    tasks = {
        split: read_parquet(parts[split].uri, parts[split].sha256)
        if split in parts
        else tables.columns(split).empty_table()
        for split in SPLITS
    }
    histories = {split: from_table(table) for split, table in tasks.items()}
    return Files(tables, tasks, histories, elsewhere_from_table(tasks["test"]))


def _violated(checks: Sequence[AuditCheck]) -> bool:
    return any(check.num_violations for check in checks)
