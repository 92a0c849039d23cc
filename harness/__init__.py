"""The laboratory: puts a subject into guests, and says with evidence what became of it.

The rooms, from the ground up. Imports run downwards only; a test holds that.

* values, which import nothing of ours but each other: `errors` `deadline` `cells` `facts`
  `ledger` `verdict` `origin` `events`
* `oracle`      facts, limits and policy -> what must happen (pure)
* `plan`        which cells: reading plan files
* `witnesses`   report, maps and traced calls -> one observation; judging it
* `channels/`   how to talk to a guest: console, SSH, container, pipe; supervised programs over any
* `guests/`     the kinds of guest behind one protocol; they know `channels` and `images`
* `subjects`    what is deployed and how it is started
* `tries`       which cells share a boot, and which are asked again
* `run`         the orchestrator: cells go in, events come out
* `sinks/`      terminal, JSON, JUnit, run directory: they only listen to events
* `history/`    a sink that remembers, and answers: what changed, what cannot be trusted
* `doctor`      what this machine can do, and the remedy for what it cannot
* `cli`         the door
"""

__version__ = "0.1.0"
