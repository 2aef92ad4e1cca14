"""Source of events: the simulated muon spectrometer, made once and cached."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headsweep.config import TEST_SEED, SpectrometerConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Events
from headsweep.events.detector import COILS
from headsweep.events.gate import Limits
from headsweep.events.hepattn import read_hepattn
from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import (
    MAX_ETA,
    PT_GEV,
    SIMULATION_VERSION,
    event_numbers,
    simulate_chunks,
)
from headsweep.files import atomic_dir, cache_folder, check_seal, locked, seal

TEST_EVENTS = 10_000
"""Number of events of every test sample."""

log = logging.getLogger(__name__)


class Spectrometer:
    """Simulated muons in an air-core toroid spectrometer; ``simulation.py`` has the physics.

    Args:
        events: Number of events, with one or two muons each.
        seed: Any two seeds give independent events with different event numbers.
    """

    plane = "rz"
    coils = COILS
    limits = Limits(extent=(10.0, 25.0), abs_eta=MAX_ETA, pt=PT_GEV, field=-0.07)
    pt_edges: Sequence[float] = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
    min_bin_tracks = 200
    not_modelled: Sequence[str] = ("alignment", "pile-up tracks", "punch-through", "the solenoid")

    def __init__(self, events: int, seed: int) -> None:
        self.events = events
        self.seed = seed

    def key(self) -> str:
        """Hash (16 hex) of the arguments and ``SIMULATION_VERSION``."""
        text = f"spectrometer version {SIMULATION_VERSION} events {self.events} seed {self.seed}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def test_sample(self) -> "Spectrometer":
        """Source of the test sample of this seed; one only, so that its readings can be counted."""
        return Spectrometer(TEST_EVENTS, TEST_SEED + self.seed)

    def load(self, root: Path) -> Events:
        """Read the events from ``root/cache/data/<key>``, simulating them first where needed.

        Of two processes that ask at once, one simulates and the other waits. A cache that is
        damaged or holds other events is made anew, with a warning in the log.
        """
        folder = cache_folder(root, "data") / self.key()
        with locked(folder.with_name(f"{folder.name}.lock")):
            if folder.exists():
                try:
                    return self._read(folder)
                except DataError as error:
                    log.warning("simulating again, the cached events are damaged: %s", error)
            with atomic_dir(folder) as temporary:
                write_hepattn(temporary, simulate_chunks(self.events, self.seed))
                seal(temporary)
            return self._read(folder)

    def _read(self, folder: Path) -> Events:
        check_seal(folder)
        events = read_hepattn(folder, scratch=folder.parent)
        wanted = event_numbers(self.events, self.seed)
        if not np.array_equal(events.ids, wanted):
            raise DataError(
                f"{folder}: {len(events)} events from number {events.ids[0]}, instead "
                f"of {len(wanted)} from {wanted[0]}"
            )
        return events


def write_sample(folder: Path, events: int | None, seed: int | None) -> None:
    """Simulate a sample and write it in the ATLAS-muon HDF5 layout.

    Args:
        folder: Where; must not exist.
        events: Number of events; None for that of ``data=spectrometer``.
        seed: Of all randomness; None for that of ``data=spectrometer``.

    Raises:
        UserError: The folder exists.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; choose another folder")
    default = SpectrometerConfig()
    chunks = simulate_chunks(
        default.events if events is None else events, default.seed if seed is None else seed
    )
    with atomic_dir(folder) as temporary:
        write_hepattn(temporary, chunks)
