"""The paper's encoder: a DenseNet trained on chest X-rays, from torchxrayvision."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders.base import Encoder, missing_package
from memcontrol.trusted import is_trusted

__all__ = ["XrayEncoder"]


class _Features(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return pooled features with shape `(B, 1024)`."""
        found: Tensor = self.network.features(images)
        return nn.functional.relu(found).mean(dim=(2, 3))


class XrayEncoder(Encoder):
    """Features of torchxrayvision's DenseNet-121, width 1,024.

    Its published weights are a pickled model, which could run code, so a file is read only if it is a plain state dict
    (the error for a missing file says how to make one) or if its SHA-256 is the one that you give.

    Args:
        weights: A plain state dict of the network, or torchxrayvision's own file with `sha256`.
        sha256: SHA-256 of the file that you trust, on the command line with `--trust-config` only; not needed for a
            plain state dict.
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...
    """

    def __init__(
        self,
        weights: str = "~/.torchxrayvision/densenet121-res224-all.pt",
        sha256: str | None = None,
        size: int = 224,
        batch_size: int = 64,
        device: str = "auto",
    ) -> None:
        super().__init__(size, batch_size, device)
        self.weights = weights
        self.sha256 = sha256

    def load(self) -> nn.Module:
        """Return the network with its weights."""
        try:
            from torchxrayvision.models import DenseNet
        except ImportError as error:
            raise missing_package("torchxrayvision", "xray") from error
        path = Path(self.weights).expanduser()
        if not path.is_file():
            raise EncoderError(
                f"Argument `weights` is {str(path)!r}, which does not exist. Make it once, if you trust "
                "torchxrayvision's download, with: "
                'python -c "import torch, torchxrayvision as x; '
                f"torch.save(x.models.DenseNet(weights='densenet121-res224-all').state_dict(), '{path}')\""
            )
        network = DenseNet(num_classes=18)
        state = {k: v for k, v in self._read(path).items() if k.startswith("features.")}
        network.load_state_dict(state, strict=False)
        missing = {k for k in network.state_dict() if k.startswith("features.")} - set(state)
        if missing:
            raise EncoderError(f"{path} lacks {len(missing)} tensors of the DenseNet, e.g. {sorted(missing)[0]}.")
        return _Features(network)

    def _read(self, path: Path) -> dict[str, Tensor]:
        if self.sha256 is None:
            try:
                return dict(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:
                raise EncoderError(
                    f"{path} holds a pickled model, which could run code. If you trust the file, give its digest as "
                    "`sha256` (sha256sum prints it)."
                ) from error
        if not is_trusted():
            raise EncoderError(
                f"{path} would be loaded as a pickled model, which can run code, on the word of a config that names "
                "its digest. If you wrote the config yourself, add `--trust-config`; or make a plain state dict of it "
                "(the documentation of XrayEncoder says how)."
            )
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256.lower():
            raise EncoderError(f"{path} has the SHA-256 {found}, but the config pins {self.sha256}. Do not load it.")
        content = torch.load(path, map_location="cpu", weights_only=False)
        state: dict[str, Tensor] = content.state_dict() if isinstance(content, nn.Module) else content
        return state

    def prepare(self, images: Tensor) -> Tensor:
        """Return one grey channel in [-1024, 1024]."""
        return (2 * images.mean(dim=1, keepdim=True) - 1) * 1024
