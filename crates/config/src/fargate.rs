//! The sizes that Fargate runs: pairs of CPU units and MiB, as in "Fargate task CPU and memory" of the ECS guide.
//!
//! Invariant: [`fits`] is true for exactly the pairs of [`pairs`].

/// CPU units, the least and the most memory, and the step between.
const SIZES: [(u32, u32, u32, u32); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

fn pairs() -> impl Iterator<Item = (u32, u32)> {
    SIZES.iter().flat_map(|&(cpu, least, most, step)| {
        (0..=(most - least) / step)
            .map(move |steps| (cpu, least + steps * step))
            // The smallest size has 0.5, 1 and 2 GiB, not 1.5.
            .filter(|pair| *pair != (256, 1536))
    })
}

pub(crate) fn fits(cpu: u32, memory: u32) -> bool {
    pairs().any(|pair| pair == (cpu, memory))
}

/// The pair that changes the least, in proportion; of two equally near ones the larger.
pub(crate) fn nearest(cpu: u32, memory: u32) -> (u32, u32) {
    let log = |value: u32| f64::from(value.max(1)).log2();
    let distance = |pair: &(u32, u32)| (log(pair.0) - log(cpu)).abs() + (log(pair.1) - log(memory)).abs();
    pairs()
        .reduce(|best, pair| if distance(&pair) <= distance(&best) { pair } else { best })
        .unwrap_or((SIZES[0].0, SIZES[0].1))
}

/// What memory goes with these CPU units, in words; `None` where Fargate has no such size.
pub(crate) fn memory_for(cpu: u32) -> Option<String> {
    let &(_, least, most, step) = SIZES.iter().find(|size| size.0 == cpu)?;
    Some(match cpu {
        256 => "512, 1024 or 2048".to_owned(),
        _ => format!("{least} to {most} in steps of {step}"),
    })
}

pub(crate) fn cpus() -> String {
    let all: Vec<String> = SIZES.iter().map(|size| size.0.to_string()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_table() {
        assert_eq!(pairs().count(), 3 + 4 + 7 + 13 + 23 + 12 + 12);
        for pair in [
            (256, 512),
            (256, 2048),
            (512, 4096),
            (4096, 30_720),
            (8192, 61_440),
            (16_384, 122_880),
        ] {
            assert!(fits(pair.0, pair.1), "{pair:?}");
        }
        for pair in [
            (256, 1536),
            (256, 4096),
            (512, 512),
            (1000, 2048),
            (8192, 17_408),
            (16_384, 36_864),
        ] {
            assert!(!fits(pair.0, pair.1), "{pair:?}");
        }
    }

    #[test]
    fn names_the_nearest() {
        assert_eq!(nearest(256, 500), (256, 512));
        assert_eq!(nearest(250, 512), (256, 512));
        assert_eq!(nearest(512, 512), (512, 1024));
        assert_eq!(nearest(256, 4096), (512, 4096));
        assert_eq!(nearest(0, 0), (256, 512));
    }

    proptest! {
        #[test]
        fn the_nearest_of_a_valid_pair_is_itself(cpu in 0u32..20_000, memory in 0u32..130_000) {
            let near = nearest(cpu, memory);
            prop_assert!(fits(near.0, near.1));
            prop_assert_eq!(fits(cpu, memory), near == (cpu, memory));
        }
    }
}
