"""The commands of the program foothold.

Each command is a module of its own with the name of the command, and `main` lists them. The other
modules serve several commands:

* `main`            finds and runs a command, turns errors into messages and exit codes
* `streams`         standard streams that are closed, or that nothing reads
* `context`         exit codes, builders, plans, places of files
* `parameters`      options gathered into values, files to write, help in sections
* `plan_options`    options that override settings of a plan
* `kernel_options`  options for kernels of the user, and guests booted with them
* `keep_options`    options that keep guests after a run
* `output_options`  options for the reports of a run, and where it is recorded
* `history_options` options of commands that read the history
* `formatting`      tables, counts, times and JSON on standard output
* `subject`         makes subjects from their names
* `runs`            finds the directory of a run
* `bisect`          exit codes for `git bisect run`

Modules that take long to import are imported where they are used, so that `foothold --help` is
quick.
"""
