"""FedHCA2 aggregation (arXiv 2311.13250) of one round: conflict-averse encoders, cross-attention decoders.

Per round, with updates = parameters after local training minus before:
1. alpha and beta step with the previous round's aggregates and this round's updates (Eq. 15-17);
2. encoders: parameters += own update (or mean of the same-group updates) + alpha * aggregate (Eq. 6-10);
3. decoders: parameters += own update + beta per layer * attention over all decoder updates (Eq. 12-14).

Modes:
- "reference" follows the authors' code: SLSQP solve, aggregate divided by 1 + c^2, mean update of clients with
  equal data set and tasks, attention per array, clamp of the weights in use only. The code averages neighbours and
  needs equal clients to be neighbours; here they may stand anywhere, so that the names of clients change nothing.
- "paper" follows the equations: exact solve, no division, attention per layer, no same-group mean. The weights'
  clamp and SGD constants, which the paper leaves open, stay those of the code.
- "stable" is "reference" with sound numerics: exact solve on the normalised Gram matrix, weights projected to [0, 1].

Rows may come and go. A row's weight steps only if the row took part in the previous aggregation of this state:
otherwise it never received that aggregate, and the product with its update says nothing. A row that stays away keeps
its weight and momentum until it returns. New rows start with the initial weight.
"""

from dataclasses import dataclass, field

import numpy as np

from fmtl_strategies.maths.attention import Partners, array_products, attention_coefficients, attention_entropy
from fmtl_strategies.maths.combine import add_combination, apply_aggregate, group_mean_coefficients
from fmtl_strategies.maths.conflict_averse import aggregate_coefficients, solve_conflict_averse
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix
from fmtl_strategies.maths.hyper_weights import HyperWeights, step_weights
from fmtl_strategies.maths.rows import (
    BLOCK_COLUMNS,
    Float32Array,
    Float64Array,
    as_tensor,
    check_same_shape,
    check_vector,
)
from fmtl_strategies.maths.segments import Segments


@dataclass(frozen=True)
class EncoderState:
    """What the encoder part keeps between rounds, for one encoder family.

    alpha: weights by client, one value each.
    aggregate_d: previous aggregate, (D,) float32; None before the first round. The next round overwrites it.
    participants: clients that received it.
    """

    alpha: HyperWeights = field(default_factory=HyperWeights)
    aggregate_d: Float32Array | None = None
    participants: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncoderReport:
    """Diagnostics of an encoder round, in row order.

    conflict_weights: (N,) w* on the simplex. gap: bound of the solve's optimality gap, relative to trace(G)/N.
    alpha: (N,) weights in use. cosines: (N, N) between updates.
    step_ratio: (N,) |alpha * aggregate| / |update|, NaN where the update is zero.
    """

    conflict_weights: Float64Array
    gap: float
    alpha: Float64Array
    cosines: Float64Array
    step_ratio: Float64Array


@dataclass(frozen=True)
class DecoderState:
    """What the decoder part keeps between rounds, for one pool of K decoders with one layout.

    beta: weights by decoder, one value per layer.
    aggregates_kd: previous aggregates, (K, D) float32, the first rows in the order of `participants`, further ones
        without meaning; None before the first round. The next round overwrites it.
    participants: decoders that received them.
    """

    beta: HyperWeights = field(default_factory=HyperWeights)
    aggregates_kd: Float32Array | None = None
    participants: tuple[str, ...] = ()


@dataclass(frozen=True)
class DecoderReport:
    """Diagnostics of a decoder round: beta (K, L) in use, attention entropy by array name (1 = uniform)."""

    beta: Float64Array
    entropy: dict[str, float]


def encoder_round(
    parameters_nd: Float32Array,
    updates_nd: Float32Array,
    state: EncoderState,
    settings: FedHCA2Parameters,
    *,
    row_keys: list[str],
    same_group: list[str] | None = None,
    gram_nn: Float64Array | None = None,
) -> tuple[EncoderState, EncoderReport | None]:
    """Aggregate the encoders of one family.

    Args:
        parameters_nd: (N, D) float32 parameters before local training; become the aggregated ones in place.
        updates_nd: (N, D) float32, only read.
        state: of the previous round. Its aggregate vector is overwritten and handed on: the old state is spent.
        settings: constants and mode.
        row_keys: N distinct client names.
        same_group: N labels; clients with equal label (data set and tasks) share their mean update in modes
            "reference" and "stable". None: no groups.
        gram_nn: (N, N) float64 Gram matrix of the updates; None: computed here.

    Returns:
        New state and report; the report is None when settings.parts is "decoder" (parameters += updates then).

    Raises:
        NonFiniteRowError: an update holds NaN or infinite values; nothing was changed.
        ValueError: shapes or keys that do not fit; nothing was changed.
    """
    check_same_shape(parameters_nd, updates_nd)
    count, size = updates_nd.shape
    _check_keys(row_keys, count)
    local_nn = _local_coefficients(same_group, count, settings)
    if settings.parts == "decoder":
        gram_matrix(updates_nd, known_nn=gram_nn)
        add_combination(parameters_nd, updates_nd, np.eye(count))
        return state, None
    previous_d = state.aggregate_d
    if previous_d is not None:
        check_vector(previous_d, size, "previous aggregate")
    gram = gram_matrix(updates_nd, () if previous_d is None else (previous_d,), known_nn=gram_nn)
    alpha = state.alpha.with_rows(row_keys, settings.alpha_initial, 1)
    if previous_d is not None and settings.weights == "learned":
        alpha = step_weights(alpha, _alpha_products(gram, row_keys, state, settings), settings)
    gram_nn = gram[:count, :count]
    solution = solve_conflict_averse(gram_nn, settings.c, method=settings.solver)
    aggregate_n = aggregate_coefficients(solution, settings.c, rescale=settings.rescale)
    step_n = alpha.effective(row_keys, settings.alpha_initial, 1)[:, 0]
    out_d = np.empty(size, dtype=np.float32) if previous_d is None else previous_d
    apply_aggregate(parameters_nd, updates_nd, out_d, aggregate_n=aggregate_n, step_n=step_n, local_nn=local_nn)
    lengths = np.sqrt(np.diag(gram_nn))
    aggregate_length = np.sqrt(max(float(aggregate_n @ gram_nn @ aggregate_n), 0.0))
    ratio = np.divide(step_n * aggregate_length, lengths, out=np.full(count, np.nan), where=lengths > 0)
    report = EncoderReport(solution.weights, solution.gap, step_n, cosine_matrix(gram_nn), ratio)
    return EncoderState(alpha, out_d, tuple(row_keys)), report


def decoder_round(
    parameters_kd: Float32Array,
    updates_kd: Float32Array,
    state: DecoderState,
    settings: FedHCA2Parameters,
    *,
    row_keys: list[str],
    segments: Segments,
) -> tuple[DecoderState, DecoderReport | None]:
    """Aggregate one pool of decoders that share a layout, whatever their tasks.

    Args:
        parameters_kd: (K, D) float32 parameters before local training; become the aggregated ones in place.
        updates_kd: (K, D) float32, only read.
        state: of the previous round. Its aggregates are overwritten and handed on: the old state is spent.
        settings: constants and mode.
        row_keys: K distinct names, one per client and task.
        segments: arrays and layers of the D columns.

    Returns:
        New state and report; the report is None when settings.parts is "encoder" (parameters += updates then).

    Raises:
        NonFiniteRowError: an update holds NaN or infinite values; nothing was changed.
        ValueError: shapes or keys that do not fit; nothing was changed.
    """
    check_same_shape(parameters_kd, updates_kd)
    count = updates_kd.shape[0]
    _check_keys(row_keys, count)
    learns = settings.parts != "encoder" and settings.weights == "learned"
    partners = _previous_aggregates(row_keys, state, segments) if learns else None
    products = array_products(updates_kd, segments, partners)
    if settings.parts == "encoder":
        add_combination(parameters_kd, updates_kd, np.eye(count))
        return state, None
    layer_count = len(segments.layers)
    beta = state.beta.with_rows(row_keys, settings.beta_initial, layer_count)
    if partners is not None:
        stepped = [row_keys[row] for row, _ in partners.pairs]
        beta = step_weights(beta, _beta_products(products.pairs, stepped, segments, settings), settings)
    coefficients = attention_coefficients(
        products.grams,
        segments,
        span=settings.attention_span,
        scale=settings.attention_scale,
        temperature=settings.attention_temperature,
    )
    beta_kl = beta.effective(row_keys, settings.beta_initial, layer_count)
    aggregates_kd = state.aggregates_kd
    if aggregates_kd is None or len(aggregates_kd) < count:
        aggregates_kd = np.empty((count, segments.size), dtype=np.float32)
    _mix_decoders((parameters_kd, updates_kd, aggregates_kd[:count]), coefficients, beta_kl, segments)
    entropy = {name: attention_entropy(matrix) for name, matrix in zip(segments.names, coefficients, strict=True)}
    return DecoderState(beta, aggregates_kd, tuple(row_keys)), DecoderReport(beta_kl, entropy)


def _check_keys(row_keys: list[str], count: int) -> None:
    if len(row_keys) != count or len(set(row_keys)) != count:
        raise ValueError(f"row_keys must be {count} distinct names, got {row_keys!r}")


def _local_coefficients(same_group: list[str] | None, count: int, settings: FedHCA2Parameters) -> Float64Array | None:
    """Coefficients of the same-group mean, or None where every row keeps its own update."""
    if same_group is None or settings.mode == "paper":
        return None
    return group_mean_coefficients(same_group) if len(set(same_group)) < count else None


def _alpha_products(
    gram: Float64Array, row_keys: list[str], state: EncoderState, settings: FedHCA2Parameters
) -> dict[str, Float64Array]:
    """<previous aggregate, update> of every row that received that aggregate."""
    past = set(state.participants)
    products = {}
    for row, key in enumerate(row_keys):
        if key in past:
            products[key] = _scaled(gram[row, -1:], gram[row, row], gram[-1, -1], settings)
    return products


def _previous_aggregates(row_keys: list[str], state: DecoderState, segments: Segments) -> Partners | None:
    """The previous aggregate of every decoder that received one; None before the first round."""
    if state.aggregates_kd is None:
        return None
    rows, size = state.aggregates_kd.shape
    if rows < len(state.participants) or size != segments.size:
        raise ValueError("previous decoder aggregates do not fit the decoders' layout; start from a fresh state")
    past = {key: row for row, key in enumerate(state.participants)}
    return Partners(state.aggregates_kd, [(row, past[key]) for row, key in enumerate(row_keys) if key in past])


def _beta_products(
    array_pairs: list[Float64Array], keys: list[str], segments: Segments, settings: FedHCA2Parameters
) -> dict[str, Float64Array]:
    """<previous aggregate, update> per layer by decoder, from products and squares, one (P, 3) matrix per array."""
    sums_lp3 = np.zeros((len(segments.layers), len(keys), 3))
    for layer, products_p3 in zip(segments.layer_of_array, array_pairs, strict=True):
        sums_lp3[layer] += products_p3
    found = {}
    for pair, key in enumerate(keys):
        products_l, update_squares_l, previous_squares_l = sums_lp3[:, pair].T
        found[key] = _scaled(products_l, previous_squares_l, update_squares_l, settings)
    return found


def _scaled(
    product: Float64Array, first_square: Float64Array, second_square: Float64Array, settings: FedHCA2Parameters
) -> Float64Array:
    """The inner product itself, or the cosine when the hyper gradient is to be normalised (0 for zero vectors)."""
    if settings.hyper_gradient == "inner-product":
        return np.asarray(product, dtype=np.float64)
    lengths = np.sqrt(np.broadcast_to(first_square, product.shape)) * np.sqrt(second_square)
    cosines: Float64Array = np.divide(product, lengths, out=np.zeros_like(product), where=lengths > 0)
    return cosines


def _mix_decoders(
    matrices_kd: tuple[Float32Array, Float32Array, Float32Array],
    coefficients: list[Float64Array],
    beta_kl: Float64Array,
    segments: Segments,
) -> None:
    """Add update + beta * attention to the parameters; the matrices: parameters, updates, aggregates (overwritten)."""
    parameters, updates, aggregates = map(as_tensor, matrices_kd)
    beta = as_tensor(beta_kl.astype(np.float32))
    for columns, layer, matrix in zip(segments.columns, segments.layer_of_array, coefficients, strict=True):
        attention = as_tensor(matrix.astype(np.float32))
        for start in range(columns.start, columns.stop, BLOCK_COLUMNS):
            block = slice(start, min(start + BLOCK_COLUMNS, columns.stop))
            aggregates[:, block] = attention @ updates[:, block]
            parameters[:, block].add_(updates[:, block]).addcmul_(beta[:, layer : layer + 1], aggregates[:, block])
