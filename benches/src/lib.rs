//! Micro-benchmarks of Highwater.
