"""The server's rows: who gets what where some clients are away, however the rows lie in memory."""

from __future__ import annotations

import numpy as np

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.round.store import ParameterStore, PoolRound, RowKey

SIZE = 150_000
LAYOUT = GroupLayout(arrays=(ArraySpec(name="weight", shape=(SIZE,)),))
CLIENTS = "abcde"


def encoder(client: str) -> RowKey:
    return RowKey(client, "encoder")


def filled_store(clients: str = CLIENTS) -> tuple[ParameterStore, dict[str, np.ndarray]]:
    """A store, and its rows by client as a plain copy."""
    rows = {client: np.full(SIZE, number, np.float32) for number, client in enumerate(clients)}
    for row in rows.values():
        row += np.linspace(0, 0.5, SIZE, dtype=np.float32)
    store = ParameterStore()
    for client, row in rows.items():
        store.add(encoder(client), LAYOUT, row)
    return store, rows


def arrive(store: ParameterStore, clients: str) -> PoolRound:
    """Let these clients answer, each with its own update, and return the pool they are in."""
    store.open_round()
    for client in sorted(clients):
        store.update_buffer(encoder(client))[:] = ord(client)
        store.commit_update(encoder(client))
    return next(store.rounds({}))


def assert_rows(store: ParameterStore, rows: dict[str, np.ndarray]) -> None:
    for client, row in rows.items():
        np.testing.assert_array_equal(store.parameters(encoder(client)), row, err_msg=client)
    assert list(store.arrays()) == [f"{client}/encoder" for client in sorted(rows)]


def test_every_client_keeps_its_row_whoever_is_away_in_whatever_round() -> None:
    store, rows = filled_store("dbeca")
    for number, present in enumerate(["bcd", "abcde", "ae", "d", "abde", "abcde"]):
        pool = arrive(store, present)
        assert pool.rows == tuple(encoder(client) for client in present)
        assert pool.away == tuple(encoder(client) for client in CLIENTS if client not in present)
        np.testing.assert_array_equal(pool.updates_nd[:, 0], [ord(client) for client in present])
        np.testing.assert_array_equal(pool.parameters_nd, [rows[client] for client in present])
        for place, client in enumerate(present):
            pool.parameters_nd[place] += number * place
            rows[client] += number * place
        assert_rows(store, rows)


def test_rows_of_those_who_answered_are_part_of_the_store_and_no_copy() -> None:
    store, _ = filled_store()
    pool = arrive(store, "bde")
    assert np.shares_memory(pool.parameters_nd, store.parameters(encoder("d")))
    assert pool.parameters_nd.flags.c_contiguous


def test_absent_client_that_follows_gets_the_new_row_and_another_keeps_its_own() -> None:
    store, rows = filled_store()
    store.open_round()
    for client in "bce":
        store.update_buffer(encoder(client))[:] = 1
        store.commit_update(encoder(client))
    for pool in store.rounds({}):
        pool.parameters_nd += pool.updates_nd
        pool.follow[encoder("d")] = 2
    for client in "bce":
        rows[client] += 1
    assert_rows(store, {**rows, "d": rows["e"]})


def test_matrix_put_in_the_place_of_the_parameters_is_taken_over() -> None:
    for present in ("abcde", "bd"):
        store, rows = filled_store()
        store.open_round()
        for client in present:
            store.update_buffer(encoder(client))[:] = 0
            store.commit_update(encoder(client))
        for pool in store.rounds({}):
            pool.parameters_nd = pool.parameters_nd * np.float32(2)
        assert_rows(store, {client: row * (2 if client in present else 1) for client, row in rows.items()})


def test_new_client_starts_from_the_mean_of_the_rows_in_any_order() -> None:
    store, rows = filled_store("cab")
    expected = np.mean([rows[client] for client in "abc"], axis=0, dtype=np.float64).astype(np.float32)
    for present in ("bc", "a", "abc"):
        arrive(store, present)
        np.testing.assert_array_equal(store.start_for("encoder", LAYOUT), expected)


def test_client_added_or_removed_after_rows_were_moved_leaves_the_others_theirs() -> None:
    store, rows = filled_store()
    arrive(store, "ce")
    store.add(encoder("bb"), LAYOUT, np.zeros(SIZE, np.float32))
    rows["bb"] = np.zeros(SIZE, np.float32)
    store.remove_client("c")
    del rows["c"]
    assert_rows(store, rows)
    assert [key.client for key in arrive(store, "ae").away] == ["b", "bb", "d"]
    assert_rows(store, rows)
