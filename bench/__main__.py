"""`python -m bench [TABLE]…`: print tables of timings. Default: guests, snapshots and plans."""

import argparse

from bench import allocator, guests, history, judge, plans, snapshots

TABLES = {
    "guests": guests.main,
    "snapshots": snapshots.main,
    "plans": plans.main,
    "allocator": allocator.main,
    "history": history.main,
    "judge": judge.main,
}

parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("table", nargs="*", help=", ".join(TABLES))
chosen = parser.parse_args().table or ["guests", "snapshots", "plans"]
if unknown := [name for name in chosen if name not in TABLES]:
    parser.error(f"unknown table {unknown[0]!r}; tables are: {', '.join(TABLES)}")
for each in chosen:
    TABLES[each]()
