"""What the user sees: the report of a run, its tables, and published measurements beside it."""
