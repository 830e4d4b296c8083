//! The real link over a network that loses, delays, cuts and repeats, replayed exactly.
