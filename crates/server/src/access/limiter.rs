//! The brake on guessing: an address that sends wrong tokens has to wait.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

/// So many wrong tokens in a row are free.
const FREE: u32 = 10;
/// After so long without one, an address starts with a clean record; also the wait.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;

/// Counts wrong tokens by address.
#[derive(Debug, Default)]
pub(super) struct Limiter(BTreeMap<IpAddr, Record>);

#[derive(Clone, Copy, Debug)]
struct Record {
    failures: u32,
    last: Instant,
}

impl Limiter {
    /// Returns how long an address has to wait, if it has to.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let record = self.0.get(&address).filter(|record| record.failures >= FREE)?;
        let left = (record.last + WINDOW).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Takes note of a wrong token.
    pub(super) fn fail(&mut self, address: IpAddr, now: Instant) {
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.make_room(now);
        }
        let record = self.0.entry(address).or_insert(Record { failures: 0, last: now });
        let is_old = now.saturating_duration_since(record.last) >= WINDOW;
        record.failures = if is_old { 1 } else { record.failures.saturating_add(1) };
        record.last = now;
    }

    /// Forgets what is old, else the oldest.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, record| now.saturating_duration_since(record.last) < WINDOW);
        if self.0.len() >= ADDRESSES_MAX
            && let Some(oldest) =
                self.0.iter().min_by_key(|(_, record)| record.last).map(|(address, _)| *address)
        {
            self.0.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use teraslice_core::context::Context;

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[tokio::test(start_paused = true)]
    async fn makes_an_address_wait_after_too_many_failures() {
        let (mut limiter, now) = (Limiter::default(), Context::simulated(1).now());
        for _ in 0..FREE {
            assert_eq!(limiter.wait(address(1), now), None);
            limiter.fail(address(1), now);
        }
        assert_eq!(limiter.wait(address(1), now), Some(WINDOW));
        assert_eq!(limiter.wait(address(2), now), None, "others are let in");
        assert_eq!(limiter.wait(address(1), now + WINDOW), None, "it may try again later");
        limiter.fail(address(1), now + WINDOW);
        assert_eq!(limiter.wait(address(1), now + WINDOW), None, "with a clean record");
    }

    #[tokio::test(start_paused = true)]
    async fn remembers_only_so_many_addresses() {
        let (mut limiter, now) = (Limiter::default(), Context::simulated(1).now());
        for number in 0..5_000 {
            limiter.fail(address(number), now + Duration::from_millis(u64::from(number)));
        }
        assert_eq!(limiter.0.len(), ADDRESSES_MAX);
        assert!(!limiter.0.contains_key(&address(0)), "the oldest went");
    }
}
