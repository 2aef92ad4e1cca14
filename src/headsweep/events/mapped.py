"""Arrays that are mapped from files, which may be larger than the memory."""

import mmap


def forget(*arrays: object) -> None:
    """Free the memory of what was read of mapped arrays; it is read from their files again."""
    for array in arrays:
        mapping = getattr(array, "_mmap", None)  # of ``numpy.memmap``; others have none
        if mapping is not None:
            mapping.madvise(mmap.MADV_DONTNEED)
