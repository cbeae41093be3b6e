"""Train mode with and without BatchNorm."""

import pytest
from torch import nn

from unlearn_cli.ops.modes import train_mode


@pytest.mark.parametrize(("bn", "training"), [("eval", False), ("train", True)])
def test_only_batchnorm_is_left_in_eval_mode(bn, training):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())).eval()
    train_mode(model, bn)
    assert model[1].training == model[2][0].training == training
    assert model[0].training and model[2][1].training
