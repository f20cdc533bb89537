"""Any image network of timm, by name."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from memcontrol.errors import EncoderError
from memcontrol.measures.encoders.base import Encoder, missing_package

__all__ = ["TimmEncoder"]


class TimmEncoder(Encoder):
    """Pooled features of a timm model, scaled as its config says.

    Args:
        model: Name of the model, e.g. `resnet50.a1_in1k`.
        pretrained: Whether to fetch its weights (safetensors) from the hub.
        weights: State dict file to load instead, with tensors only.
        size: Height and width that images are resized to, in pixels.
        batch_size: Images encoded at once.
        device: Where to encode: `auto` (a GPU where there is one), `cpu`, `cuda`, ...

    Raises:
        EncoderError: If timm is missing, has no such model, or the weights are another's.
    """

    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        weights: str | None = None,
        size: int = 224,
        batch_size: int = 64,
        device: str = "auto",
    ) -> None:
        super().__init__(size, batch_size, device)
        self.model = model
        self.pretrained = pretrained
        self.weights = weights
        self._mean, self._std = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def load(self) -> nn.Module:
        """Return the network without its classifier."""
        try:
            import timm
        except ImportError as error:
            raise missing_package("timm", "timm") from error
        if not timm.is_model(self.model):
            near = timm.list_models(f"*{self.model.split('_')[0]}*")[:10]
            raise EncoderError(f"Argument `model` must be a model of timm, but got {self.model!r}. Near: {near}.")
        network: nn.Module = timm.create_model(
            self.model, pretrained=self.pretrained and self.weights is None, num_classes=0
        )
        if self.weights is not None:
            if not Path(self.weights).expanduser().is_file():
                raise EncoderError(
                    f"Argument `weights` is {self.weights!r}, which does not exist. Give a state dict's file."
                )
            state = torch.load(Path(self.weights).expanduser(), map_location="cpu", weights_only=True)
            missing = network.load_state_dict(state, strict=False).missing_keys
            if missing:
                raise EncoderError(
                    f"{self.weights} lacks {len(missing)} tensors of {self.model}, e.g. {missing[0]}; it has e.g. "
                    f"{next(iter(state), None)}. Give a state dict whose names are timm's."
                )
        config = timm.data.resolve_model_data_config(network)
        self._mean, self._std = config["mean"], config["std"]
        return network

    def prepare(self, images: Tensor) -> Tensor:
        """Scale by the mean and standard deviation that the model was trained with."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self._mean, self._std))
        return (images - mean) / std
