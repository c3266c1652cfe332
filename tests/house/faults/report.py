"""Try every fault of the gate and of the night, and print the table of docs/reliability.md; takes seven minutes.

python -m tests.house.faults.report
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .blackout import record, survive
from .cases import CUTS, GATE_CALLS, GATE_DAMAGE, NIGHTLY_CALLS, NIGHTLY_DAMAGE, SEED
from .corruption import Readers
from .injection import inject
from .jobs import WARM_UP, Bases
from .machine import Machine

SORTS = {
    **dict.fromkeys(
        ("ENOSPC", "EDQUOT", "full"), "a disk that is full, once or from then on, or a quota that is used up"
    ),
    **dict.fromkeys(("EIO", "EACCES", "ENOLCK"), "an error of the disk, a file that may not be changed, no locks"),
    **dict.fromkeys(("EINTR", "short"), "a call that is interrupted, or writes a part"),
    **dict.fromkeys(("kill before", "kill after"), "`kill -9` before or after a call"),
    **dict.fromkeys(("SIGTERM", "SIGHUP"), "SIGTERM or SIGHUP at a call"),
}
"""What a kind of fault is called in the table."""


def outcomes(bases: Bases) -> Iterator[tuple[str, str]]:
    """Every case: its row of the table, and what is wrong."""
    for case in (*GATE_CALLS, *NIGHTLY_CALLS):
        yield SORTS[case.kind], inject(bases, case)
    readers = Readers(bases)
    for damage in (*GATE_DAMAGE, *NIGHTLY_DAMAGE):
        yield f"damage of `{damage.file.rpartition('/')[2]}`", readers.read(damage)
    for job in CUTS:
        recorded = record(bases, job, SEED + 1, draws=6)
        for cut in recorded.cuts:
            yield f"a power cut during `{job}`", survive(bases, job, recorded, cut)


def main() -> int:
    """Print the table; the exit code says whether all survived."""
    cases: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        machine = Machine(root, WARM_UP)
        for row, wrong in outcomes(Bases(machine, root)):
            cases[row] += 1
            survived[row] += not wrong
            if wrong:
                print(wrong, file=sys.stderr)
        machine.close()
    print("| fault | cases | survived |\n|---|---:|---:|")
    for row in cases:
        print(f"| {row} | {cases[row]} | {survived[row]} |")
    print(f"| all | {cases.total()} | {survived.total()} |")
    return int(cases != survived)


if __name__ == "__main__":
    sys.exit(main())
