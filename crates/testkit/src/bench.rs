//! Measuring, beside a peer in the same run.
//!
//! Invariant: every figure is a median of runs made here and now; where there is no peer the field is empty, not guessed.

mod crash;
mod deploy;
mod faults;
mod load;
mod peers;
mod sample;
mod tap;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;

/// Why a bench could not run.
pub type Failure = Box<dyn std::error::Error>;

/// Name, what it measures, and how.
pub type Bench = (&'static str, &'static str, fn() -> Result<Vec<Case>, Failure>);

/// Every bench.
pub const BENCHES: [Bench; 2] = [
    (
        "deploy",
        "start-up, and deployments of the sample to the local environment",
        deploy::run,
    ),
    (
        "faults",
        "requests lost while releases change, and how a release that fails is told",
        faults::run,
    ),
];

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// What was done.
    pub case: String,
    /// The unit of both figures.
    pub unit: &'static str,
    /// Ours, the median.
    pub ours: Option<f64>,
    /// The peer's, the median.
    pub peer: Option<f64>,
    /// Who the peer is.
    pub peer_name: Option<String>,
    /// The goal, as text.
    pub goal: String,
    /// Whether ours meets it.
    pub ok: Option<bool>,
    /// So many runs each.
    pub runs: usize,
    /// What the figure is bound by.
    pub bound_by: String,
}

impl Case {
    fn ratio(&self) -> Option<f64> {
        Some(self.peer? / self.ours.filter(|ours| *ours > 0.0)?)
    }
}

/// A bench's cases.
#[derive(Debug)]
pub struct Table {
    /// The bench's name.
    pub bench: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
        writeln!(
            f,
            "{:<66} {:>9} {:>9} {:>7}  {:<10} {:<4} peer",
            "case", "ours", "peer", "ratio", "goal", "met"
        )?;
        for case in &self.cases {
            let met = case.ok.map_or("-", |ok| if ok { "yes" } else { "no" });
            writeln!(
                f,
                "{:<66} {:>9} {:>9} {:>7}  {:<10} {met:<4} {}",
                format!("{} [{}]", case.case, case.unit),
                number(case.ours),
                number(case.peer),
                case.ratio()
                    .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}×")),
                case.goal,
                case.peer_name.as_deref().unwrap_or("-"),
            )?;
        }
        Ok(())
    }
}

impl Table {
    /// Writes `FOLDER/BENCH.jsonl`, one object a case.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}.jsonl", self.bench));
        let mut lines = String::new();
        for case in &self.cases {
            let mut object = serde_json::to_value(case)?;
            object["bench"] = self.bench.clone().into();
            object["ratio"] = serde_json::json!(case.ratio());
            lines.push_str(&object.to_string());
            lines.push('\n');
        }
        std::fs::write(&file, lines)?;
        Ok(file)
    }
}

/// The median; none of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// How long a command takes, in milliseconds: the median of so many runs. None where it is not there or fails.
fn time(runs: usize, command: impl Fn() -> Command) -> Option<f64> {
    timed(runs, || succeeds(command()))
}

/// How long work takes, in milliseconds: the median of so many runs. None where it fails.
fn timed(runs: usize, work: impl Fn() -> bool) -> Option<f64> {
    let mut taken = Vec::with_capacity(runs);
    for _ in 0..runs {
        let began = Instant::now();
        if !work() {
            return None;
        }
        taken.push(began.elapsed().as_secs_f64() * 1e3);
    }
    median(taken)
}

/// Runs a command in silence.
fn succeeds(mut command: Command) -> bool {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
        let case = Case {
            case: "x".into(),
            unit: "ms",
            ours: Some(2.0),
            peer: Some(9.0),
            peer_name: Some("y".into()),
            goal: "≤ 10".into(),
            ok: Some(true),
            runs: 3,
            bound_by: String::new(),
        };
        assert!(
            Table {
                bench: "b".into(),
                cases: vec![case]
            }
            .to_string()
            .contains("4.5×")
        );
    }
}
