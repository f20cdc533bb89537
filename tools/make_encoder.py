"""Make the small encoder that tests and the demo use: it reads phantoms, and its features compare them.

python tools/make_encoder.py memcontrol/assets/phantom-encoder.safetensors
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from memcontrol.data.features import split_pixels
from memcontrol.data.images import Transform
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.measures.encoders.phantom import PhantomNetwork

WORDS = ("AP ", "woman", "enlarged", "left", "right", "upper", "mid ", "lower", "effusion", "clear", "tube", "line")


def targets(texts: list[str]) -> Tensor:
    """Return which words a report holds, with shape `(n, W)`."""
    return torch.tensor([[float(word in text) for word in WORDS] for text in texts])


def main(path: str, num_subjects: int = 1500, steps: int = 1500) -> None:
    """Train the encoder to read reports off phantoms of the two sites that the embedded base has seen."""
    torch.manual_seed(0)
    data = PhantomDataModule(
        sites=["A", "B"], num_subjects=num_subjects, images_per_subject=1, drawing_seed=0,
        split_fractions=[0.9, 0.05, 0.05], transform=Transform(size=64),
    )  # fmt: skip
    data.setup("fit")
    images, labels = {}, {}
    for split in ("train", "validate"):
        images[split] = split_pixels(data, split, list(range(len(data.table(split)))))
        labels[split] = targets(data.table(split)["text"].tolist())
    network = PhantomNetwork()
    head = nn.Linear(network.width, len(WORDS))
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for step in range(steps):
        rows = torch.randint(len(images["train"]), (64,))
        gain = 1 + 0.3 * (torch.rand(64, 1, 1, 1) - 0.5)
        noisy = (images["train"][rows] * gain + 0.03 * torch.randn(64, 1, 64, 64)).clamp(0, 1)
        loss = nn.functional.binary_cross_entropy_with_logits(head(network(noisy)), labels["train"][rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 0:
            print(step, round(float(loss), 4), flush=True)
    network.eval()
    with torch.no_grad():
        right = (head(network(images["validate"])) > 0) == labels["validate"].bool()
    print("accuracy per word:", dict(zip(WORDS, right.float().mean(dim=0).tolist(), strict=True)))
    save_file({k: v.half() for k, v in network.state_dict().items()}, path)


if __name__ == "__main__":
    main(sys.argv[1])
