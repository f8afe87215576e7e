"""The proof that a prepared dataset is what it claims: what is cold is cold, and nothing was fitted on it.

Everything is checked on the files alone, not on what preparation meant to do. Which claims there are follows from the
protocol that the manifest names.
"""

from collections.abc import Callable, Iterator, Sequence

from metarec.data import fit_claims, place_claims
from metarec.data.claim import AuditCheck, Files
from metarec.data.dataset import Dataset
from metarec.data.histories import from_table
from metarec.errors import LeakError
from metarec.schema import SPLITS

__all__ = ["CHECKS", "AuditCheck", "audit", "require_clean"]

CHECKS: tuple[Callable[[Files], Iterator[AuditCheck]], ...] = (
    place_claims.each_user_stands_once,
    place_claims.no_query_is_known,
    place_claims.cold_sides_are_cold,
    place_claims.held_out_scenarios_are_new,
    place_claims.first_raters_are_first,
    place_claims.roles_are_whole,
    place_claims.nothing_is_later,
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
    tasks = {split: dataset.tasks(split) for split in SPLITS}
    histories = {split: from_table(table) for split, table in tasks.items()}
    files = Files(dataset, tasks, histories, dataset.table("user"), dataset.table("item"))
    results = list(place_claims.indices_are_in_range(files))
    if not any(result.num_violations for result in results):
        # A wrong index cannot be looked up, so the other claims wait for these.
        results += [result for check in CHECKS for result in check(files)]
    return results


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
