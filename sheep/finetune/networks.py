"""Student and teacher: each a backbone with its heads (DINO, iBOT, silhouettes). The teacher follows the student."""

import math

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from sheep.backbone import Backbone, Tokens, load
from sheep.config import seed_for

SILHOUETTE_PX = 16
"""Side of the silhouette that the class token has to tell."""


class Network(nn.Module):
    """A backbone with its heads; the modules of one side."""

    def __init__(self, backbone: Backbone, num_prototypes: int, seed: int) -> None:
        super().__init__()
        self.encoder = backbone
        # Registered, so that parameters() and state_dict() hold it; `encoder` is the plain object around it.
        self.backbone = backbone.model
        self.dino_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "dino"))
        self.ibot_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "ibot"))
        self.shape_head = make_linear(backbone.dim, SILHOUETTE_PX**2, seed_for(seed, "finetune.head", "shape"))
        self.part_head = make_linear(backbone.dim, 1, seed_for(seed, "finetune.head", "part"))

    @property
    def heads(self) -> tuple[nn.Module, ...]:
        """All that is not the backbone."""
        return self.dino_head, self.ibot_head, self.shape_head, self.part_head

    @property
    def num_blocks(self) -> int:
        """Transformer blocks of the backbone."""
        return int(self.backbone.config.num_hidden_layers)

    def tokens(self, pixels: Tensor, hidden: Tensor | None = None) -> Tokens:
        """Tokens of a batch of views; see Backbone.forward."""
        return self.encoder.forward(pixels, hidden)


def make_head(dim: int, num_prototypes: int, seed: int) -> DINOProjectionHead:
    """Make a head whose weights follow from the seed alone: (N, dim) -> (N, num_prototypes) cosines.

    Source: DINO, arXiv 2104.14294, appendix C (lightly's DINOProjectionHead), its width kept in proportion to the backbone's.
    """
    head = DINOProjectionHead(
        input_dim=dim, hidden_dim=min(2048, 4 * dim), bottleneck_dim=min(256, dim), output_dim=num_prototypes
    )
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


def make_pair(name: str, num_prototypes: int, seed: int, device: str) -> tuple[Network, Network]:
    """Make student and teacher, equal at first, from released or local weights.

    Raises:
        ConfigError: see sheep.backbone.load.
    """
    student = Network(load(name, device=device), num_prototypes, seed)
    teacher = Network(load(name, device=device), num_prototypes, seed)
    teacher.load_state_dict(student.state_dict(), strict=True)
    place = student.encoder.device
    return student.to(place), teacher.to(place).requires_grad_(False)


@torch.no_grad()
def follow(teacher: Network, student: Network, momentum: float) -> None:
    """Move the teacher towards the student: teacher = momentum * teacher + (1 - momentum) * student."""
    theirs: list[Tensor] = list(teacher.parameters())
    ours = [parameter.detach() for parameter in student.parameters()]
    torch._foreach_lerp_(theirs, ours, 1 - momentum)
