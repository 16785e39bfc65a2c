//! The output of containers, from `CloudWatch`.
//!
//! Invariant: a line is delivered once, though pages overlap, late lines arrive, and many lines share a millisecond.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use nuages_aws::error::Kind;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, TICK, told};
use crate::definition::LogTarget;
use crate::error::EcsError;

/// One line of a container's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The stream.
    pub stream: String,
    /// The text, without its end.
    pub text: String,
}

impl LogLine {
    /// Container and shortened task, for the left margin: `web/3f2a91c0`.
    pub fn source(&self) -> String {
        let mut parts = self.stream.rsplit('/');
        let task = parts.next().unwrap_or_default();
        let container = parts.next().unwrap_or_default();
        format!("{container}/{}", task.get(..8).unwrap_or(task))
    }
}

/// Which lines to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// The log group.
    pub group: String,
    /// What the streams' names begin with: a service's prefix; empty for all.
    pub prefix: String,
    /// Lines from this moment on, in milliseconds since 1970.
    pub since_ms: i64,
    /// Only lines that match `CloudWatch`'s filter pattern.
    pub pattern: Option<String>,
}

/// Lines may arrive this much later than lines that are older than them: containers buffer on their own.
const LATE: Duration = Duration::from_secs(15);

impl Cluster {
    /// The last lines of one container of one task; none where it never wrote.
    pub async fn log_tail(
        &self,
        log: &LogTarget,
        container: &str,
        task_id: &str,
        lines: u16,
    ) -> Result<Vec<String>, EcsError> {
        let call = self
            .logs
            .get_log_events()
            .log_group_name(&log.group)
            .log_stream_name(log.stream(container, task_id))
            .limit(lines.into())
            .start_from_head(false);
        match call.send().await.map_err(told("logs:GetLogEvents")) {
            Ok(answer) => Ok(answer
                .events()
                .iter()
                .map(|e| trimmed(e.message().unwrap_or_default()))
                .collect()),
            Err(e) if e.kind == Kind::NotFound => Ok(Vec::new()),
            Err(e) => Err(EcsError::call(format!("read the log group `{}`", log.group))(e)),
        }
    }

    /// Lines from `query.since_ms` until now, oldest first.
    pub async fn log_lines(&self, query: &LogQuery) -> Result<Vec<LogLine>, EcsError> {
        let mut seen = Seen::default();
        self.page_through(query, query.since_ms, &mut seen).await
    }

    /// Delivers lines as they arrive, until it is cancelled.
    ///
    /// ```no_run
    /// # async fn example(cluster: nuages_ecs::Cluster, cancel: tokio_util::sync::CancellationToken) -> Result<(), nuages_ecs::EcsError> {
    /// use nuages_ecs::LogQuery;
    ///
    /// let query = LogQuery { group: "/nuages/blog".into(), prefix: "web".into(), since_ms: 0, pattern: None };
    /// cluster.follow_logs(&query, &cancel, |line| println!("{} {}", line.source(), line.text)).await
    /// # }
    /// ```
    pub async fn follow_logs(
        &self,
        query: &LogQuery,
        cancel: &CancellationToken,
        mut deliver: impl FnMut(LogLine),
    ) -> Result<(), EcsError> {
        let mut seen = Seen::default();
        let mut from = query.since_ms;
        let mut pause = TICK;
        loop {
            let page = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                page = self.page_through(query, from, &mut seen) => page,
            };
            match page {
                Ok(lines) => {
                    pause = TICK;
                    if let Some(newest) = lines.iter().map(|l| l.at_ms).max() {
                        // The window reaches back, for lines that arrive late; what was delivered is remembered.
                        from = from.max(newest - i64::try_from(LATE.as_millis()).unwrap_or(0));
                        seen.forget_before(from);
                    }
                    lines.into_iter().for_each(&mut deliver);
                }
                Err(e) if nuages_aws::poll::MaybeThrottled::is_throttled(&e) => pause = (pause * 2).min(TICK * 20),
                Err(e) => return Err(e),
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn page_through(&self, query: &LogQuery, from: i64, seen: &mut Seen) -> Result<Vec<LogLine>, EcsError> {
        let mut lines = Vec::new();
        let mut token = None;
        loop {
            let call = self
                .logs
                .filter_log_events()
                .log_group_name(&query.group)
                .set_log_stream_name_prefix(Some(query.prefix.clone()).filter(|p| !p.is_empty()))
                .set_filter_pattern(query.pattern.clone())
                .start_time(from)
                .set_next_token(token);
            let answer = match call.send().await.map_err(told("logs:FilterLogEvents")) {
                Ok(answer) => answer,
                // Nothing was ever written under the prefix.
                Err(e) if e.kind == Kind::NotFound && !query.prefix.is_empty() => return Ok(lines),
                Err(e) => return Err(EcsError::call(format!("read the log group `{}`", query.group))(e)),
            };
            for event in answer.events() {
                let line = LogLine {
                    at_ms: event.timestamp().unwrap_or_default(),
                    stream: event.log_stream_name().unwrap_or_default().to_owned(),
                    text: trimmed(event.message().unwrap_or_default()),
                };
                if line.stream.starts_with(&query.prefix) && seen.is_new(event.event_id(), &line) {
                    lines.push(line);
                }
            }
            token = answer.next_token;
            if token.is_none() {
                lines.sort_by_key(|line| line.at_ms);
                return Ok(lines);
            }
        }
    }
}

fn trimmed(message: &str) -> String {
    message.trim_end_matches(['\n', '\r']).to_owned()
}

/// What was delivered within the window.
#[derive(Debug, Default)]
struct Seen(BTreeMap<i64, HashSet<String>>);

impl Seen {
    fn is_new(&mut self, event_id: Option<&str>, line: &LogLine) -> bool {
        let id = event_id
            .filter(|id| !id.is_empty())
            .map_or_else(|| format!("{}\n{}", line.stream, line.text), str::to_owned);
        self.0.entry(line.at_ms).or_default().insert(id)
    }

    fn forget_before(&mut self, at_ms: i64) {
        self.0 = self.0.split_off(&at_ms);
    }
}

/// Reads one stream from its head, new lines at each call.
#[derive(Debug)]
pub(crate) struct StreamReader {
    group: String,
    stream: String,
    token: Option<String>,
}

impl StreamReader {
    pub(crate) fn new(log: &LogTarget, container: &str, task_id: &str) -> Self {
        Self {
            group: log.group.clone(),
            stream: log.stream(container, task_id),
            token: None,
        }
    }

    /// The lines that arrived since the last call.
    pub(crate) async fn read(&mut self, logs: &aws_sdk_cloudwatchlogs::Client) -> Result<Vec<String>, EcsError> {
        let mut lines = Vec::new();
        loop {
            let call = logs
                .get_log_events()
                .log_group_name(&self.group)
                .log_stream_name(&self.stream)
                .start_from_head(true)
                .set_next_token(self.token.clone());
            let answer = match call.send().await.map_err(told("logs:GetLogEvents")) {
                Ok(answer) => answer,
                // The stream is made with the first line.
                Err(e) if e.kind == Kind::NotFound => return Ok(lines),
                Err(e) => return Err(EcsError::call(format!("read the log group `{}`", self.group))(e)),
            };
            lines.extend(answer.events().iter().map(|e| trimmed(e.message().unwrap_or_default())));
            // At the stream's end the same token comes back.
            let end = answer.next_forward_token.is_none() || answer.next_forward_token == self.token;
            self.token = answer.next_forward_token.or(self.token.take());
            if end || (answer.events.unwrap_or_default().is_empty()) {
                return Ok(lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: i64, text: &str) -> LogLine {
        LogLine {
            at_ms,
            stream: "blog/web/0123456789abcdef".into(),
            text: text.into(),
        }
    }

    #[test]
    fn remembers_by_id_and_else_by_text() {
        let mut seen = Seen::default();
        assert!(seen.is_new(Some("1"), &line(5, "a")));
        assert!(!seen.is_new(Some("1"), &line(5, "a")));
        assert!(
            seen.is_new(Some("2"), &line(5, "a")),
            "the same text twice is two lines"
        );
        assert!(seen.is_new(None, &line(6, "a")));
        assert!(!seen.is_new(None, &line(6, "a")));
        seen.forget_before(6);
        assert!(seen.is_new(Some("1"), &line(5, "a")));
        assert!(!seen.is_new(None, &line(6, "a")));
    }

    #[test]
    fn margin() {
        assert_eq!(line(0, "").source(), "web/01234567");
    }
}
