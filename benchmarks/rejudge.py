"""Judge recorded searches again: what an audit of an earlier state says by today's statistic.

A record holds the sizes of every class, of the student and of its references, so that a changed
statistic needs no new search. Evidence beside the search is kept as it is.

python -m benchmarks.rejudge docs/measured/cifar10-audit.json --classes cifar10
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from analysis.audit.null import judge_sizes
from analysis.audit.record import AuditReport
from analysis.audit.verdict import NOT_TESTED, Case, decide
from analysis.store.files import write_json
from benchmarks.zoo.choosing import CLASS_NAMES


def rejudge(report: AuditReport, class_names: Sequence[str]) -> AuditReport:
    """The verdict on the sizes and the secondary evidence of ``report``."""
    first = report.primary
    assert first is not None
    extreme = judge_sizes(
        {name: sizes.log_size for name, sizes in report.classes.items()},
        {name: sizes.references for name, sizes in report.classes.items()},
    )
    return decide(
        Case(
            student=report.student,
            class_names=tuple(class_names),
            families=report.classes,
            extreme=extreme,
            secondary=[finding for finding in report.evidence if not finding.primary],
            null_fit=report.null_fit,
            not_tested=[words for words in report.not_tested if words not in NOT_TESTED],
            budget=report.budget,
            seconds_subject=report.seconds_subject,
            seconds_references=report.seconds_references,
            passes=first.passes or 0.0,
            settings=report.settings,
            trusted=report.trusted,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="what `distillscope audit --json` printed")
    parser.add_argument("--classes", choices=sorted(CLASS_NAMES), required=True)
    given = parser.parse_args()
    data = json.loads(given.file.read_text())
    for name, entry in data["students"].items():
        before = AuditReport.from_json(entry["audit"])
        after = rejudge(before, CLASS_NAMES[given.classes])
        entry["audit"] = after.to_json()
        first, second = before.primary, after.primary
        assert first is not None
        assert second is not None
        print(
            f"{name}: statistic {first.statistic:.2f} -> {second.statistic:.2f}, "
            f"references up to {max(first.null):.2f} -> {max(second.null):.2f}, "
            f"p {before.p_value:.2g} -> {after.p_value:.2g}, {before.verdict} -> {after.verdict}, "
            f"{after.settings['family']} towards class {second.target_class}"
        )
    write_json(given.file, data)


if __name__ == "__main__":
    main()
