//! What a preflight found out, one subject at a time.
//!
//! Invariant: a finding is [`Level::Fail`] only where the deployment would fail. What the caller merely may not read is
//! [`Level::Warn`]: the deployment's own identities may be allowed more than it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How grave a finding is. The order is from harmless to grave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Looked at, and as it must be.
    Ok,
    /// Not looked at, since it does not apply.
    Skip,
    /// Could not be looked at, or works but should not stay so.
    Warn,
    /// The deployment would fail.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "OK",
            Self::Skip => "SKIP",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        })
    }
}

/// One line of a preflight.
///
/// ```
/// use nuages_model::{Finding, Level};
///
/// let finding = Finding::fail("cluster", "the cluster `blog` does not exist")
///     .proof("ecs:DescribeClusters as arn:aws:iam::123456789012:user/ana")
///     .hint("nuages infra up --env staging");
/// assert_eq!(finding.level, Level::Fail);
/// assert_eq!(finding.to_string(), "FAIL cluster: the cluster `blog` does not exist");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// What was looked at, in a word or two: `cluster`, `service web`, `subnets`.
    pub subject: String,
    /// What was seen, as one sentence.
    pub message: String,
    /// The call that showed it and the identity that made it.
    pub proof: Option<String>,
    /// The next thing to do.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding without proof and hint.
    pub fn new(level: Level, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            message: message.into(),
            proof: None,
            hint: None,
        }
    }

    /// All is well.
    pub fn ok(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, message)
    }

    /// Does not apply.
    pub fn skip(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Skip, subject, message)
    }

    /// Worth a look.
    pub fn warn(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Warn, subject, message)
    }

    /// Stops the deployment.
    pub fn fail(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Level::Fail, subject, message)
    }

    /// Names the call that showed it and the identity that made it.
    #[must_use]
    pub fn proof(mut self, proof: impl Into<String>) -> Self {
        self.proof = Some(proof.into());
        self
    }

    /// Adds the next thing to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.subject, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_is_the_greatest() {
        let levels = [Level::Warn, Level::Ok, Level::Fail, Level::Skip];
        assert_eq!(levels.iter().max(), Some(&Level::Fail));
        assert_eq!(levels.iter().min(), Some(&Level::Ok));
    }

    #[test]
    fn pads_for_columns() {
        assert_eq!(format!("{:<5}|", Level::Ok), "OK   |");
    }
}
