"""What restoring one picture costs, as records and answers keep it."""

from pydantic import BaseModel, ConfigDict

CONVENTION = (
    "Sizes are the input's, width x height, one picture at a time. Latency: median after a "
    "warm-up, of the method alone, without reading, copying to the device and rounding. MP/s: "
    "millions of output pixels a second. Memory: the peak, weights included, libraries not; on a "
    "CPU from the resident memory of a fresh process, on a GPU from torch's allocator. Parameters: "
    "those that a picture depends on, so no discriminator's. Multiply-adds: FLOPs / 2 of "
    "convolutions and matrix products as torch's FlopCounterMode has them, for the whole picture "
    "in one piece. Precision: fp32 is IEEE, without TF32"
)
"""What the numbers of a `Speed` are; stands by every table of them."""


class Speed(BaseModel):
    """A method's cost at one size on one device, or why there is none."""

    model_config = ConfigDict(frozen=True)

    size: str
    """As it was asked for, such as "720p"."""
    width: int
    height: int
    """Of the input, in pixels."""
    scale: int = 1
    """Of the output's sides to the input's."""
    machine: str
    """Name of the host."""
    device: str
    """"cpu" or "cuda"."""
    hardware: str = ""
    """The processor's or the GPU's name; a processor's with the number of threads."""
    torch: str = ""
    precision: str = "fp32"
    parameters: int = 0
    multiply_adds: int | None = None
    not_counted: str = ""
    """Why there are no multiply-adds."""
    seconds: float | None = None
    """Latency: median of `runs`."""
    runs: int = 0
    memory: int | None = None
    """Peak in bytes."""
    tile: int = 0
    """Input pixels a side of the tiles it was restored in; 0: in one piece."""
    failed: str = ""
    """Why there is no latency."""

    @property
    def throughput(self) -> float | None:
        """Millions of output pixels a second."""
        pixels = self.width * self.height * self.scale**2
        return pixels / 1e6 / self.seconds if self.seconds else None
