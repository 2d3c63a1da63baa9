"""What a layer is called, whatever is wrapped around the model, and which parameters it has."""

import pytest

from gradmidi.errors import CaptureError

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from gradmidi.capture.models import chosen, layers_of, unwrapped  # noqa: E402


def placed(*paths: str) -> nn.Module:
    """A model that has a linear layer at each of some paths."""
    model = nn.Module()
    for path in paths:
        *above, name = path.split(".")
        holder = model
        for part in above:
            if not hasattr(holder, part):
                holder.add_module(part, nn.Module())
            holder = getattr(holder, part)
        holder.add_module(name, nn.Linear(2, 2))
    return model


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["fc1", "net.fc2"], ["fc1", "net.fc2"]),
        (["module.fc1", "module.net.fc2"], ["fc1", "net.fc2"]),
        (["module.module.fc1"], ["fc1"]),
        (["_orig_mod.fc1", "_orig_mod.fc2"], ["fc1", "fc2"]),
        (["net._orig_mod.fc1", "fc2"], ["net.fc1", "fc2"]),
        (["_orig_mod.module.fc1", "_orig_mod.module.fc2"], ["fc1", "fc2"]),
        (["module._orig_mod.blocks.0._orig_mod.fc"], ["blocks.0.fc"]),
        (["_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module.fc"], ["blocks.0.fc"]),
        (["blocks.0._checkpoint_wrapped_module.fc", "head"], ["blocks.0.fc", "head"]),
        (
            ["_fsdp_wrapped_module.blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.fc"],
            ["blocks.0.fc"],
        ),
        (["base_model.model.q.lora_A", "base_model.model.q.lora_B"], ["q.lora_A", "q.lora_B"]),
        (["module.base_model.model.model.q"], ["model.q"]),
        # Lightning Fabric's, and Opacus's.
        (["_forward_module.fc1", "_forward_module.fc2"], ["fc1", "fc2"]),
        (["_forward_module.module.fc1"], ["fc1"]),
        (["_module.fc1", "_module.net.fc2"], ["fc1", "net.fc2"]),
        # What a user calls so, and does not stand around all, keeps its name.
        (["module.fc1", "head"], ["module.fc1", "head"]),
        (["net.module.fc1"], ["net.module.fc1"]),
        (["base_model.fc1"], ["base_model.fc1"]),
        (["_module.fc1", "head"], ["_module.fc1", "head"]),
        (["base_model.model.fc1", "base_model.head"], ["base_model.model.fc1", "base_model.head"]),
    ],
)
def test_names_are_those_the_model_has_unwrapped(paths: list[str], names: list[str]) -> None:
    assert list(layers_of(placed(*paths))) == names


def test_what_a_parametrization_makes_a_weight_of_belongs_to_the_layer() -> None:
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(4, 3)),
        parametrizations.spectral_norm(nn.Linear(3, 2)),
    )
    # A length and a direction of each row instead of the weight; or the weight, less its norm.
    originals = {"0": [(3,), (3, 1), (3, 4)], "1": [(2,), (2, 3)]}
    for parameters, left_out in (("all", 0), ("weights", 1)):
        shapes = {
            name: sorted(tuple(p.shape) for p in own)
            for name, own in layers_of(model, parameters).items()
        }
        assert shapes == {name: sorted(each)[left_out:] for name, each in originals.items()}


class Gate(nn.Module):
    """No weight at all, in torch's word."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))


@pytest.mark.parametrize(
    ("module", "heard"),
    [
        (nn.Linear(2, 3), {"weight"}),
        (nn.LSTM(2, 3), {"weight_ih_l0", "weight_hh_l0"}),
        (
            nn.GRU(2, 3, num_layers=2, bidirectional=True),
            {
                f"weight_{part}_l{layer}{way}"
                for part in ("ih", "hh")
                for layer in (0, 1)
                for way in ("", "_reverse")
            },
        ),
        (nn.Bilinear(2, 2, 2), {"weight"}),
        (Gate(), {"scale", "shift"}),
    ],
    ids=lambda each: type(each).__name__,
)
def test_weights_alone(module: nn.Module, heard: set[str]) -> None:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    (own,) = layers_of(module, "weights").values()
    assert {names[id(parameter)] for parameter in own} == heard
    (every,) = layers_of(module).values()
    assert len(every) == len(names)


def test_a_model_that_is_one_layer_is_called_by_its_class() -> None:
    assert list(layers_of(nn.Linear(2, 3))) == ["Linear"]
    wrapped = placed("_orig_mod")
    assert list(layers_of(wrapped)) == ["Linear"]
    assert unwrapped(wrapped) is wrapped._orig_mod


def test_a_parameter_without_a_shape_is_told_by_its_name() -> None:
    for model, name in (
        (nn.LazyLinear(2), "LazyLinear.weight"),
        (nn.Sequential(nn.LazyConv1d(2, 1)), "0.weight"),
    ):
        with pytest.raises(CaptureError, match=rf"^{name} has no shape yet; run one batch"):
            layers_of(model)


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ("encoder.0", ["encoder.0"]),
        (["encoder.*"], ["encoder.0", "encoder.1"]),
        (["*.1", "head"], ["encoder.1", "head"]),
        ({"all": "*"}, ["encoder.0", "encoder.1", "head", "x[0]"]),
        # A name is that name, even where it would be a pattern.
        ("x[0]", ["x[0]"]),
    ],
)
def test_layers_are_chosen_by_names_and_patterns(layers: object, found: list[str]) -> None:
    names = ["encoder.0", "encoder.1", "head", "x[0]"]
    assert sorted(chosen(names, layers)) == found  # type: ignore[arg-type]
