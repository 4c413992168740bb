"""A run that becomes much slower warns once."""

import pytest

from resnet_degradation.training import slowdown


def test_a_run_far_slower_than_at_its_best_is_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        slowdown, "describe_cpu_contention", lambda n, own: f"{n} threads wait" if n else ""
    )
    watch = slowdown.Slowdown()
    assert watch.update(300.0, 20.0, 2, 2) is None
    assert watch.update(900.0, 20.0, 2, 2) is None
    assert watch.update(100.0, 2.0, 2, 2) is None  # too short a time to judge
    assert watch.update(310.0, 20.0, 2, 2) is None
    expected = "training takes 3.6 times as long as at its fastest: 2 threads wait"
    assert watch.update(250.0, 20.0, 2, 2) == expected
    assert watch.update(100.0, 20.0, 2, 2) is None


def test_without_threads_to_lower_the_cause_is_left_open() -> None:
    watch = slowdown.Slowdown(best=900.0)
    note = watch.update(90.0, 10.0, 0, 0)
    assert note is not None
    assert note.endswith(
        "10.0 times as long as at its fastest: other programs may be using this machine"
    )
