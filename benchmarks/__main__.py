"""Run every benchmark and print one table: ours, the peer or physical limit, the ratio.

python -m benchmarks [NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
from pathlib import Path

HERE = Path(__file__).parent


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], default=[])
    parser.add_argument("--json", type=Path, default=HERE / "results.json")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.names or names():
        print(f"== {name}", flush=True)
        for row in importlib.import_module(f"benchmarks.bench_{name}").run():
            rows.append(row)
            print(describe(row), flush=True)
    arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


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
