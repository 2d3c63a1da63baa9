"""Listen to an unchanged script: find its optimizers at their first step, then its model.

Optimizers that exist at the same time make one training, and each training has its own run. A
later training of another model goes to ``out-2``; a resumed training continues its run.
"""

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import say
from gradmidi.errors import GradmidiError
from gradmidi.integrations.deepspeed import before_first_update
from gradmidi.integrations.program import when_imported
from gradmidi.integrations.training import Training
from gradmidi.listener.opening import dated, open_capture
from gradmidi.listener.outputs import Outputs
from gradmidi.log.folder import check_out
from gradmidi.options import Options

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from gradmidi.capture.capture import Capture
    from gradmidi.capture.order import ForwardOrder
    from gradmidi.listener.recording import Recording

__all__ = ["Script"]

TURNS = 20
"""How often trainings may alternate; each change opens a new segment of a log."""

TRAININGS = 100
"""So many trainings of one script are recorded, each in a folder of its own."""

OWN_CALL = "the script itself calls gradmidi; only its own run is recorded"


class Script:
    """Listens to every training in this process; a `gradmidi.capture.clipping.Watcher`.

    It does not import torch but starts when the script does, so that settings before that import,
    such as environment variables, take effect.

    Parameters
    ----------
    options : Options
        Options of `gradmidi.listen`. Live output is opened here.

    Raises
    ------
    GradmidiError
        If an option is not allowed, or a port cannot be opened.
    """

    def __init__(self, options: Options) -> None:
        if options.out is not None:
            check_out(options.out)
        # Make `out` absolute, since the script may change its folder.
        self._home = Path.cwd()
        self._options = options
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._recording: Recording | None = None
        self._capture: Capture | None = None
        self._parameters: set[int] = set()
        self._trainings: list[Training] = []
        self._training: Training | None = None
        self._unheard: list[weakref.ref[Optimizer]] = []
        self._unclaimed: set[int] = set()
        self._by_hand = False
        self._turns = 0
        self._is_full = False
        self._told: set[str] = set()
        self._order: ForwardOrder | None = None
        self._missed = False
        self._outside_compile: Callable[..., None] = self._guard
        self._outputs: Outputs | None = Outputs.of(options)

    def listen(self) -> None:
        """Start now or when the script imports torch; at exit, report if nothing was trained."""
        # atexit calls the functions in reverse order.
        atexit.register(self._report_nothing_trained)
        when_imported("torch", self._attach)
        before_first_update(lambda engine: self._guard(self._find_engine, engine))

    def _attach(self) -> None:
        try:
            from torch.compiler import is_dynamo_compiling
            from torch.optim.optimizer import register_optimizer_step_pre_hook

            from gradmidi.capture.clipping import watch
            from gradmidi.capture.order import ForwardOrder
            from gradmidi.capture.steps import outside_compile

            # torch.compile must not compile this hook.
            self._outside_compile = outside_compile(self._guard)

            def before_step(optimizer: "Optimizer", _args: Any, _kwargs: Any) -> None:
                if is_dynamo_compiling() or not self._is_recorded(optimizer):
                    # The hook of an optimizer that is found here is still called in this step.
                    self._outside_compile(self._find, optimizer)

            register_optimizer_step_pre_hook(before_step)
            watch(self)
            self._order = ForwardOrder()
        except Exception as error:
            say(f"this PyTorch cannot be listened to: {type(error).__name__}: {error}")

    # -- what the script does -------------------------------------------------------------------

    def _is_recorded(self, optimizer: Any) -> bool:
        return self._capture is not None and self._capture.hears(optimizer)

    def clipping(self, parameters: Sequence["Tensor"]) -> None:
        """Handle gradients that are about to be clipped, perhaps before the first step."""
        first = next((id(parameter) for parameter in parameters), None)
        if first is None or (first not in self._parameters and first in self._unclaimed):
            return
        met = first in self._parameters
        if not met:
            self._unclaimed.add(first)
            self._outside_compile(self._find_holders, {id(each) for each in parameters})
        if self._capture is None or first not in self._parameters:
            return
        if self._by_hand:
            self._capture.look_if_new()
        if not met:
            self._capture.clipping(parameters)

    def clipped(self, parameters: Sequence["Tensor"]) -> None:
        """Handle gradients that were clipped."""

    def miss_clipping(self) -> None:
        """Handle clipping that became part of a graph, perhaps before the first step."""
        self._missed = True

    def scaling(self, optimizer: Any) -> None:
        """Handle a scaler that is about to step an optimizer or to skip the step."""
        hooked = "_optimizer_step_pre_hooks" in getattr(optimizer, "__dict__", ())
        if self._is_recorded(optimizer) or not hooked:
            return
        self._outside_compile(self._find, optimizer)
        if self._capture is not None:
            self._capture.scaling(optimizer)

    def scaled(self, optimizer: Any, *, failed: bool) -> None:
        """Handle the end of a scaler's step."""

    # -- trainings ------------------------------------------------------------------------------

    def _guard(self, action: Callable[[Any], None], given: Any) -> None:
        """Call `action` under the lock; never raise."""
        # Do nothing in a forked process, in which the lock may be held forever.
        if os.getpid() != self._process:
            return
        with self._lock:
            try:
                action(given)
            except Exception as error:
                name = "" if isinstance(error, GradmidiError) else f"{type(error).__name__}: "
                self._report(f"{name}{error}")

    def _report(self, error: str) -> None:
        """Say once what is true of each of many optimizers, as of those made for each batch."""
        if error not in self._told:
            self._told.add(error)
            say(f"{'not listening' if self._capture is None else 'not all is heard'}: {error}")

    def _find(self, optimizer: "Optimizer") -> None:
        """Listen to an optimizer that may be new; if that fails, do not try again."""
        if self._is_recorded(optimizer) or self._is_full:
            return
        if any(ref() is optimizer for ref in self._unheard):
            return
        try:
            self._listen_to(optimizer)
        except Exception:
            alive = [ref for ref in self._unheard if ref() is not None]
            self._unheard = [*alive, weakref.ref(optimizer)]
            raise

    def _find_holders(self, parameters: set[int]) -> None:
        from gradmidi.capture.optimizers import held_by
        from gradmidi.capture.owners import optimizers_alive

        if self._is_full:
            return
        holders = [each for each in optimizers_alive() if parameters & held_by(each).keys()]
        for optimizer in holders:
            self._find(optimizer)
        if not holders:
            # The script updates these parameters itself, so each clipping is an update.
            self._open_new([], parameters)

    def _listen_to(self, optimizer: "Optimizer") -> None:
        from gradmidi.capture.optimizers import held_by
        from gradmidi.capture.owners import optimizers_alive, refuse_unowned

        known = held_by(optimizer).keys() <= self._parameters
        if self._capture is not None and self._capture.is_stepping and not known:
            # Another optimizer's step calls this one with copies of parameters: not a new update.
            return
        if self._capture is not None and known:
            self._check_not_listened_to([optimizer])
            self._capture.add(optimizer)
            self._by_hand = False
            if self._training is not None:
                # It may still exist when the next training starts, but does not belong to it.
                self._training.add(optimizer)
            return
        refuse_unowned(optimizer)
        earlier = next((each for each in self._trainings if optimizer in each.optimizers), None)
        if earlier is None:
            met = [each for training in self._trainings for each in training.optimizers]
            new = [each for each in optimizers_alive() if all(each is not old for old in met)]
            self._open_new(new)
            return
        if self._turns == TURNS:
            raise GradmidiError(
                f"trainings have alternated {TURNS} times; the training by "
                f"{type(optimizer).__name__} is not recorded from here on"
            )
        self._turns += 1
        self._open(earlier)

    def _open_new(self, optimizers: Sequence["Optimizer"], trained: Collection[int] = ()) -> None:
        """Listen to a training that is new, unless there were too many."""
        if len(self._trainings) == TRAININGS:
            self._is_full = True
            raise GradmidiError(
                f"{TRAININGS} trainings were recorded, each in a folder of its own; later ones "
                "are not; call gradmidi.listen() in the script for those that matter"
            )
        training = Training(len(self._trainings) + 1, optimizers)
        self._trainings.append(training)
        try:
            self._open(training, trained)
        except BaseException:
            self._trainings.remove(training)
            raise

    def _check_not_listened_to(self, optimizers: Sequence["Optimizer"]) -> None:
        """Raise if the script listens to these optimizers itself."""
        from gradmidi.capture.optimizers import hooks_of

        if any(hook.steps.consumer is not self._recording for hook in hooks_of(optimizers)):
            self._close_unused()
            raise GradmidiError(OWN_CALL)

    def _open(self, training: Training, trained: Collection[int] = ()) -> None:
        """Listen to a training; without an optimizer, `trained` has the ids of its parameters."""
        from gradmidi.capture.engines import capture_of
        from gradmidi.capture.optimizers import held_by
        from gradmidi.capture.owners import owner, scopes

        optimizers = training.optimizers
        self._check_not_listened_to(optimizers)
        options = self._options
        model = owner(optimizers, scopes(), trained)
        parameters = {id(parameter) for parameter in model.parameters()}
        owned = [each for each in optimizers if held_by(each).keys() & parameters]
        capture = capture_of(
            model,
            owned,
            layers=options.layers,
            parameters=options.parameters,
            report_others=False,
        )
        if capture.spread:
            raise GradmidiError(
                f"{capture.model_name} is sharded: each process has only a part of it; call "
                "gradmidi.listen() in the script, in every process"
            )
        self._begin(training, capture, parameters)

    def _begin(self, training: Training, capture: "Capture", parameters: set[int]) -> None:
        """Open the run of a training."""
        from gradmidi.capture.capture import MISSED_IN_GRAPH

        if self._recording is not None:
            self._recording.on_replace()
        self._recording = self._capture = None
        outputs = self._opened(training)
        listener, recording = open_capture(
            capture, self._options_of(training), outputs, order=self._order_of(capture)
        )
        training.folder, training.recording = listener.folder.absolute(), recording
        if self._missed:
            recording.miss_clipping(MISSED_IN_GRAPH)
        self._recording, self._capture, self._training = recording, capture, training
        self._parameters, self._by_hand = parameters, not capture.given
        self._unclaimed.clear()

    def _order_of(self, capture: "Capture") -> "ForwardOrder | Sequence[int] | None":
        """Return the order of the layers in an earlier run of the same ones, or what watches it."""
        order, self._order = self._order, None
        for training in self._trainings:
            layers = () if training.recording is None else training.recording.layers
            if set(layers) == set(capture.layers):
                if order is not None:
                    order.end()
                return [capture.layers.index(layer) for layer in layers]
        return order

    def _find_engine(self, engine: Any) -> None:
        """Listen to an engine of DeepSpeed, in every process that trains with it."""
        from gradmidi.capture.deepspeed import is_heard
        from gradmidi.capture.engines import capture_of

        # Its optimizer steps tensors that no module has.
        self._unheard.append(weakref.ref(engine.basic_optimizer))
        if is_heard(engine):
            self._close_unused()
            raise GradmidiError(OWN_CALL)
        options = self._options
        capture = capture_of(
            engine, layers=options.layers, parameters=options.parameters, updates=options.updates
        )
        capture.meet()
        try:
            training = Training(len(self._trainings) + 1, [])
            self._trainings.append(training)
            self._begin(training, capture, set())
        except BaseException:
            # The other ranks must not wait for this rank.
            capture.detach(quiet=True)
            raise

    def _options_of(self, training: Training) -> Options:
        """Return the options of a training: only the first may continue or replace a run."""
        options = replace(self._options, out=self._place())
        if training.recording is not None:
            step = training.recording.step
            return replace(options, out=training.folder, resume=True, overwrite=False, step=step)
        if training.number > 1:
            options = replace(
                options, resume=None if options.resume is None else False, overwrite=False
            )
        return options

    def _opened(self, training: Training) -> Outputs:
        """Return the outputs opened before the script started; for a later training, new ones."""
        outputs, self._outputs = self._outputs, None
        if outputs is not None:
            return outputs
        options = self._options
        if options.take is not None:
            take = Path(options.take)
            number = len(self._trainings) + self._turns
            options = replace(options, take=take.with_stem(f"{take.stem}-{number}"))
        try:
            return Outputs.of(options)
        except GradmidiError as error:
            say(f"{error}; training {training.number} makes no sound, everything else continues")
            return Outputs.of(options.silent())

    def _place(self) -> Path:
        out = dated() if self._options.out is None else Path(self._options.out)
        return out if Path.cwd() == self._home else self._home / out

    def _close_unused(self) -> None:
        """Close live output that no training has used."""
        if self._outputs is not None:
            self._outputs.close()

    def _report_nothing_trained(self) -> None:
        if os.getpid() != self._process:
            return
        self._close_unused()
        if not (self._trainings or self._told):
            say(
                "no PyTorch optimizer made a step in this process, so nothing was recorded. If the "
                "script updates its parameters itself, call gradmidi.listen(model), and capture() "
                "before each update; clipping by torch also works. If the script starts processes "
                "(torch.multiprocessing.spawn), call gradmidi.listen() in the functions that they "
                "run"
            )
