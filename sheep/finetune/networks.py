"""Student and teacher: each a backbone with a DINO and an iBOT head. The teacher follows the student."""

import math

import torch
from lightly.models.modules.heads import DINOProjectionHead
from torch import Tensor, nn

from sheep.backbone import Backbone, Tokens, load
from sheep.config import seed_for


class Network(nn.Module):
    """A backbone with its two heads; the modules of one side."""

    def __init__(self, backbone: Backbone, num_prototypes: int, seed: int) -> None:
        super().__init__()
        self.encoder = backbone
        # Registered, so that parameters() and state_dict() hold it; `encoder` is the plain object around it.
        self.backbone = backbone.model
        self.dino_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "dino"))
        self.ibot_head = make_head(backbone.dim, num_prototypes, seed_for(seed, "finetune.head", "ibot"))

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
