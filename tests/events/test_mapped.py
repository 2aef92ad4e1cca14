"""What is forgotten of a mapped array is there again, and leaves the memory."""

from pathlib import Path

import numpy as np
import psutil

from headsweep.events.mapped import forget

SIZE = 2**26


def test_mapped_pages_leave_the_memory_and_are_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(SIZE // 8))
    array = np.load(tmp_path / "one.npy", mmap_mode="r")
    assert array.sum() == (SIZE // 8) * (SIZE // 8 - 1) // 2
    before = psutil.Process().memory_info().rss
    forget(array)
    assert before - psutil.Process().memory_info().rss > SIZE / 2
    assert array[1000] == 1000
    forget(np.zeros(3))
