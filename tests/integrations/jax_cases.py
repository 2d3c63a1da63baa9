"""Trains a small network in JAX with Optax, and records norms that its compiled step hands out.

Run as a program: ``jax_cases.py FOLDER``. Each case leaves a run of its name in the folder.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

from keras_cases import BATCH, LR, STEPS, data, weights

import gradmidi

SPOILED = 3


def main(folder: Path) -> None:
    with warnings.catch_warnings():
        # JAX warns of itself while it is imported.
        warnings.simplefilter("ignore")
        import jax
        import optax

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        hidden = jax.numpy.tanh(x @ params["fc1"]["kernel"] + params["fc1"]["bias"])
        return ((hidden @ params["fc2"]["kernel"] + params["fc2"]["bias"] - y) ** 2).mean()

    def train(name: str, optimizer: Any, spoiled: int | None = None) -> None:
        @jax.jit
        def update(params: Any, state: Any, number: Any, x: Any, y: Any) -> Any:
            loss, gradients = jax.value_and_grad(loss_of)(params, x, y)
            if spoiled is not None:
                kernel = gradients["fc2"]["kernel"]
                odd = jax.numpy.where(number == spoiled, jax.numpy.inf, kernel[0, 0])
                gradients["fc2"]["kernel"] = kernel.at[0, 0].set(odd)
            norms = {layer: optax.tree.norm(own) for layer, own in gradients.items()}
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(params, updates), state, norms, loss

        w1, b1, w2, b2 = weights()
        params: Any = {"fc1": {"kernel": w1, "bias": b1}, "fc2": {"kernel": w2, "bias": b2}}
        state = optimizer.init(params)
        x, y = data()
        with gradmidi.record(folder / name, layers=list(params), files=()) as ears:
            for step in range(STEPS):
                part = slice(step * BATCH, (step + 1) * BATCH)
                params, state, norms, loss = update(params, state, step + 1, x[part], y[part])
                ears.frame(norms, loss=loss)

    train("default", optax.sgd(LR))
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(LR))
    train("clipped", clipped)
    train("infinite", clipped, SPOILED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
