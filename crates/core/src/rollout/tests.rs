//! The rollout against a small world of devices on a virtual clock: `world` is that world, the rest says what must hold
//! in it. Everything is drawn from a seed, so that a failure can be repeated.

mod device;
mod fence;
mod first;
mod large;
mod late;
mod limits;
mod random;
mod restart;
mod withdraw;
mod world;

use device::Fault;
use world::{World, authorisation, fleet_of, release};
