//! Nearest-neighbour search on plain slices. Nothing is here yet.
