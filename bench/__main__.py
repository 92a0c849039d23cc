"""`python -m bench [guests|allocator|history]…`: tables; without a name that of guests."""

import sys

from bench import allocator, guests, history

TABLES = {"guests": guests.main, "allocator": allocator.main, "history": history.main}

for name in sys.argv[1:] or ["guests"]:
    if name not in TABLES:
        sys.exit(f"there is no benchmark {name!r}; there is: {', '.join(TABLES)}")
    TABLES[name]()
