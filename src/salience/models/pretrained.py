"""A pretrained encoder of text with a head of our own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.encoders import EXTRA, MINILM, encoder_folder
from ..data.packaged import DOWNLOADS
from ..errors import WrongInput
from ..modality import Modality
from .sequential import mean_over_steps


class Pretrained(nn.Module):
    """A Hugging Face encoder from a local folder (or fetched by name), the mean of its tokens, a linear layer.

    `embed` gives word embeddings, which are what is explained; `forward` adds positions and goes on. The padding mask
    of the context is the attention mask. `freeze`: only the head is trained, and what the encoder says of a text is
    computed once. Hook points: `pooled` [batch, width], and whatever modules the encoder has. Reads one input, whose
    tokens are the encoder's (data.encoder); WrongInput for any other.
    """

    hidden_layer = "pooled"

    def __init__(
        self,
        modalities: Sequence[Modality],
        num_outputs: int,
        encoder: str = MINILM,
        freeze: bool = True,
        dropout: float = 0.1,
        downloads: Path | str = DOWNLOADS,
    ):
        super().__init__()
        self.encoder = load_encoder(encoder, downloads)
        words = self.encoder.get_input_embeddings().num_embeddings
        if len(modalities) != 1 or modalities[0].vocabulary_size != words:
            raise WrongInput(
                f"model=pretrained: reads tokens of {encoder}; set data.encoder={encoder}, with data=tweets or film"
            )
        self.frozen = freeze
        self.encoder.requires_grad_(not freeze)
        self.pooled = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, num_outputs)
        self._known: dict[bytes, Tensor] = {}
        self._latest: tuple[Tensor, Tensor] | None = None

    def train(self, mode: bool = True) -> "Pretrained":
        """A frozen encoder stays in eval mode: its dropout would only blur what is fixed."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def embed(self, ids: Tensor) -> tuple[Tensor]:
        """Word embeddings [batch, length, width]."""
        embedded = self.encoder.get_input_embeddings()(ids)
        self._latest = (embedded, ids) if self.frozen else None
        return (embedded,)

    def forward(self, embedded: Tensor, *context: Tensor) -> Tensor:
        padded = context[0] if context else None
        latest, self._latest = self._latest, None
        # texts as they are have been read before; embeddings that a method made or asks gradients of have not
        if (
            latest is not None
            and latest[0] is embedded
            and not embedded.requires_grad
            and not self._watched()
        ):
            features = self._remembered(latest[1], embedded, padded)
        else:
            features = self._features(embedded, padded)
        return self.head(self.dropout(self.pooled(features)))

    def _features(self, embedded: Tensor, padded: Tensor | None) -> Tensor:
        """The mean of the encoder's tokens [batch, width]."""
        mask = None if padded is None else (~padded).long()
        read = self.encoder(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        return mean_over_steps(read, padded)

    def _remembered(self, ids: Tensor, embedded: Tensor, padded: Tensor | None) -> Tensor:
        """`_features` of rows of ids, computed once for each."""
        keys = [row.numpy().tobytes() for row in ids.cpu()]
        new = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())
        if new:
            with torch.no_grad():
                found = self._features(embedded[new], None if padded is None else padded[new])
            self._known.update(zip((keys[i] for i in new), found, strict=True))
        return torch.stack([self._known[key] for key in keys])

    def _watched(self) -> bool:
        """Whether somebody has hooks inside the encoder and must see it run."""
        return any(m._forward_hooks or m._forward_pre_hooks for m in self.encoder.modules())


def load_encoder(encoder: str, downloads: Path | str = DOWNLOADS) -> Any:
    """The encoder of a folder, from safetensors alone; WrongInput where it cannot be loaded."""
    folder = encoder_folder(encoder, downloads)
    try:
        from transformers import AutoModel
    except ImportError:
        raise WrongInput(f"model=pretrained {EXTRA}") from None
    try:
        return AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise WrongInput(
            f"model.pretrained.encoder={encoder}: cannot be loaded ({str(error).splitlines()[0][:80]})"
        ) from None
