"""Engines of DeepSpeed in an unchanged script: found at their first update, in every process."""

import functools
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gradmidi.integrations.program import when_imported
from gradmidi.options import Options

__all__ = ["before_first_update", "take_part"]


def before_first_update(then: Callable[[Any], None]) -> None:
    """Call `then` with each engine before its first update; `then` must not raise."""
    when_imported("deepspeed", lambda: _watch(then))


def _watch(then: Callable[[Any], None]) -> None:
    from gradmidi.capture.deepspeed import UPDATE

    with suppress(AttributeError):
        engines: Any = sys.modules["deepspeed"].DeepSpeedEngine
        original = getattr(engines, UPDATE)

        met: weakref.WeakSet[Any] = weakref.WeakSet()

        @functools.wraps(original)
        def update(engine: Any, *args: Any, **kwargs: Any) -> Any:
            if engine not in met:
                met.add(engine)
                was = vars(engine).get(UPDATE)
                then(engine)
                now = vars(engine).get(UPDATE)
                if now is not None and now is not was:
                    # It reads the gradients of this update too, then calls this once more.
                    return now(*args, **kwargs)
            return original(engine, *args, **kwargs)

        setattr(engines, UPDATE, update)


def take_part(given: dict[str, Any]) -> None:
    """Measure this process's part for rank 0, if it trains with an engine of DeepSpeed.

    Parameters
    ----------
    given : dict of str to object
        Options of `gradmidi.listen`.
    """

    def listen(engine: Any) -> None:
        from gradmidi.capture.deepspeed import is_heard
        from gradmidi.listener.listen import listen_with

        if not is_heard(engine):
            # Rank 0 says what is wrong.
            with suppress(Exception):
                listen_with(engine, None, Options(**given))

    before_first_update(listen)
