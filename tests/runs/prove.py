"""What `./scripts/prove` runs: the long runs, at full size or for a quarter of an hour.

./scripts/prove                    everything at full size: many hours; what chaos
                                   and soak measured goes into docs/reliability.md
./scripts/prove --short            a quarter of an hour of it
./scripts/prove simulation soak    some parts
./scripts/prove --seed 17 chaos    what an earlier run left to chance, again
./scripts/prove --page             only writes docs/reliability.md anew
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.runs.everyday import seeded
from tests.runs.stages import ROOT, PytestStage, Stage, pytest, run_stages

FULL = {
    "lowest": {},
    "pythons": {"WORCHFLOW_FORK_ROUNDS": "20"},
    "simulation": {"WORCHFLOW_SIMULATION_SEEDS": "20000"},
    "crash_points": {"WORCHFLOW_CRASH_POINTS": "all"},
    "chaos": {"WORCHFLOW_CHAOS_SCALE": "25"},
    "soak": {"WORCHFLOW_SOAK_SCALE": "200"},
    "scale": {"WORCHFLOW_SCALE": "10000"},
}
"""The parts, in this order, and the variables that give their sizes."""
SHORT = {
    "simulation": {"WORCHFLOW_SIMULATION_SEEDS": "2000"},
    "crash_points": {},
    "chaos": {},
    "soak": {},
    "scale": {"WORCHFLOW_SCALE": "1000"},
}
VERSIONS = ("lowest", "pythons")
"""Parts that are a mode of `./scripts/test`."""
MAX_SEED = 1_000_000
FIGURES = "tests.chaos.figures"


def main() -> int:
    """Read the options and run the parts."""
    options = read_options()
    if options.page:
        return write_page()
    sizes = SHORT if options.short else FULL
    parts = options.parts or list(sizes)
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(MAX_SEED)
    print(f"again with the same seed: ./scripts/prove --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "records")
        environment = {
            "CI": "true",
            "WORCHFLOW_CHAOS_RECORDS": str(records),
            "WORCHFLOW_CHAOS_SEED": str(seed),
            "WORCHFLOW_SIMULATION_FIRST": str(seed),
        }
        code = run_stages(
            [stage(part, environment | sizes.get(part, {}), seed) for part in parts]
        )
        if not options.short and records.exists():
            write_page(records)
    return code


def read_options() -> argparse.Namespace:
    """The options; wrong ones end the program with what there is instead."""
    parser = argparse.ArgumentParser(
        "./scripts/prove",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of: {', '.join(FULL)}"
    )
    parser.add_argument("--short", action="store_true", help="a quarter of an hour")
    parser.add_argument("--seed", type=int, help="in place of a fresh one")
    parser.add_argument("--page", action="store_true", help="write the page only")
    options = parser.parse_args()
    for part in options.parts:
        if part not in FULL:
            parser.error(f"there is no part {part!r}; there are: {', '.join(FULL)}")
    return options


def stage(part: str, environment: dict[str, str], seed: int) -> Stage:
    """One part."""
    if part in VERSIONS:
        return Stage(part, ("./scripts/test", f"--{part}"), environment)
    command = pytest("-s", *seeded(str(seed)))
    return PytestStage(part, command, environment, paths=(f"tests/{part}",))


def write_page(*records: Path) -> int:
    """Write docs/reliability.md, with these records in place of older ones."""
    done = subprocess.run(
        (sys.executable, "-m", FIGURES, *map(str, records)),
        cwd=ROOT,
        env=os.environ,
        check=False,
    )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
