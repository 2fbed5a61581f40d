//! Tests of the store from outside: its contract, its tree, and what is left of it after every kind of crash.

mod contract;
mod disk;
mod full_disk;
mod kill;
mod model;
mod power_cut;
mod sqlite;
mod support;
mod tree;
mod verify;
mod witness;
