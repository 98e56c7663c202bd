"""`python -m benchmarks.all`: every benchmark, one after another, and the page of charts made from what they found."""

from __future__ import annotations

import subprocess
import sys

import click

from benchmarks import report

#: Module and what it is called with; the whole takes about an hour.
RUNS: tuple[tuple[str, ...], ...] = (
    ("benchmarks",),
    ("benchmarks.over_http",),
    ("benchmarks.logins",),
    ("benchmarks.login_timing",),
    ("benchmarks.recovery_timing",),
    ("benchmarks.storm",),
    ("benchmarks.guessing",),
    ("benchmarks.growth", "--postgres"),
    ("benchmarks.audit",),
)


@click.command()
def main() -> None:
    """Run every benchmark; exit with 1 when any promise is broken or a run fails."""
    console, failed = report.console(), []
    for run in RUNS:
        console.rule(" ".join(run))
        if subprocess.run([sys.executable, "-m", *run], check=False).returncode:  # noqa: S603 - our own modules
            failed.append(run[0])
    console.print(f"broken or failed: {', '.join(failed)}" if failed else "every promise is kept")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
