"""A training script for `listening.Trainer`: trainer.py MODE FOLDER KEY=VALUE…

It prints `result …` at its end: what training came to, which nothing may change.
"""

import os
import sys
import time

import gradmidi

STEP_SECONDS = 0.01


def numbers(options):
    """Numbers alone, without torch."""
    total = 0.0
    with opened(options) as ears:
        for step in range(1, int(options.get("steps", 100)) + 1):
            time.sleep(STEP_SECONDS)
            norms = [1.0 + step % 7, 2.0, 3.0 + step % 3]
            total += sum(norms)
            ears.frame(norms, loss=1.0 / step)
            if step == int(options.get("raise", 0)):
                raise RuntimeError("the batch is bad")
    print("result", total)


def opened(options):
    return gradmidi.record(
        options["folder"],
        layers=["conv", "fc1", "fc2"],
        preset=options.get("preset", "hold"),
        osc=options["osc"].split(",") if "osc" in options else None,
        midi=options.get("midi"),
        rig=options.get("rig"),
        files=tuple(options["files"].split(",")) if "files" in options else (),
    )


def changing(options):
    """Numbers that make another chord every twentieth step."""
    with opened(options) as ears:
        for step in range(1, int(options["steps"]) + 1):
            time.sleep(STEP_SECONDS)
            norm = 4.0 ** (step // 20 % 4)
            ears.frame([norm, 2.0 * norm, 3.0 * norm])
    print("result", step)


def model(options, names=("",)):
    """Models, with workers that load their data if there are to be any."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Noise(Dataset):
        def __len__(self):
            return 10_000

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            return torch.randn(8, generator=generator)

    torch.manual_seed(0)
    torch.set_num_threads(1)
    nets, optimizers = [], []
    for _ in names:
        layers = torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        nets.append(torch.nn.Sequential(*layers))
        optimizers.append(torch.optim.SGD(nets[-1].parameters(), lr=0.01))
    workers = int(options.get("workers", 0))
    loader = DataLoader(Noise(), 4, num_workers=workers, persistent_workers=workers > 0)
    listening = [None] * len(names)
    if options.get("live", "yes") == "yes":
        targets = options["osc"].split(",") if "osc" in options else listening
        listening = [
            gradmidi.listen(
                net,
                optimizer,
                out=options["folder"] + name,
                preset="hold",
                osc=target,
                midi=options.get("midi"),
                audio="audio" in options,
                files=(),
            )
            for net, optimizer, name, target in zip(nets, optimizers, names, targets, strict=True)
        ]
    for step, batch in enumerate(loader, 1):
        time.sleep(STEP_SECONDS)
        for net, optimizer, ears in zip(nets, optimizers, listening, strict=True):
            optimizer.zero_grad()
            loss = (net(batch) - 3.0).square().mean()
            loss.backward()
            optimizer.step()
            if ears is not None:
                ears.log(loss=loss)
        if step == int(options.get("steps", 100)):
            break
    for ears in listening:
        if ears is not None:
            ears.close()
    print("result", *(sum(p.double().sum().item() for p in net.parameters()) for net in nets))


def two(options):
    """Two models at once, each with an optimizer, a run and a receiver of its own."""
    model(options, ("/one", "/two"))


def fill_disk():
    """Let the disk take a few kilobytes more, and then nothing."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def forked(options):
    """Children that outlive everything, as a launcher's may."""
    total = 0.0
    with opened(options) as ears:
        for step in range(1, 1000):
            time.sleep(STEP_SECONDS)
            if step == 20 and os.fork() == 0:
                time.sleep(1000.0)
            ears.frame([1.0, 2.0, 3.0])
            total += 1.0
    print("result", total)


MODES = {
    "record": numbers,
    "changing": changing,
    "model": model,
    "two": two,
    "forked": forked,
}

if __name__ == "__main__":
    mode, folder, *given = sys.argv[1:]
    options = dict(each.split("=", 1) for each in given)
    if options.get("disk") == "full":
        fill_disk()
    MODES[mode]({"folder": folder, **options})
