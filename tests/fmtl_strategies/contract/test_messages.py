"""Messages: text that does not fit its schema, and scores that say neither or both."""

import pytest
from flwr.app import ConfigRecord, RecordDict

from fmtl_strategies.contract.messages import MessageError, Report, Score, read_text, to_records


def test_text_survives_the_way_through_records() -> None:
    report = Report(client="a", round=3, train_examples=5, losses={"edge": None}, scores={"edge": Score(value=1.5)})
    assert read_text(to_records(report), Report) == report


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"client": "a/../b", "round": 1, "train_examples": 5}', "'client'"),
        ('{"client": "a", "round": -1, "train_examples": 5}', "'round'"),
        ('{"client": "a", "round": 1, "train_examples": 5, "extra": 1}', "'extra'"),
        ('{"client": "a", "round": 1, "train_examples": 5, "losses": {"edge": NaN}}', "'losses.edge'"),
        ('{"client": "a", "round": 1, "train_examples": "5"}', "'train_examples'"),
        ("not json", "JSON"),
    ],
)
def test_text_that_does_not_fit_names_the_field(text: str, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        read_text(RecordDict({"message": ConfigRecord({"json": text})}), Report)


def test_score_is_a_value_or_a_reason() -> None:
    for fields in ({}, {"value": 1.0, "missing_because": "both"}, {"missing_because": ""}):
        with pytest.raises(ValueError, match="score|missing_because"):
            Score(**fields)
    assert Score(missing_because="no pixel was valid").value is None
