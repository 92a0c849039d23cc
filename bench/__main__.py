"""`python -m bench [TABLE]…`: tables; without a name those of guests, snapshots and plans."""

import argparse

from bench import allocator, guests, history, plans, snapshots

TABLES = {
    "guests": guests.main,
    "snapshots": snapshots.main,
    "plans": plans.main,
    "allocator": allocator.main,
    "history": history.main,
}

parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("table", nargs="*", help=", ".join(TABLES))
asked = parser.parse_args().table or ["guests", "snapshots", "plans"]
if unknown := [name for name in asked if name not in TABLES]:
    parser.error(f"there is no benchmark {unknown[0]!r}; there is: {', '.join(TABLES)}")
for each in asked:
    TABLES[each]()
