"""A model of sound, as its authors publish it, is thawed and trained with zeros and few values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from samples import given

from edgepack import audit, keras
from edgepack.data.dataset import Dataset, Split
from edgepack.errors import StepError
from edgepack.steps.cluster import Cluster
from edgepack.steps.convert import Convert
from edgepack.steps.prune import Prune
from edgepack.steps.qat import Qat
from edgepack.steps.thaw import Thaw
from edgepack.tflite import flatbuffer
from edgepack.training import properties

ONCE = {"epochs": 1, "batch_size": 2}


@pytest.mark.slow
@pytest.mark.training
def test_it_is_pruned_and_clustered_with_training_and_qat_says_what_stops_it(models: Path) -> None:
    keras.start(0)
    model = Thaw().apply((models / "basic_pitch_nmp.tflite").read_bytes(), given())
    rng = np.random.default_rng(0)
    (name,) = model.input_names
    sound = rng.normal(0, 0.1, (4, *model.inputs[0].shape[1:])).astype(np.float32)
    wanted = dict(zip(model.output_names, (y.numpy() for y in model(sound)), strict=True))
    split = Split({name: sound}, wanted)
    data = Dataset("sound", "0" * 64, split, None, split)

    pruned = Prune(sparsity=0.5, **ONCE).apply(model, given(data))
    kept = frozenset({"sparse"})
    clustered = Cluster(clusters=16, **ONCE).apply(pruned, given(data, properties=kept))
    made = Convert(quantization="float32").apply(clustered, given(data))
    found = properties.measure(flatbuffer.weights(flatbuffer.read_graph(made)))
    learnt = {s.name for s in audit.structures(audit.audit("keras", clustered)) if s.size > 300}
    assert len(learnt) == 4
    large = [s for s in found if s.zeros >= 0.45 and s.unique_in_tensor <= 16 and s.size > 300]
    assert len(large) == len(learnt)

    remarks: list[str] = []
    trained = Qat(**ONCE).apply(clustered, given(data, properties=kept, remark=remarks.append))
    assert "nn.conv2d" in remarks[0]
    with pytest.raises(StepError, match=r"fails at layer 'cq_t2010v2_1_\w+' \(Concatenate\)"):
        Convert(samples=2).apply(trained, given(data))
