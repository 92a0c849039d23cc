"""The Python interface that `foothold_lab` exports: plans, runs, and open guests."""
