//! A made-up fleet that is the same at every run: customers of 10,000 devices, sites of 50, 8 OS builds, 20 models. Must
//! stay out: measuring.

use staffel_core::ids::{DeviceId, Digest};

const PER_TENANT: u32 = 10_000;
const PER_SITE: u32 = 50;

/// A made-up device.
pub struct Made {
    pub id: DeviceId,
    pub name: String,
    pub tenant: String,
    pub site: String,
    pub os_build: String,
    pub hardware_model: String,
}

impl Made {
    /// Device number `n`.
    pub fn device(n: u32) -> Made {
        let digest = Digest::of(&n.to_be_bytes()).0;
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Made {
            id: DeviceId(id),
            name: format!("till-{n:07}"),
            tenant: format!("customer-{:03}", n / PER_TENANT),
            site: format!("site-{:05}", n / PER_SITE),
            // The digest's last bytes, so that builds and models are mixed over the sites.
            os_build: format!("debian-12.{}", digest[30] % 8),
            hardware_model: format!("model-{:02}", digest[31] % 20),
        }
    }

    /// OS build and hardware model in one.
    pub fn stratum(&self) -> String {
        format!("{}/{}", self.os_build, self.hardware_model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_is_the_same_device() {
        let (one, again, other) = (Made::device(7), Made::device(7), Made::device(10_007));
        assert_eq!((one.id, &one.name), (again.id, &again.name));
        assert_ne!(one.id, other.id);
        assert_eq!((one.tenant.as_str(), other.tenant.as_str()), ("customer-000", "customer-001"));
    }
}
