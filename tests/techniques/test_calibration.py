"""BatchNorm's statistics estimated anew."""

import torch
from torch.testing import assert_close

from unlearn_cli.ops.modes import batchnorms
from unlearn_cli.techniques.calibration import recalibrate


def test_the_statistics_are_the_plain_average_over_the_batches(new_run, loaded, splits):
    run = new_run(precision="float64")
    with run.adopted(loaded.model, loaded.head) as model:
        first = batchnorms(model)[0]
        seen = []
        hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean((0, 2, 3))))
        before = first.running_mean.clone()
        momentum = first.momentum
        recalibrate(run, model, splits.retain, size=100)
        hook.remove()
        assert len(seen) == 13
        assert_close(first.running_mean, torch.stack(seen).mean(0))
        assert not torch.equal(first.running_mean, before)
        assert first.momentum == momentum
        assert not any(module.training for module in model.modules())
    assert run.images_read == {"retain": len(splits.retain)}
