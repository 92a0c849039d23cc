"""Carries frames between the harness and the agent in a guest.

* `stream`      what every channel to a program in a guest can do, and the one over pipes
* `supervised`  a subject under the agent's supervision, over any stream
* `console`     a guest's console: recorded, bounded, watched for signs of death
* `keys`        the keys of a guest's SSH
* `ssh`         SSH over a descriptor that we made
* `container`   a program in a container

Only values, `errors` and `deadline` may be imported here.
"""
