//! The operations on services.
//!
//! Invariant: an update makes a deployment exactly where it changes what tasks are.

use serde_json::{Value, json};

use super::answers::{Answer, Refusal, client, invalid, refusal, seconds, text};
use super::world::{Deployment, Service, Task, World};

impl World {
    pub(super) fn create_service(&mut self, input: &Value, now: i64) -> Answer {
        let name = text(input, "serviceName").to_owned();
        let token = text(input, "clientToken").to_owned();
        if token.len() > 36 {
            return Err(invalid("clientToken is longer than 36 characters."));
        }
        if let Some((remembered, arn)) = self.tokens.get(&token).filter(|_| !token.is_empty()) {
            if remembered != input {
                return Err(invalid("The token was used with other parameters."));
            }
            let service = self.services.values().find(|s| s.arn == *arn);
            return service
                .map(|s| json!({"service": self.service(s)}))
                .ok_or_else(|| invalid("It is gone."));
        }
        match self.services.get(&name).map(|s| s.status) {
            Some("ACTIVE") => return Err(invalid("Creation of service was not idempotent.")),
            Some("DRAINING") => return Err(invalid("Unable to Start a service that is still Draining.")),
            _ => {}
        }
        let definition = self.definition(text(input, "taskDefinition")).map(|d| d.arn.clone());
        let definition = definition.ok_or_else(|| client("TaskDefinition not found."))?;
        for target in input["loadBalancers"].as_array().into_iter().flatten() {
            match self.target_groups.get(text(target, "targetGroupArn")) {
                None => return Err(invalid("The specified target group does not exist.")),
                Some((_, false)) => {
                    let arn = text(target, "targetGroupArn");
                    let why = format!(
                        "The target group with targetGroupArn {arn} does not have an associated load balancer."
                    );
                    return Err(invalid(&why));
                }
                Some((kind, _)) if kind != "ip" => {
                    return Err(invalid(
                        "The provided target group has target type instance, which is incompatible.",
                    ));
                }
                Some(_) => {}
            }
        }
        let arn = Self::arn(&format!("service/{}/{name}", self.cluster));
        let id = format!("ecs-svc/{:020}", self.next());
        let state = if self.hasty { "COMPLETED" } else { "IN_PROGRESS" };
        let deployment = Deployment::new(id.clone(), definition.clone(), now, state);
        let mut stored = input.clone();
        stored["taskDefinition"] = definition.into();
        let service = Service {
            name: name.clone(),
            arn: arn.clone(),
            status: "ACTIVE",
            desired: input["desiredCount"].as_i64().unwrap_or(1),
            input: stored,
            deployments: vec![deployment],
            events: Vec::new(),
            last_completed: None,
            history: if self.hasty {
                [].into()
            } else {
                [(id, "IN_PROGRESS")].into()
            },
        };
        if !token.is_empty() {
            self.tokens.insert(token, (input.clone(), arn));
        }
        let answer = json!({"service": self.service(&service)});
        self.services.insert(name, service);
        Ok(answer)
    }

    fn known(&self, input: &Value) -> Result<String, Refusal> {
        let name = text(input, "service").rsplit('/').next().unwrap_or_default().to_owned();
        match self.services.get(&name).map(|s| s.status) {
            Some("ACTIVE") => Ok(name),
            Some(_) => Err(refusal(400, "ServiceNotActiveException", "Service was not ACTIVE.")),
            None => Err(refusal(400, "ServiceNotFoundException", "Service not found.")),
        }
    }

    pub(super) fn update_service(&mut self, input: &Value, now: i64) -> Answer {
        let name = self.known(input)?;
        let wanted = match input["taskDefinition"].as_str() {
            Some(wanted) => Some(
                self.definition(wanted)
                    .map(|d| d.arn.clone())
                    .ok_or_else(|| client("TaskDefinition not found."))?,
            ),
            None => None,
        };
        let number = self.next();
        let Some(service) = self.services.get_mut(&name) else {
            return Err(client("gone"));
        };
        let before = service.input.clone();
        for (field, value) in input.as_object().into_iter().flatten() {
            if !matches!(
                field.as_str(),
                "cluster" | "service" | "desiredCount" | "forceNewDeployment" | "taskDefinition"
            ) {
                service.input[field] = value.clone();
            }
        }
        if let Some(wanted) = wanted {
            service.input["taskDefinition"] = wanted.into();
        }
        if let Some(desired) = input["desiredCount"].as_i64() {
            service.desired = desired;
        }
        let rolls = [
            "taskDefinition",
            "networkConfiguration",
            "loadBalancers",
            "platformVersion",
        ];
        let version = |v: &Value| v.as_str().filter(|v| *v != "LATEST").map(str::to_owned);
        let changed = rolls.iter().any(|field| {
            if *field == "platformVersion" {
                version(&service.input[*field]) != version(&before[*field])
            } else {
                service.input[*field] != before[*field]
            }
        });
        if changed || input["forceNewDeployment"] == true {
            for deployment in &mut service.deployments {
                deployment.primary = false;
            }
            let definition = text(&service.input, "taskDefinition").to_owned();
            let deployment = Deployment::new(format!("ecs-svc/{number:020}"), definition, now, "IN_PROGRESS");
            service.history.insert(deployment.id.clone(), "IN_PROGRESS");
            service.deployments.insert(0, deployment);
        }
        let service = self.services[&name].clone();
        Ok(json!({"service": self.service(&service)}))
    }

    pub(super) fn delete_service(&mut self, input: &Value) -> Answer {
        let name = self.known(input)?;
        if self.services[&name].desired > 0 && input["force"] != true {
            return Err(invalid("The service cannot be stopped while it is scaled above 0."));
        }
        if let Some(service) = self.services.get_mut(&name) {
            service.status = "DRAINING";
            service.desired = 0;
        }
        Ok(json!({"service": self.service(&self.services[&name])}))
    }

    pub(super) fn describe_services(&self, input: &Value) -> Value {
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for wanted in input["services"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            match self.services.get(wanted.rsplit('/').next().unwrap_or(wanted)) {
                Some(service) => services.push(self.service(service)),
                None => failures.push(json!({"arn": Self::arn(&format!("service/{wanted}")), "reason": "MISSING"})),
            }
        }
        json!({"services": services, "failures": failures})
    }

    pub(super) fn describe_service_deployments(&self, input: &Value) -> Value {
        let mut found = Vec::new();
        for arn in input["serviceDeploymentArns"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            let number = arn.rsplit('/').next().unwrap_or_default();
            let status = self
                .services
                .values()
                .find_map(|s| s.history.get(&format!("ecs-svc/{number}")));
            if let Some(status) = status {
                found.push(json!({"serviceDeploymentArn": arn, "status": status}));
            }
        }
        json!({"serviceDeployments": found, "failures": []})
    }

    fn service(&self, s: &Service) -> Value {
        let count = |deployment: Option<&str>, running: bool| {
            let of = |t: &&Task| {
                t.service.as_deref() == Some(s.name.as_str())
                    && t.stopped.is_none()
                    && deployment.is_none_or(|d| t.deployment.as_deref() == Some(d))
                    && t.running.is_some() == running
            };
            self.tasks.iter().filter(of).count()
        };
        let deployments: Vec<Value> = s
            .deployments
            .iter()
            .map(|d| {
                json!({
                    "id": d.id, "status": if d.primary { "PRIMARY" } else { "ACTIVE" }, "taskDefinition": d.definition,
                    "desiredCount": if d.primary && d.state != "FAILED" { s.desired } else { 0 },
                    "runningCount": count(Some(&d.id), true), "pendingCount": count(Some(&d.id), false),
                    "failedTasks": d.failed, "rolloutState": d.state, "rolloutStateReason": d.reason,
                    "createdAt": seconds(d.created), "updatedAt": seconds(d.created),
                })
            })
            .collect();
        let events: Vec<Value> = s
            .events
            .iter()
            .map(|(id, at, message)| json!({"id": id, "createdAt": seconds(*at), "message": message}))
            .collect();
        let primary = s.deployments.iter().find(|d| d.primary);
        let number = primary
            .map(|d| d.id.trim_start_matches("ecs-svc/").to_owned())
            .unwrap_or_default();
        let mut service = json!({
            "serviceArn": s.arn, "serviceName": s.name, "clusterArn": Self::arn(&format!("cluster/{}", self.cluster)),
            "status": s.status, "desiredCount": s.desired, "runningCount": count(None, true),
            "pendingCount": count(None, false), "deployments": deployments, "events": events,
            "currentServiceDeployment": Self::arn(&format!("service-deployment/{}/{}/{number}", self.cluster, s.name)),
        });
        let echoed = [
            "taskDefinition",
            "networkConfiguration",
            "loadBalancers",
            "deploymentConfiguration",
            "platformVersion",
            "healthCheckGracePeriodSeconds",
            "enableExecuteCommand",
            "launchType",
            "tags",
            "propagateTags",
            "enableECSManagedTags",
        ];
        for field in echoed {
            if !s.input[field].is_null() {
                service[field] = s.input[field].clone();
            }
        }
        if service["platformVersion"].is_null() {
            service["platformVersion"] = "LATEST".into();
        }
        service
    }
}
