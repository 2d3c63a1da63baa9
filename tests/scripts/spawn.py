"""What looks for `__main__` again: a loader's workers by spawn, a pool, an exit handler."""

import atexit
import io
import multiprocessing

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Squares(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((4,), float(index**2))


class Net(nn.Linear):
    pass


def double(number):
    return 2 * number


def saved(net):
    torch.save(net, io.BytesIO())
    print("saved at exit", flush=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    net = Net(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    for x in DataLoader(Squares(), 2, num_workers=1, multiprocessing_context="spawn"):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("doubled", pool.map(double, [1, 2]), flush=True)
    atexit.register(saved, net)
