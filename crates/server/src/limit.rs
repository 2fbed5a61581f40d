//! Limits on how often somebody may ask: a token bucket for each key, in bounded memory. What must stay out: who is asked about.
//!
//! A bucket is one number, the time at which it would be full again (GCRA, ITU-T I.371: "theoretical arrival time").
//! Two generations bound the memory: when the young one is full, it becomes the old one, and the old one is forgotten.
//! A key that is forgotten starts with a full bucket; to make use of that, somebody needs as many keys as a generation holds.

use crate::config::Rate;
use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often each key may.
pub struct Limiter<K> {
    /// Nanoseconds that one request costs; 0: no limit.
    cost: u64,
    /// Nanoseconds that may be owed.
    tolerance: u64,
    capacity: usize,
    start: Instant,
    generations: Mutex<Generations<K>>,
}

struct Generations<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
}

impl<K: Eq + Hash> Limiter<K> {
    /// Remembers at least `capacity` keys, and at most twice as many.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        let cost = 1_000_000_000u64.checked_div(u64::from(rate.per_second)).unwrap_or(0);
        Limiter::with(cost, rate.burst, capacity)
    }

    /// For what is rarer than once a second: `burst` at once after a pause, then one each `every`.
    pub fn one_each(every: Duration, burst: u32, capacity: usize) -> Self {
        Limiter::with(u64::try_from(every.as_nanos()).unwrap_or(u64::MAX), burst, capacity)
    }

    fn with(cost: u64, burst: u32, capacity: usize) -> Self {
        Limiter {
            cost,
            tolerance: cost.saturating_mul(u64::from(burst.saturating_sub(1))),
            capacity: capacity.max(1),
            start: Instant::now(),
            generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }),
        }
    }

    /// Counts one request; `Err` with the time to wait if it is one too many (it is not counted then).
    pub fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, self.start.elapsed())
    }

    fn take_at(&self, key: K, since_start: Duration) -> Result<(), Duration> {
        if self.cost == 0 {
            return Ok(());
        }
        let now = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let known = generations.young.get(&key).or_else(|| generations.old.get(&key));
        let arrival = known.copied().unwrap_or(0).max(now);
        if arrival - now > self.tolerance {
            return Err(Duration::from_nanos(arrival - now - self.tolerance));
        }
        if generations.young.len() >= self.capacity && !generations.young.contains_key(&key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, arrival.saturating_add(self.cost));
        Ok(())
    }
}

/// Whom an address stands for: an IPv4 address for itself, an IPv6 address for its /64, which one machine may use up
/// alone.
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[test]
    fn a_burst_then_the_rate_and_the_wait_is_exact() {
        let limiter = Limiter::new(Rate { per_second: 5, burst: 20 }, 10);
        for _ in 0..20 {
            assert_eq!(limiter.take_at(1, seconds(100.0)), Ok(()));
        }
        assert_eq!(limiter.take_at(1, seconds(100.0)), Err(seconds(0.2)));
        assert_eq!(limiter.take_at(2, seconds(100.0)), Ok(()), "another key has a bucket of its own");
        assert_eq!(limiter.take_at(1, seconds(100.2)), Ok(()));
        assert!(limiter.take_at(1, seconds(100.3)).is_err());
        for _ in 0..20 {
            assert_eq!(limiter.take_at(1, seconds(200.0)), Ok(()), "a pause fills it again, not more than full");
        }
        assert!(limiter.take_at(1, seconds(200.0)).is_err());
    }

    #[test]
    fn memory_is_bounded_and_recent_keys_are_remembered() {
        let limiter = Limiter::new(Rate { per_second: 1, burst: 1 }, 100);
        for key in 0..1_000 {
            assert!(limiter.take_at(key, seconds(1.0)).is_ok());
            let generations = limiter.generations.lock().unwrap();
            assert!(generations.young.len() <= 100 && generations.old.len() <= 100);
        }
        for key in 901..1_000 {
            assert!(limiter.take_at(key, seconds(1.0)).is_err());
        }
    }

    #[test]
    fn zero_means_no_limit() {
        let limiter = Limiter::new(Rate { per_second: 0, burst: 0 }, 1);
        assert!((0..1_000).all(|_| limiter.take_at((), seconds(0.0)).is_ok()));
    }

    #[test]
    fn addresses_are_grouped_as_machines_hold_them() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
