"""`verify-record`: a deletion record held against the files that it names."""

from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_cli.engine.progress import Silent
from unlearn_cli.errors import one_line
from unlearn_cli.metrics.report import Report

if TYPE_CHECKING:
    from unlearn_cli.jobs.record_entries import Found


def verify_record(record: str, *, progress: Silent | None = None) -> Report:
    """Read RECORD, then every checkpoint and image that it names, and say of each whether it is still the same.

    Exit code 1 when one differs, 2 when none does and one cannot be read. Nothing is measured again: that the numbers
    are those of these files is for `evaluate` to show, and a record that was rewritten as a whole shows in its copy only.
    """
    from unlearn_cli.checkpoints import deletion_reading  # `forget` must not wait for it
    from unlearn_cli.jobs import record_entries

    path = Path(record)
    told, digest = deletion_reading.read_whole(record)
    found = record_entries.entries(told, digest, path, progress or Silent())
    return Report(
        command="verify-record",
        title=f"{path.name}: the record of forgetting {record_entries.in_words(told.request)}",
        facts={entry.name: entry.words for entry in found} | {"verdict_recorded": one_line(told.verdict)},
        verdict=verdict(found),
        exit_code=exit_code(found),
    )


def verdict(found: "list[Found]") -> str:
    """In one line, naming the first entry that decided."""
    looked = [entry for entry in found if entry.outcome != "named only"]
    for bad, words in (("differs", "Does not match"), ("missing", "Not checked")):
        those = [entry for entry in looked if entry.outcome == bad]
        if those:
            return f"{words}: {those[0].name.replace('_', ' ')}: {those[0].words} ({len(those)} of {len(looked)} entries)."
    if any(entry.outcome == "erased" for entry in looked):
        return "Matches: images to forget were erased since, and all else that the record names is as it was."
    return f"Matches: all {len(looked)} entries of the record are as they were."


def exit_code(found: "list[Found]") -> int:
    outcomes = {entry.outcome for entry in found}
    return 1 if "differs" in outcomes else 2 if "missing" in outcomes else 0
