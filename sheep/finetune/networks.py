"""Student and teacher: each a backbone with its heads (DINO, iBOT, silhouette). The teacher averages the student."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from sheep.config import Precision, seed_for
from sheep.models.dinov2 import Backbone, Tokens, device_of, load

SILHOUETTE_PX = 16
"""Side of the silhouette that is predicted from the class token."""


class Network(nn.Module):
    """A backbone with its heads: the modules of student or teacher."""

    def __init__(self, backbone: Backbone, num_prototypes: int, seed: int, *, half: bool = False) -> None:
        """Draw new heads.

        Args:
            backbone: its weights are used as they are.
            num_prototypes: outputs of the projection heads; >= 2.
            seed: of the heads.
            half: compute in bfloat16 where torch.autocast does; weights and outputs stay float32.
        """
        super().__init__()
        self._half = half
        self.encoder = backbone
        # Registered, so that parameters() and state_dict() include it; `encoder` is the plain object around it.
        self.backbone = backbone.model
        self.dino_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "dino"), half=half)
        self.ibot_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "ibot"), half=half)
        self.shape_head = make_linear(backbone.dim, SILHOUETTE_PX**2, seed_for(seed, "finetune.head", "shape"))
        self.part_head = make_linear(backbone.dim, 1, seed_for(seed, "finetune.head", "part"))
        self._branch_scale: Tensor | None = None
        for number, layer in enumerate(self.backbone.encoder.layer):
            layer.layer_scale1.register_forward_hook(self._drop_path(2 * number))
            layer.layer_scale2.register_forward_hook(self._drop_path(2 * number + 1))

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """All modules except the backbone."""
        return self.dino_head, self.ibot_head, self.shape_head, self.part_head

    @property
    def num_blocks(self) -> int:
        """Transformer blocks of the backbone."""
        return int(self.backbone.config.num_hidden_layers)

    @property
    def num_branches(self) -> int:
        """Residual branches, two per block."""
        return 2 * self.num_blocks

    def tokens(self, pixels: Tensor, hidden: Tensor | None = None, branch_scale: Tensor | None = None) -> Tokens:
        """Compute all tokens of a batch of views; see Backbone.forward.

        Args:
            pixels: (B, 3, S, S) normalised.
            hidden: (B, P) bool, patches replaced by the mask token; None for none.
            branch_scale: (B, num_branches) factors on the residual branches (`draw_branch_scale`); None for 1.

        Returns:
            (B, D) class tokens and (B, P, D) patch tokens, float32.
        """
        with self._passing(pixels, branch_scale):
            cls, patches = self.encoder.forward(pixels, hidden)
        return Tokens(cls.float(), patches.float())

    def selected_tokens(
        self,
        pixels: Tensor,
        hidden: Tensor | None = None,
        branch_scale: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tokens:
        """Compute class tokens and some of the patch tokens, with the values that `tokens` would give them.

        The last block skips all other tokens from its attention output on, which saves a twentieth of a step's
        arithmetic, forward and backward.

        Args:
            pixels: as for `tokens`.
            hidden: as for `tokens`.
            branch_scale: as for `tokens`.
            wanted: (B, P) bool, the M patches to return; None for none.

        Returns:
            (B, D) class tokens and (M, D) patch tokens, image by image in reading order, float32.
        """
        with self._passing(pixels, branch_scale):
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
        return Tokens(x[: len(pixels)], x[len(pixels) :])

    @contextmanager
    def _passing(self, pixels: Tensor, branch_scale: Tensor | None) -> Iterator[None]:
        """Set precision and stochastic depth for one forward pass.

        Args:
            pixels: whose device decides what autocast does.
            branch_scale: see `tokens`.
        """
        self._branch_scale = branch_scale
        try:
            # One autocast context per pass: it caches cast weights until it ends, and those of a no_grad pass have no
            # graph.
            with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self._half):
                yield
        finally:
            self._branch_scale = None

    def _last_block(self, block: Any, x: Tensor, image: Tensor, place: Tensor) -> Tensor:
        """Compute the last block for some of its tokens.

        Args:
            block: a transformers DINOv2 layer.
            x: (B, N, D) its input.
            image: (M,) int64, image of each wanted token.
            place: (M,) int64, position of each wanted token within its image, 0 to N - 1.

        Returns:
            (M, D).
        """
        rows = image * x.shape[1] + place

        def select(tokens: Tensor) -> Tensor:
            # No row is selected twice, so the sum in the backward pass is deterministic on a GPU too.
            return tokens.flatten(0, 1).index_select(0, rows)[:, None]

        # Every token is a key, but only the wanted ones are needed after the attention: select before its output
        # projection.
        handle = block.attention.o_proj.register_forward_pre_hook(lambda module, inputs: (select(inputs[0]),))
        try:
            attended, _ = block.attention(block.norm1(x))
        finally:
            handle.remove()
        if self._branch_scale is not None:
            self._branch_scale = self._branch_scale[image]
        x = select(x) + block.layer_scale1(attended)
        return (x + block.layer_scale2(block.mlp(block.norm2(x))))[:, 0]

    def freeze_last_layers(self, frozen: bool) -> None:
        """Freeze or train the prototypes of both projection heads; their norm is always fixed."""
        for head in (self.dino_head, self.ibot_head):
            head.last_layer.weight_v.requires_grad_(not frozen)

    def _drop_path(self, branch: int) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        """Make a hook that scales a branch image by image; transformers' drop path draws from the global generator."""

        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            scale = self._branch_scale
            return None if scale is None else output * scale[:, branch, None, None].to(output.dtype)

        return hook


def draw_branch_scale(seed: int, num_images: int, num_views: int, num_branches: int, rate: float) -> Tensor:
    """Draw which residual branches of the student are dropped for which image.

    Args:
        seed: of this step.
        num_images: images in the global batch.
        num_views: views of each image.
        num_branches: of the network.
        rate: probability that a branch is dropped, 0 to 0.9.

    Returns:
        (num_images, num_views, num_branches) float32: 0 where dropped, else 1 / (1 - rate), which keeps the mean.

    Source: stochastic depth, arXiv 1603.09382, at one rate for all blocks as in DINOv2.
    """
    noise = torch.rand(num_images, num_views, num_branches, generator=torch.Generator().manual_seed(seed))
    return (noise >= rate).float() / (1 - rate)


class Head(DINOProjectionHead):  # type: ignore[misc]
    """lightly's head with float32 cosines: bfloat16's steps near 1, over a temperature of 0.05, would be 0.08 apart."""

    half = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim) -> (N, num_prototypes) cosines, float32."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.half):
            x = self.layers(x)
        cosines: Tensor = self.last_layer(torch.nn.functional.normalize(x.float(), dim=-1))
        return cosines


def make_head(dim: int, num_prototypes: int, seed: int, *, half: bool = False) -> Head:
    """Make a head whose weights depend on the seed alone: (N, dim) -> (N, num_prototypes) cosines.

    Args:
        dim: of the tokens.
        num_prototypes: outputs; >= 2.
        seed: of the weights.
        half: compute the hidden layers in bfloat16.

    Source: DINO, arXiv 2104.14294, appendix C (lightly's DINOProjectionHead), its width in proportion to the
        backbone's.
    """
    head = Head(input_dim=dim, hidden_dim=min(2048, 4 * dim), bottleneck_dim=min(256, dim), output_dim=num_prototypes)
    head.half = half
    # lightly draws from the global generator, which two workers in one process would share: draw again from our own.
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            if parameter.ndim == 2 and not name.endswith("weight_g"):
                parameter.normal_(std=1 / math.sqrt(parameter.shape[1]), generator=generator)
    return head


def make_linear(dim: int, outputs: int, seed: int) -> nn.Linear:
    """Make a linear layer whose weights depend on the seed alone and whose outputs start near 0.

    Args:
        dim: of its inputs.
        outputs: their number.
        seed: of the weights; the bias starts at 0.
    """
    layer = nn.utils.skip_init(nn.Linear, dim, outputs)
    with torch.no_grad():
        layer.weight.normal_(std=0.1 / math.sqrt(dim), generator=torch.Generator().manual_seed(seed))
        layer.bias.zero_()
    return layer


def make_pair(
    name: str, num_prototypes: int, seed: int, device: str, precision: Precision = "auto"
) -> tuple[Network, Network]:
    """Make student and teacher, equal at first, from released or local weights.

    Args:
        name: of the backbone, see sheep.models.dinov2.load.
        num_prototypes: outputs of the projection heads; >= 2.
        seed: of the study.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto` is bfloat16 on CUDA and float32 elsewhere.

    Raises:
        ConfigError: unknown or incomplete weights, or no such device.
    """
    half = precision == "bfloat16" or (precision == "auto" and device_of(device).type == "cuda")
    student = Network(load(name, device=device), num_prototypes, seed, half=half)
    teacher = Network(load(name, device=device), num_prototypes, seed, half=half)
    teacher.load_state_dict(student.state_dict(), strict=True)
    place = student.encoder.device
    return student.to(place), teacher.to(place).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: Network, student: Network, momentum: float) -> None:
    """Move the teacher towards the student: teacher = momentum * teacher + (1 - momentum) * student.

    Args:
        teacher: changed in place.
        student: of the same architecture.
        momentum: 0 to 1.
    """
    theirs: list[Tensor] = list(teacher.parameters())
    ours = [parameter.detach() for parameter in student.parameters()]
    torch._foreach_lerp_(theirs, ours, 1 - momentum)
