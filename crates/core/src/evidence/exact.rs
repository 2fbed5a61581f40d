//! Stores floating-point numbers by their bits, so that a restored state continues with exactly the same digits whatever
//! the storage format does to decimals. Refuses infinities and "not a number": no state in this module ever holds one.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

pub(super) fn serialize<T: AsRef<[f64]>, S: Serializer>(values: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let bits: Vec<u64> = values.as_ref().iter().map(|value| value.to_bits()).collect();
    bits.serialize(serializer)
}

pub(super) fn deserialize<'de, T: TryFrom<Vec<f64>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let values: Vec<f64> = Vec::<u64>::deserialize(deserializer)?.into_iter().map(f64::from_bits).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(D::Error::custom("evidence state holds a number that is not finite"));
    }
    let count = values.len();
    T::try_from(values)
        .map_err(|_| D::Error::custom(format!("evidence state holds {count} numbers, another count is needed")))
}
