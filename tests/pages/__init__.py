"""The examples of the pages, executed: commands, sessions, plans and Python."""
