"""Recognise the names of gradient norms, and find the names of their layers in them."""

import itertools
import re
from collections.abc import Sequence

from gradmidi.log.items import unwrapped

__all__ = ["RUN", "is_norm", "layer_names", "layer_of", "norm_columns"]

RUN = " - "
"""Separator between the names of run and metric in a chart exported from W&B."""

_GRADIENT = re.compile(
    r"(?<![a-z])(?:grad(?:ient)?s?(?:[_\- ]?\d+(?:\.\d+)?)?(?:[_\- ]?l2)?(?:[_\- ]?norms?)?"
    r"|g[_\- ]?norm)(?![a-z])",
    re.IGNORECASE,
)
"""A name with a word for gradients: ``grad_2.0_norm/fc1``, ``train/grad_norm``, ``gnorm``."""

_PLAIN = re.compile(r"norm", re.IGNORECASE)
"""A name that is a norm of gradients by itself, as llm.c and nanoGPT's followers print it."""

_OTHER_ORDER = re.compile(
    r"grad(?:ient)?s?[_\- ]?(?:l1|linf)[_\- ]?norm|(?<![a-z])(?:l1|linf)[_\- ]?grad", re.IGNORECASE
)
"""A norm of another order, which is no L2 norm."""

_UNCLIPPED = re.compile(
    r"[_\- ]?(?<![a-z])((pre|before)[_\- ]?clip(ping|ped)?|unclipped)(?![a-z])[_\- ]?",
    re.IGNORECASE,
)
"""Words for a norm from before clipping."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""A word of a name, in snake_case or CamelCase."""

_STATISTICS = frozenset(
    [
        "max",
        "min",
        "mean",
        "avg",
        "average",
        "std",
        "stdev",
        "var",
        "variance",
        "median",
        "hist",
        "histogram",
        "percentile",
        "quantile",
        "sum",
        "count",
        "ratio",
        "rms",
        "squared",
        "square",
        "sq",
        "ema",
        "smooth",
        "smoothed",
        "running",
        "moving",
        "rel",
        "relative",
        "abs",
        "absmax",
        "num",
        "number",
        "log",
        "ln",
        "entropy",
        "skew",
        "kurtosis",
    ]
)
"""Words for values that are computed from gradients but are not norms."""

_OTHER = _STATISTICS | frozenset(
    [
        "to",
        "over",
        "vs",
        "penalty",
        "loss",
        "losses",
        "clip",
        "clipped",
        "clipping",
        "clipval",
        "accum",
        "accumulate",
        "accumulation",
        "accumulated",
        "checkpoint",
        "checkpointing",
        "checkpoints",
        "scale",
        "scaler",
        "scaling",
        "cos",
        "cosine",
        "sim",
        "similarity",
        "noise",
        "time",
        "steps",
        "overflow",
        "enabled",
        "enable",
        "disable",
        "requires",
        "require",
        "required",
        "use",
        "no",
        "sync",
        "threshold",
        "limit",
        "policy",
        "angle",
        "sign",
        "sparsity",
        "snr",
        "zeros",
        "nan",
        "nans",
        "inf",
        "infs",
        "nonfinite",
        "finite",
        "lr",
        "decay",
        "coef",
        "coefficient",
        "reversal",
    ]
)
"""A name with ``grad`` and one of these words is a setting, a loss or a statistic."""

_PARAMETER = re.compile(
    r"[./](weight|bias|kernel|gamma|beta|scale|embeddings?|recurrent_kernel"
    r"|(in_proj|weight|bias)_\w+)(:\d+)?$"
)
"""Names of parameters of a layer; their norms combined are the layer's norm."""

_KEY = re.compile(r"\[(['\"])(.*?)\1\]")
"""A part of a name as Python prints a path of keys, as JAX does: ``['params']['Dense_0']``."""

_PHASES = frozenset({"train", "training", "trainer"})
"""Words before a norm that say when it was measured, not of which layer."""

_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}

_NORMS = frozenset({"norm", "norms"})
_SEPARATORS = "/_.:- "


def norm_columns(names: Sequence[str]) -> list[str]:
    """Return the columns whose names say that they are gradient norms.

    Examples
    --------
    >>> norm_columns(["D/grad_penalty", "D/grad_norm", "grad_norm_max", "use_grad_clip"])
    ['D/grad_norm']
    """
    metrics = {name: name.rpartition(RUN)[2] for name in names}
    # Lightning adds the mean of an epoch to a metric that it logs at each step.
    means = {name.removesuffix("_step") + "_epoch" for name in names if name.endswith("_step")}
    # fairseq does so with a word in front.
    means |= {f"train_{name}" for name in names}
    chosen = [n for n, metric in metrics.items() if n not in means and is_norm(metric)]
    # What is measured may be a folder: ``gradients/norm/fc1``, ``gradients/max/fc1``.
    folders = [_measured_folder(metrics[name]) for name in chosen]
    if all(folders):
        chosen = [n for n, folder in zip(chosen, folders, strict=True) if folder in _NORMS]
    # If each name comes again with such a word at its end, those are statistics.
    last = {name: metrics[name].rpartition("_")[2].lower() for name in chosen}
    without = {metrics[name] for name in chosen if last[name] not in _STATISTICS}
    suffixed = {metrics[name].lower() for name in chosen}
    statistics = {
        word
        for word in last.values()
        if word in _STATISTICS
        and without
        and all(f"{m}_{word}".lower() in suffixed for m in without)
    }
    chosen = [name for name in chosen if last[name] not in statistics]
    # If the same name without its last word exists, that word names a statistic.
    tails = {name: metrics[name].rpartition("/") for name in chosen}
    kinds = _STATISTICS | _NORMS
    plain = {folder for folder, _, tail in tails.values() if tail.lower() not in kinds}
    whole = {metrics[name] for name in chosen}
    chosen = [
        name
        for name, (folder, _, tail) in tails.items()
        if tail.lower() not in _STATISTICS or (folder in plain and folder not in whole)
    ]
    # If each name ends with what is measured, as ``grad/fc1_mean`` and ``grad/fc1_norm`` do, only
    # some are norms.
    measured = {name: _measure(metrics[name]) for name in chosen}
    if not all(measured.values()):
        return chosen
    return [name for name in chosen if measured[name] in _NORMS]


def _measure(metric: str) -> str:
    """Return the last word of a name if it is a statistic or a norm, and no other word says so.

    Examples
    --------
    >>> _measure("grad/fc1_mean"), _measure("grad/fc1_norm"), _measure("grad_norm/fc_mean")
    ('mean', 'norm', '')
    """
    match = _gradient(metric)
    if match is None or "norm" in match.group().lower():
        return ""
    word = (_WORD.findall(metric[match.end() :]) or [""])[-1].lower()
    return word if word in _STATISTICS | _NORMS else ""


def _measured_folder(metric: str) -> str:
    """Return the folder after the word for gradients if it says what is measured.

    Examples
    --------
    >>> _measured_folder("gradients/norm/fc1"), _measured_folder("grad_norm/norm/weight")
    ('norm', '')
    """
    match = _gradient(metric)
    if match is None or "norm" in match.group().lower():
        return ""
    before, *folders = metric[match.end() :].lower().split("/")
    return folders[0] if not before and folders[1:] and folders[0] in _STATISTICS | _NORMS else ""


def is_norm(metric: str) -> bool:
    """Return whether the name of a metric says that it is the norm of gradients.

    Examples
    --------
    >>> [is_norm(name) for name in ("train/grad_norm", "gnorm", "grad_clip", "loss")]
    [True, True, False, False]
    >>> [is_norm(name) for name in ("norm", "grad_stats/fc_grad_mean", "fc_grad_l1_norm")]
    [True, False, False]
    """
    metric = _UNCLIPPED.sub("", metric)
    matches = list(_GRADIENT.finditer(metric))
    if not matches or _OTHER_ORDER.search(metric):
        return _PLAIN.fullmatch(metric) is not None
    for match in matches:
        # The part between slashes, dots and colons that contains the word for gradients.
        before = re.split(r"[/.:]", metric[: match.start()])[-1]
        after = re.split(r"[/.:]", metric[match.end() :])[0]
        words = {word.lower() for word in _WORD.findall(f"{before} {after}")}
        if words & _OTHER:
            return False
    return True


def _gradient(name: str) -> re.Match[str] | None:
    """Return the word for gradients in a name; of several the first that says ``norm`` too."""
    found = [_PLAIN.fullmatch(name), *_GRADIENT.finditer(name)]
    matches = [match for match in found if match is not None]
    return next((m for m in matches if "norm" in m[0].lower()), matches[0] if matches else None)


def layer_names(columns: Sequence[str]) -> list[str]:
    """Remove from each name the words that only say that it is a gradient norm.

    Examples
    --------
    >>> layer_names(["train/grad_norm"]), layer_names(["g/fc1", "g/fc2"])
    (['total'], ['fc1', 'fc2'])
    >>> layer_names(["grad/fc1"]), layer_names(["train/fc1/grad_norm", "train/fc2/grad_norm"])
    (['fc1'], ['fc1', 'fc2'])
    >>> layer_names(["grad norm (fc1)"]), layer_names(["grad/['fc1']['kernel']"])
    (['fc1'], ['fc1.kernel'])
    """
    columns = [_UNCLIPPED.sub("", _KEY.sub(r".\2", column)) for column in columns]
    matches = [_gradient(column) for column in columns]
    after = [_bare(c[m.end() :]) if m else "" for c, m in zip(columns, matches, strict=True)]
    if all(map(_measured_folder, columns)):
        after = [name.partition("/")[2] for name in after]
    if all(name == "step" or name.endswith("_step") for name in after):
        after = [name.removesuffix("step").rstrip("_") for name in after]
    if all(map(_measure, columns)):
        after = [re.sub(r"[\W_]*norms?$", "", name, flags=re.IGNORECASE) for name in after]
    # If nothing comes after these words, the layer's name is before them, or there is none.
    before = [c[: m.start()] if m else c for c, m in zip(columns, matches, strict=True)]
    folders = [text.split("/")[:-1] for text, name in zip(before, after, strict=True) if not name]
    levels = zip(*folders, strict=False)
    common = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, levels)))
    if any(_PARAMETER.fullmatch("/" + "/".join(folder[common:])) for folder in folders):
        # The folders that are left name no layer.
        common -= 1
    rest = ["/".join(text.split("/")[common:]).strip(_SEPARATORS) for text in before]
    rest = ["" if name.lower() in _PHASES else name for name in rest]
    if len(set(after)) < len(after):
        # What comes after the words is a variant: ``fc1_grad_norm_ema``, ``fc2_grad_norm_ema``.
        after = [f"{b}_{a}" if a and b else a for a, b in zip(after, rest, strict=True)]
    names = unwrapped([(a or b).split(".") for a, b in zip(after, rest, strict=True)])
    if len(names) > 1 and all(path[0] == "params" and path[1:] for path in names):
        # Flax keeps all parameters under this key.
        names = [path[1:] for path in names]
    return [".".join(path) or "total" for path in names]


def _bare(name: str) -> str:
    """Remove separators and brackets around a name."""
    # The names of wrappers begin with an underscore.
    name = name.strip(_SEPARATORS if name[:1] == "_" else _SEPARATORS.replace("_", ""))
    if name and _BRACKETS.get(name[0]) == name[-1]:
        return name[1:-1].strip()
    return name if any(map(str.isalnum, name)) else ""


def layer_of(name: str, column: str) -> tuple[str, str]:
    """Return the layer of a parameter, and what its columns have in common.

    Examples
    --------
    >>> layer_of("fc1.weight", "grad/fc1.weight"), layer_of("fc1", "grad/fc1")
    (('fc1', 'grad/fc1'), ('fc1', 'grad/fc1'))
    """
    parameter = _PARAMETER.search(name)
    if parameter is None:
        return name, column
    stem = _KEY.sub(r".\2", column).replace(parameter.group(), "", 1)
    return name[: parameter.start()] or name, stem
