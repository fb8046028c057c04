"""Losses of MediSee and PRS-Med: hand-computed values, gradients, and the released code's results."""

from math import isnan, log

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from napari_medreason_training import losses_medisee, losses_prs_med

from .known_answers import known_answers


def tensors(case, *names):
    return [torch.tensor(case[name]).reshape(case["shape"]) for name in names]


def test_released_mask_losses_of_medisee_are_reproduced(real_data):
    cases = known_answers(real_data, "medisee_losses.json")["mask_losses"]
    for case in cases:
        logits, target = tensors(case, "logits", "target")
        count = case["num_masks"]
        got = [
            losses_medisee.dice_loss(logits, target, count),
            losses_medisee.cross_entropy_loss(logits, target, count),
            losses_medisee.mask_loss(logits, target, count),
        ]
        wanted = [case[name] for name in ("dice", "bce", "combined_per_sample_code_weights")]
        assert [value.item() for value in got] == pytest.approx(wanted, rel=1e-5), case["tag"]


def test_released_box_losses_of_medisee_are_reproduced(real_data):
    for case in known_answers(real_data, "medisee_losses.json")["box"]:
        boxes, truth = torch.tensor(case["pred_cxcywh"]), torch.tensor(case["gt_xyxy"])
        assert losses_medisee.corners(boxes).tolist() == [
            pytest.approx(row, abs=1e-6) for row in case["pred_xyxy"]
        ]
        released = losses_medisee.box_loss(boxes, truth, as_released=True).item()
        assert released == pytest.approx(case["box_loss"], rel=1e-5, abs=1e-6, nan_ok=True)
        distance = losses_medisee.corner_loss(boxes, truth).item()
        assert distance == pytest.approx(case["l1_mean_on_xyxy"], rel=1e-5, abs=1e-7)
        sound = losses_medisee.overlap_loss(boxes, truth).item()
        expected = 1.0 if isnan(case["giou_loss"]) else case["giou_loss"]
        assert sound == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_released_boxes_from_masks_are_reproduced(real_data):
    for case in known_answers(real_data, "medisee_losses.json")["mask_to_box"]:
        mask = np.array(case["mask"], np.uint8)
        if isinstance(case["box"], dict):
            with pytest.raises(ValueError, match="255"):
                losses_medisee.mask_to_box(mask, as_released=True)
        else:
            assert losses_medisee.mask_to_box(mask, as_released=True) == pytest.approx(case["box"])


def test_released_losses_of_prs_med_are_reproduced(real_data):
    for case in known_answers(real_data, "prsmed_model_and_eval.json")["losses"]:
        logits, target = tensors(case, "pred", "mask")
        got = {
            "structure_loss": losses_prs_med.structure_loss(logits, target, as_released=True),
            "structure_loss_if_truly_weighted": losses_prs_med.structure_loss(logits, target),
            "dice_score_metric": losses_prs_med.soft_dice(logits, target),
            "iou_score": losses_prs_med.soft_iou(logits, target),
            "bce_dice_loss": losses_prs_med.cross_entropy_dice_loss(logits, target),
        }
        for name, value in got.items():
            assert value.item() == pytest.approx(case[name], rel=1e-4, abs=1e-6), name


def test_a_box_is_half_open_and_counts_one_pixel():
    mask = np.zeros((4, 8), np.uint8)
    mask[1, 2] = 255
    mask[3, 3] = 1
    assert losses_medisee.mask_to_box(mask) == (0.25, 0.25, 0.375, 0.5)
    assert losses_medisee.mask_to_box(np.full((4, 8), 255)) == (0, 0, 1, 1)


def test_mask_losses_by_hand():
    """All logits 0, so every probability is 1/2; half of four pixels are true."""
    logits, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1], [0, 0]]]])
    dice = losses_medisee.dice_loss(logits[0], target[0], 1)
    assert dice.item() == pytest.approx(0.5, abs=1e-3)
    assert losses_medisee.cross_entropy_loss(logits[0], target[0], 1).item() == pytest.approx(log(2))
    paper = losses_prs_med.cross_entropy_dice_loss(logits, target)
    assert paper.item() == pytest.approx(log(2) + 1 - (2 * 1 + 1) / (2 + 2 + 1))
    assert losses_prs_med.soft_dice(logits, target).item() == pytest.approx(0.5, abs=1e-5)
    assert losses_prs_med.soft_iou(logits, target).item() == pytest.approx(1 / 3, abs=1e-5)


def test_borders_weigh_more_when_the_weights_act():
    """A wrong pixel beside the border costs more than one in the middle of the structure."""
    target = torch.zeros(1, 1, 64, 64)
    target[..., 8:56, 8:56] = 1

    def cost(row, *, as_released):
        logits = torch.where(target > 0, 8.0, -8.0)
        logits[0, 0, row, 32] = -8
        return losses_prs_med.structure_loss(logits, target, as_released=as_released).item()

    assert cost(8, as_released=False) > 1.5 * cost(32, as_released=False)


def test_one_turned_box_leaves_the_others_their_gradient():
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, -0.2, 0.2]], requires_grad=True)
    truth = torch.tensor([[0.1, 0.1, 0.4, 0.4]]).expand(2, 4)
    losses_medisee.box_loss(boxes, truth).backward()
    assert boxes.grad is not None
    assert (boxes.grad.abs().sum(1) > 0).all()
    assert losses_medisee.overlap_loss(boxes, truth, as_released=True).item() == 1
    point = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert losses_medisee.overlap_loss(point, losses_medisee.corners(point)).item() == 1


def test_the_class_loss_ends_after_five_epochs():
    parts = torch.tensor([1.0, 10.0, 100.0])
    assert [losses_prs_med.total_loss(*parts, epoch=epoch).item() for epoch in (0, 4, 5)] == [61, 61, 11]


MASK_LOSSES = {
    "medisee": lambda logits, target: losses_medisee.mask_loss(logits[:, 0], target[:, 0], 2),
    "structure": losses_prs_med.structure_loss,
    "structure as released": lambda logits, target: losses_prs_med.structure_loss(
        logits, target, as_released=True
    ),
    "paper": losses_prs_med.cross_entropy_dice_loss,
}


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_gradients_of_mask_losses_are_right(name):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 1, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = (torch.rand(2, 1, 5, 4, generator=generator) > 0.5).double()
    assert gradcheck(lambda values: MASK_LOSSES[name](values, target), (logits,))


@pytest.mark.parametrize("as_released", [False, True])
def test_gradients_of_box_losses_are_right(as_released):
    boxes = torch.tensor(
        [[0.5, 0.4, 0.3, 0.2], [0.2, 0.7, 0.1, 0.3]], dtype=torch.float64, requires_grad=True
    )
    truth = torch.tensor([[0.4, 0.35, 0.8, 0.6], [0.6, 0.1, 0.9, 0.3]], dtype=torch.float64)
    assert gradcheck(lambda values: losses_medisee.box_loss(values, truth, as_released=as_released), (boxes,))


def test_similarity_loss_by_hand():
    """Two tokens, one of which is as likely as 3 to 1, against an even teacher."""
    odds = log(3)
    image, fused = torch.tensor([[[odds], [0.0]]]), torch.ones(1, 1)
    even = torch.zeros(1, 2, 1)
    found, teacher = np.array([0.75, 0.25]), np.array([0.5, 0.5])
    middle = (found + teacher) / 2
    divergence = (found * np.log(found / middle)).sum() / 2 + (teacher * np.log(teacher / middle)).sum() / 2
    got = losses_medisee.similarity_loss(image, fused, even, fused)
    assert got.item() == pytest.approx(2 * divergence + odds**2 / 2, rel=1e-5)
    assert losses_medisee.similarity_loss(image, fused, image, fused).item() == pytest.approx(0, abs=1e-7)


def test_similarity_loss_teaches_only_the_pupil():
    generator = torch.Generator().manual_seed(2)
    image, plain = (
        torch.randn(2, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    fused, plain_fused = (
        torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    assert gradcheck(
        lambda *pupil: losses_medisee.similarity_loss(*pupil, plain.detach(), plain_fused.detach()),
        (image, fused),
    )
    losses_medisee.similarity_loss(image, fused, plain, plain_fused).backward()
    assert (plain.grad, plain_fused.grad) == (None, None)
