"""Run every benchmark and print one table: ours, the peer or physical limit, the ratio.

python -m benchmarks [NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def machine() -> dict[str, object]:
    model = (
        next(
            (
                line.split(":", 1)[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            platform.processor(),
        )
        if Path("/proc/cpuinfo").exists()
        else platform.processor()
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def commit() -> str:
    """The commit at hand, and whether files differ from it; empty where git knows none."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], default=[])
    parser.add_argument("--json", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    rows, state = [], commit()
    for name in arguments.names or names():
        print(f"== {name}", flush=True)
        for row in importlib.import_module(f"benchmarks.bench_{name}").run():
            row |= {"cpu": machine()["cpu"], "commit": state}
            rows.append(row)
            print(describe(row), flush=True)
    # All of them leave nothing behind of a row that has another name now.
    merged = _merge(arguments.json, rows) if arguments.names else rows
    arguments.json.write_text(json.dumps({"machine": machine(), "rows": merged}, indent=1) + "\n")
    write_readme(merged)


def _merge(path: Path, rows: list[dict]) -> list[dict]:
    """Rows of earlier runs that were not measured again, then these."""
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    measured = {row["name"] for row in rows}
    return [row for row in old if row["name"] not in measured] + rows


def write_readme(rows: list[dict]) -> None:
    """Replace the table between the markers in the README."""
    lines = ["| measured | ours | beside it | ratio | limit | |", "|---|---|---|---|---|---|"]
    for row in rows:
        peer = "" if row["peer"] is None else f"{row['peer']}: {row['peer_value']:.4g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        limit = "" if row["limit"] is None else str(row["limit"])
        verdict = {True: "met", False: "**missed**", None: "reported"}[row["met"]]
        value = f"{row['value']:.4g} {row['unit']}"
        lines.append(f"| {row['name']} | {value} | {peer} | {ratio} | {limit} | {verdict} |")
    lines += ["", *_where(rows)]
    missed = [row for row in rows if row["met"] is False]
    lines += [""] * bool(missed) + [_missed(row) for row in missed]
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    README.write_text(f"{head}{BEGIN}\n{chr(10).join(lines)}\n{END}{rest.partition(END)[2]}")


def _where(rows: list[dict]) -> list[str]:
    """Which rows were measured on which machine: they may come from several runs."""
    cpus = list(dict.fromkeys(row["cpu"] for row in rows))
    commits = {row.get("commit") for row in rows}
    if len(cpus) == len(commits) == 1 and all(commits):
        return [
            f"Measured on two cores of {cpus[0]}, commit {commits.pop()}. Threads, data types and",
            "warm-ups of every row are in `benchmarks/results.json`.",
        ]
    ranges = {cpu: _ranges([row["cpu"] == cpu for row in rows]) for cpu in cpus}
    parts = [f"rows {', '.join(places)} on {cpu}" for cpu, places in ranges.items()]
    return [
        f"Measured on two cores, {'; '.join(parts)}:",
        "in several runs, each of the code of its day. Threads, data types and warm-ups of every",
        "row are in `benchmarks/results.json`.",
    ]


def _ranges(mine: list[bool]) -> list[str]:
    """Where ``mine`` is true, counted from 1: ["1 to 3", "5"]."""
    places, start = [], 0
    for end in range(1, len(mine) + 1):
        if end == len(mine) or mine[end] != mine[start]:
            if mine[start]:
                places.append(str(end) if end - start == 1 else f"{start + 1} to {end}")
            start = end
    return places


def _missed(row: dict) -> str:
    """By how much a row misses its limit, against what, and why."""
    return (
        f"- Missed: {row['name']} is {row['ratio']:.2f}x {row['peer']} where {row['limit']} is "
        f"asked. {row['note']}"
        if row["ratio"] is not None
        else f"- Missed: {row['name']} is {row['value']:.4g} {row['unit']}, limit {row['limit']}. "
        f"{row['note']}"
    )


def describe(row: dict) -> str:
    verdict = {True: "met", False: "MISSED", None: "reported"}[row["met"]]
    peer = "" if row["peer"] is None else f"; {row['peer']}: {row['peer_value']:.4g}"
    ratio = "" if row["ratio"] is None else f"; ratio {row['ratio']:.2f}"
    limit = "" if row["limit"] is None else f" (limit {row['limit']})"
    head = f"{row['name']}: {row['value']:.4g} {row['unit']}{peer}{ratio}{limit}: {verdict}"
    setting = f"threads {row['threads']}, {row['dtype']}, warm-up: {row['warmup']}"
    return f"{head}\n    {setting}. {row['note']}"


if __name__ == "__main__":
    main()
