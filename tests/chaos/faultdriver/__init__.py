"""The parts of the chaos driver: what is submitted (plan), who submits, stops and reads it (client), what goes wrong meanwhile (faults), and what must be true afterwards (checks, limits, audit)."""
