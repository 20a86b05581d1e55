"""Reports of runs, their tables, and comparison with published measurements."""
