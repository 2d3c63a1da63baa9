"""Small trainings, each as somebody might write it: small.py MODE….

Before each step it prints the norms that the step's gradients have, by hand.
"""

import json
import os
import sys
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.fc1 = nn.Linear(4, hidden)
        self.fc2 = nn.Linear(hidden, 1)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, x):
        return self.main(x)


def norm(module):
    return sum(p.grad.double().square().sum().item() for p in module.parameters()) ** 0.5


def tell(*modules):
    print(json.dumps([None if m is None else norm(m) for m in modules]), flush=True)


def backward(net, scale=1.0):
    net.zero_grad()
    loss = scale * (net(torch.randn(16, 4)) - 3.0).square().mean()
    loss.backward()


def train(net, optimizer, steps=4):
    for _ in range(steps):
        backward(net)
        tell(net.fc1, net.fc2)
        optimizer.step()


def plain():
    net = Net()
    train(net, torch.optim.SGD(net.parameters(), lr=0.01))


def never():
    net = Net()
    torch.optim.SGD(net.parameters(), lr=0.01)
    backward(net)


def leave():
    plain()
    sys.exit(3)


def fail():
    plain()
    raise ValueError("the batch is bad")


def move():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    os.makedirs("elsewhere")
    os.chdir("elsewhere")
    train(net, optimizer, 2)
    os.makedirs("deeper")
    os.chdir("deeper")
    train(net, optimizer, 2)


def endless():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001)
    while True:
        train(net, optimizer, 1)
        time.sleep(0.01)


def clip():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(4):
        backward(net, 100.0)
        tell(net.fc1, net.fc2)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()


def scaler():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for step in range(4):
        optimizer.zero_grad()
        loss = (net(torch.randn(16, 4)) - 3.0).square().mean()
        scaler.scale(loss * (float("inf") if step == 0 else 1.0)).backward()
        scaler.unscale_(optimizer)
        print(json.dumps([step > 0]), flush=True)
        scaler.step(optimizer)
        scaler.update()


def closure():
    net = Net()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=3)
    x = torch.randn(16, 4)
    for _ in range(3):
        first = True

        def evaluate():
            nonlocal first
            optimizer.zero_grad()
            loss = (net(x) - 3.0).square().mean()
            loss.backward()
            if first:
                tell(net.fc1, net.fc2)
            first = False
            return loss

        optimizer.step(evaluate)


def gan():
    generator, discriminator = Generator(), Net()
    for_g = torch.optim.Adam(generator.parameters(), lr=0.01)
    for_d = torch.optim.Adam(discriminator.parameters(), lr=0.01)
    for _ in range(3):
        discriminator.zero_grad()
        fake = generator(torch.randn(8, 3))
        real = discriminator(torch.randn(8, 4))
        (discriminator(fake.detach()).mean() - real.mean()).backward()
        tell(None, None, discriminator.fc1, discriminator.fc2)
        for_d.step()
        generator.zero_grad()
        (-discriminator(fake).mean()).backward()
        tell(generator.main[0], generator.main[2], None, None)
        for_g.step()


def in_backward():
    net = Net()
    own = {p: torch.optim.SGD([p], lr=0.01) for p in net.parameters()}
    squares = {}

    def step(p):
        squares[p] = p.grad.double().square().sum().item()
        own[p].step()
        own[p].zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        (net(torch.randn(16, 4)) - 3.0).square().mean().backward()
        norms = [sum(squares[p] for p in m.parameters()) ** 0.5 for m in (net.fc1, net.fc2)]
        print(json.dumps(norms))


def backwards():
    for _ in range(2):
        net = Net()
        # Its second layer is registered before its first.
        net._modules = dict(reversed(net._modules.items()))
        train(net, torch.optim.SGD(net.parameters(), lr=0.01), 2)


def folds():
    for _ in range(3):
        plain()


def probe():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(2):
        train(net, optimizer, 2)
        other = Net(hidden=5)
        train(other, torch.optim.Adam(other.parameters()), 2)


def again():
    net = Net()
    for _ in range(3):
        train(net, torch.optim.Adam(net.parameters(), lr=0.001), 2)


def compiled():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    @torch.compile(backend="eager")
    def step(x):
        optimizer.zero_grad()
        loss = (net(x) - 3.0).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(4):
        step(torch.randn(16, 4))
        tell(net.fc1, net.fc2)


def compiled_clip():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    tell_apart = torch.compiler.disable(tell)

    @torch.compile(backend="eager")
    def step(x):
        optimizer.zero_grad()
        (100.0 * (net(x) - 3.0)).square().mean().backward()
        tell_apart(net.fc1, net.fc2)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()

    for _ in range(4):
        step(torch.randn(16, 4))


def one_graph():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    @torch.compile(backend="eager", fullgraph=True)
    def clip():
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)

    for _ in range(4):
        backward(net, 100.0)
        clip()
        tell(net.fc1, net.fc2)
        optimizer.step()


class Around(torch.optim.Optimizer):
    """Steps another optimizer, as Lookahead does."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner = inner

    def step(self, closure=None):
        return self.inner.step(closure)


def wrapped():
    net = Net()
    train(net, Around(torch.optim.SGD(net.parameters(), lr=0.01)))


def hidden_clip():
    """As `wrapped`, with an inner optimizer that no attribute shows, met first by clipping."""
    net = Net()
    inner = torch.optim.SGD(net.parameters(), lr=0.01)

    class Hides(Around):
        def step(self, closure=None):
            return inner.step(closure)

    optimizer = Hides(torch.optim.SGD(net.parameters(), lr=0.01))
    for _ in range(4):
        backward(net, 100.0)
        tell(net.fc1, net.fc2)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()


def by_hand_clip():
    """An update without an optimizer, after clipping."""
    net = Net()
    for _ in range(4):
        backward(net, 100.0)
        tell(net.fc1, net.fc2)
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        for p in net.parameters():
            p.data.add_(p.grad, alpha=-0.01)


def by_hand_clip_each():
    """An update without an optimizer, after clipping each parameter by itself, twice."""
    net = Net()
    for _ in range(4):
        backward(net, 100.0)
        tell(net.fc1, net.fc2)
        for p in net.parameters():
            nn.utils.clip_grad_norm_(p, 0.5)
        nn.utils.clip_grad_value_(net.parameters(), 0.1)
        for p in net.parameters():
            p.data.add_(p.grad, alpha=-0.01)


def raw():
    x = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        x.square().sum().backward()
        optimizer.step()
    print(x.tolist())


def beside():
    """A temperature, and a disturbance for each batch, beside the net."""
    net, temperature = Net(), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for_t = torch.optim.SGD([temperature], lr=0.1)
    for _ in range(4):
        train(net, optimizer, 1)
        temperature.exp().backward()
        for_t.step()
        disturbance = torch.zeros(4, requires_grad=True)
        for_d = torch.optim.SGD([disturbance], lr=0.1)
        net(disturbance).sum().backward()
        for_d.step()


def clients():
    """A model and an optimizer for each of many short trainings."""
    for _ in range(5):
        plain()


def itself():
    import gradmidi

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    with gradmidi.listen(net, optimizer, out="own", files=()):
        train(net, optimizer)


def forked():
    plain()
    child = os.fork()
    plain()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


MODES = (
    plain, never, leave, fail, move, endless, clip, scaler, closure, gan, in_backward,
    folds, backwards, probe, again, compiled, compiled_clip, one_graph, wrapped, hidden_clip,
    by_hand_clip, by_hand_clip_each, raw, beside, clients, itself, forked,
)  # fmt: skip

if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for mode in sys.argv[1:]:
        print(mode, flush=True)
        {each.__name__: each for each in MODES}[mode]()
