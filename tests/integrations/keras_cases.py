"""Trains small Keras models with the callback, on the backend of KERAS_BACKEND.

Run as a program: ``keras_cases.py FOLDER``. Each case leaves a run of its name in the folder;
the norms that it must hold, worked out in NumPy, are printed as JSON, beside other findings.
"""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

STEPS, BATCH, LR = 6, 10, 0.1


def data() -> tuple[np.ndarray, np.ndarray]:
    made = np.random.default_rng(3)
    x = made.standard_normal((STEPS * BATCH, 4))
    return x.astype("float32"), (10 * made.standard_normal((STEPS * BATCH, 1))).astype("float32")


def weights() -> list[np.ndarray]:
    made = np.random.default_rng(7)
    shapes = [(4, 8), (8,), (8, 1), (1,)]
    return [(0.5 * made.standard_normal(shape)).astype("float32") for shape in shapes]


def gradients(values: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    w1, b1, w2, b2 = values
    hidden = np.tanh(x @ w1 + b1)
    error = 2.0 * (hidden @ w2 + b2 - y) / len(x)
    before = (error @ w2.T) * (1.0 - hidden**2)
    return [x.T @ before, before.sum(0), hidden.T @ error, error.sum(0)]


def norm(arrays: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(float((array**2).sum()) for array in arrays)))


def norms_by_hand(clip: float | None = None, accumulate: int = 1) -> list[list[float]]:
    values = [value.astype("float64") for value in weights()]
    x, y = data()
    rows = []
    for first in range(0, STEPS, accumulate):
        found = [
            gradients(values, x[part], y[part])
            for part in (
                slice(batch * BATCH, (batch + 1) * BATCH)
                for batch in range(first, first + accumulate)
            )
        ]
        mean = [sum(each) / accumulate for each in zip(*found, strict=True)]
        rows.append([norm(mean[:2]), norm(mean[2:])])
        total = norm(mean)
        if clip is not None:
            assert total > clip, "the example does not clip: it would show nothing"
            mean = [each * clip / total for each in mean]
        values = [value - LR * each for value, each in zip(values, mean, strict=True)]
    return rows


def main(folder: Path) -> None:
    # TensorFlow and JAX warn of themselves while they are imported.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

    from gradmidi.integrations.keras import GradMidi

    class Root(keras.layers.Layer):
        """Adds the root of a weight that is 0: what goes in stays, its gradient is infinite."""

        def build(self, _shape: Any) -> None:
            self.weight = self.add_weight(shape=(1,), initializer="zeros", name="weight")

        def call(self, x: Any) -> Any:
            return x + keras.ops.sqrt(self.weight)

    class Idle(keras.layers.Layer):
        """Holds a weight that nothing uses."""

        def build(self, _shape: Any) -> None:
            self.weight = self.add_weight(shape=(1,), initializer="zeros", name="weight")

        def call(self, x: Any) -> Any:
            return x

    def train(
        name: str,
        optimizer: Any,
        *,
        odd: Any = None,
        callbacks: Any = (),
        every: int = 1,
        voices: Any = None,
        **fit: Any,
    ) -> Any:
        first = keras.layers.Dense(8, activation="tanh", name="fc1")
        second = keras.layers.Dense(1, name="fc2")
        between = [odd] if isinstance(odd, Idle) else []
        after = [odd] if isinstance(odd, Root) else []
        model = keras.Sequential([keras.Input((4,)), first, *between, second, *after])
        w1, b1, w2, b2 = weights()
        first.set_weights([w1, b1])
        second.set_weights([w2, b2])
        model.compile(optimizer, "mse")
        x, y = data()
        ears = GradMidi(out=folder / name, files=(), every=every, voices=voices)
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **fit}
        model.fit(x, y, callbacks=[ears, *callbacks], **options)
        return model

    sgd = keras.optimizers.SGD
    told: dict[str, Any] = {"backend": keras.backend.backend()}
    plain = train("default", sgd(LR))
    train("clipped", sgd(LR, global_clipnorm=1.0), validation_data=data())
    train("accumulated", sgd(LR, global_clipnorm=1.0, gradient_accumulation_steps=2))
    train("infinite", sgd(LR, global_clipnorm=1.0), odd=Root(name="root"))
    scaled = keras.optimizers.LossScaleOptimizer(sgd(LR), initial_scale=1024.0)
    train("scaled", scaled)
    with warnings.catch_warnings():
        # Keras says so of the weight that nothing uses, which is what the case is about.
        warnings.filterwarnings("ignore", "Gradients do not exist for variables", UserWarning)
        train("idle", sgd(LR), odd=Idle(name="idle"))

    train("every", sgd(LR), every=4)
    train("voices", sgd(LR), voices={"both": "fc*"})

    class Odd(sgd):
        """Keeps to itself whose gradients are whose."""

        def _get_variable_index(self, variable: Any) -> int:
            raise KeyError(variable.path)

    with contextlib.redirect_stderr(io.StringIO()) as said:
        failed = train("failed", Odd(LR))
    told["said"] = said.getvalue().splitlines()
    told["trained"] = all(
        np.allclose(a, b, rtol=1e-4, atol=1e-6)
        for a, b in zip(failed.get_weights(), plain.get_weights(), strict=True)
    )

    path = folder / "saved.keras"
    saver = keras.callbacks.ModelCheckpoint(path)
    model = train("saved", keras.optimizers.Adam(LR), callbacks=[saver])
    again = keras.models.load_model(path)
    told["loaded"] = len(again.optimizer.variables)
    told["same"] = all(
        np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        for a, b in zip(again.optimizer.variables, model.optimizer.variables, strict=True)
    )
    ears = GradMidi(out=folder / "saved", files=(), resume=True)
    again.fit(*data(), batch_size=BATCH, verbose=0, callbacks=[ears])
    told["left"] = [name for name, held in vars(model.optimizer).items() if callable(held)]
    told["by_hand"] = {
        "default": norms_by_hand(),
        "clipped": norms_by_hand(1.0),
        "accumulated": norms_by_hand(1.0, 2),
        "scaled": norms_by_hand(),
        "idle": norms_by_hand(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
