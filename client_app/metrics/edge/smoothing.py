"""Triangle filter and edge orientation, as the structured-edge toolbox defines them (methods 4.3)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def triangle_kernel(radius: int) -> FloatArray:
    """Return the normalised triangle [1 .. radius+1 .. 1], of length 2 * radius + 1."""
    rising = np.arange(1, radius + 1, dtype=np.float64)
    return np.concatenate([rising, [radius + 1.0], rising[::-1]]) / (radius + 1.0) ** 2


def triangle_filter(image: FloatArray, radius: int) -> FloatArray:
    """Smooth along both axes with a triangle; the image is mirrored at its border, border pixel included.

    Args:
        image: (H, W) float64.
        radius: in pixels, at least 1.

    Returns:
        (H, W) float64. Source: convTri; MATLAB computes it in single precision, here it is double.
    """
    # scipy takes seconds to load, and only clients that score edges need it.
    from scipy.ndimage import correlate1d

    kernel = triangle_kernel(radius)
    along_x = correlate1d(image, kernel, axis=1, mode="reflect")
    return np.asarray(correlate1d(along_x, kernel, axis=0, mode="reflect"), dtype=np.float64)


def edge_normal_angle(edge: FloatArray) -> FloatArray:
    """Return the direction across the edge at every pixel, from second derivatives of the smoothed map.

    Args:
        edge: (H, W) float64 edge strength, at least 2 x 2 pixels.

    Returns:
        (H, W) float64 angle in radians in [0, pi), measured from +x towards +y:
        mod(atan(Oyy * sign(-Oxy) / (Oxx + 1e-5)), pi) on the map smoothed with radius 4 (methods 4.3).
    """
    gradient_y, gradient_x = np.gradient(triangle_filter(edge, 4))
    second_xx = np.gradient(gradient_x, axis=1)
    second_yy, second_xy = np.gradient(gradient_y)
    with np.errstate(divide="ignore"):
        ratio = second_yy * np.sign(-second_xy) / (second_xx + 1e-5)
    return np.asarray(np.mod(np.arctan(np.nan_to_num(ratio, nan=0.0)), np.pi), dtype=np.float64)
