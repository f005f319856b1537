"""What a content loss compares: VGG19's features as the papers have it, or another's, named so."""

from typing import Literal

from torch import nn

from methods.networks.alexnet import AlexNet
from methods.networks.vgg import VGG19, Normalisation

Features = Literal["published", "alexnet", "random"]
"""VGG19 with its published weights; AlexNet, trained on ImageNet, which needs no download; or VGG19
with random weights."""


def content_network(
    layer: str, features: Features, normalisation: Normalisation = "torchvision"
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """Returns a network, the name of its layer to compare, and what a report must say of it.

    layer: of VGG19; AlexNet's is relu5, its deepest. The scales of their maps differ, and with them
    what a weight beside the content loss means: ResCNN-GAN's content loss of bicubic x4 patches of
    Set14 is 0.003 to 0.013 with AlexNet's, 0.1 to 2.5 with random ones. Raises BenchError for
    weights that are not here.
    """
    if features == "alexnet":
        remark = "content loss on AlexNet's features (ImageNet-trained), not VGG19's"
        return AlexNet(["relu5"]), "relu5", (remark,)
    network = VGG19([layer], features, normalisation)
    remark = "untrained features: the content loss compares what a random VGG19 sees"
    return network, layer, (remark,) if features == "random" else ()
