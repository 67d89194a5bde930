"""Non-maximum suppression of an edge probability map, as the structured-edge toolbox defines it (methods 4.3)."""

import numpy as np
import numpy.typing as npt

from client_app.metrics.edge.protocol import EdgeProtocol, Rounding

FloatArray = npt.NDArray[np.float64]

CONSERVATIVE_FACTOR = 1.01
BORDER_FADE = 5


def bilinear_sample(image: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Return values (N,) of `image` (H, W) at columns x and rows y, kept 0.001 pixel inside the last row and column."""
    height, width = image.shape
    x = np.clip(x, 0.0, width - 1.001)
    y = np.clip(y, 0.0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right_share, bottom_share = x - left, y - top
    flat = np.ravel(image)
    corner = top * width + left
    upper = flat[corner] * (1.0 - right_share) + flat[corner + 1] * right_share
    lower = flat[corner + width] * (1.0 - right_share) + flat[corner + width + 1] * right_share
    return np.asarray(upper * (1.0 - bottom_share) + lower * bottom_share, dtype=np.float64)


def fade_border(edge: FloatArray, width: int) -> FloatArray:
    """Return `edge` (H, W) times a ramp 0, 1/width, ... towards each border, where networks respond to padding.

    At most half the image is used.
    """
    height, columns = edge.shape
    width = min(width, columns // 2, height // 2)
    ramps = []
    for length in (height, columns):
        distance = np.minimum(np.arange(length), np.arange(length)[::-1])
        ramps.append(np.minimum(distance / max(width, 1), 1.0) if width else np.ones(length))
    return np.asarray(edge * ramps[0][:, None] * ramps[1][None, :], dtype=np.float64)


def suppress_non_maxima(edge: FloatArray, angle: FloatArray, radius: int) -> FloatArray:
    """Zero every pixel that is clearly below the edge strength at some step across the edge, then fade the border.

    A pixel is zeroed if 1.01 times its value is below the interpolated value at any of `radius` steps of one pixel to
    either side. Source: the suppression of the structured-edge toolbox (methods 4.3), written from its description.

    Args:
        edge: (H, W) float64 edge strength.
        angle: (H, W) float64 direction across the edge in radians.
        radius: steps to look at.
    """
    rows, columns = np.nonzero(edge)
    bound = edge[rows, columns] * CONSERVATIVE_FACTOR
    cosine, sine = np.cos(angle[rows, columns]), np.sin(angle[rows, columns])
    for step in sorted((sign * distance for distance in range(1, radius + 1) for sign in (1, -1)), key=abs):
        # Near steps decide most pixels, so each further step looks at few.
        kept = bound >= bilinear_sample(edge, columns + step * cosine, rows + step * sine)
        rows, columns, bound = rows[kept], columns[kept], bound[kept]
        cosine, sine = cosine[kept], sine[kept]
    suppressed = np.zeros_like(edge)
    suppressed[rows, columns] = edge[rows, columns]
    return fade_border(suppressed, BORDER_FADE)


def to_8_bit_scale(probability: npt.NDArray[np.floating], rounding: Rounding) -> FloatArray:
    """Return 255 * probability as float64, rounded as the protocol says ("round": half up)."""
    scaled = 255.0 * np.asarray(probability, dtype=np.float64)
    if rounding == "truncate":
        return np.floor(scaled)
    return np.floor(scaled + 0.5) if rounding == "round" else scaled


def edge_strength(values: FloatArray, protocol: EdgeProtocol) -> FloatArray:
    """Return what the thresholds are applied to: the suppressed map on the scale 0 to 255.

    Args:
        values: (H, W) float64, 255 * probability, already rounded as the protocol says.
        protocol: smoothing, radius and rounding are used.

    Returns:
        (H, W) float64 in [0, 255]; whole numbers unless `protocol.rounding` is "none".
    """
    if protocol.nms_radius == 0 or min(values.shape) < 2:
        return values
    edge = values / 255.0
    if protocol.smoothing:
        edge = triangle_filter(edge, 1)
    suppressed = suppress_non_maxima(edge, edge_normal_angle(edge), protocol.nms_radius)
    return to_8_bit_scale(np.minimum(suppressed, 1.0), "none" if protocol.rounding == "none" else "round")


def triangle_kernel(radius: int) -> FloatArray:
    """Return the normalised triangle [1 .. radius+1 .. 1], of length 2 * radius + 1."""
    rising = np.arange(1, radius + 1, dtype=np.float64)
    return np.concatenate([rising, [radius + 1.0], rising[::-1]]) / (radius + 1.0) ** 2


def triangle_filter(image: FloatArray, radius: int) -> FloatArray:
    """Smooth (H, W) along both axes with a triangle; the image is mirrored at its border, border pixel included.

    Source: convTri; MATLAB computes it in single precision, here it is double.
    """
    # scipy takes seconds to load, and only clients that score edges need it.
    from scipy.ndimage import correlate1d

    kernel = triangle_kernel(radius)
    along_x = correlate1d(image, kernel, axis=1, mode="reflect")
    return np.asarray(correlate1d(along_x, kernel, axis=0, mode="reflect"), dtype=np.float64)


def edge_normal_angle(edge: FloatArray) -> FloatArray:
    """Return the direction across the edge at every pixel, (H, W) radians in [0, pi) from +x towards +y.

    mod(atan(Oyy * sign(-Oxy) / (Oxx + 1e-5)), pi) on the map smoothed with radius 4 (methods 4.3), which has at least
    2 x 2 pixels.
    """
    gradient_y, gradient_x = np.gradient(triangle_filter(edge, 4))
    second_xx = np.gradient(gradient_x, axis=1)
    second_yy, second_xy = np.gradient(gradient_y)
    with np.errstate(divide="ignore"):
        ratio = second_yy * np.sign(-second_xy) / (second_xx + 1e-5)
    return np.asarray(np.mod(np.arctan(np.nan_to_num(ratio, nan=0.0)), np.pi), dtype=np.float64)
