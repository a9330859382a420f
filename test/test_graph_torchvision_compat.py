"""The stand-in for torchvision's compiled operators."""

from __future__ import annotations

import builtins
import sys

import pytest
import torch

from dnn_offload.errors import ModelError
from dnn_offload.graph import torchvision_compat
from dnn_offload.graph.torchvision_compat import import_torchvision, nms


def test_torchvision_is_importable_more_than_once():
    assert import_torchvision() is import_torchvision()


def test_nms_keeps_the_best_of_each_heap():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 5]]).float()
    scores = torch.tensor([0.8, 0.9, 0.1, 0.85])
    assert nms(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert nms(boxes, scores, 0.9).tolist() == [1, 3, 0, 2]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_nms_agrees_with_its_definition():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + torch.rand(60, 2, generator=generator) * 30], 1)
    scores = torch.rand(60, generator=generator)
    kept: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        overlaps = []
        for j in kept:
            low, high = (
                torch.maximum(boxes[i, :2], boxes[j, :2]),
                torch.minimum(boxes[i, 2:], boxes[j, 2:]),
            )
            both = (high - low).clamp(min=0).prod()
            area = sum((boxes[k, 2:] - boxes[k, :2]).prod() for k in (i, j))
            overlaps.append(float(both / (area - both)))
        if max(overlaps, default=0.0) <= 0.4:
            kept.append(i)
    assert nms(boxes, scores, 0.4).tolist() == kept


def test_a_missing_torchvision_gets_a_sentence(monkeypatch):
    original = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == 'torchvision':
            raise ImportError('No module named torchvision')
        return original(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ModelError, match='pip install torchvision'):
        import_torchvision()


def test_a_torchvision_broken_in_another_way_is_not_hidden(monkeypatch):
    def broken():
        raise RuntimeError('libpng is missing')

    monkeypatch.setattr(torchvision_compat, '_import', broken)
    with pytest.raises(ModelError, match='libpng'):
        import_torchvision()
