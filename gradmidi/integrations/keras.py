"""Keras 3: a callback that listens while `Model.fit` trains, on any backend.

Keras gives callbacks no gradients. So the norms are computed inside the optimizer, as a part of the
step that the backend compiles, before it clips and after it removes a loss scale. A variable holds
them until the batch has ended.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradmidi.base.environment import framework
from gradmidi.integrations.callback import Callback, on_first_use
from gradmidi.listener.opening import open_run
from gradmidi.listener.outputs import Outputs
from gradmidi.listener.recording import Recording
from gradmidi.log import ABSENT, Header, Layer

__all__ = ["GradMidi"]  # noqa: F822  created by __getattr__ on first access

NEEDED = "3.5"
"""The oldest Keras; in older versions an optimizer clips before it knows the variables."""


class _Callback(Callback):
    """Listen to Keras training: ``model.fit(x, y, callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks, validation becomes a pause, and the loss that Keras shows (the mean since
    the start of the epoch) is logged with each step's norms. With `steps_per_execution` above 1,
    only the last step of each execution is recorded. Steps have the numbers of the optimizer's
    ``iterations``.

    Parameters
    ----------
    **options
        Options of `gradmidi.record`, and ``every``: read the norms after every Nth batch, which
        waits for the batch.

    Attributes
    ----------
    ears : Listener or None
        The open run, for values and marks of your own.

    Raises
    ------
    CaptureError
        If an option is unknown, or Keras 3.5 or newer is not installed.
    GradmidiError
        If an option's value is not allowed.
    """

    without = ("layers", "parameters", "budget", "updates", "scaler")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._probe: _Probe | None = None
        self._recording: Recording | None = None
        self._batches = self._updates = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the run, and put the probe into the optimizer."""
        self._leave()
        model: Any = self.model  # type: ignore[attr-defined]
        layers, members = _layers(model)
        options = self._options
        if options.step is None:
            options = replace(options, step=_steps_made(model))
        self.ears, self._recording = open_run(Header(layers), options, Outputs.of(options))
        self._probe = _Probe(model, members, len(layers), self._recording.fail)
        self._batches = self._updates = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the norms of this batch's update, if it made one."""
        if self.ears is None or self._probe is None or self._recording is None:
            return
        self._batches += 1
        every = self._options.every
        if self._batches % every != 1 % every:
            return
        try:
            updates, row = self._probe.read()
        except Exception as error:
            self._recording.fail(error)
            return
        if updates == self._updates:
            return
        step = self.ears.step + updates - self._updates
        self._updates = updates
        self.ears.frame(row, loss=(logs or {}).get("loss"), step=step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Mark the epoch."""
        self._mark(f"epoch {epoch + 1}")

    def on_test_begin(self, logs: Any = None) -> None:
        """Begin a pause, since no steps come during validation."""
        self._begin_pause("validation")

    def on_test_end(self, logs: Any = None) -> None:
        """End the pause."""
        self._end_pause()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the run, write its files, and restore the optimizer."""
        self._leave()

    def _leave(self) -> None:
        if self._probe is not None:
            self._probe.remove()
        self._probe = self._recording = None
        self._close()


class _Probe:
    """Computes norms inside a compiled model's optimizer.

    Parameters
    ----------
    model : keras.Model
        The model that is trained.
    members : ndarray of int, shape (variables,)
        The layer of each trainable variable.
    layers : int
        Number of layers.
    fail : callable
        Called with an error inside the optimizer; training continues.
    """

    def __init__(
        self, model: Any, members: np.ndarray, layers: int, fail: Callable[[Exception], None]
    ) -> None:
        self._ops: Any = framework("keras.ops", "keras", NEEDED)
        self._model = model
        self._members = members
        self._layers = layers
        self._fail = fail
        # The outer optimizer removes the loss scale before it calls the inner one.
        self._optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self._norms = self._optimizer.add_variable(
            (len(members) + 1,), dtype="float32", name="gradmidi"
        )
        self._places: list[int] | None = None
        own = ("_backend_apply_gradients", "_clip_gradients")
        self._theirs = {name: getattr(self._optimizer, name) for name in own}
        # Set methods on the object instead of its class, whose name is in checkpoints.
        self._optimizer.__dict__.update(
            _backend_apply_gradients=self._apply,
            _clip_gradients=self._clip,
            save_own_variables=self._save,
            load_own_variables=self._load,
        )
        model.make_train_function(force=True)

    def remove(self) -> None:
        """Restore the optimizer."""
        for name in (*self._theirs, "save_own_variables", "load_own_variables"):
            self._optimizer.__dict__.pop(name, None)
        self._optimizer._untrack_variable(self._norms)
        self._model.make_train_function(force=True)

    def read(self) -> tuple[int, list[float | None]]:
        """Return the number of updates, and the norms of the last one."""
        found = np.asarray(self._ops.convert_to_numpy(self._value()), dtype=np.float64)
        norms, present = found[:-1], found[:-1] != ABSENT
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.bincount(self._members[present], np.square(norms[present]), self._layers)
        seen = np.bincount(self._members[present], minlength=self._layers)
        row = [
            float(norm) if count else None
            for norm, count in zip(np.sqrt(squares), seen, strict=True)
        ]
        return int(found[-1]), row

    def _value(self) -> Any:
        state = getattr(self._model, "_jax_state", None)
        if state is None:
            return self._norms.value
        # On JAX, variables are empty until the epoch ends; their values are in the state.
        variables = self._model.optimizer.variables
        at = next(index for index, each in enumerate(variables) if each is self._norms)
        return state["optimizer_variables"][at]

    def _apply(self, gradients: Any, variables: Any) -> Any:
        self._places = None
        self._attempt(self._find, variables)
        return self._theirs["_backend_apply_gradients"](gradients, variables)

    def _clip(self, gradients: Any) -> Any:
        self._attempt(self._take, gradients)
        return self._theirs["_clip_gradients"](gradients)

    def _attempt(self, action: Callable[[Any], None], given: Any) -> None:
        try:
            action(given)
        except Exception as error:
            self._fail(error)

    def _find(self, variables: Any) -> None:
        # Variables without a gradient are not in this list.
        self._places = [self._optimizer._get_variable_index(v) for v in variables]

    def _take(self, gradients: Any) -> None:
        if self._places is None:
            return
        norms: list[Any] = [self._ops.convert_to_tensor(ABSENT, "float32")] * len(self._members)
        for place, gradient in zip(self._places, gradients, strict=True):
            # Squares would overflow in half precision.
            values = self._ops.cast(self._ops.convert_to_tensor(gradient), "float32")
            norms[place] = self._ops.sqrt(self._ops.sum(self._ops.square(values)))
        updates = self._norms[-1] + 1.0
        self._norms.assign(self._ops.stack([*norms, updates]))

    # Keep the norms out of checkpoints.

    def _save(self, store: Any) -> None:
        for index, variable in enumerate(self._kept()):
            store[str(index)] = variable.numpy()

    def _load(self, store: Any) -> None:
        kept = self._kept()
        if len(store.keys()) != len(kept):
            type(self._optimizer).load_own_variables(self._optimizer, store)
            return
        for index, variable in enumerate(kept):
            variable.assign(store[str(index)])

    def _kept(self) -> list[Any]:
        return [v for v in self._optimizer.variables if v is not self._norms]


def _steps_made(model: Any) -> int | None:
    """Return the optimizer's own count of its steps; None if it has none."""
    try:
        return int(model.optimizer.iterations)
    except (AttributeError, TypeError, ValueError):
        return None


def _layers(model: Any) -> tuple[tuple[Layer, ...], np.ndarray]:
    """Return a model's layers that own trainable variables, and the layer of each variable."""
    paths = [variable.path.split("/") for variable in model.trainable_variables]
    if all(len(path) > 2 and path[0] == model.name for path in paths):
        paths = [path[1:] for path in paths]
    names = [".".join(path[:-1]) or path[0] for path in paths]
    places = {name: index for index, name in enumerate(dict.fromkeys(names))}
    sizes = dict.fromkeys(places, 0)
    for name, variable in zip(names, model.trainable_variables, strict=True):
        sizes[name] += int(np.prod(variable.shape))
    members = np.array([places[name] for name in names], dtype=np.intp)
    return tuple(Layer(name, size) for name, size in sizes.items()), members


__getattr__ = on_first_use(
    _Callback, lambda: framework("keras.callbacks", "keras", NEEDED).Callback
)
