//! The page of `nuages history --page`: one file that needs nothing else, with a bar for each attempt and undo.
//!
//! Invariant: what comes from a journal is text to the page, never markup.

use std::fmt::Write as _;

use jiff::Timestamp;
use nuages_saga::{Act, ActOutcome, History, Mode};

use crate::screen::time;
use crate::verbs::history::{end, took};

const WIDTH: f64 = 640.0;
const ROW: usize = 30;
/// Where the bars begin: the steps' titles stand before it.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 110.0;
const TOP: usize = 34;
/// Room under the bars, where it stands who took it up.
const BELOW: usize = 24;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#172033;--dim:#5b6780;--line:#dfe5ef;--paper:#fff;\
--good:#1f9d61;--bad:#d33f49;--back:#c98a12;--open:#7a5cd6;--idle:#9aa6bb}\
@media(prefers-color-scheme:dark){:root{--ink:#e8edf6;--dim:#9aa6bb;--line:#2b3446;--paper:#121825}}\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:1080px;margin:0 auto;padding:32px 20px}h1{font-size:22px;margin:0 0 4px}\
p{margin:0 0 4px;color:var(--dim)}svg{display:block;width:100%;height:auto;margin:20px 0}\
text{font:13px system-ui,sans-serif;fill:var(--ink)}text.dim{fill:var(--dim);font-size:12px}text.turn{fill:var(--open);font-size:12px}\
line{stroke:var(--line)}line.turn{stroke:var(--open);stroke-dasharray:3 3}\
.applied,.undone{fill:var(--good)}.undone{fill:var(--back)}.failed,.stuck{fill:var(--bad)}\
.open{fill:var(--open)}.as-wanted,.no-effect,.kept{fill:var(--idle)}\
section{border-left:3px solid var(--bad);padding:2px 14px;margin:14px 0}section p{color:var(--ink)}\
code{font:13px ui-monospace,monospace}";

/// The whole page.
pub(crate) fn page(history: &History) -> String {
    let title = format!("{} of {} in {}", history.operation, history.app, history.env);
    let mut body = String::new();
    let _ = write!(
        body,
        "<h1>{}</h1><p><code>{}</code></p><p>began {} · took {} · {}</p>",
        escaped(&title),
        history.deployment,
        time(history.began),
        took(history.began, Some(history.last)),
        end(history.end.as_ref())
    );
    for turn in &history.turns {
        let mode = taken_up(turn.mode);
        let _ = write!(
            body,
            "<p>{mode} by {} with nuages {} at {}</p>",
            escaped(&turn.holder.to_string()),
            escaped(&turn.tool),
            time(turn.began)
        );
    }
    body.push_str(&chart(history));
    for act in &history.acts {
        if let Some(error) = act.outcome.error() {
            let causes = error.causes.iter().fold(String::new(), |text, cause| {
                text + "<p>caused by: " + &escaped(cause) + "</p>"
            });
            let _ = write!(
                body,
                "<section><p><b>{}</b> {}: {}</p>{causes}</section>",
                escaped(&act.title),
                act.outcome.word(),
                escaped(&error.message)
            );
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style><main>{body}</main></html>\n",
        escaped(&title)
    )
}

const fn taken_up(mode: Mode) -> &'static str {
    match mode {
        Mode::Run => "run",
        Mode::Resume => "resumed",
        Mode::Abort => "undone",
    }
}

fn chart(history: &History) -> String {
    let end = history
        .acts
        .iter()
        .filter_map(|act| act.ended)
        .fold(history.last, Timestamp::max);
    let scale = Scale::new(history.began, end);
    let height = TOP + ROW * history.acts.len() + BELOW;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"Timeline\">",
        LEFT + WIDTH + RIGHT
    );
    for second in scale.ticks() {
        let x = scale.x_of(second);
        let _ = write!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{height}\"/>\
             <text class=\"dim\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 8,
            TOP - 14,
            label(second)
        );
    }
    for (row, act) in history.acts.iter().enumerate() {
        svg.push_str(&bar(act, &scale, TOP + ROW * row, end));
    }
    // The first process began the deployment; each later one took it up, in the midst of what a bar shows.
    for turn in history.turns.iter().skip(1) {
        let x = scale.x(turn.began);
        let _ = write!(
            svg,
            "<line class=\"turn\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{}\"><title>{}</title></line>\
             <text class=\"turn\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 8,
            height - BELOW + 4,
            escaped(&turn.holder.to_string()),
            height - 6,
            taken_up(turn.mode)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn bar(act: &Act, scale: &Scale, y: usize, end: Timestamp) -> String {
    let ended = act.ended.unwrap_or(end);
    let (from, to) = (scale.x(act.began), scale.x(ended));
    let width = (to - from).max(4.0);
    let what = match act.attempt {
        None => format!("undo: {}", act.title),
        Some(1) => act.title.clone(),
        Some(attempt) => format!("{} ({attempt})", act.title),
    };
    let class = act.outcome.word().replace(' ', "-");
    let beside = match act.outcome {
        ActOutcome::Applied | ActOutcome::Undone => took(act.began, act.ended),
        _ => format!("{} {}", act.outcome.word(), took(act.began, act.ended)),
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "<text x=\"0\" y=\"{}\">{}</text>\
         <rect class=\"{class}\" x=\"{from:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"16\" rx=\"4\"><title>{}</title></rect>\
         <text class=\"dim\" x=\"{:.1}\" y=\"{}\">{}</text>",
        y + 15,
        escaped(&shortened(&what, 42)),
        y + 3,
        escaped(&format!(
            "{what}: {} after {}",
            act.outcome.word(),
            took(act.began, act.ended)
        )),
        from + width + 7.0,
        y + 15,
        escaped(&beside)
    );
    text
}

/// From a moment to a place on the page.
struct Scale {
    began: Timestamp,
    seconds: f64,
}

impl Scale {
    fn new(began: Timestamp, end: Timestamp) -> Self {
        Self {
            began,
            seconds: end.duration_since(began).as_secs_f64().max(0.1),
        }
    }

    fn x(&self, at: Timestamp) -> f64 {
        self.x_of(at.duration_since(self.began).as_secs_f64())
    }

    fn x_of(&self, second: f64) -> f64 {
        LEFT + (second / self.seconds).clamp(0.0, 1.0) * WIDTH
    }

    /// Five marks or so, at round places.
    fn ticks(&self) -> Vec<f64> {
        let round = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
        ];
        let step = round
            .into_iter()
            .find(|step| self.seconds / step <= 6.0)
            .unwrap_or(self.seconds / 5.0);
        let mut ticks = Vec::new();
        let mut at = 0.0;
        while at <= self.seconds {
            ticks.push(at);
            at += step;
        }
        ticks
    }
}

fn label(second: f64) -> String {
    if second < 60.0 {
        format!("{}s", (second * 10.0).round() / 10.0)
    } else {
        format!("{}m", (second / 6.0).round() / 10.0)
    }
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        text.chars().take(most - 1).chain(['…']).collect()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuages_saga::{ErrorReport, Plan};

    fn act(title: &str, began: Timestamp, ended: Option<Timestamp>, outcome: ActOutcome) -> Act {
        Act {
            step: "a".parse().unwrap(),
            title: title.into(),
            stage: String::new(),
            attempt: Some(1),
            began,
            ended,
            outcome,
        }
    }

    #[test]
    fn what_a_journal_says_is_text() {
        let plan = Plan::new("deploy", "blog".parse().unwrap(), "local".parse().unwrap(), "0.1.0");
        let mut history = History::of(&plan, &[]);
        let later = |seconds: i64| history_time(&plan, seconds);
        history.last = later(90);
        let error = ErrorReport {
            message: "<script>alert(1)</script>".into(),
            causes: vec!["a & b".into()],
            hint: None,
        };
        history.acts = vec![
            act(
                "Migrate <b>all</b>",
                later(0),
                Some(later(30)),
                ActOutcome::Failed { error },
            ),
            act("Update", later(31), None, ActOutcome::Open),
        ];
        let page = page(&history);
        for head in ["<title>", "<h1>"] {
            assert!(page.contains(&format!("{head}deploy of blog in local</")), "{page}");
        }
        assert!(page.contains(&format!("<code>{}</code>", plan.deployment)));
        assert!(!page.contains("<script") && !page.contains("<b>all"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("a &amp; b"));
        assert!(page.contains("class=\"failed\"") && page.contains("class=\"open\""));
        assert_eq!(page.matches("<rect").count(), 2);
        assert!(!page.contains("http"), "it needs nothing from elsewhere");
    }

    fn history_time(plan: &Plan, seconds: i64) -> Timestamp {
        plan.created
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap()
    }

    #[test]
    fn marks_stand_at_round_places() {
        let scale = |seconds: f64| Scale {
            began: Timestamp::UNIX_EPOCH,
            seconds,
        };
        assert_eq!(scale(4.8).ticks(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(scale(90.0).ticks(), [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0]);
        assert!(scale(1e6).ticks().len() <= 6);
    }
}
