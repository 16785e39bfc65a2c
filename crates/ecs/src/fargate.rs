//! The task sizes that Fargate has (Amazon ECS developer guide, "Task CPU and memory").
//!
//! Invariant: a pair accepted here is one that `RegisterTaskDefinition` accepts for Fargate on Linux.

/// The memory sizes, in MiB, that go with this many CPU units; empty where Fargate has no such size.
///
/// ```
/// assert_eq!(nuages_ecs::fargate_memory(256), [512, 1024, 2048]);
/// assert!(nuages_ecs::fargate_memory(300).is_empty());
/// ```
pub fn fargate_memory(cpu: u32) -> Vec<u32> {
    let (from, to, step) = match cpu {
        256 => return vec![512, 1024, 2048],
        512 => (1024, 4096, 1024),
        1024 => (2048, 8192, 1024),
        2048 => (4096, 16_384, 1024),
        4096 => (8192, 30_720, 1024),
        8192 => (16_384, 61_440, 4096),
        16_384 => (32_768, 122_880, 8192),
        _ => return Vec::new(),
    };
    (from..=to).step_by(step).collect()
}

/// The CPU sizes, in units of 1/1024 of a processor.
pub(crate) const CPUS: [u32; 7] = [256, 512, 1024, 2048, 4096, 8192, 16_384];

/// What is wrong with a pair, as a hint; none where Fargate has it.
pub(crate) fn wrong_pair(cpu: u32, memory: u32) -> Option<String> {
    let sizes = fargate_memory(cpu);
    if sizes.contains(&memory) {
        None
    } else if let (Some(first), Some(last)) = (sizes.first(), sizes.last()) {
        let nearest = sizes.iter().min_by_key(|size| size.abs_diff(memory)).unwrap_or(first);
        Some(format!(
            "cpu {cpu} goes with a memory of {first} to {last} MiB; the nearest size is {nearest}"
        ))
    } else {
        Some(format!("cpu is one of {}", CPUS.map(|c| c.to_string()).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert!(wrong_pair(256, 512).is_none());
        assert!(wrong_pair(1024, 3072).is_none());
        assert!(wrong_pair(8192, 20_480).is_none());
        assert_eq!(
            wrong_pair(256, 4096).as_deref(),
            Some("cpu 256 goes with a memory of 512 to 2048 MiB; the nearest size is 2048")
        );
        assert!(wrong_pair(300, 512).is_some_and(|hint| hint.starts_with("cpu is one of 256, 512")));
        assert!(wrong_pair(8192, 17_408).is_some());
    }

    #[test]
    fn every_cpu_has_memory() {
        assert!(CPUS.iter().all(|cpu| !fargate_memory(*cpu).is_empty()));
    }
}
