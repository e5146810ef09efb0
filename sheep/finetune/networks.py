"""Student and teacher: each a backbone with its heads (DINO, iBOT, silhouettes). The teacher follows the student."""

import math
from collections.abc import Callable
from typing import Any

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from sheep.config import Precision, seed_for
from sheep.models.dinov2 import Backbone, Tokens, device_of, load

SILHOUETTE_PX = 16
"""Side of the silhouette that the class token has to tell."""


class Network(nn.Module):
    """A backbone with its heads; the modules of one side."""

    def __init__(self, backbone: Backbone, num_prototypes: int, seed: int, *, half: bool = False) -> None:
        """Draw new heads.

        Args:
            backbone: whose weights are used as they are.
            num_prototypes: outputs of the projection heads.
            seed: of the heads.
            half: compute in bfloat16 where torch.autocast does; weights and what comes out stay float32.
        """
        super().__init__()
        self._half = half
        self.encoder = backbone
        # Registered, so that parameters() and state_dict() hold it; `encoder` is the plain object around it.
        self.backbone = backbone.model
        self.dino_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "dino"), half=half)
        self.ibot_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "ibot"), half=half)
        self.shape_head = make_linear(backbone.dim, SILHOUETTE_PX**2, seed_for(seed, "finetune.head", "shape"))
        self.part_head = make_linear(backbone.dim, 1, seed_for(seed, "finetune.head", "part"))
        self._kept: Tensor | None = None
        for number, layer in enumerate(self.backbone.encoder.layer):
            layer.layer_scale1.register_forward_hook(self._dropping(2 * number))
            layer.layer_scale2.register_forward_hook(self._dropping(2 * number + 1))

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """All that is not the backbone."""
        return self.dino_head, self.ibot_head, self.shape_head, self.part_head

    @property
    def num_blocks(self) -> int:
        """Transformer blocks of the backbone."""
        return int(self.backbone.config.num_hidden_layers)

    @property
    def num_branches(self) -> int:
        """Residual branches, two a block."""
        return 2 * self.num_blocks

    def tokens(self, pixels: Tensor, hidden: Tensor | None = None, kept: Tensor | None = None) -> Tokens:
        """Tokens of a batch of views; see Backbone.forward.

        Args:
            pixels: (B, 3, S, S) normalised.
            hidden: (B, P) bool, or None.
            kept: (B, num_branches) factors on the residual branches (`draw_kept`), or None for 1.
        """
        self._kept = kept
        try:
            # Not one context for several calls: autocast keeps cast weights until it is left, those of a no_grad call without graph.
            with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self._half):
                cls, patches = self.encoder.forward(pixels, hidden)
            return Tokens(cls.float(), patches.float())
        finally:
            self._kept = None

    def pick(
        self, pixels: Tensor, hidden: Tensor | None = None, kept: Tensor | None = None, wanted: Tensor | None = None
    ) -> Tokens:
        """Class tokens and some of the patch tokens, as `tokens` would give them.

        The rest is left out of the last block from its attention on: of a step's arithmetic that is one twentieth, forward
        and backward.

        Args:
            pixels: as for `tokens`.
            hidden: as for `tokens`.
            kept: as for `tokens`.
            wanted: (B, P) bool, the patches to hand out, M in all; None for none.

        Returns:
            (B, D) class tokens and (M, D) patch tokens, image by image, in reading order.
        """
        self._kept = kept
        try:
            with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self._half):
                x = self.backbone.embeddings(pixels, bool_masked_pos=hidden)
                *layers, last = self.backbone.encoder.layer
                for layer in layers:
                    x = layer(x)
                image = torch.arange(len(x), device=x.device)
                place = torch.zeros_like(image)
                if wanted is not None:
                    of, patch = wanted.nonzero(as_tuple=True)
                    image, place = torch.cat([image, of]), torch.cat([place, patch + 1 + self.encoder.num_registers])
                x = self.backbone.layernorm(self._last_block(last, x, image, place)).float()
        finally:
            self._kept = None
        return Tokens(x[: len(pixels)], x[len(pixels) :])

    def _last_block(self, block: Any, x: Tensor, image: Tensor, place: Tensor) -> Tensor:
        """(B, N, D) -> (M, D): the block's output for the tokens at `place` (M,) of `image` (M,)."""
        rows = image * x.shape[1] + place

        def chosen(tokens: Tensor) -> Tensor:
            # A row is chosen once at most, so that the backward sum is deterministic on a GPU too.
            return tokens.flatten(0, 1).index_select(0, rows)[:, None]

        handle = block.attention.o_proj.register_forward_pre_hook(lambda module, inputs: (chosen(inputs[0]),))
        try:
            attended, _ = block.attention(block.norm1(x))
        finally:
            handle.remove()
        if self._kept is not None:
            self._kept = self._kept[image]
        x = chosen(x) + block.layer_scale1(attended)
        return (x + block.layer_scale2(block.mlp(block.norm2(x))))[:, 0]

    def freeze_last_layers(self, frozen: bool) -> None:
        """Keep the prototypes of both projection heads as they are, or let them learn; their norm is fixed in any case."""
        for head in (self.dino_head, self.ibot_head):
            head.last_layer.weight_v.requires_grad_(not frozen)

    def _dropping(self, branch: int) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        """A hook that scales a branch image by image. transformers has a drop path too, but draws from the global generator."""

        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            return None if self._kept is None else output * self._kept[:, branch, None, None].to(output.dtype)

        return hook


def draw_kept(seed: int, num_images: int, num_views: int, num_branches: int, rate: float) -> Tensor:
    """Draw which residual branches of the student count for which image.

    Args:
        seed: of this step.
        num_images: images in the global batch.
        num_views: views of each.
        num_branches: of the network.
        rate: chance that one is dropped, 0 to 0.9.

    Returns:
        (num_images, num_views, num_branches) float32: 0 where dropped, else 1 / (1 - rate), so that means stay.

    Source: stochastic depth, arXiv 1603.09382, at one rate for all blocks as in DINOv2.
    """
    noise = torch.rand(num_images, num_views, num_branches, generator=torch.Generator().manual_seed(seed))
    return (noise >= rate).float() / (1 - rate)


class Head(DINOProjectionHead):  # type: ignore[misc]
    """lightly's head, whose cosines are float32: a temperature of 0.05 would blow bfloat16's steps near 1 up to 0.08."""

    half = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim) -> (N, num_prototypes) cosines, float32."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.layers(x)
        cosines: Tensor = self.last_layer(torch.nn.functional.normalize(x.float(), dim=-1))
        return cosines


def make_head(dim: int, num_prototypes: int, seed: int, *, half: bool = False) -> Head:
    """Make a head whose weights follow from the seed alone: (N, dim) -> (N, num_prototypes) cosines.

    Source: DINO, arXiv 2104.14294, appendix C (lightly's DINOProjectionHead), its width kept in proportion to the backbone's.
    """
    head = Head(input_dim=dim, hidden_dim=min(2048, 4 * dim), bottleneck_dim=min(256, dim), output_dim=num_prototypes)
    head.half = half
    # lightly draws from the global generator, which two workers in one process would share; draw again from our own.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if parameter.ndim == 2 and not name.endswith("weight_g"):
                parameter.normal_(std=1 / math.sqrt(parameter.shape[1]), generator=generator)
    return head


def make_linear(dim: int, outputs: int, seed: int) -> nn.Linear:
    """Make a linear layer whose weights follow from the seed alone; its outputs start near 0."""
    layer = nn.utils.skip_init(nn.Linear, dim, outputs)
    with torch.no_grad():
        layer.weight.normal_(std=0.1 / math.sqrt(dim), generator=torch.Generator().manual_seed(seed))
        layer.bias.zero_()
    return layer


def make_pair(
    name: str, num_prototypes: int, seed: int, device: str, precision: Precision = "auto"
) -> tuple[Network, Network]:
    """Make student and teacher, equal at first, from released or local weights.

    Raises:
        ConfigError: see sheep.backbone.load.
    """
    half = precision == "bfloat16" or (precision == "auto" and device_of(device).type == "cuda")
    student = Network(load(name, device=device), num_prototypes, seed, half=half)
    teacher = Network(load(name, device=device), num_prototypes, seed, half=half)
    teacher.load_state_dict(student.state_dict(), strict=True)
    place = student.encoder.device
    return student.to(place), teacher.to(place).requires_grad_(False)


@torch.no_grad()
def follow(teacher: Network, student: Network, momentum: float) -> None:
    """Move the teacher towards the student: teacher = momentum * teacher + (1 - momentum) * student."""
    theirs: list[Tensor] = list(teacher.parameters())
    ours = [parameter.detach() for parameter in student.parameters()]
    torch._foreach_lerp_(theirs, ours, 1 - momentum)
