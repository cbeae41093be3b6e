"""Similarity block by block, from numbers."""

import pytest
import torch
from said import said

from unlearn_cli.metrics import blocks
from unlearn_cli.metrics.registry import Blocks, Evidence, measure
from unlearn_cli.metrics.report import Row

ORIGINAL = {"stem": 0.9, "deep": 0.5, "head": 0.1}


def measured(found=None):
    index = torch.arange(4)
    return measure(Evidence(said(torch.randn(4, 3)), index % 3, {"forget": index}, (0,), blocks=found), blocks.NAMES)


def to_original(found):
    return measured(Blocks("head", 7, original=found))["blocks_to_original"]


def test_the_number_is_the_least_similar_block_below_the_head_and_the_detail_has_all():
    found = to_original(ORIGINAL)
    assert found.value == 0.5
    assert found.detail == {"blocks": ["stem", "deep", "head"], "similarity": [0.9, 0.5, 0.1], "n": 7, "block": "deep"}
    assert to_original(dict.fromkeys(ORIGINAL, 1.0) | {"head": 0.2}).value == 1


def test_references_are_averaged_block_by_block_where_all_have_it():
    each = [{"stem": 0.9, "deep": 0.2, "own": 0.0, "head": 0.1}, {"stem": 0.1, "deep": 0.6, "head": 0.1}]
    found = measured(Blocks("head", 7, references=each))["blocks_to_reference"]
    assert found.value == pytest.approx(0.4)
    assert found.detail["blocks"] == ["stem", "deep", "head"]
    assert found.detail["similarity"] == pytest.approx([0.5, 0.4, 0.1])


def test_a_block_that_does_not_vary_is_left_out_and_shown_as_such():
    found = to_original({"stem": None, "deep": 0.5, "head": 0.1})
    assert (found.value, found.detail["similarity"]) == (0.5, [None, 0.5, 0.1])
    mixed = measured(Blocks("head", 7, references=[ORIGINAL, ORIGINAL | {"stem": None}]))["blocks_to_reference"]
    assert mixed.detail["similarity"] == [None, 0.5, 0.1]


@pytest.mark.parametrize("found", [{}, {"head": 0.3}, {"stem": None, "head": 0.3}])
def test_without_a_block_below_the_head_there_is_a_reason(found):
    assert "no block below the head" in to_original(found).reason


def test_without_models_to_compare_with_there_is_a_reason():
    for given in (None, Blocks("head", 7)):
        reasons = [measure.reason for measure in measured(given).values()]
        assert reasons == ["needs the original model", "needs a reference model"]


def test_a_table_has_a_line_per_block_of_any_row_and_gaps_where_a_row_has_none():
    rows = [
        Row("a", "original", measured(Blocks("head", 7, original=dict.fromkeys(ORIGINAL, 1.0)))),
        Row("b", "unlearned", measured(Blocks("head", 7, original={"stem": 0.9, "wide": 0.5, "head": 0.1}))),
    ]
    (table,) = blocks.series(rows)                       # nobody was compared with references
    assert (table.name, table.shown) == ("blocks_to_original", ["stem", "deep", "head", "wide"])
    assert table.values == [[1, 1, 1, None], [0.9, None, 0.1, 0.5]]
    assert "7 images" in table.title
    assert blocks.series([Row("c", "unlearned", measured())]) == []
