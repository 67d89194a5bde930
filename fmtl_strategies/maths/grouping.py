"""Grouping clients by the cosines of their deviations (MaT-FL; methods.md 1.7). Shapes: N clients."""

import numpy as np

from fmtl_strategies.maths.rows import Float64Array


def hard_groups(cosines_nn: Float64Array, count: int) -> list[int]:
    """Cluster bottom-up with average linkage on the distance 1 - cosine until `count` groups are left.

    Args:
        cosines_nn: (N, N) float64, symmetric; a row of zeros is at distance 1 from everybody.
        count: number of groups; with N clients or fewer every client is its own group.

    Returns:
        Group of each client, numbered from 0 in the order of their first clients.
    """
    clients = len(cosines_nn)
    members: dict[int, list[int]] = {i: [i] for i in range(clients)}
    if clients > count:
        distances_nn = np.maximum(1.0 - cosines_nn, 0.0)
        np.fill_diagonal(distances_nn, 0.0)
        # Merges are taken one by one: cutting at a height could leave fewer groups where two merges are equally high.
        # A second of import that no other method needs.
        from scipy.cluster.hierarchy import linkage
        from scipy.spatial.distance import squareform

        merges = linkage(squareform(distances_nn, checks=False), method="average")
        for step, (one, other) in enumerate(merges[: clients - count, :2]):
            members[clients + step] = members.pop(int(one)) + members.pop(int(other))
    groups = [0] * clients
    for number, group in enumerate(sorted(members.values(), key=min)):
        for i in group:
            groups[i] = number
    return groups


def soft_scores(cosines_nn: Float64Array, threshold: float) -> Float64Array:
    """Return the shares s_ij = max(cos_ij + threshold, 0), every row divided by its sum.

    Args:
        cosines_nn: (N, N) float64. The cosine of a client with itself counts as 1, also where its row is zero.
        threshold: above -1, so that every row keeps a share of its own.

    Returns:
        (N, N) float64; rows sum to 1.
    """
    own_nn = np.array(cosines_nn)
    np.fill_diagonal(own_nn, 1.0)
    shares_nn = np.maximum(own_nn + threshold, 0.0)
    scores: Float64Array = shares_nn / shares_nn.sum(axis=1, keepdims=True)
    return scores
