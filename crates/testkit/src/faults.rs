//! Calls that are lost, spoiled, repeated, delayed or answered from the past: between the SDK and any endpoint.
//!
//! [`Rules`] say what befalls which call, and `carry_out` does it. Two things stand before endpoints
//! with them: [`FaultProxy`], over TCP, and the connector of [`Account`](crate::account::Account), within the test's own
//! process.
//!
//! Invariant: what is done to a call depends on the rules and on the calls before it alone, so that a run can be
//! repeated.

pub(crate) mod carry;
mod proxy;
mod rules;
pub(crate) mod spoil;

use std::time::Duration;

pub use proxy::{Before, FaultProxy};
pub use rules::{Hit, Rules, When};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused: too many requests. It has no effect.
    Throttle,
    /// It is refused with status 500. It has no effect.
    ServerError,
    /// Nothing is answered, ever. It has no effect.
    Hang,
    /// The connection is closed before an answer. It has no effect.
    Reset,
    /// It has its effect, and the connection is closed before the answer.
    LostAnswer,
    /// It has its effect, and nothing is answered, ever.
    Unanswered,
    /// It has its effect, and half of the answer comes.
    Truncated,
    /// It has its effect, and the answer is nonsense.
    Malformed,
    /// It has no effect, and status 200 is answered with a page: a login page of a network does so.
    Portal,
    /// It has its effect, and the answer is changed at random, as this seed has it: fields that are missing, odd or
    /// repeated, and bytes that are wrong.
    Spoiled(u64),
    /// It reaches the service twice; the second answer comes.
    Twice,
    /// It comes later than it was sent.
    Delayed(Duration),
    /// It has its effect at once, and the answer comes so much later.
    Late(Duration),
    /// It reads what was so long ago: answers of AWS are eventually consistent. Only reads are befallen.
    Stale(Duration),
    /// `RunTask` answers 200, starts nothing, and says so in `failures[]`.
    Failures,
    /// A describe of ECS answers that it does not know what was asked for.
    Missing,
    /// The load balancer calls every target unhealthy.
    Unhealthy,
}

/// Every fault that can befall any call, but delays, for tests that go through all.
pub const FAULTS: [Fault; 9] = [
    Fault::Throttle,
    Fault::ServerError,
    Fault::Hang,
    Fault::Reset,
    Fault::LostAnswer,
    Fault::Unanswered,
    Fault::Truncated,
    Fault::Malformed,
    Fault::Twice,
];

/// Faults that befall some calls only.
pub const OF_SOME: [Fault; 3] = [Fault::Failures, Fault::Missing, Fault::Unhealthy];

impl Fault {
    /// Whether it can befall calls of this operation, such as `ecs:RunTask`.
    pub fn befalls(self, operation: &str) -> bool {
        let (service, name) = operation.split_once(':').unwrap_or(("", operation));
        match self {
            Self::Stale(_) => ["Describe", "List", "Get", "BatchGet", "Filter", "GET ", "HEAD "]
                .iter()
                .any(|read| name.starts_with(read)),
            Self::Failures => operation == "ecs:RunTask",
            Self::Missing => {
                service == "ecs" && matches!(name, "DescribeTasks" | "DescribeServices" | "DescribeClusters")
            }
            Self::Unhealthy => operation == "elasticloadbalancing:DescribeTargetHealth",
            _ => true,
        }
    }

    /// Whether the call has no effect, so that making it again is all that it takes.
    pub const fn is_harmless(self) -> bool {
        matches!(
            self,
            Self::Throttle | Self::ServerError | Self::Hang | Self::Reset | Self::Portal | Self::Failures
        )
    }
}
