//! What each operation answers.
//!
//! Invariant: what ECS refuses is refused before anything changes, and every call is recorded.

use ::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::Call;
use super::behaviour::Fault;
use super::world::{Definition, World};
use crate::http::{Received, json as answer_json, xml};

/// A call that was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Refusal {
    /// As the JSON protocol gives it.
    fn json(&self) -> Response<Bytes> {
        answer_json(self.status, &json!({"__type": self.code, "message": self.message}))
    }

    /// As the query protocol gives it.
    pub(super) fn xml(&self) -> Response<Bytes> {
        let (code, message) = (&self.code, &self.message);
        let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        xml(self.status, format!("<ErrorResponse>{error}</ErrorResponse>"))
    }
}

pub(super) fn refusal(status: u16, code: &str, message: &str) -> Refusal {
    Refusal {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

pub(super) type Answer = Result<Value, Refusal>;

pub(super) fn client(message: &str) -> Refusal {
    refusal(400, "ClientException", message)
}

pub(super) fn invalid(message: &str) -> Refusal {
    refusal(400, "InvalidParameterException", message)
}

pub(super) fn text<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name].as_str().unwrap_or_default()
}

pub(super) fn seconds(ms: i64) -> Value {
    // Milliseconds fit a float's 53 bits for the next few thousand centuries.
    #[expect(clippy::cast_precision_loss, reason = "timestamps are far below 2^53")]
    let seconds = ms as f64 / 1000.0;
    json!(seconds)
}

impl World {
    pub(super) fn answer(&mut self, operation: &str, request: &Received) -> Response<Bytes> {
        let json_protocol = request.headers().contains_key("x-amz-target");
        let input = if json_protocol {
            serde_json::from_slice(request.body()).unwrap_or(Value::Null)
        } else {
            form(request.body())
        };
        self.calls.push(Call {
            operation: operation.to_owned(),
            input: input.clone(),
        });
        let fault = self
            .faults
            .get_mut(operation)
            .and_then(std::collections::VecDeque::pop_front);
        match &fault {
            Some(Fault::Refused(status, code, message)) if json_protocol => {
                return refusal(*status, code, message).json();
            }
            Some(Fault::Refused(status, code, message)) => return refusal(*status, code, message).xml(),
            Some(Fault::Missing) => {
                return answer_json(
                    200,
                    &json!({"services": [], "tasks": [], "clusters": [], "failures": [{"arn": "arn:aws:ecs:x", "reason": "MISSING"}]}),
                );
            }
            Some(Fault::Failures(reason, detail)) => {
                return answer_json(
                    200,
                    &json!({"tasks": [], "failures": [{"reason": reason, "detail": detail}]}),
                );
            }
            _ => {}
        }
        if !json_protocol {
            return self.balancer(operation, &input);
        }
        let stale = matches!(fault, Some(Fault::Stale));
        if stale {
            std::mem::swap(&mut self.services, &mut self.services_before);
        } else if matches!(operation, "CreateService" | "UpdateService" | "DeleteService") {
            self.services_before = self.services.clone();
        }
        let carried_out = self.carry_out(operation, &input);
        if stale {
            std::mem::swap(&mut self.services, &mut self.services_before);
        }
        let answer = match carried_out {
            Ok(body) => answer_json(200, &body),
            Err(refused) => refused.json(),
        };
        if matches!(fault, Some(Fault::LostAnswer)) {
            return refusal(500, "ServerException", "the answer was lost").json();
        }
        answer
    }

    fn carry_out(&mut self, operation: &str, input: &Value) -> Answer {
        let now = self.now_ms();
        match operation {
            "RegisterTaskDefinition" => self.register(input),
            "DescribeTaskDefinition" => {
                let definition = self.definition(text(input, "taskDefinition"));
                let definition = definition.ok_or_else(|| client("Unable to describe task definition."))?;
                Ok(json!({"taskDefinition": definition.body, "tags": definition.tags}))
            }
            "DeregisterTaskDefinition" => {
                let arn = text(input, "taskDefinition").to_owned();
                let found = self.definitions.iter_mut().find(|d| d.arn == arn);
                let found = found.ok_or_else(|| client("The specified task definition does not exist."))?;
                found.active = false;
                found.body["status"] = "INACTIVE".into();
                Ok(json!({"taskDefinition": found.body}))
            }
            "DescribeClusters" => Ok(self.describe_clusters()),
            "CreateService" | "UpdateService" | "DeleteService" | "DescribeServices" | "ListServices" | "ListTasks"
            | "DescribeTasks" | "RunTask" | "StopTask"
                if self.cluster_status.is_none() =>
            {
                Err(refusal(400, "ClusterNotFoundException", "Cluster not found."))
            }
            "CreateService" => self.create_service(input, now),
            "UpdateService" => self.update_service(input, now),
            "DeleteService" => self.delete_service(input),
            "DescribeServices" => Ok(self.describe_services(input)),
            "ListServices" => {
                let active = self.services.values().filter(|s| s.status == "ACTIVE");
                Ok(json!({"serviceArns": active.map(|s| s.arn.clone()).collect::<Vec<_>>()}))
            }
            "DescribeServiceDeployments" => Ok(self.describe_service_deployments(input)),
            "ListTasks" => Ok(self.list_tasks(input, now)),
            "DescribeTasks" => Ok(self.describe_tasks(input, now)),
            "RunTask" => self.run_task(input, now),
            "StopTask" => {
                let wanted = text(input, "task").to_owned();
                let index = self.tasks.iter().position(|t| t.arn == wanted || t.id == wanted);
                let index = index.ok_or_else(|| invalid("The referenced task was not found."))?;
                self.stop(index, text(input, "reason"), now);
                Ok(json!({"task": self.task(&self.tasks[index], now)}))
            }
            "GetLogEvents" => self.get_log_events(input),
            "FilterLogEvents" => self.filter_log_events(input),
            "DescribeLogGroups" => {
                let prefix = text(input, "logGroupNamePrefix");
                let groups = self.log_groups.iter().filter(|g| g.starts_with(prefix));
                let groups = groups.map(|g| json!({"logGroupName": g, "retentionInDays": 30}));
                Ok(json!({"logGroups": groups.collect::<Vec<_>>()}))
            }
            other => Err(refusal(400, "UnknownOperationException", other)),
        }
    }

    fn register(&mut self, input: &Value) -> Answer {
        let family = text(input, "family").to_owned();
        let containers = input["containerDefinitions"].as_array().cloned().unwrap_or_default();
        if family.is_empty() || containers.is_empty() {
            return Err(client("A task definition needs a family and containers."));
        }
        if containers.iter().any(|c| c["stopTimeout"].as_i64().unwrap_or(0) > 120) {
            return Err(client("Fargate tasks allow a stopTimeout of at most 120 seconds."));
        }
        let revision = self.definitions.iter().filter(|d| d.family == family).count() + 1;
        let arn = Self::arn(&format!("task-definition/{family}:{revision}"));
        let mut body = input.clone();
        body["taskDefinitionArn"] = arn.clone().into();
        body["revision"] = revision.into();
        body["status"] = "ACTIVE".into();
        body["compatibilities"] = json!(["EC2", "FARGATE"]);
        // What ECS fills in on its own.
        body["volumes"] = json!([]);
        body["placementConstraints"] = json!([]);
        for container in body["containerDefinitions"].as_array_mut().into_iter().flatten() {
            for list in [
                "environment",
                "mountPoints",
                "volumesFrom",
                "systemControls",
                "portMappings",
                "secrets",
            ] {
                if container[list].is_null() {
                    container[list] = json!([]);
                }
            }
            if container["cpu"].is_null() {
                container["cpu"] = 0.into();
            }
        }
        let tags = body
            .as_object_mut()
            .and_then(|b| b.remove("tags"))
            .unwrap_or_else(|| json!([]));
        self.definitions.push(Definition {
            arn,
            family,
            active: true,
            body: body.clone(),
            tags: tags.clone(),
        });
        Ok(json!({"taskDefinition": body, "tags": tags}))
    }

    fn describe_clusters(&self) -> Value {
        let Some(status) = &self.cluster_status else {
            return json!({"clusters": [], "failures": [{"arn": Self::arn("cluster/x"), "reason": "MISSING"}]});
        };
        let running = self.tasks.iter().filter(|t| t.stopped.is_none()).count();
        json!({"clusters": [{
            "clusterArn": Self::arn(&format!("cluster/{}", self.cluster)), "clusterName": self.cluster,
            "status": status, "runningTasksCount": running, "pendingTasksCount": 0,
        }], "failures": []})
    }
}

/// A form's fields.
fn form(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let fields = text
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (decode(k), Value::from(decode(v))));
    Value::Object(fields.collect())
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
