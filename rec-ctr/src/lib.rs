//! Click-through-rate models: LR to BST. Nothing is here yet.
