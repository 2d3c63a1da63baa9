"""What must stay out of `torch.compile`, which would trace it, or run it once and never again."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.compiler import is_dynamo_compiling

__all__ = ["apart", "may_break"]

# Private to torch; without it every call goes the way that is safe.
_compiling: Callable[[], Any] = getattr(
    torch._C._dynamo.eval_frame, "get_eval_frame_callback", lambda: True
)


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a function, and all it calls, out of `torch.compile`.

    Where nothing is compiled the function is called as it is: the way around would add a tenth
    to what a look costs.

    Examples
    --------
    >>> apart(max)(1, 2)
    2
    """
    disable: Any = torch.compiler.disable
    kept: Callable[..., Any] = disable(function)

    @functools.wraps(function)
    def called(*args: Any) -> Any:
        if is_dynamo_compiling() or _compiling() is not None:
            return kept(*args)
        return function(*args)

    return called


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def may_break() -> bool:
    """Tell, of the function that is being compiled, whether it may call what is kept out of it.

    It may not where it has to become one graph (``fullgraph=True``): it would not be compiled
    at all. Only for what is traced; it is asked once for each graph.
    """
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        tracing: Any = InstructionTranslator.current_tx()
        whole = tracing.one_graph or getattr(tracing, "error_on_graph_break", False)
    except Exception:
        # Private to torch; the way that is safe is to leave the graph whole.
        return False
    return not whole
