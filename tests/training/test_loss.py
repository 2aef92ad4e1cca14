"""Losses against torch or a formula written out, and stacked exactly, member by member."""

from dataclasses import asdict
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

from headsweep.config import QUANTITIES, LossConfig
from headsweep.errors import UserError
from headsweep.training.loss import Loss

N = 37
"""Tracks of a batch: their outputs fill no whole number of vector instructions."""


def make_loss(target: dict[str, Any] | None = None, **keys: Any) -> Loss:
    """A loss that is fitted to random tracks."""
    rng = np.random.default_rng(5)
    truth = np.stack(
        [
            rng.uniform(-2, 2, 200),
            rng.uniform(-np.pi, np.pi, 200),
            rng.uniform(3, 90, 200),
            rng.choice([-1.0, 1.0], 200, p=[0.3, 0.7]),
        ],
        axis=1,
    )
    return Loss.fit(
        {"target": target or {"name": "plain"}, "loss": keys}, truth, np.zeros((200, 2))
    )


def numbers(loss: Loss, k: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Outputs [k, N, O'] and targets [k, N, O]; a charge that is classified is +-1."""
    generator = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn((k, N, loss.outputs), generator=generator)
    targets = 2 * torch.randn((k, N, loss.target.outputs), generator=generator)
    if loss.config.charge == "bce":
        targets[..., -1] = torch.sign(targets[..., -1])
    return outputs, targets


def by_member(function: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([function(o, t) for o, t in zip(outputs, targets, strict=True)])


def test_the_default_is_smooth_l1_to_the_last_bit() -> None:
    loss = make_loss()
    outputs, targets = numbers(loss)
    own = nn.functional.smooth_l1_loss(outputs, targets, reduction="none").mean(2).mean(1)
    assert torch.equal(loss.of_members(outputs, targets), own)
    reference = nn.SmoothL1Loss()
    torch.testing.assert_close(own, by_member(reference, outputs, targets))


@pytest.mark.parametrize("beta", [0.1, 2.5])
def test_beta_is_that_of_torch_and_of_hubers_loss(beta: float) -> None:
    loss = make_loss(beta=beta)
    outputs, targets = numbers(loss)
    found = loss.of_members(outputs, targets)
    torch.testing.assert_close(found, by_member(nn.SmoothL1Loss(beta=beta), outputs, targets))
    huber = by_member(nn.HuberLoss(delta=beta), outputs, targets) / beta
    torch.testing.assert_close(found, huber)


def test_a_scale_multiplies_the_error_before_smooth_l1() -> None:
    """The pT output times 8: SmoothL1(8 r), which neither beta nor a weight gives."""
    loss = make_loss(scale={"pt": 8.0})
    outputs, targets = numbers(loss)
    error = (outputs - targets).abs() * torch.tensor([1.0, 1.0, 8.0, 1.0])
    each = torch.where(error < 1, 0.5 * error**2, error - 0.5)
    torch.testing.assert_close(loss.of_members(outputs, targets), each.mean((1, 2)))


@pytest.mark.parametrize(
    ("target", "weights"),
    [
        ({"name": "plain"}, [2.0, 0.5, 8.0, 1.0]),
        ({"name": "q_over_pt"}, [2.0, 0.5, 8.0]),
        ({"name": "log_pt", "phi": "sincos"}, [2.0, 0.5, 0.5, 8.0, 1.0]),
    ],
)
def test_weights_make_a_weighted_mean_over_the_outputs(
    target: dict[str, Any], weights: list[float]
) -> None:
    loss = make_loss(target, weights={"eta": 2.0, "phi": 0.5, "pt": 8.0, "q": 1.0})
    outputs, targets = numbers(loss)
    each = [nn.SmoothL1Loss(reduction="none")(o, t) for o, t in zip(outputs, targets, strict=True)]
    expected = [sum(w * own[:, i] for i, w in enumerate(weights)).mean() for own in each]  # type: ignore[union-attr]
    found = loss.of_members(outputs, targets) * sum(weights)
    torch.testing.assert_close(found, torch.stack(expected))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=4, max_size=4).filter(lambda w: max(w) > 1e-3),
    st.floats(0.01, 100),
)
def test_only_the_ratios_of_weights_count(weights: list[float], factor: float) -> None:
    keys = dict(zip(QUANTITIES, weights, strict=True))
    loss = make_loss(weights=keys)
    more = make_loss(weights={name: factor * w for name, w in keys.items()})
    outputs, targets = numbers(loss)
    found = loss.of_members(outputs, targets)
    torch.testing.assert_close(more.of_members(outputs, targets), found)
    each = nn.functional.smooth_l1_loss(outputs, targets, reduction="none").mean(1)
    assert (found >= each.amin(1) * (1 - 1e-5)).all()
    assert (found <= each.amax(1) * (1 + 1e-5)).all()


def test_equal_weights_are_the_default_to_the_last_bit() -> None:
    outputs, targets = numbers(make_loss())
    equal = make_loss(weights=dict.fromkeys(QUANTITIES, 0.3))
    assert torch.equal(equal.of_members(outputs, targets), make_loss().of_members(outputs, targets))


@pytest.mark.parametrize("charge", ["regression", "bce"])
def test_the_likelihood_is_torchs(charge: str) -> None:
    loss = make_loss(name="gaussian", charge=charge, weights={"eta": 2.0})
    r = 4 if charge == "regression" else 3
    assert loss.outputs == 4 + r
    outputs, targets = numbers(loss)
    reference = nn.GaussianNLLLoss(reduction="none", eps=1e-9)
    each = reference(outputs[..., :r], targets[..., :r], outputs[..., 4:].exp())
    if r == 3:
        labels = (targets[..., 3:] + 1) / 2
        entropy = nn.BCEWithLogitsLoss(reduction="none")(outputs[..., 3:4], labels)
        each = torch.cat([each, entropy], 2)
    expected = (each.mean(1) * torch.tensor([2.0, 1, 1, 1])).sum(1) / 5
    torch.testing.assert_close(loss.of_members(outputs, targets), expected)


def test_a_log_variance_beyond_its_limit_is_led_back() -> None:
    loss = make_loss(name="gaussian")
    outputs = torch.zeros(1, 1, 8)
    outputs[..., 4], outputs[..., 5] = -50.0, 50.0
    outputs.requires_grad_()
    value = loss.of_members(outputs, torch.ones(1, 1, 4))
    (grads,) = torch.autograd.grad(value.sum(), outputs)
    assert torch.isfinite(value).all()
    assert torch.isfinite(grads).all()
    assert grads[0, 0, 4] < 0 < grads[0, 0, 5]  # a step down the gradient raises the first


def pinball(error: np.ndarray, at: float) -> np.ndarray:
    """As scikit-learn's mean_pinball_loss defines it, error = true less predicted."""
    return np.where(error >= 0, at * error, (1 - at) * -error)


def test_quantiles_have_the_pinball_loss() -> None:
    loss = make_loss({"name": "q_over_pt"}, name="quantile")
    assert loss.outputs == 9
    outputs, targets = (values.double().numpy() for values in numbers(loss))
    medians, low, high = outputs[..., :3], outputs[..., 3:6], outputs[..., 6:]
    each = [
        pinball(targets - values, at)
        for at, values in ((0.1587, low), (0.5, medians), (0.8413, high))
    ]
    found = loss.of_members(torch.tensor(outputs), torch.tensor(targets))
    np.testing.assert_allclose(found, np.mean(each, axis=(0, 2, 3)))


@pytest.mark.parametrize("kind", ["gaussian", "quantile"])
def test_the_best_constants_are_those_of_the_sample(kind: str) -> None:
    """Closed forms: mean and deviation of a skewed sample, or its quantiles."""
    loss = make_loss({"name": "q_over_pt"}, name=kind)
    rng = np.random.default_rng(1)
    sample = rng.gamma(2.0, [0.5, 1.0, 1.5], (401, 3))
    targets = torch.tensor(sample)[None]
    best = (
        np.concatenate([sample.mean(0), np.log(sample.var(0))])
        if kind == "gaussian"
        else np.concatenate([np.quantile(sample, at, axis=0) for at in (0.5, 0.1587, 0.8413)])
    )

    def value(constants: np.ndarray) -> float:
        outputs = torch.tensor(constants).expand(1, 401, -1)
        return loss.of_members(outputs, targets).item()

    lowest = value(best)
    for i in range(len(best)):
        for step in (-0.3, 0.3):
            assert value(best + step * np.eye(len(best))[i]) > lowest
    outputs = np.broadcast_to(best, (401, len(best)))
    truth = np.tile([0.0, 0.0, 20.0, 1.0], (401, 1))
    tracks = loss.decode(outputs, truth, np.zeros((401, 2)), np.arange(401))
    assert tracks.eta_sigma is not None
    low, high = np.quantile(sample[:, 0], [0.1587, 0.8413])
    width = sample[:, 0].std() if kind == "gaussian" else (high - low) / 2
    np.testing.assert_allclose(tracks.eta_sigma, width * loss.target.std[0])


def test_the_charge_by_cross_entropy_is_torchs() -> None:
    loss = make_loss(charge="bce", weights={"q": 0.5})
    outputs, targets = numbers(loss)
    entropy = by_member(
        nn.BCEWithLogitsLoss(), outputs[..., 3].double(), (targets[..., 3].double() + 1) / 2
    )
    rest = by_member(nn.SmoothL1Loss(), outputs[..., :3].double(), targets[..., :3].double())
    found = loss.of_members(outputs, targets).double()
    torch.testing.assert_close(found, (3 * rest + 0.5 * entropy) / 3.5, rtol=1e-6, atol=0)


def test_a_classified_charge_is_encoded_as_its_sign_and_decoded_by_the_sign_of_the_logit() -> None:
    loss = make_loss(charge="bce")
    truth = np.array([[0.5, 1.0, 20.0, 1.0], [0.1, -2.0, 30.0, -1.0]])
    encoded = loss.target.encode(truth, np.zeros((2, 2)))
    assert encoded[:, 3].tolist() == [1, -1]
    encoded[:, 3] = [0.01, -7]
    tracks = loss.decode(encoded, truth, np.zeros((2, 2)), np.arange(2))
    assert tracks.charge.tolist() == [0.01, -7]
    np.testing.assert_allclose(tracks.kappa, [1 / 20, -1 / 30])


KINDS: dict[str, dict[str, Any]] = {
    "default": {},
    "weighted": {"beta": 0.3, "weights": {"pt": 3.0}, "scale": {"pt": 8.0}},
    "bce": {"charge": "bce"},
    "gaussian": {"name": "gaussian"},
    "quantile": {"name": "quantile", "weights": {"pt": 3.0}},
    "gaussian and bce": {"name": "gaussian", "charge": "bce"},
    "quantile and bce": {"name": "quantile", "charge": "bce"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_in_company_is_the_member_alone_bit_for_bit(kind: str) -> None:
    loss = make_loss(**KINDS[kind])
    outputs, targets = numbers(loss, k=5)

    def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_()
        value = loss.of_members(x, y)
        (grads,) = torch.autograd.grad(value.sum(), x)
        return value.detach(), grads

    value, grads = gradients(outputs, targets)
    for k in range(5):
        own, own_grads = gradients(outputs[k : k + 1], targets[k : k + 1])
        assert torch.equal(value[k], own[0])
        assert torch.equal(grads[k], own_grads[0])


def test_a_stored_configuration_from_before_there_was_a_choice_has_the_default() -> None:
    assert Loss.unfitted({"target": {"name": "plain"}}).config == LossConfig()
    stored = {"target": {"name": "plain"}, "loss": asdict(LossConfig(beta=0.2))}
    assert Loss.unfitted(stored).config == LossConfig(beta=0.2)


def test_what_does_not_go_together_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"loss.charge=bce: not with target.name=q_over_pt"):
        make_loss({"name": "q_over_pt"}, charge="bce")
    nothing = dict.fromkeys(QUANTITIES[:3], 0.0)
    with pytest.raises(UserError, match=r"loss.weights=\[0.0, 0.0, 0.0\]: must be above 0"):
        make_loss({"name": "q_over_pt"}, weights=nothing)
    assert make_loss(weights=nothing).outputs == 4
