//! Blocks of IPv4 addresses.
//!
//! Invariant: what cannot be read as a block contains nothing and is contained in nothing.

use std::net::Ipv4Addr;

fn parse(block: &str) -> Option<(u32, u32)> {
    let (address, bits) = block.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
    Some((u32::from(address) & mask, mask))
}

/// Whether every address of `inner` is in `outer`.
pub(crate) fn contains(outer: &str, inner: &str) -> bool {
    match (parse(outer), parse(inner)) {
        (Some((outer, outer_mask)), Some((inner, inner_mask))) => {
            outer_mask <= inner_mask && inner & outer_mask == outer
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks() {
        assert!(contains("0.0.0.0/0", "10.0.1.0/24"));
        assert!(contains("10.0.0.0/16", "10.0.1.0/24"));
        assert!(contains("10.0.1.0/24", "10.0.1.0/24"));
        assert!(!contains("10.0.1.0/24", "10.0.0.0/16"));
        assert!(!contains("10.1.0.0/16", "10.0.1.0/24"));
        assert!(!contains("10.0.0.0/33", "10.0.1.0/24"));
        assert!(!contains("::/0", "10.0.1.0/24"));
    }

    proptest! {
        #[test]
        fn a_block_contains_its_parts(address: u32, bits in 0u32..=32, more in 0u32..=32) {
            let block = |bits: u32| format!("{}/{bits}", Ipv4Addr::from(address));
            let inner = bits.max(more);
            prop_assert!(contains(&block(bits.min(more)), &block(inner)));
            prop_assert_eq!(contains(&block(inner), &block(bits.min(more))), bits == more);
        }
    }
}
