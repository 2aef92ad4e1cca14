"""An order is read by a worker as the command wrote it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from headsweep.sweep.grid_queue import Entry
from headsweep.sweep.leases import Process
from headsweep.sweep.order import FATAL, STOPPED, Order

ENTRIES = st.builds(Entry, st.lists(st.text()), st.text(), st.lists(st.integers(0, 9), unique=True))
ORDERS = st.builds(
    Order,
    st.lists(st.text()),
    st.none() | st.text(),
    st.lists(st.sampled_from("abc"), min_size=1).map(lambda parts: Path(*parts)),
    st.none() | st.lists(ENTRIES),
    st.builds(Process, st.text(), st.text(), st.integers(0, 9), st.floats(0, 1e9)),
)


@given(ORDERS)
def test_an_order_is_one_line_and_read_as_it_was_written(order: Order) -> None:
    line = order.to_json()
    assert "\n" not in line
    assert Order.from_json(line + "\n") == order


def test_exit_codes_differ_from_those_of_an_end_and_of_python() -> None:
    assert len({0, 1, FATAL, STOPPED}) == 4
