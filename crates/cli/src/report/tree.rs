//! The tree of tasks as lines of a terminal.
//!
//! Invariant: a pure function of what is known, the time and the terminal's size; no line is wider than the terminal
//! and there are no more lines than it has rows.

use console::{measure_text_width, truncate_str};
use jiff::Timestamp;
use nuages_saga::TaskState;

use super::state::{State, Task, word};
use super::style::{Paint, Style};
use super::text::{bytes, bytes_of, clean, elapsed};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Wider than this, the eye loses the line between a title and its time.
const WIDEST: usize = 110;
/// A line's text has at least so many columns before anything stands at its right.
const NARROW: usize = 16;
/// Lines of a running task's output.
const OUTPUT: usize = 5;
/// Ended tasks of one parent that are shown before the earlier ones become a count.
const ENDED: usize = 12;
/// Bars of single transfers of one task.
const BARS: usize = 4;

/// What to draw with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) style: Style,
    pub(super) now: Timestamp,
}

/// The tree of everything that runs.
pub(super) fn frame(state: &State, canvas: Canvas) -> Vec<String> {
    let rows = canvas.rows.saturating_sub(1).max(1);
    let mut lines = Vec::new();
    // Where the terminal is low, less is shown of each task, until it fits.
    for (ended, output) in [(ENDED, OUTPUT), (3, 2), (1, 1), (0, 0)] {
        lines.clear();
        let mut painter = Painter {
            state,
            canvas,
            ended,
            output,
            lines: &mut lines,
        };
        for root in state.roots() {
            painter.task(root, 0);
        }
        if lines.len() <= rows {
            return lines;
        }
    }
    // What is deepest and latest is what moves.
    let cut = lines.len() - rows;
    lines.drain(..cut);
    lines
}

/// What stays on the screen of a task that ended: itself, its parts, and where it failed, why.
pub(super) fn summary(state: &State, task: &Task, canvas: Canvas) -> Vec<String> {
    let mut lines = Vec::new();
    let mut painter = Painter {
        state,
        canvas,
        ended: usize::MAX,
        output: usize::MAX,
        lines: &mut lines,
    };
    painter.task(task, 0);
    lines
}

struct Painter<'s> {
    state: &'s State,
    canvas: Canvas,
    ended: usize,
    output: usize,
    lines: &'s mut Vec<String>,
}

impl Painter<'_> {
    fn task(&mut self, task: &Task, depth: usize) {
        self.headline(task, depth);
        let whole = self.settled() && depth == 0;
        if !task.running() && !task.failed() && !whole {
            return;
        }
        let children: Vec<&Task> = task.children.iter().filter_map(|id| self.state.get(*id)).collect();
        let settled = |child: &&Task| !child.running() && !child.failed();
        let count = children.iter().filter(|child| settled(child)).count();
        let hidden = count.saturating_sub(self.ended);
        if hidden > 0 {
            let text = if hidden == count {
                format!("{hidden} done")
            } else {
                format!("{hidden} more done")
            };
            self.line(
                depth + 1,
                &self.canvas.style.paint(Paint::Dim, &format!("  {text}")),
                "",
            );
        }
        let mut skipped = 0;
        for child in &children {
            if settled(child) && skipped < hidden {
                skipped += 1;
                continue;
            }
            self.task(child, depth + 1);
        }
        if task.running() {
            self.bars(task, depth + 1);
        }
        if self.settled() && task.failed() && !children.iter().any(|child| child.failed()) {
            self.why(task, depth + 1);
        }
        let inner = children.iter().any(|child| child.running() || child.failed());
        if task.running() || !inner {
            self.output(task, depth + 1);
        }
    }

    fn headline(&mut self, task: &Task, depth: usize) {
        let style = self.canvas.style;
        let (sign, paint) = self.sign(task);
        let title = if depth == 0 {
            style.paint(Paint::Bold, &task.title)
        } else {
            task.title.clone()
        };
        let mut left = format!("{} {title}", style.paint(paint, sign));
        let mut aside = Vec::new();
        match &task.end {
            None => {
                aside.extend(
                    task.amounts
                        .iter()
                        .filter(|amount| !amount.bytes)
                        .map(super::state::Amount::counted),
                );
                aside.extend(task.status.clone());
            }
            Some(end) => {
                if !matches!(end.state, TaskState::Done) {
                    aside.push(word(end.state).to_owned());
                }
                aside.extend(end.detail.clone());
            }
        }
        if !aside.is_empty() {
            left.push_str("  ");
            left.push_str(&style.paint(if task.failed() { Paint::Bad } else { Paint::Dim }, &aside.join(", ")));
        }
        let time = elapsed(task.elapsed_ms(self.canvas.now));
        self.line(depth, &left, &time);
    }

    fn sign(&self, task: &Task) -> (&'static str, Paint) {
        match task.end.as_ref().map(|end| end.state) {
            None => {
                let turn = task.elapsed_ms(self.canvas.now) / 100 % SPINNER.len() as u64;
                (SPINNER[usize::try_from(turn).unwrap_or(0)], Paint::Busy)
            }
            Some(TaskState::Done) => ("✔", Paint::Good),
            Some(TaskState::Unchanged) => ("=", Paint::Good),
            Some(TaskState::Skipped | TaskState::Kept) => ("-", Paint::Dim),
            Some(TaskState::Failed) => ("✘", Paint::Bad),
            Some(TaskState::Undone) => ("↩", Paint::Warn),
            Some(TaskState::Abandoned) => ("…", Paint::Warn),
        }
    }

    /// Whether this is drawn for the last time.
    fn settled(&self) -> bool {
        self.ended == usize::MAX
    }

    /// The error of a task, whole: the terminal wraps it, and nothing of it is cut.
    fn why(&mut self, task: &Task, depth: usize) {
        let Some(error) = task.end.as_ref().and_then(|end| end.error.as_ref()) else {
            return;
        };
        for text in std::iter::once(&error.message).chain(&error.causes) {
            // The first line says what; logs and the like stand whole below, in the last words.
            let first = text.lines().next().unwrap_or_default();
            let text = self.canvas.style.paint(Paint::Bad, &clean(first));
            self.lines.push(format!("{:indent$}  {text}", "", indent = depth * 2));
        }
    }

    /// A bar for all bytes together, and one for each of the first transfers that go on.
    fn bars(&mut self, task: &Task, depth: usize) {
        let style = self.canvas.style;
        if let Some((done, total)) = task.transfer() {
            let left = task
                .left_ms(self.canvas.now)
                .map(|left| format!(", {} left", elapsed(left)))
                .unwrap_or_default();
            let text = format!("{}  {}{left}", bar(style, done, total), bytes_of(done, total));
            self.line(depth, &format!("  {text}"), "");
        }
        let going: Vec<_> = task
            .amounts
            .iter()
            .filter(|amount| amount.bytes && amount.total.is_none_or(|total| amount.done < total))
            .collect();
        if task.amounts.iter().filter(|amount| amount.bytes).count() < 2 && task.transfer().is_some() {
            return;
        }
        for amount in going.into_iter().take(BARS.min(self.output.max(1))) {
            let so_far = match amount.total {
                Some(total) => format!("{}  {}", bar(style, amount.done, total), bytes_of(amount.done, total)),
                None => bytes(amount.done),
            };
            self.line(
                depth,
                &format!("  {so_far}  {}", style.paint(Paint::Dim, &amount.what)),
                "",
            );
        }
    }

    fn output(&mut self, task: &Task, depth: usize) {
        let from = task.lines.len().saturating_sub(self.output);
        for text in task.lines.iter().skip(from) {
            let line = self.canvas.style.paint(Paint::Dim, &format!("  │ {text}"));
            self.line(depth, &line, "");
        }
    }

    /// A line with its depth, cut to the terminal, and something at its right end.
    fn line(&mut self, depth: usize, left: &str, right: &str) {
        // The last column stays free: some terminals wrap when it is written.
        let width = self.canvas.columns.saturating_sub(1).clamp(1, WIDEST);
        let left = format!("{:indent$}{left}", "", indent = depth * 2);
        // Where it is narrow, the text matters more than the time.
        let reserved = if right.is_empty() {
            0
        } else {
            measure_text_width(right) + 1
        };
        let reserved = if width < reserved + NARROW { 0 } else { reserved };
        let mut line = truncate_str(&left, width - reserved, "…").into_owned();
        if reserved > 0 {
            let gap = (width + 1).saturating_sub(measure_text_width(&line) + reserved);
            line.push_str(&" ".repeat(gap));
            line.push_str(&self.canvas.style.paint(Paint::Dim, right));
        }
        self.lines.push(line);
    }
}

const BAR: u64 = 20;

fn bar(style: Style, done: u64, total: u64) -> String {
    let filled = u128::from(done.min(total)) * u128::from(BAR) / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or(0);
    let empty = usize::try_from(BAR).unwrap_or(0) - filled;
    format!(
        "{}{}",
        style.paint(Paint::Busy, &"█".repeat(filled)),
        style.paint(Paint::Dim, &"░".repeat(empty))
    )
}
