//! What the two builders print, as lines, and which step printed them.
//!
//! Invariant: bounded memory: of each step the last lines alone are kept, and of the steps only those that run or failed.

use std::collections::{BTreeMap, VecDeque};

use bollard::grpc::build::moby::buildkit::v1::StatusResponse;
use nuages_model::Progress;

/// So many lines are kept for an error.
const KEPT: usize = 40;
/// A longer line is cut there: some tools print progress bars without a line end.
const LONGEST: usize = 2_000;

const SOURCE: &str = "build";

/// The last lines of an output.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    open: String,
}

impl Tail {
    /// Takes output as it comes, and answers the lines that it completed.
    pub(crate) fn take(&mut self, text: &str) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in text.split_inclusive(['\n', '\r']) {
            self.open.push_str(piece.trim_end_matches(['\n', '\r']));
            if piece.ends_with(['\n', '\r']) || self.open.len() > LONGEST {
                complete.extend(self.finish());
            }
        }
        complete
    }

    /// Ends the line that is open.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let mut line = std::mem::take(&mut self.open);
        if line.is_empty() {
            return None;
        }
        if line.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
            line.truncate(end);
        }
        self.push(line.clone());
        Some(line)
    }

    pub(crate) fn push(&mut self, line: String) {
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let open = Some(self.open.clone()).filter(|line| !line.is_empty());
        self.lines.iter().cloned().chain(open).collect()
    }
}

/// BuildKit's output: steps run side by side, and each line names its step.
#[derive(Debug)]
pub(crate) struct BuildKitOutput {
    progress: Progress,
    steps: BTreeMap<String, Step>,
    failed: Option<Step>,
    last: String,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    announced: bool,
    tail: Tail,
}

impl BuildKitOutput {
    pub(crate) fn new(progress: &Progress) -> Self {
        Self {
            progress: progress.clone(),
            steps: BTreeMap::new(),
            failed: None,
            last: "the first step".into(),
        }
    }

    pub(crate) fn take(&mut self, status: StatusResponse) {
        for vertex in status.vertexes {
            let step = self.steps.entry(vertex.digest.clone()).or_default();
            step.name = brief(&vertex.name);
            if (vertex.started.is_some() || vertex.cached) && !step.announced {
                step.announced = true;
                // What BuildKit does for itself is no step of the Dockerfile.
                if !step.name.starts_with("[internal]") {
                    let cached = if vertex.cached { " (cached)" } else { "" };
                    self.progress.status(format!("{}{cached}", step.name));
                    self.last.clone_from(&step.name);
                }
            }
            if !vertex.error.is_empty() {
                self.failed = self.steps.remove(&vertex.digest);
            } else if vertex.completed.is_some() {
                // Its output cannot matter any more.
                if let Some(step) = self.steps.get_mut(&vertex.digest) {
                    step.tail = Tail::default();
                }
            }
        }
        for transfer in status.statuses {
            if transfer.total > 0 {
                let (done, total) = (transfer.current.unsigned_abs(), transfer.total.unsigned_abs());
                self.progress.bytes(transfer.id, done, Some(total));
            }
        }
        for log in status.logs {
            let text = String::from_utf8_lossy(&log.msg);
            let tail = match (self.steps.get_mut(&log.vertex), &mut self.failed) {
                (Some(step), _) => &mut step.tail,
                // The last words of a failed step may come after the news of its failure.
                (None, Some(failed)) => &mut failed.tail,
                (None, None) => &mut self.steps.entry(log.vertex).or_default().tail,
            };
            for line in tail.take(&text) {
                self.progress.line(SOURCE, line);
            }
        }
        for warning in status.warnings {
            self.progress
                .warning(String::from_utf8_lossy(&warning.short).into_owned());
        }
    }

    pub(crate) fn failed_step(&self) -> String {
        self.failed
            .as_ref()
            .map_or_else(|| self.last.clone(), |step| step.name.clone())
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.failed.as_ref().map(|step| step.tail.lines()).unwrap_or_default()
    }
}

/// An instruction on one line of bearable length. BuildKit writes build arguments out, a whole CA bundle among them.
fn brief(name: &str) -> String {
    const WORD: usize = 60;
    const LINE: usize = 160;
    let cut = |text: &str, most: usize| match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let words: Vec<String> = name.split_whitespace().map(|word| cut(word, WORD)).collect();
    cut(&words.join(" "), LINE)
}

/// The classic builder's output: one step after the other, in one stream.
#[derive(Debug)]
pub(crate) struct ClassicOutput {
    progress: Progress,
    step: String,
    tail: Tail,
}

impl ClassicOutput {
    pub(crate) fn new(progress: &Progress) -> Self {
        Self {
            progress: progress.clone(),
            step: "the first step".into(),
            tail: Tail::default(),
        }
    }

    pub(crate) fn take(&mut self, stream: Option<&str>, status: Option<&str>, id: Option<&str>) {
        for line in self.tail.take(stream.unwrap_or_default()) {
            // `Step 3/9 : RUN …`
            if line.starts_with("Step ") && line.contains(" : ") {
                line.clone_into(&mut self.step);
                self.tail = Tail::default();
                self.progress.status(line.clone());
            }
            self.progress.line(SOURCE, line);
        }
        if let (Some(status), Some(id)) = (status, id) {
            self.progress.status(format!("{id}: {status}"));
        }
    }

    pub(crate) fn step(&self) -> String {
        self.step.clone()
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instruction_is_told_in_one_bearable_line() {
        assert_eq!(brief("[build 2/6] COPY   a \\\n  b"), "[build 2/6] COPY a \\ b");
        let told = brief(&format!("RUN cat {} && make", "é".repeat(5_000)));
        assert!(told.starts_with("RUN cat é") && told.ends_with("… && make"), "{told}");
        assert_eq!(brief(&"word ".repeat(1_000)).chars().count(), 161);
    }

    #[test]
    fn the_classic_tail_belongs_to_the_last_step() {
        let mut output = ClassicOutput::new(&Progress::none());
        for text in [
            "Step 1/2 : FROM a\n",
            " ---> 1\nStep 2/2 : RUN b\n",
            "first\nsec",
            "ond\n",
        ] {
            output.take(Some(text), None, None);
        }
        assert_eq!(output.step(), "Step 2/2 : RUN b");
        assert_eq!(output.tail(), ["first", "second"]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_arrive(text in "([a-zé]{0,6}\n?){0,20}", cut in 0usize..60) {
            let cut = (0..=cut.min(text.len())).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
            let mut whole = Tail::default();
            whole.take(&text);
            let mut parts = Tail::default();
            parts.take(&text[..cut]);
            parts.take(&text[cut..]);
            prop_assert_eq!(whole.lines(), parts.lines());
            prop_assert!(whole.lines().len() <= KEPT + 1);
        }
    }
}
