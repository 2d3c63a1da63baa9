"""Measure whether faults of real training scripts are named, and how often none is.

    python benchmarks/real_scripts.py [--quick] [SCRIPT...]

Eight scripts, each in the form in which PyTorch's examples and tutorials have it, small and
seeded: a CNN, a character-level GPT, a VAE, an LSTM without clipping, a GAN with two optimizers,
PPO on CartPole, LoRA on a frozen GPT, and a diffusion UNet. Each is trained 3,000 steps as it is,
and once for each kind of fault, which is put into the training at step 300. gradmidi listens to all
of them with its default limits, which were not chosen on these scripts.

A fault is named right if its kind is right, if the layer (or its block) is, and if the step at
which it is said to begin is at most five steps off. The losses and the total norms of the same runs
are given to the detectors of trainscope and losslint, where these are installed: they name no
layers, so that for them it counts whether anything is found from that step on.
"""

import contextlib
import inspect
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import gradmidi
from gradmidi.demo.experiments import digits

AT, AFTER, HEALTHY_STEPS = 300, 100, 3000
OFF = 5


@dataclass
class Tamper:
    """What is wrong with the training now."""

    output: float | None = None  # factor on the gradient of the site's output
    weights: float = 1.0  # on the gradients of the site's own parameters
    loss: float = 1.0
    labels: bool = False  # random ones
    detached: bool = False
    rate: float = 1.0


@dataclass
class Script:
    """A training: `step` makes one pass of the loop and returns the loss that it logs."""

    model: nn.Module
    optimizers: list[torch.optim.Optimizer]
    site: str
    step: Callable[[Tamper], list[float]]
    kinds: tuple[str, ...] = ()


# -- the faults -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Injected:
    """A fault: what is done `since` steps after it begins, and the names that are right."""

    tamper: Callable[[int], Tamper]
    kinds: tuple[str, ...]
    where: str = "site"  # "site", "loss" or "any"


FAULTS = {
    "nan gradient": Injected(lambda s: Tamper(output=math.nan if s == 0 else None), ("nan",)),
    "nan loss": Injected(lambda s: Tamper(loss=math.nan if s == 0 else 1.0), ("nan",), "loss"),
    "exploding": Injected(lambda s: Tamper(weights=1e3), ("exploding",)),
    "vanishing": Injected(lambda s: Tamper(output=1e-5), ("vanishing",)),
    "dead": Injected(lambda s: Tamper(output=0.0), ("dead",)),
    "detached": Injected(lambda s: Tamper(detached=True), ("missing",)),
    "spike": Injected(lambda s: Tamper(loss=1e3 if s == 0 else 1.0), ("spike",), "any"),
    "rate": Injected(
        lambda s: Tamper(rate=300.0), ("exploding", "nan", "inf", "dead", "vanishing"), "any"
    ),
    "wrong labels": Injected(lambda s: Tamper(labels=s < 16), ("exploding",), "loss"),
}
UNSUPERVISED = tuple(name for name in FAULTS if name != "wrong labels")


def tampered(script: Script, tamper: Tamper) -> Callable[[], None]:
    """Put a fault into the module `script.site`; return a function that removes it."""
    module = dict(script.model.named_modules())[script.site]

    def hook(_module: nn.Module, _inputs: object, output: object) -> object:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        if tamper.detached:
            changed = tensor.detach()
        elif tamper.output is not None and tensor.requires_grad:
            changed = tensor.clone()
            factor = tamper.output
            changed.register_hook(lambda gradient: gradient * factor)
        else:
            return None
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handles = [module.register_forward_hook(hook)]
    if tamper.weights != 1.0:
        trained = [
            [p for p in each.parameters(recurse=False) if p.requires_grad]
            for each in module.modules()
        ]
        for parameter in next(filter(None, trained)):
            handles.append(parameter.register_hook(lambda g: g * tamper.weights))
    for optimizer in script.optimizers:
        for group in optimizer.param_groups:
            group["lr"] *= tamper.rate

    def remove() -> None:
        for handle in handles:
            handle.remove()
        for optimizer in script.optimizers:
            for group in optimizer.param_groups:
                group["lr"] /= tamper.rate

    return remove


# -- the scripts ----------------------------------------------------------------------------------


def images() -> tuple[Tensor, Tensor]:
    """Return the digits as PyTorch's MNIST examples have them, half as wide, and their labels."""
    pixels, labels = digits()
    grey = torch.from_numpy(pixels[:, None].astype(np.float32) / 255.0)
    return F.avg_pool2d(grey, 2), torch.from_numpy(labels.astype(np.int64))


def draw(random: np.random.Generator, count: int, size: int) -> Tensor:
    return torch.from_numpy(random.integers(0, count, size))


def cnn(random: np.random.Generator) -> Script:
    """PyTorch's examples/mnist: two convolutions, dropout, Adadelta with StepLR."""
    x, y = images()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 8, 3, 1), nn.Conv2d(8, 16, 3, 1)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1, self.fc2 = nn.Linear(400, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv2(F.relu(self.conv1(x))))
            x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
            return F.log_softmax(self.fc2(self.dropout2(F.relu(self.fc1(x)))), dim=1)

    net = Net()
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=300, gamma=0.7)

    def step(tamper: Tamper) -> list[float]:
        batch = draw(random, len(x), 16)
        target = draw(random, 10, 16) if tamper.labels else y[batch]
        optimizer.zero_grad()
        loss = F.nll_loss(net((x[batch] - 0.1307) / 0.3081), target) * tamper.loss
        loss.backward()
        optimizer.step()
        if tamper.rate == 1.0:
            schedule.step()
        return [float(loss.detach())]

    return Script(net, [optimizer], "conv2", step)


class Attention(nn.Module):
    """Causal attention of four heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        b, t, c = x.shape
        q, k, v = (
            part.view(b, t, 4, c // 4).transpose(1, 2) for part in self.c_attn(x).split(c, 2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    """Attention and an MLP, each beside a residual branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Gpt(nn.Module):
    """As nanoGPT: the output's weights are the embedding's."""

    def __init__(self, letters: int, width: int = 32, depth: int = 4, length: int = 32) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(letters, width), nn.Embedding(length, width)
        self.h = nn.ModuleList([Block(width) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, letters, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                std = 0.02 / math.sqrt(2 * depth) if name.endswith("c_proj.weight") else 0.02
                nn.init.normal_(parameter, std=std)
        self.wte.weight = self.lm_head.weight

    def forward(self, tokens: Tensor) -> Tensor:  # noqa: D102
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def characters() -> tuple[Tensor, int]:
    """Return the letters of a module of Python's library as numbers, and how many differ."""
    text = inspect.getsource(contextlib) * 2
    letters = sorted(set(text))
    numbers = {letter: number for number, letter in enumerate(letters)}
    return torch.tensor([numbers[letter] for letter in text]), len(letters)


def windows(
    random: np.random.Generator, text: Tensor, size: int, length: int
) -> tuple[Tensor, Tensor]:
    starts = random.integers(0, len(text) - length - 1, size)
    x = torch.stack([text[s : s + length] for s in starts])
    return x, torch.stack([text[s + 1 : s + length + 1] for s in starts])


def gpt(random: np.random.Generator) -> Script:
    """Build a character-level GPT: AdamW, warm-up and cosine, clipping at 1."""
    text, letters = characters()
    net = Gpt(letters)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.99))
    done = 0

    def step(tamper: Tamper) -> list[float]:
        nonlocal done
        done += 1
        rate = 2e-3 * min(1.0, done / 100) * (0.55 + 0.45 * math.cos(math.pi * done / 3000))
        for group in optimizer.param_groups:
            group["lr"] = rate * tamper.rate
        x, y = windows(random, text, 8, 32)
        y = torch.randint_like(y, letters) if tamper.labels else y
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten()) * tamper.loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return [float(loss.detach())]

    return Script(net, [optimizer], "h.2", step)


def vae(random: np.random.Generator) -> Script:
    """PyTorch's examples/vae: summed losses, Adam."""
    x, _ = images()
    flat = x.flatten(1)

    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc21, self.fc22 = (
                nn.Linear(196, 64),
                nn.Linear(64, 8),
                nn.Linear(64, 8),
            )
            self.fc3, self.fc4 = nn.Linear(8, 64), nn.Linear(64, 196)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hidden = F.relu(self.fc1(x))
            mu, logvar = self.fc21(hidden), self.fc22(hidden)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
            return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar

    net = Vae()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def step(tamper: Tamper) -> list[float]:
        batch = flat[draw(random, len(flat), 32)]
        optimizer.zero_grad()
        made, mu, logvar = net(batch)
        error = F.binary_cross_entropy(made.clamp(0.0, 1.0).nan_to_num(0.5), batch, reduction="sum")
        loss = (error - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) * tamper.loss
        loss.backward()
        optimizer.step()
        return [float(loss.detach()) / 32]

    return Script(net, [optimizer], "fc1", step, kinds=UNSUPERVISED)


def rnn(random: np.random.Generator) -> Script:
    """PyTorch's examples/word_language_model, by characters: an LSTM, SGD, no clipping."""
    text, letters = characters()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.2)
            self.encoder = nn.Embedding(letters, 32)
            self.rnn = nn.LSTM(32, 48, 2, batch_first=True)
            self.decoder = nn.Linear(48, letters)
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.drop(self.rnn(self.drop(self.encoder(x)))[0]))

    net = Model()
    optimizer = torch.optim.SGD(net.parameters(), lr=2.0)

    def step(tamper: Tamper) -> list[float]:
        x, y = windows(random, text, 8, 24)
        y = torch.randint_like(y, letters) if tamper.labels else y
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten()) * tamper.loss
        loss.backward()
        optimizer.step()
        return [float(loss.detach())]

    return Script(net, [optimizer], "rnn", step)


def gan(random: np.random.Generator) -> Script:
    """PyTorch's tutorial of DCGAN, with small networks: two optimizers, in turn."""
    x, _ = images()
    flat = 2.0 * x.flatten(1) - 1.0
    generator = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 196), nn.Tanh()
    )
    critic = nn.Sequential(
        nn.Linear(196, 64),
        nn.LeakyReLU(0.2),
        nn.Linear(64, 64),
        nn.LeakyReLU(0.2),
        nn.Linear(64, 1),
    )
    both = nn.ModuleDict({"netG": generator, "netD": critic})
    by_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    by_d = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def judged(images: Tensor, real: float) -> Tensor:
        made = critic(images)
        return F.binary_cross_entropy_with_logits(made, torch.full_like(made, real))

    def step(tamper: Tamper) -> list[float]:
        real = flat[draw(random, len(flat), 32)]
        critic.zero_grad()
        fake = generator(torch.randn(32, 16))
        error_d = judged(real, 1.0) + judged(fake.detach(), 0.0)
        error_d.backward()
        by_d.step()
        generator.zero_grad()
        error_g = judged(fake, 1.0) * tamper.loss
        error_g.backward()
        by_g.step()
        return [float(error_d.detach()), float(error_g.detach())]

    return Script(both, [by_d, by_g], "netG.2", step, kinds=UNSUPERVISED)


class CartPole:
    """The pole on a cart of Barto, Sutton and Anderson (1983): several, for 200 steps each."""

    def __init__(self, random: np.random.Generator, count: int) -> None:
        self._random = random
        self.state = random.uniform(-0.05, 0.05, (count, 4))
        self._age = np.zeros(count)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take a step of all carts; return their states, and which have ended."""
        _, v, angle, turn = self.state.T
        force = np.where(action == 1, 10.0, -10.0)
        push = (force + 0.05 * turn**2 * np.sin(angle)) / 1.1
        bend = (9.8 * np.sin(angle) - np.cos(angle) * push) / (
            0.5 * (4.0 / 3.0 - 0.1 * np.cos(angle) ** 2 / 1.1)
        )
        along = push - 0.05 * bend * np.cos(angle) / 1.1
        self.state = self.state + 0.02 * np.stack([v, along, turn, bend], 1)
        self._age += 1
        fell = (np.abs(self.state[:, 0]) > 2.4) | (np.abs(self.state[:, 2]) > 0.2095)
        done = fell | (self._age >= 200)
        self.state[done] = self._random.uniform(-0.05, 0.05, (int(done.sum()), 4))
        self._age[done] = 0
        return self.state.copy(), done


def ppo(random: np.random.Generator) -> Script:
    """PPO as CleanRL has it: rollouts of 4 carts, 4 epochs of 4 batches, clipping at 0.5."""
    world = CartPole(random, 4)

    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
            self.actor, self.critic = nn.Linear(32, 2), nn.Linear(32, 1)
            nn.init.orthogonal_(self.actor.weight, 0.01)

        def forward(self, x: Tensor) -> tuple[torch.distributions.Categorical, Tensor]:
            y = self.body(x)
            logits = self.actor(y).nan_to_num(0.0)
            return torch.distributions.Categorical(logits=logits), self.critic(y)[:, 0]

    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=1e-3, eps=1e-5)
    left: list[tuple[Tensor, ...]] = []

    def rollout() -> None:
        seen, acts, logs, values, dones = [], [], [], [], []
        now = world.state.copy()
        with torch.no_grad():
            for _ in range(32):
                x = torch.from_numpy(now.astype(np.float32))
                policy, value = agent(x)
                act = policy.sample()
                seen.append(x)
                acts.append(act)
                logs.append(policy.log_prob(act))
                values.append(value)
                now, done = world.step(act.numpy())
                dones.append(torch.from_numpy(done.astype(np.float32)))
            after = agent(torch.from_numpy(now.astype(np.float32)))[1]
        gain, gains = torch.zeros(4), []
        for at in reversed(range(32)):
            going = 1.0 - dones[at]
            error = 1.0 + 0.99 * after * going - values[at]
            gain = error + 0.99 * 0.95 * going * gain
            after = values[at]
            gains.append(gain)
        gains.reverse()
        held = [torch.cat(each) for each in (seen, acts, logs, gains)]
        held.append(held[3] + torch.cat(values))
        for _ in range(4):
            order = torch.from_numpy(random.permutation(128))
            left.extend(tuple(each[part] for each in held) for part in order.split(32))

    def step(tamper: Tamper) -> list[float]:
        if not left:
            rollout()
        x, act, old, gain, goal = left.pop(0)
        policy, value = agent(x)
        ratio = (policy.log_prob(act) - old).exp()
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        surrogate = -torch.min(gain * ratio, gain * ratio.clamp(0.8, 1.2)).mean()
        value_loss = 0.5 * (value - goal).square().mean()
        loss = (surrogate - 0.01 * policy.entropy().mean() + 0.5 * value_loss) * tamper.loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        return [float(loss.detach())]

    return Script(agent, [optimizer], "body.2", step, kinds=UNSUPERVISED)


class Lora(nn.Module):
    """A frozen linear layer and a low-rank change, which begins at zero (Hu et al., 2021)."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Linear(base.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.base(x) + 2.0 * self.lora_B(self.lora_A(x))


def lora(random: np.random.Generator) -> Script:
    """Build a GPT trained on one text, frozen, and fine-tuned on another by LoRA."""
    text, letters = characters()
    net = Gpt(letters)
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    for _ in range(200):
        x, y = windows(random, text, 8, 32)
        optimizer.zero_grad()
        F.cross_entropy(net(x).flatten(0, 1), y.flatten()).backward()
        optimizer.step()
    net.requires_grad_(False)
    for block in net.h:
        block.attn.c_attn = Lora(block.attn.c_attn)
        block.attn.c_proj = Lora(block.attn.c_proj)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=2e-3)
    other = text.flip(0)

    def step(tamper: Tamper) -> list[float]:
        x, y = windows(random, other, 8, 32)
        y = torch.randint_like(y, letters) if tamper.labels else y
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x).flatten(0, 1), y.flatten()) * tamper.loss
        loss.backward()
        optimizer.step()
        return [float(loss.detach())]

    kinds = tuple(name for name in FAULTS if name != "wrong labels")
    return Script(net, [optimizer], "h.2", step, kinds=kinds)


def unet(random: np.random.Generator) -> Script:
    """Build a small UNet that predicts the noise in digits (Ho et al., 2020)."""
    x, _ = images()
    pixels = F.avg_pool2d(x, 2, ceil_mode=True)[:, :, :6, :6] * 2.0 - 1.0
    keep = torch.cos(torch.linspace(0.01, 1.5, 100)) ** 2

    class Part(nn.Module):
        def __init__(self, inlet: int, outlet: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = (
                nn.Conv2d(inlet, outlet, 3, 1, 1),
                nn.Conv2d(outlet, outlet, 3, 1, 1),
            )
            self.norm, self.time = nn.GroupNorm(4, outlet), nn.Linear(16, outlet)

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            y = F.silu(self.norm(self.conv1(x))) + self.time(time)[:, :, None, None]
            return F.silu(self.conv2(y))

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inlet = nn.Conv2d(1, 16, 3, 1, 1)
            self.down = Part(16, 32)
            self.mid = Part(32, 32)
            self.up = Part(48, 16)
            self.outlet = nn.Conv2d(16, 1, 3, 1, 1)

        def forward(self, x: Tensor, time: Tensor) -> Tensor:
            angle = time[:, None] * 2.0 ** torch.arange(8) / 40.0
            time = torch.cat([angle.sin(), angle.cos()], 1)
            first = self.inlet(x)
            deep = self.mid(self.down(F.avg_pool2d(first, 2), time), time)
            deep = F.interpolate(deep, scale_factor=2.0)
            return self.outlet(self.up(torch.cat([first, deep], 1), time))

    net = Unet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def step(tamper: Tamper) -> list[float]:
        clean = pixels[draw(random, len(pixels), 16)]
        time = torch.from_numpy(random.integers(0, 100, 16))
        noise = torch.randn_like(clean)
        share = keep[time][:, None, None, None]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        loss = F.mse_loss(net(noisy, time.float()), noise) * tamper.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [float(loss.detach())]

    return Script(net, [optimizer], "mid", step, kinds=UNSUPERVISED)


SCRIPTS: dict[str, Callable[[np.random.Generator], Script]] = {
    "CNN": cnn,
    "GPT": gpt,
    "VAE": vae,
    "LSTM": rnn,
    "GAN": gan,
    "PPO": ppo,
    "LoRA": lora,
    "UNet": unet,
}


# -- running and judging --------------------------------------------------------------------------


@dataclass
class Run:
    """What was recorded of one training, and what gradmidi says of it."""

    said: list[str]
    faults: tuple[gradmidi.Fault, ...]
    losses: list[float | None]
    totals: list[float]
    at: int
    site: str


def train(name: str, fault: str | None, steps: int, folder: Path) -> Run:
    """Train one script with gradmidi listening."""
    torch.manual_seed(7)
    script = SCRIPTS[name](np.random.default_rng(7))
    pace = len(script.optimizers)
    injected = FAULTS[fault] if fault else None
    run = folder / f"{name}-{fault}".replace(" ", "-")
    with gradmidi.listen(script.model, script.optimizers, out=run, files=()) as ears:
        for step in range(1, steps + 1):
            tamper = Tamper()
            if injected is not None and step >= AT:
                tamper = injected.tamper(step - AT)
            remove = tampered(script, tamper)
            try:
                losses = script.step(tamper)
            finally:
                remove()
            ears.log(loss=losses[-1])
    log = gradmidi.read(run)
    frames = list(log.frames())
    return Run(
        gradmidi.describe(run),
        gradmidi.faults(run),
        [frame.loss for frame in frames],
        [float(np.sqrt(np.square(frame.norms[frame.norms >= 0]).sum())) for frame in frames],
        (AT - 1) * pace + 1,
        script.site,
    )


def verdict(run: Run, injected: Injected) -> str:
    """Return "right", "late", "layer", "kind" or "missed", the best that is true of a run."""
    found = [fault for fault in run.faults if fault.found >= run.at and fault.kind != "died"]
    best = "missed"
    for fault in found:
        if fault.kind not in injected.kinds:
            best = best if best != "missed" else "kind"
            continue
        if not is_where(run, fault, injected.where):
            best = "layer" if best != "late" else best
        elif abs(fault.steps[0] - run.at) > OFF:
            best = "late"
        else:
            return "right"
    return best


def is_where(run: Run, fault: gradmidi.Fault, where: str) -> bool:
    """Return whether a fault is laid to the right layer, to its block, or to the loss."""
    if where == "any":
        return True
    if where == "loss":
        return fault.logged == "loss"
    # A row of layers is named by the last of them, where the backward pass reached the fault.
    layers = fault.first or fault.layers
    named = (layers[-1], *layers[:3]) if layers else ()
    return any(f"{layer}.".startswith(f"{run.site}.") for layer in named)


def main(names: list[str], *, quick: bool) -> None:
    steps = 600 if quick else HEALTHY_STEPS
    marks: Counter[str] = Counter()
    other: Counter[str] = Counter()
    healthy = 0
    print("| script |", " | ".join(FAULTS), "| false alarms |")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or SCRIPTS:
            began = time.monotonic()
            row, wrong = [], []
            probe = SCRIPTS[name](np.random.default_rng(7))
            for fault, injected in FAULTS.items():
                if probe.kinds and fault not in probe.kinds:
                    row.append("–")
                    continue
                run = train(name, fault, AT + AFTER, Path(folder))
                mark = verdict(run, injected)
                marks[mark] += 1
                row.append(mark)
                for title, detector in DETECTORS.items():
                    steps_found = detector(run)
                    other[f"{title} found"] += any(step >= run.at for step in steps_found)
                if mark != "right":
                    wrong.append(
                        f"{name}, {fault}: {[line for line in run.said if 'step' in line][:6]}"
                    )
            run = train(name, None, steps, Path(folder))
            healthy += len(run.losses)
            alarms = [each for each in run.faults if each.kind != "died"]
            marks["false"] += len(alarms)
            for title, detector in DETECTORS.items():
                other[f"{title} false"] += len(detector(run))
            row.append(f"{len(alarms)} in {len(run.losses):,}")
            print(f"| {name} |", " | ".join(row), "|", flush=True)
            for line in [*wrong, *(f"{name}: false: {each}" for each in alarms)]:
                print("   ", line, flush=True)
            print(f"    {time.monotonic() - began:.0f} s", flush=True)
    made = sum(count for mark, count in marks.items() if mark != "false")
    print(f"\nnamed right: {marks['right']} of {made}; {dict(marks)}")
    print(f"false alarms: {marks['false']} in {healthy:,} healthy steps")
    for title in DETECTORS:
        print(
            f"{title}: found something in {other[f'{title} found']} of {made}, "
            f"false alarms {other[f'{title} false']} in {healthy:,}"
        )


# -- other detectors, on the losses and total norms of the same runs -------------------------------


def trainscope(run: Run) -> list[int]:
    """Return the steps at which trainscope's default, CUSUM of the loss, finds a change."""
    from trainscope.core.detectors.changepoint import ChangePointDetector

    detector, found = ChangePointDetector(), []
    for step, loss in enumerate(run.losses, 1):
        # Its detector is not given what is not finite; that counts as found here.
        if loss is None:
            continue
        if not math.isfinite(loss) or detector.update(loss) is not None:
            found.append(step)
    return apart(found)


def losslint(run: Run) -> list[int]:
    """Return the steps of losslint's findings of severity warning or error."""
    from losslint.checks import run_all_checks
    from losslint.parsing import RunLog

    series: dict[str, list[float | None]] = {"loss": run.losses, "grad_norm": list(run.totals)}
    log = RunLog(list(range(1, len(run.losses) + 1)), series, Path("run"))
    found = [each for each in run_all_checks(log) if each.severity in ("warning", "error")]
    # A finding of the whole run has no step.
    return [min(each.details.get("steps", [len(run.losses)])) for each in found]


def apart(steps: list[int], distance: int = 50) -> list[int]:
    """Leave out what is found again within some steps, as gradmidi does."""
    kept: list[int] = []
    for step in steps:
        if not kept or step - kept[-1] >= distance:
            kept.append(step)
    return kept


def installed() -> Iterator[tuple[str, Callable[[Run], list[int]]]]:
    for detector in (trainscope, losslint):
        with contextlib.suppress(ImportError):
            __import__(detector.__name__)
            yield detector.__name__, detector


DETECTORS = dict(installed())

if __name__ == "__main__":
    arguments = sys.argv[1:]
    torch.set_num_threads(1)
    main([name for name in arguments if name in SCRIPTS], quick="--quick" in arguments)
