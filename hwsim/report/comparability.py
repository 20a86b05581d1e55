"""Whether runs can be compared: their libraries, and what their energy is of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from hwsim.message import Message
from hwsim.report.groups import Entry, Group, ratio

__all__ = ["common_libraries", "comparability"]


def comparability(group: Group) -> Iterator[Message]:
    """Warnings where machines differ in their library or in what their energy is of, and those of duty cycles."""
    kinds = dict.fromkeys(entry.kind for entry in group.entries)
    for kind in kinds:
        same = [entry for entry in group.entries if entry.kind == kind]
        # --set is for all machines of the command, and kinds have no library in common.
        yield from _library_warning(same, "--set " if len(kinds) == 1 else f"each {kind}+")
    yield from _kinds_warning(group.entries)
    yield from _energy_warning(group.entries)
    yield from _unclear(group)
    yield from _cycle_messages(group.entries)


def _differing(entries: Sequence[Entry], words: Sequence[str]) -> list[str]:
    """The words of the runs, each once; none unless different machines have different ones."""
    machines = {entry.word("machine") for entry, word in zip(entries, words, strict=True) if word}
    distinct = list(dict.fromkeys(filter(None, words)))
    # Runs of one machine on two libraries compare just these.
    return distinct if len(machines) > 1 and len(distinct) > 1 else []


def _library_warning(entries: Sequence[Entry], option: str) -> Iterator[Message]:
    libraries = _differing(entries, [entry.word("library_name") for entry in entries])
    if not libraries:
        return
    values: dict[str, object] = {"libraries": libraries}
    template = "libraries differ, so ratios compare libraries too; "
    if common := common_libraries(entries):
        values |= {"library": common[0], "others": common[1:]}
        more = f" (or {common[1]}" + (f" and {len(common) - 2} more)" if common[2:] else ")") if common[1:] else ""
        template += f"one for all: {option}library={{library}}{more}"
    else:
        template += "no library that comes with hwsim runs on all: {libraries}"
    yield Message("compare.libraries", template, values, "warning")


def _kinds_warning(entries: Sequence[Entry]) -> Iterator[Message]:
    """Kinds of machines have no library in common: their ratios compare software too."""
    named = {entry.word("library_name"): entry.kind for entry in entries if entry.word("library_name")}
    if len(set(named.values())) > 1:
        libraries = [f"{library} ({kind})" for library, kind in named.items()]
        template = "kinds of machines have no library in common, so ratios compare libraries too: {libraries}"
        yield Message("compare.kinds", template, {"libraries": libraries}, "warning")


def common_libraries(entries: Sequence[Entry]) -> list[str]:
    """Libraries that all runs could have, those that most of them have first."""
    others = [set(entry.libraries) for entry in entries[1:]]
    common = [name for name in entries[0].libraries if all(name in names for names in others)]
    uses = Counter(entry.word("library_name") for entry in entries)
    return sorted(common, key=lambda name: -uses[name])


def _energy_warning(entries: Sequence[Entry]) -> Iterator[Message]:
    priced = [entry for entry in entries if entry.word("energy_scope") != "unknown"]
    if origins := _differing(priced, [entry.energy_origin for entry in priced]):
        template = "energies differ in what they cover or rest on: {origins}; compare energy only within one of these"
        yield Message("compare.energy", template, {"origins": origins}, "warning")


def _unclear(group: Group) -> Iterator[Message]:
    """Runs whose difference to the base is within the expected errors of both; one machine errs the same way twice."""
    base, columns = group.base, {"latency": "latency_s", "energy": "energy_pj"}
    unclear = []
    for quantity, column in columns.items():
        labels = []
        for entry in group.entries[1:]:
            errors = [run.errors.get(quantity, {}).get("error", 0.0) for run in (base, entry)]
            times = ratio(entry.total(column), base.total(column))
            other = entry.word("machine") != base.word("machine") and times > 0
            if other and abs(math.log(times)) < math.hypot(*map(math.log1p, errors)):
                labels.append(entry.label)
        if labels:
            unclear.append(f"{quantity} of {', '.join(labels)}")
    if unclear:
        template = "no clear difference to {base}, within the expected errors: {unclear}"
        yield Message("compare.unclear", template, {"base": base.label, "unclear": "; ".join(unclear)})


_OF_ALL = {
    "battery.peak_current": (
        "peak current is more than {battery} delivers, {pulse_ma:g} mA, so its voltage drops and the board may reset",
        "{peak_ma:.3g} mA",
    ),
    "battery.average_current": (
        "average current is more than the {rated_ma:g} mA at which {battery} holds its rated capacity, so the battery "
        "life is shorter than estimated",
        "{average_ma:.3g} mA",
    ),
    "scenario.unknown_power": (
        "without {keys} (unknown; set with --set), battery life is at most what is shown",
        "",
    ),
}
"""Messages of duty cycles that are said once for all runs: the sentence, and what each run adds."""


def _cycle_messages(entries: Sequence[Entry]) -> Iterator[Message]:
    """Messages of the duty cycles, each fact once."""
    runs: dict[tuple[str, Literal["note", "warning", "error"], str], dict[str, str]] = {}
    for entry in entries:
        for message in entry.scenario.get("messages", ()):
            code, values = message["code"], message["values"]
            head, each = _OF_ALL.get(code, (message["text"], ""))
            words = {name: ", ".join(value) if isinstance(value, list) else value for name, value in values.items()}
            fact = code, message["severity"], head.format(**words) if code in _OF_ALL else head
            runs.setdefault(fact, {})[entry.label] = each.format(**words)
    for (code, severity, text), parts in runs.items():
        labels = [f"{label} {part}".strip() for label, part in parts.items()]
        template = "{fact}: {runs}" if code in _OF_ALL else "{runs}: {fact}"
        yield Message(code, template, {"fact": text, "runs": labels}, severity)
