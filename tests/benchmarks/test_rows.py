from __future__ import annotations

import json

import pytest

from benchmarks.rows import Label, Metric, Skipped, percentile, rows_of

LABEL = Label("dispatch", "noop-each", "ppe")
METRICS = (Metric("throughput", "tasks/s", "higher"), Metric("peak_pss", "MB", "lower"))


def test_rows_hold_median_and_extremes_of_the_samples_that_have_the_metric():
    samples = [{"throughput": 3.0}, {"throughput": 1.0}, {"throughput": 8.0}, {"peak_pss": 5.0}]
    throughput, memory = rows_of(LABEL, samples, METRICS, {})
    assert (throughput.median, throughput.min, throughput.max, throughput.n) == (3.0, 1.0, 8.0, 3)
    assert (memory.median, memory.n) == (5.0, 1)


def test_a_row_is_one_json_line_with_the_fields_that_readers_take_ratios_from():
    (row,) = rows_of(LABEL, [{"throughput": 1234.56789}], METRICS, {"tasks": 10, "workers": 2})
    assert json.loads(row.to_json()) == {
        "benchmark": "dispatch",
        "case": "noop-each",
        "system": "ppe",
        "metric": "throughput",
        "unit": "tasks/s",
        "better": "higher",
        "median": 1234.57,
        "min": 1234.57,
        "max": 1234.57,
        "n": 1,
        "params": {"tasks": 10, "workers": 2},
    }
    assert "\n" not in row.to_json()


def test_a_metric_that_the_benchmark_does_not_name_is_an_error():
    with pytest.raises(KeyError):
        rows_of(LABEL, [{"speed": 1.0}], METRICS, {})


def test_a_skipped_record_says_which_system_and_why():
    assert json.loads(Skipped("data", "ray", "not installed").to_json()) == {
        "benchmark": "data",
        "system": "ray",
        "skipped": "not installed",
    }


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (100, 100)], ids=lambda value: str(value))
def test_percentiles_are_by_nearest_rank(percent, expected):
    assert percentile(range(100, 0, -1), percent) == expected


def test_the_percentile_of_one_value_is_that_value():
    assert percentile([7.0], 99) == 7.0
