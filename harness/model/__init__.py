"""Values that every room shares: cells, limits, facts, verdicts, events, errors."""
