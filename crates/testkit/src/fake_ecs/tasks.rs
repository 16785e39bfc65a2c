//! The operations on tasks.
//!
//! Invariant: a token answers the same task for as long as the test runs, and a stopped task is forgotten after an hour.

use serde_json::{Value, json};

use super::answers::{Answer, client, invalid, refusal, seconds, text};
use super::world::{Task, World};

impl World {
    pub(super) fn list_tasks(&self, input: &Value, now: i64) -> Value {
        let desired = input["desiredStatus"].as_str().unwrap_or("RUNNING");
        let matches = |t: &&Task| {
            let alive = t.alive();
            // ECS forgets a stopped task after an hour.
            let fresh = t.stopped.is_none_or(|at| now - at < 3_600_000);
            (desired == "RUNNING") == alive
                && fresh
                && input["family"]
                    .as_str()
                    .is_none_or(|f| t.definition.contains(&format!("/{f}:")))
                && input["startedBy"].as_str().is_none_or(|s| s == t.started_by)
                && input["serviceName"]
                    .as_str()
                    .is_none_or(|s| t.service.as_deref() == s.rsplit('/').next())
        };
        json!({"taskArns": self.tasks.iter().filter(matches).map(|t| t.arn.clone()).collect::<Vec<_>>()})
    }

    pub(super) fn describe_tasks(&self, input: &Value, now: i64) -> Value {
        let (mut tasks, mut failures) = (Vec::new(), Vec::new());
        for arn in input["tasks"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let fresh = |t: &&Task| t.stopped.is_none_or(|at| now - at < 3_600_000);
            match self.tasks.iter().filter(fresh).find(|t| t.arn == arn || t.id == arn) {
                Some(task) => tasks.push(self.task(task, now)),
                None => failures.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        json!({"tasks": tasks, "failures": failures})
    }

    pub(super) fn task(&self, t: &Task, now: i64) -> Value {
        let definition = self
            .definition(&t.definition)
            .map(|d| d.body.clone())
            .unwrap_or_default();
        let containers: Vec<Value> = definition["containerDefinitions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| {
                let mut container =
                    json!({"name": c["name"], "image": c["image"], "lastStatus": t.status(now), "taskArn": t.arn});
                if let Some(code) = t.exit_code.filter(|_| t.stopped.is_some()) {
                    container["exitCode"] = code.into();
                }
                if let Some(reason) = &t.container_reason {
                    container["reason"] = reason.clone().into();
                }
                container
            })
            .collect();
        let mut task = json!({
            "taskArn": t.arn, "taskDefinitionArn": t.definition, "lastStatus": t.status(now),
            "desiredStatus": if t.alive() { "RUNNING" } else { "STOPPED" }, "startedBy": t.started_by,
            "createdAt": seconds(t.created), "containers": containers, "launchType": "FARGATE",
            "attachments": [{"type": "ElasticNetworkInterface", "status": "ATTACHED",
                "details": [{"name": "privateIPv4Address", "value": t.address}]}],
        });
        let times = [
            ("startedAt", t.running),
            ("stoppingAt", t.stopping),
            ("stoppedAt", t.stopped),
        ];
        for (field, at) in times {
            if let Some(at) = at {
                task[field] = seconds(at);
            }
        }
        if let (Some(code), Some(reason)) = (t.stop_code, &t.stopped_reason) {
            task["stopCode"] = code.into();
            task["stoppedReason"] = reason.clone().into();
        }
        task
    }

    pub(super) fn run_task(&mut self, input: &Value, now: i64) -> Answer {
        let token = text(input, "clientToken").to_owned();
        if token.len() > 64 {
            return Err(invalid("clientToken is longer than 64 characters."));
        }
        if input["overrides"].to_string().chars().count() > 8192 {
            return Err(invalid("Container Overrides length must be at most 8192."));
        }
        if let Some((remembered, arn)) = self.tokens.get(&token).filter(|_| !token.is_empty()) {
            if remembered != input {
                return Err(refusal(
                    400,
                    "ConflictException",
                    "The token was used with other parameters.",
                ));
            }
            let task = self.tasks.iter().find(|t| t.arn == *arn);
            return Ok(
                json!({"tasks": task.map(|t| self.task(t, now)).into_iter().collect::<Vec<_>>(), "failures": []}),
            );
        }
        let definition = self.definition(text(input, "taskDefinition")).map(|d| d.arn.clone());
        let definition = definition.ok_or_else(|| client("TaskDefinition not found."))?;
        let command = input["overrides"]["containerOverrides"][0]["command"].to_string();
        let index = self.new_task(&definition, None, text(input, "startedBy"), &command, now);
        if !token.is_empty() {
            self.tokens
                .insert(token, (input.clone(), self.tasks[index].arn.clone()));
        }
        Ok(json!({"tasks": [self.task(&self.tasks[index], now)], "failures": []}))
    }
}
