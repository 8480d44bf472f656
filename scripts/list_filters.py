"""List the query parameters of lists that the emulator accepts, but does not evaluate.

`python scripts/list_filters.py` prints each list with the parameters that it ignores (or rejects,
in strict mode), and the totals; `--check N` exits with 1 if there are more than N.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from posthog_emulator import Emulator
from posthog_emulator.rest.apply_filters import filter_parameters, ignored_parameters


def ignored(emulator: Emulator) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield the id of each list, the names of its filters, and of those that are ignored."""
    state = emulator.state
    for plan in state.plans:
        if plan.kind == "list":
            operation = plan.operation
            yield operation.id, filter_parameters(state, operation), ignored_parameters(state, plan)


def main() -> int:
    """Print the ignored parameters; with `--check`, return 1 if there are too many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", type=int, metavar="N", help="exit with 1 if there are more")
    options = parser.parse_args()
    filters = missing = 0
    for operation, names, unknown in ignored(Emulator()):
        filters += len(names)
        missing += len(unknown)
        if unknown:
            sys.stdout.write(f"{operation}: {', '.join(unknown)}\n")
    sys.stdout.write(f"{missing} of {filters} filters are ignored\n")
    return int(options.check is not None and missing > options.check)


if __name__ == "__main__":
    sys.exit(main())
