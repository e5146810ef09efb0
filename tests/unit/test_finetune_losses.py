import math

import pytest
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss

from sheep.finetune.loop import identity
from sheep.finetune.losses import dino_loss, ibot_loss, koleo_loss, sinkhorn


def test_dino_by_hand() -> None:
    # One image, two prototypes, views a and b; the teacher is sure of prototype 0 in a and of 1 in b.
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
    assert koleo_loss(features, 0, 1, identity).item() == pytest.approx(-math.log(math.sqrt(2)), rel=1e-6)


def test_sinkhorn_uses_prototypes_alike() -> None:
    logits = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    logits[:, 0] += 1 - logits.max()  # prototype 0 would win nearly everywhere
    targets = sinkhorn(logits, 0.1, identity)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(64))
    torch.testing.assert_close(targets.mean(dim=0), torch.full((4,), 0.25), atol=0.03, rtol=0)
    same = sinkhorn(logits[:1].expand(8, 4), 0.05, identity)
    torch.testing.assert_close(same, torch.full((8, 4), 0.25))


def test_sinkhorn_fixed_point_by_hand() -> None:
    # Two opposite images: already balanced, so only the softmax remains.
    targets = sinkhorn(torch.tensor([[1.0, 0.9], [0.9, 1.0]]), 0.1, identity)
    sure = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(targets, torch.tensor([[sure, 1 - sure], [1 - sure, sure]]))
