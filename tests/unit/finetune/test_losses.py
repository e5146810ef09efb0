import math

import numpy as np
import pytest
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss

from sheep.finetune.distributed import mean_of_one
from sheep.finetune.losses import dino_loss, ibot_loss, koleo_loss, silhouette_loss, sinkhorn


def test_dino_by_hand() -> None:
    # One image, two prototypes, views a and b; the teacher gives prototype 0 to a and 1 to b.
    targets = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    student = torch.tensor([[[0.1, 0.0]], [[0.0, 0.0]], [[0.0, 0.2]]])  # divided by 0.1: (1, 0), (0, 0), (0, 2)
    # teacher a with student b and c, teacher b with student a and c
    terms = [math.log(2), 2 + math.log(1 + math.exp(-2)), 1 + math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2))]
    assert dino_loss(student, targets).item() == pytest.approx(sum(terms) / 4, rel=1e-6)


def test_dino_and_ibot_equal_lightly() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.rand(2, 5, 7, generator=generator), torch.rand(4, 5, 7, generator=generator)
    expected = DINOLoss(7, teacher_temp=0.05)(list(teacher), list(student))
    torch.testing.assert_close(dino_loss(student, (teacher / 0.05).softmax(dim=-1)), expected)
    mask = torch.tensor(
        [[[True, True], [False, False]], [[False, True], [True, False]]]
    )  # two views, two hidden patches each
    seen, guessed = torch.rand(4, 7, generator=generator), torch.rand(4, 7, generator=generator)
    expected = IBOTPatchLoss(7, teacher_temp=0.05)(seen, guessed, mask)
    torch.testing.assert_close(ibot_loss(guessed, (seen / 0.05).softmax(dim=-1)), expected)


def test_koleo_by_hand() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])  # on the unit circle at 0, 90 and 180 degrees
    assert koleo_loss(features, 0, 1, mean_of_one).item() == pytest.approx(-math.log(math.sqrt(2)), rel=1e-6)


def test_sinkhorn_balances_prototypes() -> None:
    logits = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 1 - logits.max()  # prototype 0 would win nearly everywhere
    targets = sinkhorn(logits, 0.1, mean_of_one)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(targets.mean(dim=0), torch.full((4,), 0.25), atol=0.03, rtol=0)
    same = sinkhorn(logits[:1].expand(8, 4), 0.05, mean_of_one)
    torch.testing.assert_close(same, torch.full((8, 4), 0.25))


def test_sinkhorn_fixed_point_by_hand() -> None:
    # Two opposite images: already balanced, so only the softmax remains.
    targets = sinkhorn(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.1, mean_of_one)
    sure = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(targets, torch.tensor([[sure, 1 - sure], [1 - sure, sure]]))


def test_silhouette_term_by_hand() -> None:
    """A logit of 0 costs ln 2; a large logit costs 0 where it is right, and its own value where it is wrong."""
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :2] = 1.0  # left half
    nothing = silhouette_loss(torch.zeros(1, 4), torch.zeros(1, 16), masks)
    assert float(nothing) == pytest.approx(2 * math.log(2), rel=1e-6)
    right = torch.tensor([[50.0, -50.0, 50.0, -50.0]])  # 2 x 2, row by row
    sure = silhouette_loss(right, torch.where(masks.flatten(1) > 0, 50.0, -50.0), masks)
    assert float(sure) == pytest.approx(0.0, abs=1e-6)
    wrong = silhouette_loss(-right, torch.where(masks.flatten(1) > 0, 50.0, -50.0), masks)
    assert float(wrong) == pytest.approx(50.0, rel=1e-6)


# The published formulas in float64, with the papers' loops.


def softmax64(logits: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) / temperature)
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def test_dino_equation_3() -> None:
    rng = np.random.default_rng(0)
    num_views, num_images, num_prototypes = 5, 3, 6
    student, teacher = (
        rng.uniform(-1, 1, (num_views, num_images, num_prototypes)),
        rng.uniform(-1, 1, (2, num_images, num_prototypes)),
    )
    total = 0.0
    for image in range(num_images):
        for x in range(2):  # x in {x1_g, x2_g}
            for other in range(num_views):  # x' in V, x' != x
                if other != x:
                    p_t, p_s = softmax64(teacher[x, image], 0.05), softmax64(student[other, image], 0.1)
                    total -= float((p_t * np.log(p_s)).sum())
    targets = torch.from_numpy(softmax64(teacher, 0.05))
    ours = dino_loss(torch.from_numpy(student), targets.float()).item()
    assert ours == pytest.approx(total / num_images / (2 * num_views - 2), rel=1e-6)


def test_ibot_equation_2() -> None:
    rng = np.random.default_rng(1)
    student, teacher = rng.uniform(-1, 1, (9, 6)), rng.uniform(-1, 1, (9, 6))
    terms = [-(softmax64(t, 0.05) * np.log(softmax64(s, 0.1))).sum() for s, t in zip(student, teacher, strict=True)]
    ours = ibot_loss(torch.from_numpy(student), torch.from_numpy(softmax64(teacher, 0.05)).float()).item()
    assert ours == pytest.approx(float(np.mean(terms)), rel=1e-6)


def test_koleo_equation() -> None:
    features = np.random.default_rng(2).normal(size=(7, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    total = 0.0
    for i in range(7):
        total -= math.log(min(np.linalg.norm(unit[i] - unit[j]) for j in range(7) if j != i)) / 7
    assert koleo_loss(torch.from_numpy(features).float(), 0, 1, mean_of_one).item() == pytest.approx(total, rel=1e-5)


def sinkhorn64(logits: np.ndarray, temperature: float, rounds: int) -> np.ndarray:
    """Run algorithm 1 of SwAV on Q (prototypes x images): first rows to 1/K, then columns to 1/B."""
    weights = np.exp(logits.T / temperature)
    weights /= weights.sum()
    num_prototypes, num_images = weights.shape
    for _ in range(rounds):
        weights /= weights.sum(axis=1, keepdims=True) * num_prototypes
        weights /= weights.sum(axis=0, keepdims=True) * num_images
    targets: np.ndarray = (weights * num_images).T
    return targets


def test_sinkhorn_knopp_equals_the_published_algorithm_and_approaches_its_marginals() -> None:
    logits = np.random.default_rng(3).uniform(-1, 1, (40, 6))
    ours = sinkhorn(torch.from_numpy(logits), 0.1, mean_of_one).numpy()
    np.testing.assert_allclose(ours, sinkhorn64(logits, 0.1, 3), rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(ours.sum(axis=1), 1, rtol=1e-6)  # every image has a mass of 1
    # Many rounds balance the prototypes exactly; three, as published, approximately.
    many = sinkhorn64(logits, 0.1, 500)
    np.testing.assert_allclose(many.sum(axis=0), 40 / 6, rtol=1e-9)
    three, none = (np.abs(sinkhorn64(logits, 0.1, rounds).sum(axis=0) - 40 / 6).max() for rounds in (3, 0))
    assert three < none / 2


def test_sinkhorn_is_stable_at_low_temperature() -> None:
    """Cosines of -1 to 1 at temperature 0.025 span 35 decimal digits; float32 must neither overflow nor lose a row."""
    logits = torch.linspace(-1, 1, 64).view(16, 4)
    targets = sinkhorn(logits, 0.025, mean_of_one)
    assert targets.isfinite().all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(16))
    expected = sinkhorn64(logits.double().numpy(), 0.025, 3)
    np.testing.assert_allclose(targets.numpy(), expected, atol=1e-4)


def test_gradients_of_the_losses_equal_those_in_float64() -> None:
    generator = torch.Generator().manual_seed(4)
    targets = torch.rand(2, 3, 5, generator=generator, dtype=torch.float64).softmax(dim=-1)
    student = torch.rand(4, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    log_student = (student / 0.1).log_softmax(dim=-1)
    pairs = [(targets[t] * log_student[v]).sum(dim=-1).mean() for t in range(2) for v in range(4) if t != v]
    (expected,) = torch.autograd.grad(-torch.stack(pairs).mean(), student)
    ours = student.detach().float().requires_grad_()
    dino_loss(ours, targets.float()).backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, expected.float(), rtol=1e-4, atol=1e-7)
