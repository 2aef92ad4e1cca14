"""The document's head: its layers, its true parameter counts, and its form for K members."""

import pytest
import torch
from torch import nn

from headsweep.config import PoolingConfig
from headsweep.heads.mlp import MLPHead
from headsweep.training.members import build_member
from headsweep.training.size import parameter_counts

PRESETS = {
    "conservative": (144, 3, 0.10),
    "more_capacity": (256, 4, 0.15),
    "simpler": (96, 2, 0.05),
    "direct_projection": (None, 1, 0.0),
}


def test_layers_of_the_document() -> None:
    head = MLPHead(288, 4, None, 3, 0.1, True)
    assert [type(layer) for layer in head] == [
        *(nn.Linear, nn.ReLU, nn.LayerNorm, nn.Dropout) * 2,
        nn.Linear,
    ]
    shapes = [(l.in_features, l.out_features) for l in head if isinstance(l, nn.Linear)]  # noqa: E741
    assert shapes == [(288, 144), (144, 144), (144, 4)]
    assert [n for n, _ in head.named_parameters() if n.endswith("weight")] == [
        f"{i}.weight" for i in (0, 2, 4, 6, 8)
    ]


def test_without_normalisation_the_layers_keep_their_numbers() -> None:
    head = MLPHead(8, 2, 4, 3, 0.1, layer_norm=False)
    assert not any(isinstance(layer, nn.LayerNorm) for layer in head)
    assert [n for n, _ in head.named_parameters() if n.endswith("weight")] == [
        f"{i}.weight" for i in (0, 4, 8)
    ]
    x = torch.randn(1, 5, 8)
    params = {name: value[None] for name, value in head.named_parameters()}
    torch.testing.assert_close(head.stacked(params, x, lambda v, p: v)[0], head.eval()(x[0]))


def test_one_layer_is_a_direct_projection() -> None:
    assert [type(layer) for layer in MLPHead(288, 4, 99, 1, 0.5, True)] == [nn.Linear]


@pytest.mark.parametrize(("hidden", "layers", "dropout"), PRESETS.values(), ids=PRESETS)
def test_stacked_equals_the_module_in_evaluation(
    hidden: int | None, layers: int, dropout: float
) -> None:
    heads = [MLPHead(288, 4, hidden, layers, dropout, True).double().eval() for _ in range(3)]
    x = torch.randn(3, 11, 288, dtype=torch.float64)
    params = {
        name: torch.stack([dict(h.named_parameters())[name] for h in heads])
        for name, _ in heads[0].named_parameters()
    }
    got = heads[0].stacked(params, x, lambda value, probability: value)
    expected = torch.stack([head(value) for head, value in zip(heads, x, strict=True)])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_dropout_follows_every_hidden_layer() -> None:
    seen = []
    head = MLPHead(8, 2, 4, 4, 0.3, True)
    params = {name: value[None] for name, value in head.named_parameters()}
    head.stacked(params, torch.randn(1, 3, 8), lambda x, p: seen.append((x.shape, p)) or x)
    assert seen == [((1, 3, 4), 0.3)] * 3


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("conservative", (768, 1056, 63652, 65476, 288)),
        ("more_capacity", (768, 1056, 208132, 209956, 288)),
        ("simpler", (768, 1056, 28324, 30148, 288)),
        ("direct_projection", (768, 1056, 1156, 2980, 288)),
    ],
)
def test_parameter_counts(preset: str, expected: tuple[int, ...]) -> None:
    """The reference table, worked out by hand from the architecture."""
    pooling = PoolingConfig()
    member = build_member(pooling, 23, 32, 4, lambda a, o: MLPHead(a, o, *PRESETS[preset], True))
    assert tuple(parameter_counts(member, pooling, 32).values()) == expected


def test_parameter_counts_before_the_change() -> None:
    pooling = PoolingConfig(width="half")
    member = build_member(pooling, 23, 32, 4, lambda a, o: MLPHead(a, o, None, 1, 0.0, True))
    assert tuple(parameter_counts(member, pooling, 32).values()) == (384, 528, 644, 1556, 160)


def test_counts_of_parts_that_are_switched_off() -> None:
    pooling = PoolingConfig(encoded=False, query=False)
    member = build_member(pooling, 23, 32, 4, lambda a, o: MLPHead(a, o, 144, 3, 0.1, True))
    counts = parameter_counts(member, pooling, 32)
    assert counts["encoded_projection"] == 0
    assert counts["aggregated_dim"] == 4 * 32
    assert counts["total"] == counts["raw_projection"] + counts["head"]


def test_the_control_of_half_projections_has_as_many_parameters() -> None:
    def total(width: str, hidden: int | None) -> int:
        pooling = PoolingConfig(width=width)
        member = build_member(pooling, 23, 32, 4, lambda a, o: MLPHead(a, o, hidden, 3, 0.1, True))
        return parameter_counts(member, pooling, 32)["total"]

    assert total("half", 183) == pytest.approx(
        total("full", 144), rel=0.001
    )  # half_equal_parameters
