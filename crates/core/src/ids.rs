//! Names of things: digests, device ids, positions. What must stay out: looking anything up.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A SHA-256 digest. Written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).ok()?;
        Some(Digest(out))
    }

    /// The first 12 hex digits, for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

/// A device's id: the first 16 bytes of the SHA-256 of its public key, so it can't be chosen. 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DeviceId(pub [u8; 16]);

impl DeviceId {
    /// The id that belongs to a public key (the DER of its SubjectPublicKeyInfo).
    pub fn of_public_key(spki: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&Digest::of(spki).0[..16]);
        DeviceId(id)
    }

    /// Reads 32 hex digits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut out = [0; 16];
        hex::decode_to_slice(text, &mut out).ok()?;
        Some(DeviceId(out))
    }
}

/// Where a unit stands in the order of a rollout: a share of 1, as a fraction of 2^64. 16 hex digits in text, because
/// JSON numbers lose bits above 2^53.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The end of the order: every unit but the very last possible one lies below it.
    pub const END: Position = Position(u64::MAX);

    /// `H(log root at authorisation, release digest, unit key)`. Nobody can grind it: the root is not known before the
    /// release is built, and the unit's key was enrolled before the root.
    pub fn of(log_root: &Digest, release: &Digest, unit_key: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"staffel/position/v1\0");
        hash.update(log_root.0);
        hash.update(release.0);
        hash.update(unit_key);
        let out: [u8; 32] = hash.finalize().into();
        Position(u64::from_be_bytes([out[0], out[1], out[2], out[3], out[4], out[5], out[6], out[7]]))
    }

    /// The position that `share` (parts per billion, at most 1,000,000,000) of all units lie below.
    pub fn from_share(share: Share) -> Self {
        if share.0 >= Share::ALL.0 {
            return Position::END;
        }
        Position(((u128::from(share.0) << 64) / 1_000_000_000) as u64)
    }

    /// As parts per billion, rounded down.
    pub fn share(self) -> Share {
        Share(((u128::from(self.0) * 1_000_000_000) >> 64) as u32)
    }
}

/// A share of a fleet in parts per billion: 0 to 1,000,000,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Share(pub u32);

impl Share {
    /// Everybody.
    pub const ALL: Share = Share(1_000_000_000);

    /// `percent` hundredths.
    pub const fn percent(percent: u32) -> Self {
        Share(percent * 10_000_000)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 1e7)
    }
}

macro_rules! hex_text {
    ($type:ty, $what:literal, $value:ident => $text:expr, $parse:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                f.write_str(&$text)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(&text).ok_or_else(|| D::Error::custom(concat!("expected ", $what)))
            }
        }
    };
}
hex_text!(Digest, "64 hex digits", d => hex::encode(d.0), Digest::parse);
hex_text!(DeviceId, "32 hex digits", d => hex::encode(d.0), DeviceId::parse);
hex_text!(Position, "16 hex digits", p => format!("{:016x}", p.0), |text| {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Position)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_positions_agree_at_the_ends() {
        assert_eq!(Position::from_share(Share(0)), Position(0));
        assert_eq!(Position::from_share(Share::ALL), Position::END);
        assert_eq!(Position::from_share(Share::percent(50)), Position(1 << 63));
        assert_eq!(Position(1 << 62).share(), Share::percent(25));
    }

    #[test]
    fn a_position_depends_on_each_of_its_inputs() {
        let (root, release) = (Digest::of(b"root"), Digest::of(b"release"));
        let here = Position::of(&root, &release, b"unit");
        assert_ne!(here, Position::of(&release, &root, b"unit"));
        assert_ne!(here, Position::of(&root, &release, b"other"));
        assert_eq!(here, Position::of(&root, &release, b"unit"));
    }

    #[test]
    fn text_forms_survive_a_round_trip_and_refuse_nonsense() {
        let text = serde_json::to_string(&Position(7)).unwrap();
        assert_eq!(text, "\"0000000000000007\"");
        assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), Position(7));
        assert!(serde_json::from_str::<Position>("\"7\"").is_err());
        assert!(serde_json::from_str::<Digest>("\"zz\"").is_err());
        assert!(serde_json::from_str::<DeviceId>("12").is_err());
    }
}
