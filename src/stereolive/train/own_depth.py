"""Depth for presentations that came without any: what the depth network itself says of them, where it agrees with
itself.

A network that has learned on measured depth teaches itself another rig by it (after Tonioni et al., "Unsupervised
adaptation for deep stereo", 2017, whose teacher is a classical matcher, and Radosavovic et al., "Data distillation",
2018): the mean of several looks at a pair is better than one, and where they differ nothing is learned. Photometric
losses, the other way to learn without depth, ask for two sensors that see the same brightness.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from stereolive.data.crops import Crops
from stereolive.nets.depth import SIDE_MULTIPLE, DepthNetwork, warp

OFFSETS_PX = (-2, 2)
"""How far the second view is moved along its rows, for looks that differ."""
AGREED_PX = 0.5
"""How far the looks may differ from each other, in crop px."""
CONSISTENT_PX = 1.0
"""How far the second view's own disparity may differ from the first's at the same place."""
LEAST_SHARE = 0.2
"""Of a crop: rows of whose disparity less is trusted teach nothing."""


@torch.no_grad()
def own_disparity(network: DepthNetwork, first: Tensor, second: Tensor) -> Tensor:
    """Disparity (B, 1, S/2, S/2) in crop px of the views (B, 3, S, S): the mean of what the network says of them as
    they are and upside down, the second one moved a little; NaN where those looks, or the two views, disagree."""
    pairs = []
    for offset in OFFSETS_PX:
        moved = second.roll(-offset, 3)
        pairs += [(first, moved), (first.flip(2), moved.flip(2))]
    # Mirrored, the second view is a first one: nearer is larger again.
    pairs.append((second.flip(3), first.flip(3)))
    *looks, mirrored = network(*(torch.cat(views) for views in zip(*pairs, strict=True))).disparity.chunk(len(pairs))
    said = torch.stack(
        [
            look - offset
            for offset, upright, upside_down in zip(OFFSETS_PX, looks[0::2], looks[1::2], strict=True)
            for look in (upright, upside_down.flip(2))
        ]
    )
    disparity = said.mean(0)
    agreed = said.amax(0) - said.amin(0) <= AGREED_PX
    agreed &= (warp(mirrored.flip(3), disparity / 2) - disparity).abs() <= CONSISTENT_PX
    # What came in at the other border is no picture.
    rolled = max(OFFSETS_PX) // 2 + 1
    agreed[..., :rolled] = False
    agreed[..., -rolled:] = False
    return torch.where(agreed, disparity, float("nan"))


def own_depths(
    crops: Crops, rows: Sequence[int], network: DepthNetwork, folder: Path, of: str
) -> Mapping[int, NDArray[np.float16]]:
    """Disparity (T, T) of those of the rows of which enough can be trusted, as ``Crops.disparity`` gives it.

    Worked out once: kept in ``folder``, named by the crops and by ``of``, which stands for the network's weights.
    """
    whole = hashlib.sha256(of.encode())
    for index in rows:
        row = crops.rows[index]
        whole.update(f"{crops.signature(row.shard)} {row.row}\n".encode())
    path = folder / f"own_depth-{whole.hexdigest()[:16]}.npy"
    if not path.exists():
        _work_out(crops, rows, network, path)
    kept = np.load(path, mmap_mode="r")
    return {index: kept[place] for place, index in enumerate(rows) if np.isfinite(kept[place]).mean() >= LEAST_SHARE}


def _work_out(crops: Crops, rows: Sequence[int], network: DepthNetwork, path: Path) -> None:
    stored = crops.cutting.stored_px
    side = stored - stored % SIDE_MULTIPLE
    start = (stored - side) // 2
    window = slice(start, start + side)
    part = path.with_name(path.name + ".part")
    result = np.lib.format.open_memmap(part, "w+", np.float16, (len(rows), stored, stored))
    device = next(network.parameters()).device
    network.eval()
    for place, index in enumerate(track(rows, "depth by the network itself")):
        result[place] = np.nan
        views = (torch.from_numpy(view[:, window, window]) for view in crops.read([index])[:2])
        first, second = (view.permute(0, 3, 1, 2).to(device).float() / 255.0 for view in views)
        own = own_disparity(network, first, second)[0, 0].cpu().numpy()
        result[place, window, window] = own.repeat(2, 0).repeat(2, 1)
    result.flush()
    part.replace(path)
