"""Convolutions, pooling and resampling."""

import jax.numpy as jnp
import numpy as np

import sciml_lux as lux

from .case import Case, channels_first, channels_last, numbers

# None of these layers tells training from testing.
ONE_MODE = {"modes": ("test",)}
AXES = {"to_torch": channels_first, "to_ours": channels_last, **ONE_MODE}


def conv(name, channels, kernel, size, batch=2, **options):
    """A convolution, or a transposed one, with options that both libraries call alike."""
    ours, theirs = ("ConvTranspose", "ConvTranspose") if name.startswith("ConvTranspose") else ("Conv", "Conv")
    renamed = {{"use_bias": "bias"}.get(key, key): value for key, value in options.items()}
    if options.get("padding_mode") == "edge":
        renamed["padding_mode"] = "replicate"
    renamed["padding"] = {"SAME": "same", "VALID": 0}.get(renamed.get("padding", 0), renamed.get("padding", 0))
    return Case(
        name,
        lambda: getattr(lux, ours)(*channels, kernel, **options),
        lambda torch: getattr(torch.nn, f"{theirs}{len(kernel)}d")(*channels, kernel, **renamed),
        numbers(batch, *size, channels[0]),
        **AXES,
    )


def function(name, layer, module, x):
    """A layer without parameters."""
    return Case(name, layer, module, x, **AXES)


def ties(*shape):
    """Numbers of which many are equal."""
    return np.round(2 * numbers(*shape)) / 2


def resized(name, ours, theirs, x):
    return function(
        f"Upsample {name}",
        lambda: lux.Upsample(**ours),
        lambda torch: lambda x: torch.nn.functional.interpolate(x, **theirs),
        x,
    )


CONVOLUTIONS = [
    conv("Conv 1", (3, 4), (3,), (7,)),
    conv("Conv 1 of one channel", (1, 3), (4,), (9,), stride=2, padding=1),
    conv("Conv 1 with a long window", (2, 2), (35,), (40,), stride=2, padding=3),
    conv("Conv 2", (3, 4), (3, 2), (5, 6)),
    conv("Conv 2 without bias", (3, 4), (3, 3), (5, 4), use_bias=False),
    conv("Conv 2 of one sample", (2, 3), (3, 3), (4, 4), batch=1, padding=1),
    conv("Conv 2 of one channel", (1, 3), (3, 3), (5, 5), padding=1, dilation=2),
    conv("Conv 2 same", (2, 3), (5, 3), (5, 6), padding="SAME"),
    conv("Conv 2 same, dilated", (2, 3), (2, 3), (6, 5), padding="SAME", dilation=(2, 1)),
    conv("Conv 2 strides", (3, 2), (3, 3), (7, 8), stride=2, padding=1),
    conv("Conv 2 strides that leave a rest", (3, 2), (2, 3), (8, 9), stride=(3, 2), padding=(0, 2)),
    conv("Conv 2 dilated strides", (2, 2), (3, 2), (9, 8), stride=2, dilation=(2, 3), padding=2),
    conv("Conv 2 window of one", (3, 2), (1, 1), (3, 4)),
    conv("Conv 1 circular", (3, 2), (4,), (5,), padding=3, padding_mode="circular", stride=2),
    conv("Conv 2 circular", (2, 3), (3, 3), (4, 5), padding=(1, 2), padding_mode="circular"),
    conv("Conv 2 reflecting, same", (2, 3), (5, 4), (5, 4), padding="SAME", padding_mode="reflect"),
    conv("Conv 3 of edges", (2, 2), (3, 2, 3), (3, 2, 3), padding=(1, 0, 2), padding_mode="edge"),
    conv("Conv 2 groups", (4, 6), (3, 3), (5, 5), groups=2, padding=1, stride=2),
    conv("Conv 2 each channel apart", (3, 6), (3, 3), (5, 5), groups=3, padding=1),
    conv("Conv 3", (2, 3), (2, 3, 2), (3, 4, 5), padding=(1, 0, 1), stride=(1, 2, 1)),
    conv("ConvTranspose 1", (3, 2), (3,), (5,), stride=2, padding=1, output_padding=1),
    conv("ConvTranspose 2", (3, 2), (3, 2), (3, 4)),
    conv("ConvTranspose 2 without bias", (3, 2), (3, 3), (3, 2), use_bias=False, padding=1),
    conv("ConvTranspose 2 strides", (2, 3), (3, 4), (3, 3), stride=(2, 3), padding=(0, 2), output_padding=(1, 2)),
    conv("ConvTranspose 2 window below stride", (2, 2), (2, 2), (3, 2), stride=3, output_padding=1),
    conv("ConvTranspose 2 dilated", (2, 3), (3, 2), (4, 3), dilation=(2, 3), padding=1, output_padding=(1, 2)),
    conv("ConvTranspose 2 groups", (4, 6), (3, 3), (3, 4), groups=2, stride=2, padding=1),
    conv("ConvTranspose 2 each channel apart", (3, 6), (3, 3), (3, 4), groups=3, stride=2, batch=1),
    conv("ConvTranspose 3", (2, 2), (2, 3, 2), (2, 3, 2), stride=2, padding=(0, 1, 0)),
    Case(
        "Conv, MaxPool, Conv, GlobalMeanPool",
        lambda: lux.Chain(
            lux.Conv(1, 2, (3, 3), jnp.tanh, padding=1),
            lux.MaxPool((2, 2)),
            lux.Conv(2, 3, (3, 3)),
            lux.GlobalMeanPool(2),
        ),
        lambda torch: torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 3, padding=1),
            torch.nn.Tanh(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(2, 3, 3),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        ),
        numbers(2, 8, 8, 1),
        to_torch=channels_first,
        **ONE_MODE,
    ),
]

PADS = [
    function(
        f"Pad {mode}",
        lambda mode=mode: lux.Pad(((1, 2), (2, 0)), mode),
        lambda torch, theirs=theirs: lambda x: torch.nn.functional.pad(x, (2, 0, 1, 2), theirs),
        numbers(2, 3, 4, 2),
    )
    for mode, theirs in (("zeros", "constant"), ("circular", "circular"), ("reflect", "reflect"), ("edge", "replicate"))
]

POOLS = [
    function("MaxPool 1", lambda: lux.MaxPool((3,)), lambda torch: torch.nn.MaxPool1d(3), numbers(2, 7, 2)),
    function("MaxPool 2 of equals", lambda: lux.MaxPool((2, 2)), lambda torch: torch.nn.MaxPool2d(2), ties(2, 6, 5, 2)),
    function(
        "MaxPool 2 overlapping, of equals",
        lambda: lux.MaxPool((3, 2), stride=(2, 1), padding=1),
        lambda torch: torch.nn.MaxPool2d((3, 2), stride=(2, 1), padding=1),
        ties(2, 6, 5, 2),
    ),
    function(
        "MaxPool 2 dilated, of equals",
        lambda: lux.MaxPool((2, 3), stride=1, dilation=2),
        lambda torch: torch.nn.MaxPool2d((2, 3), stride=1, dilation=2),
        ties(2, 6, 7, 2),
    ),
    function(
        "MaxPool 1 with long windows, of equals",
        lambda: lux.MaxPool((11,), stride=3),
        lambda torch: torch.nn.MaxPool1d(11, stride=3),
        ties(2, 25, 2),
    ),
    function(
        "MaxPool 3 of equals", lambda: lux.MaxPool((2, 2, 2)), lambda torch: torch.nn.MaxPool3d(2), ties(1, 4, 4, 5, 1)
    ),
    function(
        "MeanPool 1",
        lambda: lux.MeanPool((3,), stride=2),
        lambda torch: torch.nn.AvgPool1d(3, stride=2),
        numbers(2, 8, 2),
    ),
    function(
        "MeanPool 2 padded",
        lambda: lux.MeanPool((3, 2), stride=2, padding=1),
        lambda torch: torch.nn.AvgPool2d((3, 2), stride=2, padding=1),
        numbers(2, 6, 5, 2),
    ),
    function(
        "MeanPool 2 padded, not counted",
        lambda: lux.MeanPool((3, 2), stride=2, padding=1, count_include_pad=False),
        lambda torch: torch.nn.AvgPool2d((3, 2), stride=2, padding=1, count_include_pad=False),
        numbers(2, 6, 5, 2),
    ),
    function(
        "MeanPool 3",
        lambda: lux.MeanPool((2, 1, 2)),
        lambda torch: torch.nn.AvgPool3d((2, 1, 2)),
        numbers(1, 4, 3, 4, 2),
    ),
    function(
        "LpPool 1", lambda: lux.LpPool((3,), stride=2), lambda torch: torch.nn.LPPool1d(2, 3, 2), numbers(2, 7, 2)
    ),
    function(
        "LpPool 2", lambda: lux.LpPool((2, 3), p=4), lambda torch: torch.nn.LPPool2d(4, (2, 3)), numbers(2, 5, 6, 2)
    ),
    function(
        "LpPool 2 of 3",
        lambda: lux.LpPool((2, 2), p=3),
        lambda torch: torch.nn.LPPool2d(3, 2),
        abs(numbers(2, 4, 5, 2)),
    ),
    function(
        "LpPool 2 of 1.5",
        lambda: lux.LpPool((2, 2), p=1.5),
        lambda torch: torch.nn.LPPool2d(1.5, 2),
        abs(numbers(1, 4, 5, 2)),
    ),
    function("LpPool 3", lambda: lux.LpPool((2, 2, 2)), lambda torch: torch.nn.LPPool3d(2, 2), numbers(1, 4, 2, 3, 2)),
    function(
        "GlobalMaxPool of equals",
        lambda: lux.GlobalMaxPool(2, keepdims=True),
        lambda torch: torch.nn.AdaptiveMaxPool2d(1),
        ties(2, 5, 9, 2),
    ),
    function(
        "GlobalMeanPool",
        lambda: lux.GlobalMeanPool(3, keepdims=True),
        lambda torch: torch.nn.AdaptiveAvgPool3d(1),
        numbers(2, 3, 4, 2, 2),
    ),
    function(
        "GlobalLpPool",
        lambda: lux.GlobalLpPool(1, keepdims=True),
        lambda torch: torch.nn.LPPool1d(2, 6),
        numbers(2, 6, 3),
    ),
    function(
        "AdaptiveMaxPool 1",
        lambda: lux.AdaptiveMaxPool((4,)),
        lambda torch: torch.nn.AdaptiveMaxPool1d(4),
        numbers(2, 7, 2),
    ),
    function(
        "AdaptiveMaxPool 2 of equals",
        lambda: lux.AdaptiveMaxPool((3, 2)),
        lambda torch: torch.nn.AdaptiveMaxPool2d((3, 2)),
        ties(2, 7, 21, 2),
    ),
    function(
        "AdaptiveMaxPool 2 to more",
        lambda: lux.AdaptiveMaxPool((5, 4)),
        lambda torch: torch.nn.AdaptiveMaxPool2d((5, 4)),
        ties(1, 3, 3, 2),
    ),
    function(
        "AdaptiveMeanPool 2",
        lambda: lux.AdaptiveMeanPool((3, 2)),
        lambda torch: torch.nn.AdaptiveAvgPool2d((3, 2)),
        numbers(2, 7, 4, 2),
    ),
    function(
        "AdaptiveMeanPool 3",
        lambda: lux.AdaptiveMeanPool((2, 3, 1)),
        lambda torch: torch.nn.AdaptiveAvgPool3d((2, 3, 1)),
        numbers(1, 5, 4, 3, 2),
    ),
]

RESAMPLING = [
    function(
        "PixelShuffle", lambda: lux.PixelShuffle((2, 2)), lambda torch: torch.nn.PixelShuffle(2), numbers(2, 2, 3, 8)
    ),
    function(
        "PixelUnshuffle",
        lambda: lux.PixelUnshuffle((2, 2)),
        lambda torch: torch.nn.PixelUnshuffle(2),
        numbers(2, 4, 6, 2),
    ),
    resized("nearest 1", {"scale_factor": (2,)}, {"scale_factor": 2}, numbers(2, 5, 2)),
    resized("nearest 2 to a size", {"size": (7, 3)}, {"size": (7, 3)}, numbers(2, 5, 4, 2)),
    resized(
        "nearest 3 by a fraction",
        {"scale_factor": (1.5, 2, 0.7)},
        {"scale_factor": (1.5, 2.0, 0.7)},
        numbers(1, 3, 2, 5, 2),
    ),
    *[
        resized(
            f"{kind} of {dimensions} {'with' if align else 'without'} corners",
            {"mode": ours, "align_corners": align, **target},
            {"mode": theirs, "align_corners": align, **target},
            numbers(2, *(4, 3, 2)[:dimensions], 2),
        )
        for kind, ours, theirs, dimensions, target in [
            ("linear by 2", "linear", "linear", 1, {"scale_factor": (2.0,)}),
            ("linear to a size", "linear", "bilinear", 2, {"size": (7, 2)}),
            ("linear by a fraction", "linear", "bilinear", 2, {"scale_factor": (1.6, 2.5)}),
            ("linear", "linear", "trilinear", 3, {"size": (5, 4, 3)}),
            ("cubic by 2", "cubic", "bicubic", 2, {"scale_factor": (2.0, 2.0)}),
            ("cubic to a size", "cubic", "bicubic", 2, {"size": (3, 8)}),
            ("cubic by a fraction", "cubic", "bicubic", 2, {"scale_factor": (1.7, 0.8)}),
        ]
        for align in (False, True)
    ],
]

CASES = [*CONVOLUTIONS, *PADS, *POOLS, *RESAMPLING]
