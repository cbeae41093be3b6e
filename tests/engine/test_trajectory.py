"""Epochs as a method sees them, and the rows they leave."""

import pytest

from unlearn_cli.engine.trajectory import COLUMNS
from unlearn_cli.ops.losses import cross_entropy


def steps(run, model, splits, opt):
    for b in run.batches(splits.forget, size=50):
        run.step(b.mean(cross_entropy(model(b.x), b.y)), opt)


def climb(run, loaded, splits, leave=None):
    with run.adopted(loaded.model, loaded.head) as model, run.timed():
        opt = run.optimizer(model, lr=0.1)
        for epoch in run.epochs(3, "training", splits.forget):
            steps(run, model, splits, opt)
            if epoch == leave:
                return run.stop("it was asked to")


def test_every_epoch_leaves_a_row_with_its_mean_loss_and_what_the_model_knew(new_run, loaded, splits):
    run, looks = new_run(), iter([0.9, 0.5, 0.4, 0.3, 0.2])
    losses = []
    step, run.step = run.step, lambda loss, opt: (losses.append(loss.item()), step(loss, opt))
    run.trajectory.look = lambda: {"forget_accuracy": next(looks)}
    climb(run, loaded, splits)
    rows = run.trajectory.rows
    assert [row["phase"] for row in rows] == ["start", "training", "training", "training", "end"]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 0]
    assert [row["steps"] for row in rows] == [0, 3, 6, 9, 9]
    assert [row["forget_accuracy"] for row in rows] == [0.9, 0.5, 0.4, 0.3, 0.2]
    assert [row["images_read"] for row in rows] == [0, 147, 294, 441, 441]
    assert rows[2]["loss"] == pytest.approx(sum(losses[3:6]) / 3, rel=1e-6)
    assert rows[0]["loss"] is None
    assert all(set(row) <= set(COLUMNS) for row in rows)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_an_epoch_that_the_method_left_early_counts_as_well(new_run, loaded, splits):
    run = new_run()
    run.trajectory.look = dict
    climb(run, loaded, splits, leave=1)
    assert [row["phase"] for row in run.trajectory.rows] == ["start", "training", "training", "end"]


def test_looking_changes_neither_the_result_nor_the_count_of_images(new_run, loaded, splits):
    weights = []
    for looking in (False, True):
        run = new_run()
        state = {name: t.clone() for name, t in loaded.model.state_dict().items()}
        if looking:
            run.trajectory.look = lambda run=run: {"forget_accuracy": run.correct(loaded.model, splits.forget) / 147}
        climb(run, loaded, splits)
        weights.append(loaded.model.head.weight.tolist())
        assert run.images_read == {"forget": 3 * 147}
        assert len(run.trajectory.rows) == (5 if looking else 0)
        loaded.model.load_state_dict(state)
    assert weights[0] == weights[1]


def test_nobody_looks_at_a_model_after_an_error(new_run, loaded, splits):
    run, looked = new_run(), []
    run.trajectory.look = lambda: looked.append(run.steps) or {}
    with pytest.raises(ZeroDivisionError), run.adopted(loaded.model, loaded.head), run.timed():
        for _ in run.epochs(2, "training", splits.forget):
            raise ZeroDivisionError
    assert looked == [0]
