"""Events in: data sources, the simulated spectrometer, and the selection of tracks."""
