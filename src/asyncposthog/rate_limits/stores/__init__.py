"""Storage of rate-limit windows: in memory, or shared through Redis."""
