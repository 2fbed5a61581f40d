//! Real firmware, a real loader and a real kernel in a virtual machine without hardware support: OVMF, systemd-boot and
//! Debian's kernel under QEMU's translator. Neither root nor loop devices are needed: the disk is written by the same
//! code as on a machine. Each scenario says where the machine came up, and how long it took after the last failure.

mod machine;
mod measured;
mod network;
mod parts;
pub use parts::guest;
mod scenarios;
