"""Records all runs in one database and compares them.

* `schema`        tables and migrations
* `database`      connection, transactions, error messages
* `models`        frozen values that are read from the database
* `writer`        a reporter: stores each cell when it has a verdict
* `reader`        finds runs, cells and earlier durations
* `fingerprints`  hashes of what must be equal for two verdicts to be compared
* `compare`       the differences of two runs (pure)
* `timing_stats`  the typical duration of a cell, from earlier ones (pure)
* `flaky`         cells whose result changed although all else was equal
* `process`       names a process, and tells whether it is alive
"""
