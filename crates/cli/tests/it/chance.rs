//! What is drawn at random, and can be drawn again.

use std::time::{SystemTime, UNIX_EPOCH};

/// Numbers that follow from a seed: `SplitMix64`.
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// From `NUAGES_SEED`, else from the clock. The seed is printed with what it leads to.
    pub(crate) fn new() -> Self {
        let named = std::env::var("NUAGES_SEED")
            .ok()
            .map(|seed| seed.parse().expect("NUAGES_SEED is a number"));
        let seed = named.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_secs() ^ u64::from(now.subsec_nanos())
        });
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// From 0 to this, which it never is.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end.max(1)
    }
}

/// How often something is done: what the variable says, else so many times.
pub(crate) fn many(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}
