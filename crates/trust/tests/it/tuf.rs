//! The TUF writer and client together, against attackers, crashes and python-tuf.

mod attacks;
mod conformance;
mod crafted;
mod crash;
mod pitfalls;
mod python;
mod rotation;
mod round_trip;
mod support;
