"""Mutants stay applicable: `python -m tests.mutants` shows that the tests notice each of them."""

from __future__ import annotations

import pytest
from mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    """Where the code has moved, its mutant moves too."""
    assert mutant.source(ROOT) != (ROOT / mutant.file).read_text()
    for node in mutant.nodes():
        file, _, function = node.partition("::")
        assert f"def {function}" in (ROOT / file).read_text()


def test_names_of_mutants_differ() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
