"""An energy reference table: pJ of each action of each component."""

from __future__ import annotations

from hwsim.timeloop.source import Source

__all__ = ["ACTIONS", "read_prices"]

ACTIONS = {
    "read": ("read", "random_read"),
    "fill": ("write", "fill", "random_fill", "random_write"),
    "update": ("update", "random_update", "write"),
    "leak": ("leak",),
    "mac": ("compute", "mac_random", "mac"),
}
"""Our actions, and theirs in the order in which they are looked for."""


def read_prices(source: Source) -> dict[str, dict[str, float]]:
    """pJ by component and action; of an action with several arguments, the largest, as Timeloop takes it."""
    key, inner = ("ERT", "tables") if "ERT" in source.data else ("ERT_summary", "table_summary")
    table = source.mapping(source.data[key], (key,))
    prices: dict[str, dict[str, float]] = {}
    for index, item in enumerate(source.items(table.get(inner), (key, inner))):
        here = (key, inner, index)
        entry = source.mapping(item, here)
        name = source.text(entry.get("name"), (*here, "name")).partition("[")[0].rpartition(".")[2]
        actions: dict[str, float] = {}
        for place, action in enumerate(source.items(entry.get("actions") or [], (*here, "actions"))):
            spot = (*here, "actions", place)
            fields = source.mapping(action, spot)
            word = source.text(fields.get("name"), (*spot, "name"))
            actions[word] = max(source.number(fields.get("energy"), (*spot, "energy")), actions.get(word, 0.0))
        prices[name] = {
            ours: actions[found]
            for ours, theirs in ACTIONS.items()
            if (found := next(filter(actions.__contains__, theirs), ""))
        }
    return prices
