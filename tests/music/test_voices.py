"""Layers to voices, on the layer names of models that people train."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmidi.errors import PresetError
from gradmidi.log import Layer
from gradmidi.music.voices import Voice, VoiceNorms, group, silent

MOST = 15

Sizes = list[tuple[str, int]]


def layers_of(sizes: Sequence[tuple[str, int]]) -> list[Layer]:
    return [Layer(name, size) for name, size in sizes]


def names(sizes: Sequence[tuple[str, int]], most: int = MOST) -> list[str]:
    voices = group(layers_of(sizes), most)
    assert_runs(voices, len(sizes), most)
    return [voice.name for voice in voices]


def assert_runs(voices: Sequence[Voice], layers: int, most: int) -> None:
    """Every layer in exactly one voice, neighbours only, in order."""
    assert [index for voice in voices for index in voice.layers] == list(range(layers))
    assert [voice.index for voice in voices] == list(range(len(voices)))
    assert len(voices) <= most
    assert all(voice.layers and voice.name for voice in voices)
    assert len({voice.name for voice in voices}) == len(voices)


# -- the layers of well-known models, as `named_modules` lists them ----------------------------


def cnn() -> Sizes:
    return [("conv1", 260), ("conv2", 5020), ("fc1", 16050), ("fc2", 510)]


def resnet(blocks: Sequence[int], *, bottleneck: bool) -> Sizes:
    sizes, width = [("conv1", 9408), ("bn1", 128)], 64
    grow = 4 if bottleneck else 1
    for stage, count in enumerate(blocks, 1):
        inner = 64 << stage - 1
        for block in range(count):
            name, out = f"layer{stage}.{block}", inner * grow
            if bottleneck:
                convs = [(inner, width), (inner, 9 * inner), (out, inner)]
            else:
                convs = [(inner, 9 * width), (inner, 9 * inner)]
            for index, (channels, fan_in) in enumerate(convs, 1):
                sizes += [
                    (f"{name}.conv{index}", channels * fan_in),
                    (f"{name}.bn{index}", 2 * channels),
                ]
            if block == 0 and (stage > 1 or bottleneck):
                sizes += [(f"{name}.downsample.0", width * out), (f"{name}.downsample.1", 2 * out)]
            width = out
    return [*sizes, ("fc", 1000 * width + 1000)]


def gpt2(blocks: int, prefix: str = "", d: int = 768) -> Sizes:
    inside = {
        "ln_1": 2 * d,
        "attn.c_attn": 3 * d * (d + 1),
        "attn.c_proj": d * (d + 1),
        "ln_2": 2 * d,
        "mlp.c_fc": 4 * d * (d + 1),
        "mlp.c_proj": d * (4 * d + 1),
    }
    return [
        (f"{prefix}wte", 50257 * d),
        (f"{prefix}wpe", 1024 * d),
        *((f"{prefix}h.{i}.{part}", size) for i in range(blocks) for part, size in inside.items()),
        (f"{prefix}ln_f", 2 * d),
    ]


def bert(blocks: int, d: int = 768) -> Sizes:
    inside = {
        "attention.self.query": d * (d + 1),
        "attention.self.key": d * (d + 1),
        "attention.self.value": d * (d + 1),
        "attention.output.dense": d * (d + 1),
        "attention.output.LayerNorm": 2 * d,
        "intermediate.dense": 4 * d * (d + 1),
        "output.dense": d * (4 * d + 1),
        "output.LayerNorm": 2 * d,
    }
    return [
        ("bert.embeddings.word_embeddings", 30522 * d),
        ("bert.embeddings.position_embeddings", 512 * d),
        ("bert.embeddings.token_type_embeddings", 2 * d),
        ("bert.embeddings.LayerNorm", 2 * d),
        *(
            (f"bert.encoder.layer.{i}.{part}", size)
            for i in range(blocks)
            for part, size in inside.items()
        ),
        ("bert.pooler.dense", d * (d + 1)),
        ("classifier", 2 * (d + 1)),
    ]


def llama(blocks: int, experts: int = 0, d: int = 4096) -> Sizes:
    sizes = [("model.embed_tokens", 32000 * d)]
    for i in range(blocks):
        layer = f"model.layers.{i}"
        sizes += [(f"{layer}.self_attn.{part}_proj", d * d) for part in "qkvo"]
        sizes += [(f"{layer}.block_sparse_moe.gate", experts * d)] if experts else []
        sizes += [
            (f"{layer}.block_sparse_moe.experts.{expert}.{part}", d * 11008)
            for expert in range(experts)
            for part in ("w1", "w2", "w3")
        ]
        if not experts:
            sizes += [(f"{layer}.mlp.{part}_proj", d * 11008) for part in ("gate", "up", "down")]
        sizes += [(f"{layer}.input_layernorm", d), (f"{layer}.post_attention_layernorm", d)]
    return [*sizes, ("model.norm", d), ("lm_head", 32000 * d)]


def vit(own: str = "", d: int = 768) -> Sizes:
    inside = {
        "ln_1": 2 * d,
        "self_attention": 3 * d * (d + 1),
        "self_attention.out_proj": d * (d + 1),
        "ln_2": 2 * d,
        "mlp.0": 4 * d * (d + 1),
        "mlp.3": d * (4 * d + 1),
    }
    return [
        (own, d),  # the class token is the model's own parameter
        ("conv_proj", 3 * 16 * 16 * d + d),
        ("encoder", 197 * d),  # and the positions are the encoder's
        *(
            (f"encoder.layers.encoder_layer_{i}.{part}", size)
            for i in range(12)
            for part, size in inside.items()
        ),
        ("encoder.ln", 2 * d),
        ("heads.head", 1000 * (d + 1)),
    ]


def unet() -> Sizes:
    def double(name: str, before: int, width: int) -> Sizes:
        return [
            (f"{name}.0", 9 * before * width),
            (f"{name}.1", 2 * width),
            (f"{name}.3", 9 * width * width),
            (f"{name}.4", 2 * width),
        ]

    sizes, width = double("inc.double_conv", 3, 64), 64
    for i in range(1, 5):
        sizes += double(f"down{i}.maxpool_conv.1.double_conv", width, 2 * width)
        width *= 2
    for i in range(1, 5):
        sizes += [(f"up{i}.up", 2 * width * width)]
        sizes += double(f"up{i}.conv.double_conv", width, width // 2)
        width //= 2
    return [*sizes, ("outc.conv", 2 * width + 2)]


def t5(blocks: int, d: int = 512) -> Sizes:
    sizes = [("shared", 32128 * d)]
    stacks = {"encoder": ("SelfAttention",), "decoder": ("SelfAttention", "EncDecAttention")}
    for stack, attentions in stacks.items():
        for i in range(blocks):
            layer = f"{stack}.block.{i}.layer"
            for at, attention in enumerate(attentions):
                sizes += [(f"{layer}.{at}.{attention}.{part}", d * d) for part in "qkvo"]
                sizes += [(f"{layer}.{at}.layer_norm", d)]
            at = len(attentions)
            sizes += [(f"{layer}.{at}.DenseReluDense.{part}", 4 * d * d) for part in ("wi", "wo")]
            sizes += [(f"{layer}.{at}.layer_norm", d)]
        sizes += [(f"{stack}.final_layer_norm", d)]
    return sizes


def test_up_to_fifteen_layers_have_a_voice_each() -> None:
    assert names(cnn()) == ["conv1", "conv2", "fc1", "fc2"]
    assert names([("", 10)]) == ["model"]
    fifteen = [(f"net.{i}.bn", 10) for i in range(15)]
    assert names(fifteen) == [name for name, _ in fifteen]
    assert group([], MOST) == ()


def test_resnet18_is_split_by_blocks_everywhere() -> None:
    expected = ["conv1 + bn1", *(f"layer{s}.{b}" for s in range(1, 5) for b in range(2)), "fc"]
    assert names(resnet((2, 2, 2, 2), bottleneck=False)) == expected


def test_resnet50_shares_its_room_between_all_stages() -> None:
    assert names(resnet((3, 4, 6, 3), bottleneck=True)) == [
        "conv1 + bn1",
        *("layer1.0", "layer1.1", "layer1.2"),
        *("layer2.0", "layer2.1-2", "layer2.3"),
        *("layer3.0", "layer3.1-2", "layer3.3", "layer3.4-5"),
        *("layer4.0", "layer4.1", "layer4.2"),
        "fc",
    ]


def test_stages_stay_whole_where_there_is_no_room_to_split_all() -> None:
    stages = ["conv1 + bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
    for most in (6, 7, 8, 9):
        assert names(resnet((2, 2, 2, 2), bottleneck=False), most) == stages


@pytest.mark.parametrize("most", [2, 3, 5, 8, 10, 12, 15, 20, 30, 40])
@pytest.mark.parametrize("blocks", [(2, 2, 2, 2), (3, 4, 6, 3), (3, 8, 36, 3)])
def test_no_stage_of_a_resnet_is_shredded(blocks: tuple[int, ...], most: int) -> None:
    sizes = resnet(blocks, bottleneck=blocks[0] == 3)
    voices = group(layers_of(sizes), most)
    assert_runs(voices, len(sizes), most)
    held = [
        {tuple(sizes[i][0].split(".")[:2]) for i in voice.layers if sizes[i][0].startswith("layer")}
        for voice in voices
    ]
    assert sum(map(len, held)) == sum(blocks), "a block is cut"
    shared = [sum(any(stage == f"layer{n}" for stage, _ in b) for b in held) for n in range(1, 5)]
    assert max(shared) == 1 or min(shared) > 1, "one stage is split while another is whole"


def test_gpt2_has_its_blocks() -> None:
    expected = ["wte + wpe", *(f"h.{i}" for i in range(11)), "h.11 + ln_f"]
    assert names(gpt2(12)) == expected
    assert names(gpt2(12, "transformer.")) == expected


def test_bert_has_its_blocks() -> None:
    expected = ["embeddings", *(f"layer.{i}" for i in range(12)), "pooler.dense", "classifier"]
    assert names(bert(12)) == expected


def test_llama_32_has_bands_of_two_and_three_blocks() -> None:
    found = names(llama(32))
    assert found[:4] == ["embed_tokens", "layers.0-1", "layers.2-4", "layers.5-6"]
    assert found[-2:] == ["layers.30-31", "lm_head"]
    assert len(found) == MOST


def test_experts_do_not_cut_a_block() -> None:
    found = names(llama(4, experts=8))
    assert found == [
        "embed_tokens",
        "layers.0",
        "layers.1",
        "layers.2",
        "layers.3 + norm",
        "lm_head",
    ]


def test_vit_with_numbers_at_the_end_of_names() -> None:
    blocks = [f"encoder_layer_{i}" for i in range(11)]
    for own in ("", "VisionTransformer"):
        found = names(vit(own))
        assert found[0].startswith("conv_proj")
        assert found[1:] == [*blocks, "encoder_layer_11 + ln", "head"]
    assert "encoder_layer_0-2" in names(vit(), 6)


def test_unet_keeps_each_level_whole() -> None:
    downs, ups = [f"down{i}" for i in range(1, 5)], [f"up{i}" for i in range(1, 5)]
    assert names(unet()) == ["inc", *downs, *ups, "outc.conv"]


def test_encoder_and_decoder_are_reported_apart_and_split_alike() -> None:
    small = names(t5(2))
    assert small == [
        "shared",
        *("encoder.block.0", "encoder.block.1 + final_layer_norm"),
        *("decoder.block.0", "decoder.block.1 + final_layer_norm"),
    ]
    large = names(t5(12))
    assert len(large) == MOST
    assert abs(sum("encoder" in n for n in large) - sum("decoder" in n for n in large)) <= 4


def test_rows_of_blocks_are_split_together_however_deep_they_lie() -> None:
    sizes = [(f"encoder.layers.{i}.{part}", 1000) for i in range(12) for part in "ab"]
    sizes += [("decoder.embed", 3000)]
    sizes += [(f"decoder.layers.{i}.{part}", 1000) for i in range(12) for part in "ab"]
    found = names(sizes)
    assert sum("encoder" in name for name in found) == sum("decoder" in name for name in found) == 7
    assert "embed" in found


def test_norms_without_a_name_are_known_by_their_size() -> None:
    # A Sequential of convolution, norm and activation, named by number: 26 layers.
    sizes, before = [], 3
    for i, width in enumerate([64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]):
        sizes += [
            (f"features.{3 * i}", 9 * before * width + width),
            (f"features.{3 * i + 1}", 2 * width),
        ]
        before = width
    assert names([*sizes, ("classifier", 5130)]) == [
        *(f"features.{3 * i}-{3 * i + 1}" for i in range(13)),
        "classifier",
    ]


def test_a_narrow_convolution_is_no_norm() -> None:
    # Darknet's 3 x 3 and 1 x 1 in turn: the narrow one is a ninth and divides the wide one.
    pair = [9 * 64 * 128, 128 * 64]
    sizes = [(str(i), size) for i, size in enumerate([*pair * 8, 10_000_000])]
    assert len(group(layers_of(sizes), 16)) == 16


def test_a_small_last_layer_is_what_the_model_answers_with() -> None:
    sizes = [(str(i), 1024 * 1024) for i in range(20)]
    assert names([*sizes, ("20", 2048)])[-1] == "20"


def test_two_thousand_flat_layers_make_even_bands() -> None:
    layers = layers_of([(f"layer{i}", 100) for i in range(2000)])
    voices = group(layers, MOST)
    assert_runs(voices, 2000, MOST)
    assert {len(voice.layers) for voice in voices} == {133, 134}
    assert voices[0].name == "layer0-132"


def test_two_thousand_layers_in_blocks() -> None:
    voices = group(layers_of(gpt2(334)), MOST)
    assert_runs(voices, 2007, MOST)
    assert {len(voice.layers) // 6 for voice in voices[1:]} <= {23, 24, 25}


def test_names_that_are_not_ascii() -> None:
    sizes = [(f"層{i}.{part}", 100) for i in range(9) for part in ("畳み込み", "全結合")]
    assert names(sizes) == [f"層{i}" for i in range(9)]


def test_names_in_no_order_of_modules_still_make_runs() -> None:
    sizes = [(f"{'ab'[i % 2]}.{i}", 100) for i in range(40)]
    names(sizes)


@pytest.mark.slow
def test_the_lists_here_are_those_of_torchvision() -> None:
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision").models
    made: dict[str, Callable[[], Sizes]] = {
        "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
        "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
        "vit_b_16": vit,
    }
    for name, sizes in made.items():
        with torch.device("meta"):
            model = getattr(models, name)()
        real = [
            (name, sum(p.numel() for p in module.parameters(recurse=False)))
            for name, module in model.named_modules()
        ]
        assert [entry for entry in real if entry[1]] == sizes()


# -- the user's own patterns ------------------------------------------------------------------


def test_patterns_make_voices_in_the_order_given() -> None:
    layers = layers_of(gpt2(2))
    voices = group(layers, MOST, {"mlp": "h.*.mlp.*", "attention": "*attn*", "rest of h": "h.*"})
    assert [(voice.index, voice.name) for voice in voices] == [
        (0, "mlp"),
        (1, "attention"),
        (2, "rest of h"),
    ]
    assert [[layers[i].name for i in voice.layers] for voice in voices] == [
        ["h.0.mlp.c_fc", "h.0.mlp.c_proj", "h.1.mlp.c_fc", "h.1.mlp.c_proj"],
        ["h.0.attn.c_attn", "h.0.attn.c_proj", "h.1.attn.c_attn", "h.1.attn.c_proj"],
        ["h.0.ln_1", "h.0.ln_2", "h.1.ln_1", "h.1.ln_2"],
    ]
    assert silent(layers, voices) == ("wte", "wpe", "ln_f")
    assert silent(layers, group(layers, MOST)) == ()


def test_no_patterns_are_none() -> None:
    layers = layers_of(cnn())
    assert group(layers, MOST, {}) == group(layers, MOST)


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ({"all": "*", "head": "fc*"}, r"'fc\*' \(head\) matches is in an earlier voice"),
        (
            {"encoder": "Conv*"},
            r"'Conv\*' \(encoder\) matches no layer; there are: conv1, conv2, fc1",
        ),
        ({str(i): f"*{i}" for i in range(16)}, "16 voices; the preset allows 15"),
    ],
)
def test_patterns_that_cannot_stand(patterns: dict[str, str], words: str) -> None:
    with pytest.raises(PresetError, match=words):
        group(layers_of(cnn()), MOST, patterns)


# -- properties -------------------------------------------------------------------------------

components = st.sampled_from(["a", "b", "h", "0", "1", "2", "17", "norm", "bn1", "conv2", "é"])
paths = st.lists(components, min_size=1, max_size=4).map(".".join)
models = st.lists(
    st.tuples(paths, st.integers(1, 10**9)), unique_by=lambda pair: pair[0], max_size=60
)


@settings(max_examples=300, deadline=None)
@given(sizes=models, most=st.integers(1, 20))
def test_any_names_in_any_order(sizes: Sizes, most: int) -> None:
    voices = group(layers_of(sizes), most)
    assert_runs(voices, len(sizes), most)
    if len(sizes) <= most:
        assert [voice.name for voice in voices] == [name for name, _ in sizes]


@st.composite
def staged(draw: st.DrawFn) -> Sizes:
    inside = draw(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=4, unique=True))
    stages = draw(st.lists(st.integers(1, 30), min_size=1, max_size=6).filter(lambda n: sum(n) > 1))
    return [
        (f"stage{stage}.{block}.{part}", 100)
        for stage, blocks in enumerate(stages)
        for block in range(blocks)
        for part in inside
    ]


@settings(max_examples=150, deadline=None)
@given(sizes=staged(), most=st.integers(1, 30))
@pytest.mark.slow
def test_blocks_are_never_cut_and_bands_are_near_equal(sizes: Sizes, most: int) -> None:
    if len(sizes) <= most:
        return
    voices = group(layers_of(sizes), most)
    assert_runs(voices, len(sizes), most)
    inside = len({name.split(".")[2] for name, _ in sizes})
    by_stage: dict[str, list[int]] = {}
    for voice in voices:
        found = [sizes[i][0].split(".") for i in voice.layers]
        assert len(voice.layers) % inside == 0, "a block is cut"
        if len({stage for stage, *_ in found}) == 1:
            by_stage.setdefault(found[0][0], []).append(len({block for _, block, _ in found}))
    for blocks in by_stage.values():
        assert max(blocks) - min(blocks) <= 1


@given(sizes=models, most=st.integers(1, 20))
def test_the_same_layers_give_the_same_voices(sizes: Sizes, most: int) -> None:
    assert group(layers_of(sizes), most) == group(layers_of(sizes), most)


def test_a_voice_that_begins_at_zero_has_no_home_while_it_rises():
    norms = VoiceNorms([Voice(0, "stem", (0,)), Voice(1, "branch", (1,)), Voice(2, "still", (2,))])
    rise = np.minimum(0.3, 1e-7 * 10.0 ** (np.arange(100) / 10.0))
    rise[0] = 0.0
    for norm in rise:
        norms.observe(np.array([1.0, norm, 5e-5]))
    # A branch that begins at zero has its home near where it stays; a layer that is always small
    # has its first norm.
    assert norms.references[0] == 1.0
    assert 0.01 <= norms.references[1] < 0.02
    assert norms.references[2] == 5e-5


def test_a_voice_that_rises_for_long_has_a_home_in_the_end():
    norms = VoiceNorms([Voice(0, "stem", (0,)), Voice(1, "branch", (1,))])
    for step in range(300):
        norms.observe(np.array([1.0, 1e-12 * 2.0 ** (step / 12.0) if step else 0.0]))
    assert norms.complete
