"""Programs that attack the laboratory, in real guests."""
