//! What stands beside ECS: logs and the load balancer.
//!
//! Invariant: both tell of the same tasks as ECS does.

use ::http::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::answers::{Answer, refusal, text};
use super::behaviour::Behaviour;
use super::world::World;
use crate::aws::{ACCOUNT, REGION};
use crate::http::xml;

impl World {
    pub(super) fn get_log_events(&self, input: &Value) -> Answer {
        let key = (
            text(input, "logGroupName").to_owned(),
            text(input, "logStreamName").to_owned(),
        );
        let lines = self.logs.get(&key).ok_or_else(|| {
            refusal(
                400,
                "ResourceNotFoundException",
                "The specified log stream does not exist.",
            )
        })?;
        let limit = usize::try_from(input["limit"].as_u64().unwrap_or(10_000)).unwrap_or(10_000);
        let (from, to) = match input["nextToken"]
            .as_str()
            .and_then(|t| t.strip_prefix("f/")?.parse::<usize>().ok())
        {
            Some(position) => (position.min(lines.len()), lines.len().min(position + limit)),
            None if input["startFromHead"] == true => (0, lines.len().min(limit)),
            None => (lines.len().saturating_sub(limit), lines.len()),
        };
        let events: Vec<Value> = lines[from..to]
            .iter()
            .map(|(at, message)| json!({"timestamp": at, "message": message, "ingestionTime": at}))
            .collect();
        Ok(json!({"events": events, "nextForwardToken": format!("f/{to}"), "nextBackwardToken": format!("b/{from}")}))
    }

    pub(super) fn filter_log_events(&self, input: &Value) -> Answer {
        let (group, prefix) = (text(input, "logGroupName"), text(input, "logStreamNamePrefix"));
        if !self.log_groups.contains(group) && !self.logs.keys().any(|(g, _)| g == group) {
            return Err(refusal(
                400,
                "ResourceNotFoundException",
                "The specified log group does not exist.",
            ));
        }
        let from = input["startTime"].as_i64().unwrap_or(0);
        let mut events = Vec::new();
        for ((_, stream), lines) in self
            .logs
            .iter()
            .filter(|((g, s), _)| g == group && s.starts_with(prefix))
        {
            for (number, (at, message)) in lines.iter().enumerate().filter(|(_, (at, _))| *at >= from) {
                events.push((*at, json!({
                    "logStreamName": stream, "timestamp": at, "message": message, "eventId": format!("{stream}#{number}"),
                })));
            }
        }
        events.sort_by_key(|(at, _)| *at);
        // Pages of three, so that paging is tested.
        let start = input["nextToken"]
            .as_str()
            .and_then(|t| t.parse().ok())
            .unwrap_or(0_usize);
        let page: Vec<Value> = events.iter().skip(start).take(3).map(|(_, e)| e.clone()).collect();
        let mut answer = json!({"events": page});
        if start + 3 < events.len() {
            answer["nextToken"] = (start + 3).to_string().into();
        }
        Ok(answer)
    }

    pub(super) fn balancer(&self, operation: &str, input: &Value) -> Response<Bytes> {
        let arn = input["TargetGroupArn"]
            .as_str()
            .or_else(|| input["TargetGroupArns.member.1"].as_str())
            .unwrap_or_default();
        let Some((kind, attached)) = self.target_groups.get(arn) else {
            return refusal(400, "TargetGroupNotFound", "One or more target groups not found").xml();
        };
        let body = match operation {
            "DescribeTargetHealth" => self.target_health(arn),
            "DescribeTargetGroups" => {
                let balancer = if *attached {
                    format!("<member>arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/blog/1</member>")
                } else {
                    String::new()
                };
                format!(
                    "<TargetGroups><member><TargetGroupArn>{arn}</TargetGroupArn><TargetType>{kind}</TargetType>\
                     <HealthCheckPath>/livez</HealthCheckPath><HealthCheckIntervalSeconds>10</HealthCheckIntervalSeconds>\
                     <HealthyThresholdCount>2</HealthyThresholdCount><UnhealthyThresholdCount>5</UnhealthyThresholdCount>\
                     <LoadBalancerArns>{balancer}</LoadBalancerArns></member></TargetGroups>"
                )
            }
            other => return refusal(400, "InvalidAction", other).xml(),
        };
        let namespace = "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/";
        xml(
            200,
            format!(
                "<{operation}Response xmlns=\"{namespace}\"><{operation}Result>{body}</{operation}Result></{operation}Response>"
            ),
        )
    }

    fn target_health(&self, arn: &str) -> String {
        let now = self.now_ms();
        let mut targets = String::new();
        for task in self.tasks.iter().filter(|t| t.running.is_some() && t.alive()) {
            let service = task.service.as_ref().and_then(|name| self.services.get(name));
            let Some(balancer) = service.and_then(|s| s.input["loadBalancers"].as_array()?.first().cloned()) else {
                continue;
            };
            if text(&balancer, "targetGroupArn") != arn {
                continue;
            }
            let state = match &task.behaviour {
                Behaviour::Unhealthy {
                    reason, description, ..
                } if now - task.running.unwrap_or(now) >= 2000 => {
                    format!("<State>unhealthy</State><Reason>{reason}</Reason><Description>{description}</Description>")
                }
                _ if task.healthy(now) => "<State>healthy</State>".to_owned(),
                _ => "<State>initial</State><Reason>Elb.InitialHealthChecking</Reason>".to_owned(),
            };
            let target = format!(
                "<Target><Id>{}</Id><Port>{}</Port></Target>",
                task.address, balancer["containerPort"]
            );
            targets.extend([
                "<member>",
                &target,
                "<TargetHealth>",
                &state,
                "</TargetHealth></member>",
            ]);
        }
        format!("<TargetHealthDescriptions>{targets}</TargetHealthDescriptions>")
    }
}
