//! What is under way: a row each on a terminal, a sentence now and then elsewhere.
//!
//! Invariant: only this module draws. Whatever else is said meanwhile goes through it, so that rows stay whole.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where nobody sees a row move, its state is said this often.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// What took less needs no line that stays.
const WORTH_SAYING: Duration = Duration::from_secs(2);

/// All rows.
pub(crate) struct Board {
    rows: MultiProgress,
    terminal: bool,
}

/// One piece of work.
pub(crate) struct Row {
    title: String,
    bar: ProgressBar,
    rows: MultiProgress,
    terminal: bool,
    began: Instant,
    said: Mutex<Instant>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            rows: MultiProgress::new(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Begins a piece of work.
    pub(crate) fn row(&self, title: &str) -> Row {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if self.terminal {
            bar.set_style(style("{spinner:.cyan}"));
            bar.set_prefix(title.to_owned());
            // Only from here on it draws.
            self.rows.add(bar.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Row {
            title: title.to_owned(),
            bar,
            rows: self.rows.clone(),
            terminal: self.terminal,
            began: Instant::now(),
            said: Mutex::new(Instant::now()),
        }
    }
}

fn style(sign: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{sign} {{prefix:.bold}}  {{wide_msg:.dim}} {{elapsed_precise:.dim}}"
    ))
    .unwrap_or_else(|_| ProgressStyle::default_spinner())
    .tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "])
}

impl Row {
    /// How far it is.
    pub(crate) fn status(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        if self.terminal {
            return;
        }
        if let Ok(mut said) = self.said.lock()
            && said.elapsed() >= HEARTBEAT
        {
            *said = Instant::now();
            self.say(&format!(
                "{}: {text} ({} s)",
                self.title,
                self.began.elapsed().as_secs()
            ));
        }
    }

    /// A line that stays.
    #[expect(clippy::print_stderr, reason = "this is where xtask speaks")]
    pub(crate) fn say(&self, line: &str) {
        if self.terminal {
            self.rows.suspend(|| eprintln!("{line}"));
        } else {
            eprintln!("{line}");
        }
    }

    pub(crate) fn done(self, text: &str) {
        self.end("{spinner:.green}", "✔", text);
    }

    pub(crate) fn failed(self, text: &str) {
        self.end("{spinner:.red}", "✘", text);
    }

    fn end(self, color: &str, sign: &str, text: &str) {
        let took = self.began.elapsed();
        let worth = took >= WORTH_SAYING || sign == "✘";
        if self.terminal {
            self.bar.disable_steady_tick();
            if worth {
                self.bar.set_style(style(color).tick_strings(&[sign, sign]));
                self.bar.finish_with_message(text.to_owned());
            } else {
                self.bar.finish_and_clear();
            }
        } else if worth {
            self.say(&format!("{sign} {}  {text}  {:.1}s", self.title, took.as_secs_f64()));
        }
    }
}
