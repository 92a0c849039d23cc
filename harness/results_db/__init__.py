"""Records all runs in one database and compares them.

* `schema`    the tables, as migrations
* `database`  opening it, transactions, and errors in words
* `rows`      what is read from it: frozen values
* `writer`    a sink: each cell is in the database when it has its verdict
* `reader`    the questions: which runs, what of a run, what of a cell
* `space`     what of a guest must be alike for two verdicts to be comparable
* `compare`   two runs, side by side (pure)
* `noise`     how long a cell may take, from how long it has taken (pure)
* `flaky`     cells that changed their verdict while nothing else changed

It knows values alone. It listens to a run as every sink does, and nothing flows back from it.
"""
