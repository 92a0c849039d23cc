"""`python -m bench`: every table, guests first."""

from bench import guests

guests.main()
