"""Record what training tools print: ``python tests/data/printed/record.py [TOOL…]``.

Each tool trains a few steps in a process of its own, whose stdout and stderr are one pipe, as in
``python train.py 2>&1 | gradmidi play -``. The bytes go to ``TOOL.txt`` beside this script, and the
versions to ``versions.json``. A tool that is not installed is left out.
"""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).parent

DATA = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = (x[:, 0] + 0.5 * x[:, 1] > 0).astype("int64")
"""

TORCH = (
    DATA
    + """
import torch
torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
"""
)

TRAINER = (
    TORCH
    + """
import tempfile
from transformers import Trainer, TrainingArguments
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}
rows = [{"x": a, "labels": b} for a, b in data]
arguments = TrainingArguments(
    tempfile.mkdtemp(), max_steps=40, logging_steps=5, eval_strategy="steps", eval_steps=20,
    learning_rate=1e-2, report_to=[], use_cpu=True, per_device_train_batch_size=16, DISABLED
)
Trainer(Net(), arguments, train_dataset=rows, eval_dataset=rows[:64]).train()
"""
)

LIGHTNING = (
    TORCH
    + """
import lightning, warnings
warnings.filterwarnings("ignore")
class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net
    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss
    def validation_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("val_loss", loss, prog_bar=True)
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)
loader = torch.utils.data.DataLoader(data, 16)
trainer = lightning.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, log_every_n_steps=1,
    BAR
)
trainer.fit(Module(), loader, loader)
trainer.validate(Module(), loader)
"""
)

TOOLS = {
    "transformers": ("transformers", TRAINER.replace("DISABLED", "")),
    "transformers-no-bar": ("transformers", TRAINER.replace("DISABLED", "disable_tqdm=True")),
    "lightning": (
        "lightning",
        LIGHTNING.replace("BAR", "callbacks=[lightning.pytorch.callbacks.TQDMProgressBar()]"),
    ),
    "lightning-rich": ("lightning", LIGHTNING.replace("BAR", "")),
    "keras": (
        "keras",
        DATA
        + """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Dense(16, "relu"), keras.layers.Dense(2)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.fit(x, y, batch_size=16, epochs=2, validation_split=0.25)
""",
    ),
    "accelerate": (
        "accelerate",
        TORCH
        + """
import logging
from accelerate import Accelerator
from accelerate.logging import get_logger
from tqdm.auto import tqdm
logging.basicConfig(
    format="%(asctime)s - %(levelname)s - %(name)s - %(message)s", datefmt="%m/%d/%Y %H:%M:%S",
    level=logging.INFO,
)
accelerator = Accelerator(cpu=True)
logger = get_logger(__name__)
model, optimizer, loader = accelerator.prepare(
    net, torch.optim.AdamW(net.parameters(), 1e-2), torch.utils.data.DataLoader(data, 16)
)
logger.info("***** Running training *****")
logger.info("  Instantaneous batch size per device = 16")
logger.info("  Gradient Accumulation steps = 1")
logger.info("  Total optimization steps = 32")
bar = tqdm(range(32), disable=not accelerator.is_local_main_process)
for epoch in range(2):
    for a, b in loader:
        loss = torch.nn.functional.cross_entropy(model(a), b)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        bar.update(1)
        bar.set_postfix(loss=loss.item())
    logger.info(f"epoch {epoch}: perplexity: {loss.exp().item()} eval_loss: {loss.item()}")
""",
    ),
    "pytorch-mnist": (
        "torch",
        TORCH
        + """
# In the form of PyTorch's example "mnist".
optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
loader = torch.utils.data.DataLoader(data, 16)
for epoch in (1, 2):
    for batch, (a, b) in enumerate(loader):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(a), b)
        loss.backward()
        optimizer.step()
        if batch % 4 == 0:
            print('Train Epoch: {} [{}/{} ({:.0f}%)]\\tLoss: {:.6f}'.format(
                epoch, batch * len(a), len(loader.dataset),
                100. * batch / len(loader), loss.item()))
    right = (net(torch.tensor(x)).argmax(1) == torch.tensor(y)).sum().item()
    print('\\nTest set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)\\n'.format(
        loss.item(), right, len(loader.dataset), 100. * right / len(loader.dataset)))
""",
    ),
    "xgboost": (
        "xgboost",
        DATA
        + """
import xgboost
a, b = xgboost.DMatrix(x[:200], y[:200]), xgboost.DMatrix(x[200:], y[200:])
settings = {"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "seed": 0}
xgboost.train(settings, a, 12, evals=[(a, "train"), (b, "eval")], verbose_eval=2)
""",
    ),
    "lightgbm": (
        "lightgbm",
        DATA
        + """
import lightgbm
a = lightgbm.Dataset(x[:200], y[:200])
b = lightgbm.Dataset(x[200:], y[200:], reference=a)
lightgbm.train(
    {"objective": "binary", "metric": ["binary_logloss", "auc"], "seed": 0, "num_threads": 1}, a,
    12, valid_sets=[a, b], valid_names=["training", "valid_1"],
    callbacks=[lightgbm.log_evaluation(2)],
)
""",
    ),
    "catboost": (
        "catboost",
        DATA
        + """
import catboost
model = catboost.CatBoostClassifier(iterations=12, random_seed=0, thread_count=1,
                                    allow_writing_files=False)
model.fit(x[:200], y[:200], eval_set=(x[200:], y[200:]), verbose=2)
""",
    ),
    "stable-baselines3": (
        "stable-baselines3",
        """
from stable_baselines3 import PPO
ppo = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, verbose=1, seed=0, device="cpu")
ppo.learn(200)
""",
    ),
    "scikit-learn": (
        "scikit-learn",
        DATA
        + """
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.neural_network import MLPClassifier
MLPClassifier((8,), max_iter=8, verbose=True, random_state=0).fit(x, y)
GradientBoostingClassifier(n_estimators=8, verbose=2, random_state=0).fit(x, y)
""",
    ),
    "fastai": (
        "fastai",
        TORCH
        + """
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
loaders = DataLoaders(torch.utils.data.DataLoader(data, 16), torch.utils.data.DataLoader(data, 16))
Learner(loaders, net, loss_func=torch.nn.CrossEntropyLoss(), metrics=accuracy).fit(3, 1e-2)
""",
    ),
    "spacy": (
        "spacy",
        """
import pathlib, subprocess, sys, tempfile
import spacy
from spacy.tokens import DocBin
folder = pathlib.Path(tempfile.mkdtemp())
nlp = spacy.blank("en")
docs = DocBin()
for text, label in [("good fine nice", 1.0), ("bad awful poor", 0.0)] * 20:
    doc = nlp.make_doc(text)
    doc.cats = {"POS": label, "NEG": 1.0 - label}
    docs.add(doc)
docs.to_disk(folder / "train.spacy")
python = [sys.executable, "-m", "spacy"]
subprocess.run([*python, "init", "config", str(folder / "c.cfg"), "-p", "textcat"], check=True,
               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
data = str(folder / "train.spacy")
subprocess.run([*python, "train", str(folder / "c.cfg"), "--paths.train", data, "--paths.dev", data,
                "--training.max_steps", "40", "--training.eval_frequency", "10"], check=True)
""",
    ),
}  # fmt: skip


def main() -> None:
    """Record the tools named on the command line, or all."""
    path = FOLDER / "versions.json"
    versions = json.loads(path.read_text()) if path.exists() else {}
    for name in sys.argv[1:] or TOOLS:
        package, script = TOOLS[name]
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            print(f"{package} is not installed: {name} is left out")
            continue
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            print(f"{name} failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
            continue
        (FOLDER / f"{name}.txt").write_bytes(done.stdout)
        versions[name] = f"{package} {version}"
        print(f"{name}: {len(done.stdout)} bytes")
    path.write_text(json.dumps(versions, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
