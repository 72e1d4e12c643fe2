"""Quantization of a float .tflite itself, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import given, noise_for, separable_network

from edgepack import audit, evaluate, keras
from edgepack.data.dataset import Dataset, Split
from edgepack.errors import MissingExtraError, RecipeError, StepError
from edgepack.micro import host
from edgepack.network import lowering
from edgepack.recipe import override, read_recipe
from edgepack.steps.cluster import Cluster
from edgepack.steps.convert import Convert
from edgepack.steps.prune import Prune
from edgepack.steps.quantize import Quantize
from edgepack.tflite import flatbuffer, flatbytes, quantizer, signature, trial
from edgepack.tflite.counting import places
from edgepack.tflite.interpreter import Interpreter
from edgepack.tflite.scheme import Scheme, literal, read_rule

STATIC = {"samples": 20}


@pytest.fixture(scope="module")
def network() -> Any:
    keras.start(0)
    return separable_network()


@pytest.fixture(scope="module")
def noise(network: Any) -> Dataset:
    return noise_for(network)


@pytest.fixture(scope="module")
def separable(network: Any, noise: Dataset) -> bytes:
    return Convert(quantization="float32").apply(network, given(noise))


def two_ends() -> Any:
    """Two inputs and three outputs in an order that is not the alphabet's."""
    keras.start(0)
    layers = keras.tf_keras().layers
    zeta, alpha = layers.Input((4,), name="zeta"), layers.Input((4,), name="alpha")
    outputs = [
        layers.Dense(3, name="z")(layers.Subtract()([zeta, alpha])),
        layers.Dense(2, name="m")(zeta),
        layers.Dense(5, name="b")(alpha),
    ]
    return keras.tf_keras().Model([zeta, alpha], outputs)


def kinds_of(data: bytes) -> dict[str, str]:
    graph = flatbuffer.read_graph(data)
    return {place.name: place.tensor.dtype for place in places(graph)}


def sqnr(baseline: bytes, data: bytes, samples: Mapping[str, Any]) -> float:
    """The least over the outputs, in dB."""
    before, after = (Interpreter(model).run(samples) for model in (baseline, data))
    assert before.keys() == after.keys()
    found = [evaluate.sqnr_db(before[name], after[name]) for name in before]
    return min(99.0 if db is None else db for db in found)


@pytest.mark.parametrize(
    ("step", "called", "least_db"),
    [
        (Quantize(scheme="weights"), "dynamic", 30),
        (Quantize(scheme="dynamic"), "dynamic", 30),
        (Quantize(scheme="dynamic", per_channel=False), "dynamic", 20),
        (Quantize(scheme="dynamic", weights="int4"), "dynamic", 8),
        (Quantize(**STATIC), "int8", 25),
        (Quantize(weights="int4", **STATIC), "int8", 8),
        (Quantize(activations="int16", **STATIC), "int16x8", 30),
        (Quantize(io="integer", **STATIC), "int8", 25),
    ],
)
def test_a_scheme_is_what_it_is_called_and_repeats(
    separable: bytes, noise: Dataset, step: Quantize, called: str, least_db: float
) -> None:
    step.check()
    made = step.apply(separable, given(noise))
    assert step.apply(separable, given(noise)) == made
    graph = flatbuffer.read_graph(made)
    assert flatbuffer.is_quantized(graph) == called
    assert len(made) < 0.75 * len(separable)
    ends = {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)}
    assert ends == {"int8" if step.io == "integer" else "float32"}
    assert graph.signatures[0].inputs == {"image": graph.inputs[0]}
    assert graph.signatures[0].outputs == {"scores": graph.outputs[0]}
    assert noise.test is not None
    (image,) = noise.test.inputs.values()
    assert sqnr(separable, made, {"image": image}) > least_db


def test_4_bits_are_stored_as_4_bits_and_8_where_they_cannot_be(separable: bytes) -> None:
    remarks: list[str] = []
    step = Quantize(scheme="dynamic", weights="int4")
    made = step.apply(separable, given(remark=remarks.append))
    graph = flatbuffer.read_graph(made)
    stored = {t.name: t for t in graph.tensors if t.dtype == "int4"}
    assert len(stored) == 4
    assert all(t.size_bytes == (t.size + 1) // 2 for t in stored.values())
    assert remarks == ["8 bits where 4 cannot be had: depthwise_0, depthwise_1"]
    assert kinds_of(made)["depthwise_0"] == "int8"


@pytest.mark.parametrize("scheme", ["weights", "dynamic", "static"])
def test_rules_are_respected_and_the_later_one_wins(
    separable: bytes, noise: Dataset, scheme: str
) -> None:
    rules = ("CONV_2D:.*=int4", "pointwise_0=float", "scores=float", "scores=int8")
    made = Quantize(scheme=scheme, rules=rules, **STATIC).apply(separable, given(noise))
    assert kinds_of(made) == {
        "stem": "int4",
        "depthwise_0": "int8",
        "pointwise_0": "float32",
        "depthwise_1": "int8",
        "pointwise_1": "int4",
        "scores": "int8",
    }


def test_stripped_names_and_repeated_ones_are_told_apart(separable: bytes, noise: Dataset) -> None:
    stripped = flatbuffer.strip(separable)
    model = flatbytes.unpack(flatbytes.load(separable))
    for tensor in model.subgraphs[0].tensors:
        tensor.name = "same"
    for data, name in ((stripped, ""), (flatbytes.pack(model), "same")):
        step = Quantize(rules=("conv_2d_0=float",), **STATIC)
        made = step.apply(data, given(noise))
        graph = flatbuffer.read_graph(made)
        assert [t.name for t in graph.tensors if name not in t.name or (not name and t.name)] == []
        (stem, *others) = [o for o in graph.operators if o.code == "CONV_2D"]
        assert graph.tensors[stem.inputs[1]].dtype == "float32"
        assert {graph.tensors[o.inputs[1]].dtype for o in others} == {"int8"}


@pytest.mark.parametrize("io", ["float", "integer"])
def test_several_ends_keep_names_and_order(io: str) -> None:
    model = two_ends()
    noise = noise_for(model)
    data = Convert(quantization="float32").apply(model, given(noise))
    made = Quantize(io=io, samples=40).apply(data, given(noise))
    ends = signature.ends(flatbuffer.read_graph(made))
    assert [list(names) for names in ends.values()] == [["zeta", "alpha"], ["z", "m", "b"]]
    assert noise.test is not None
    assert sqnr(data, made, noise.test.inputs) > 20


def test_structure_survives(separable: bytes, noise: Dataset) -> None:
    pruned = Prune(epochs=0, sparsity=0.5).apply(separable, given())
    clustered = Cluster(epochs=0, clusters=12).apply(pruned, given())
    made = Quantize(**STATIC).apply(clustered, given(noise))
    for before, after in zip(
        *(audit.structures(audit.audit("tflite", data)) for data in (clustered, made)), strict=True
    ):
        assert after.zeros >= before.zeros
        assert after.unique_in_tensor <= before.unique_in_tensor or "depthwise" in after.name


def test_other_signatures_stay(separable: bytes) -> None:
    model = flatbytes.unpack(flatbytes.load(separable))
    again = flatbytes.unpack(flatbytes.load(separable))
    other = again.signatureDefs[0]
    other.signatureKey, other.subgraphIndex = "other", 1
    offset = len(model.buffers)
    model.buffers += again.buffers
    for tensor in again.subgraphs[0].tensors:
        tensor.buffer += offset
    model.subgraphs.append(again.subgraphs[0])
    model.signatureDefs.append(other)
    remarks: list[str] = []
    step = Quantize(scheme="dynamic")
    made = step.apply(flatbytes.pack(model), given(remark=remarks.append))
    graph = flatbuffer.read_graph(made)
    assert [s.key for s in graph.signatures] == ["serving_default", "other"]
    assert remarks == ["left float, as only the graph that runs is quantized: 1 others"]
    kinds = list(kinds_of(made).values())
    assert kinds == ["int8"] * 6 + ["float32"] * 6


# What is refused


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (Quantize(scheme="dynamic", io="integer"), "quantize.io is integer"),
        (Quantize(scheme="weights", activations="int16"), "quantize.activations is int16"),
        (Quantize(rules=("scores",)), r"is no \[OPERATOR:\]REGEX=FORMAT"),
        (Quantize(rules=("scores=flot",)), "asks for the format 'flot'"),
        (Quantize(rules=("(=float",)), "has no regular expression"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(step: Quantize, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        step.check()


def test_a_misspelt_format_gets_a_hint() -> None:
    with pytest.raises(RecipeError) as caught:
        read_rule("CONV_2D:(?:a|b)=flot")
    assert "'float'" in caught.value.hint
    rule = read_rule("CONV_2D:(?:a|b)=int4")
    assert rule.covers("CONV_2D", ["b"]) and not rule.covers("MUL", ["b"])
    assert not rule.covers("CONV_2D", ["ab"])


def test_rules_come_from_the_command_line() -> None:
    recipe = override(read_recipe("frozen-int8"), ["quantize.rules=a=float,CONV_2D:b.*=int4"])
    (step,) = [step for step in recipe.steps if isinstance(step, Quantize)]
    assert step.rules == ("a=float", "CONV_2D:b.*=int4")


@pytest.mark.parametrize("quantization", ["int8", "dynamic", "float16"])
def test_what_is_quantized_already_is_refused(
    network: Any, noise: Dataset, quantization: str
) -> None:
    data = Convert(quantization=quantization, samples=4).apply(network, given(noise))
    with pytest.raises(StepError, match=rf"already quantized \({quantization}\)"):
        Quantize(scheme="dynamic").apply(data, given())


def test_a_rule_for_nothing_is_refused(separable: bytes) -> None:
    step = Quantize(scheme="dynamic", rules=("scors=float",))
    with pytest.raises(StepError, match="'scors=float' is for no operator"):
        step.apply(separable, given())


def test_a_rule_means_a_layer_whatever_its_name_holds() -> None:
    for name in ("FC:0", "CONV_2D:(.*", "a=b,c", "two\nlines"):
        rule = read_rule(f"{literal(name)}=int8")
        assert rule.covers("ANY", [name]) and not rule.covers("ANY", [name[1:]])
        assert read_rule(".*=float").covers("ANY", [name])


def test_what_would_crash_is_not_calibrated(separable: bytes) -> None:
    model = flatbytes.unpack(flatbytes.load(separable))
    first, *_, last = model.subgraphs[0].operators
    first.inputs = np.array([last.outputs[0], *first.inputs[1:]], np.int32)
    with pytest.raises(StepError, match="cannot be calibrated"):
        quantizer.quantize(flatbytes.pack(model), Scheme(), (), lambda: iter([]))


def test_all_float_is_refused(separable: bytes) -> None:
    with pytest.raises(StepError, match="no operator of the model can be quantized"):
        Quantize(scheme="dynamic", rules=(".*=float",)).apply(separable, given())


def test_static_needs_samples(separable: bytes) -> None:
    assert Quantize().needs() == {"calibration"}
    assert Quantize(scheme="dynamic").needs() == frozenset()
    with pytest.raises(StepError, match="needs samples"):
        Quantize().apply(separable, given())
    empty = Dataset("none", "0", Split({"x": np.zeros((0, 8, 8, 1), np.float32)}), None, None)
    with pytest.raises(StepError, match="no samples"):
        Quantize().apply(separable, given(empty))


def test_a_missing_package_names_its_extra(
    separable: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantizer, "PACKAGE", "ai_edge_quantizer_that_is_missing")
    with pytest.raises(MissingExtraError) as caught:
        quantizer.quantize(separable, Scheme("dynamic"))
    assert "edgepack[quantize]" in caught.value.hint


def test_what_the_library_raises_is_told(separable: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*words: Any) -> None:
        raise RuntimeError("tensor x\nand more")

    monkeypatch.setattr(quantizer, "_calibrate", fail)
    with pytest.raises(StepError, match=r"fails on the model: RuntimeError: tensor x$"):
        quantizer.quantize(separable, Scheme(), (), lambda: iter([]))


def test_an_outcome_that_is_broken_is_refused(separable: bytes) -> None:
    def spoil(data: bytes) -> bytes:
        return flatbuffer.edit_weights(data, lambda place, values: values * np.nan)

    with pytest.raises(StepError, match="output scores is broken"):
        trial.compare(separable, spoil(separable))
    trial.compare(spoil(separable), spoil(separable))
    with pytest.raises(StepError, match="became"):
        trial.compare(separable, signature.sign(separable, ["picture"], ["scores"]))


# Manners


def test_a_fixed_batch_is_tried_with_one_sample(network: Any) -> None:
    model = lowering.lower(lowering.trace(network, 4))
    (name, shape, *_), *_ = signature.slots(model)["inputs"]
    trial.compare(model, model, {name: np.ones((1, *shape[1:]), np.float32)})


def test_nothing_is_printed_or_written(
    separable: bytes,
    noise: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Quantize(**STATIC).apply(separable, given(noise))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_calibration_tells_how_far_it_is(separable: bytes, noise: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    handed = given(noise, report=lambda p: seen.append((p.done, p.total)))
    Quantize(samples=5).apply(separable, handed)
    assert seen == [(i, 5) for i in range(1, 6)]


def test_an_integer_model_runs_on_a_microcontroller(separable: bytes, noise: Dataset) -> None:
    pytest.importorskip("tflite_micro")
    made = flatbuffer.strip(Quantize(io="integer", **STATIC).apply(separable, given(noise)))
    row = [np.ones((1, 8, 8, 1), np.int8)]
    micro, litert = (host.run(made, [row], runtime=r)[0][0] for r in ("tflm", "litert-reference"))
    assert np.abs(micro.astype(int) - litert).max() <= 1


def test_a_model_of_many_operators(models: Path) -> None:
    data = (models / "basic_pitch_nmp.tflite").read_bytes()
    rng = np.random.default_rng(0)
    time = np.arange(43844) / 22050

    def sounds(count: int) -> Iterator[dict[str, Any]]:
        for pitch in rng.uniform(80, 800, count):
            wave = np.sin(2 * np.pi * pitch * time) + 0.02 * rng.normal(size=time.shape)
            yield {"input_2": wave[None, :, None].astype(np.float32) / 2}

    probe = next(sounds(1))
    dynamic = quantizer.quantize(data, Scheme("dynamic"))
    assert len(dynamic) < 0.5 * len(data)
    assert sqnr(data, dynamic, probe) > 10
    remarks: list[str] = []
    static = quantizer.quantize(data, Scheme(), (), lambda: sounds(3), remarks.append)
    assert remarks == [
        "left float, as they cannot be quantized so:"
        " EXPAND_DIMS (19), LOG (1), NEG (9), REDUCE_MAX (1), SQUARE (1)"
    ]
    before, after = (signature.ends(flatbuffer.read_graph(m)) for m in (data, static))
    assert [list(names) for names in before.values()] == [list(n) for n in after.values()]
    assert len(static) < 0.7 * len(data)
