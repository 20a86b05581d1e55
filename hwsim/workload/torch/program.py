"""Export of a module, with the size of its batch left open where that is possible."""

from __future__ import annotations

from typing import Any

from hwsim.errors import InputError, excerpt

__all__ = ["Batch", "export"]

_DECOMPOSED = ("einsum", "multi_head_attention_forward", "_native_multi_head_attention", "chunk", "unflatten", "tile")


class Batch:
    """Shapes without the batch: its axis is the one whose size is the open one; elsewhere the open size is 1."""

    def __init__(self, symbol: Any | None) -> None:
        self._symbol = symbol

    def shape(self, value: Any) -> tuple[int, ...]:
        """The shape of one input's part of a tensor."""
        sizes = list(value.shape)
        if self._symbol is None:
            return tuple(int(size) for size in (sizes[1:] if len(sizes) > 1 and sizes[0] == 1 else sizes))
        return tuple(self._size(size) for size in sizes if isinstance(size, int) or size.node.expr != self._symbol)

    def sizes(self, value: Any) -> tuple[int, ...]:
        """All sizes, that of the batch as 1."""
        return tuple(map(self._size, value.shape))

    def _size(self, size: Any) -> int:
        return (
            size if isinstance(size, int) else int(size.node.expr.subs(dict.fromkeys(size.node.expr.free_symbols, 1)))
        )


def export(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Batch]:
    """The exported program, and its batch.

    Of examples with a batch of one, two are made: what has the size of 1 could not be left open.
    """
    import torch

    def tensors(values: Any) -> list[Any]:
        return [
            leaf for leaf in torch.utils._pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor) and leaf.ndim
        ]

    sizes = {leaf.shape[0] for leaf in tensors((args, kwargs))}
    training = model.training
    model.eval()
    try:
        if len(sizes) == 1:
            size = sizes.pop()

            def twice(leaf: Any) -> Any:
                return torch.cat([leaf, leaf]) if isinstance(leaf, torch.Tensor) and leaf.ndim and size == 1 else leaf

            def axis(leaf: Any) -> Any:
                return {0: torch.export.Dim("batch", min=1)} if isinstance(leaf, torch.Tensor) and leaf.ndim else None

            tree = torch.utils._pytree.tree_map
            examples, named = tree(twice, args), tree(twice, kwargs)
            try:
                shapes = tree(axis, (*args, *kwargs.values()))
                keys = [*_parameters(model, len(args)), *kwargs]
                program = torch.export.export(
                    model, examples, named, dynamic_shapes=dict(zip(keys, shapes, strict=True)), strict=False
                )
                return _decomposed(program), Batch(_symbol(program))
            except Exception:  # whatever keeps the size of the batch from being open
                if size != 1:
                    raise InputError(
                        "the examples must have a batch of one: torch.export cannot leave its size open"
                    ) from None
        elif sizes:
            raise InputError(f"the examples must have one batch size as their first axis, not {sorted(sizes)}")
        try:
            return _decomposed(torch.export.export(model, args, kwargs, strict=False)), Batch(None)
        except Exception as error:
            raise InputError(f"torch.export cannot export the model: {excerpt(str(error), 300)}") from None
    finally:
        model.train(training)


def _parameters(model: Any, count: int) -> list[str]:
    from inspect import signature

    names = list(signature(model.forward).parameters)
    if len(names) < count:
        raise InputError(f"the model takes {len(names)} inputs, not {count}")
    return names[:count]


def _symbol(program: Any) -> Any:
    """The open size, as the inputs have it."""
    names = {spec.arg.name for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"}
    for node in program.graph.nodes:
        shape: Any = (
            getattr(node.meta.get("val"), "shape", ()) if node.op == "placeholder" and node.name in names else ()
        )
        if len(shape) and not isinstance(shape[0], int):
            return shape[0].node.expr
    return None


def _decomposed(program: Any) -> Any:
    """Composite operators that are not read as they are become those that are."""
    import torch

    table = torch.export.default_decompositions()
    kept = {op: rule for op, rule in table.items() if op._schema.name.split("::")[-1] in _DECOMPOSED}
    return program.run_decompositions(kept)
