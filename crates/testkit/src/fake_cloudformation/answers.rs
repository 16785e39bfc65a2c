//! What each operation answers, and what it does to the account.
//!
//! Invariant: a refused operation changes nothing.

use std::collections::BTreeMap;

use ::http::Response;
use bytes::Bytes;
use serde_json::Value;

use super::World;
use super::names::reference;
use super::stack::{Event, FakeChangeSet, FakeStack, stack_event};
use super::wire::{Form, change_xml, diff, error, escape, event_xml, outputs};
use crate::aws::{ACCOUNT, REGION};
use crate::http::{Received, json, operation, xml};

type Refusal = (&'static str, String);
type Answer = Result<String, Refusal>;

/// Changes per page of a change set, so that whoever reads one page only misses some.
const PAGE: usize = 7;

/// As CloudFormation tells ECS's refusal.
const SERVICE_LEFT: &str = "Resource handler returned message: \"The Cluster cannot be deleted while Services are \
                            active. (Service: AmazonECS; Status Code: 400; Error Code: \
                            ClusterContainsServicesException; Request ID: 1; Proxy: null)\" (RequestToken: 1, \
                            HandlerErrorCode: GeneralServiceException)";

impl World {
    pub(super) fn answer(&mut self, request: &Received) -> Response<Bytes> {
        let Some(operation) = operation(request) else {
            return error(400, "InvalidAction", "no operation is named");
        };
        let json = request.headers().contains_key("x-amz-target");
        if self.refused.contains(&operation) {
            let message = format!("no identity-based policy allows {operation}");
            return if json {
                self::json(
                    400,
                    &serde_json::json!({ "__type": "AccessDeniedException", "message": message }),
                )
            } else {
                error(403, "AccessDenied", &message)
            };
        }
        if json {
            return self.answer_json(&operation, request);
        }
        let form = Form::parse(request.body());
        let answer = match operation.as_str() {
            "CreateChangeSet" => self.create_change_set(&form),
            "DescribeChangeSet" => self.describe_change_set(&form),
            "DeleteChangeSet" => self.delete_change_set(&form),
            "ListChangeSets" => self.list_change_sets(&form),
            "ExecuteChangeSet" => self.execute_change_set(&form),
            "DescribeStacks" => self.describe_stacks(&form),
            "DescribeStackEvents" => self.describe_stack_events(&form),
            "ListStackResources" => self.list_stack_resources(&form),
            "DeleteStack" => self.delete_stack(&form),
            "ContinueUpdateRollback" => self.continue_update_rollback(&form),
            "CreateServiceLinkedRole" => Err((
                "InvalidInput",
                "Service role name has been taken in this account".to_owned(),
            )),
            "DescribeDBInstances" => Ok(self.describe_database()),
            "ModifyDBInstance" => {
                self.protected_database = form.get("DeletionProtection") == "true";
                Ok(self.describe_database())
            }
            "DescribeDBSnapshots" => Ok(self.describe_snapshots()),
            other => Err(("InvalidAction", format!("the fake does not know {other}"))),
        };
        match answer {
            Ok(result) => xml(
                200,
                format!("<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"),
            ),
            Err((code, message)) => error(400, code, &message),
        }
    }

    fn answer_json(&mut self, operation: &str, request: &Received) -> Response<Bytes> {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let digests = |images: &mut dyn Iterator<Item = String>| {
            Value::Array(images.map(|d| serde_json::json!({ "imageDigest": d })).collect())
        };
        match operation {
            "ListImages" => json(
                200,
                &serde_json::json!({ "imageIds": digests(&mut self.images.iter().cloned()) }),
            ),
            "BatchDeleteImage" => {
                let asked = body["imageIds"].as_array().cloned().unwrap_or_default();
                let mut gone = asked
                    .iter()
                    .filter_map(|i| i["imageDigest"].as_str())
                    .filter_map(|d| self.images.take(d));
                json(
                    200,
                    &serde_json::json!({ "imageIds": digests(&mut gone), "failures": [] }),
                )
            }
            other => json(
                400,
                &serde_json::json!({ "__type": "UnknownOperationException", "message": other }),
            ),
        }
    }

    /// A stack by name, unless it is deleted, or by ARN in any case.
    fn find(&mut self, name_or_arn: &str) -> Option<&mut FakeStack> {
        self.stacks
            .iter_mut()
            .rev()
            .find(|s| s.arn == name_or_arn || (s.name == name_or_arn && s.status != "DELETE_COMPLETE"))
    }

    fn require(&mut self, form: &Form) -> Result<&mut FakeStack, Refusal> {
        let name = form.get("StackName").to_owned();
        self.find(&name)
            .ok_or(("ValidationError", format!("Stack with id {name} does not exist")))
    }

    fn next_id(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn create_change_set(&mut self, form: &Form) -> Answer {
        let name = form.get("StackName").to_owned();
        let create = form.get("ChangeSetType") == "CREATE";
        let template: Value = serde_json::from_str(form.get("TemplateBody"))
            .map_err(|e| ("ValidationError", format!("Template format error: {e}")))?;
        let named = form.list("Capabilities").contains(&"CAPABILITY_NAMED_IAM");
        if form.get("TemplateBody").contains("AWS::IAM::Role") && !named {
            return Err((
                "InsufficientCapabilitiesException",
                "Requires capabilities : [CAPABILITY_NAMED_IAM]".into(),
            ));
        }
        let tags = form.tags();
        let (set_name, token) = (form.get("ChangeSetName").to_owned(), form.get("ClientToken").to_owned());
        let stack_arn = self.find(&name).map(|s| s.arn.clone());
        let same_name = |c: &&FakeChangeSet| Some(&c.stack_arn) == stack_arn.as_ref() && c.name == set_name;
        if let Some(known) = self.change_sets.iter().find(same_name) {
            if known.token != token {
                return Err(("AlreadyExistsException", format!("ChangeSet {set_name} already exists")));
            }
            // The same request again.
            return Ok(format!("<Id>{}</Id><StackId>{}</StackId>", known.arn, known.stack_arn));
        }
        let id = self.next_id();
        let status = self.find(&name).map(|s| s.status.clone());
        match (create, status.as_deref()) {
            (true, None) => {
                let arn = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{id}");
                let mut stack = FakeStack {
                    name: name.clone(),
                    arn,
                    tags: tags.clone(),
                    ..FakeStack::default()
                };
                stack.happens("REVIEW_IN_PROGRESS", "");
                self.stacks.push(stack);
            }
            (true, Some("REVIEW_IN_PROGRESS")) => {}
            (true, Some(_)) => return Err(("AlreadyExistsException", format!("Stack [{name}] already exists"))),
            (false, None) => return Err(("ValidationError", format!("Stack [{name}] does not exist"))),
            (false, Some(status)) if status == "ROLLBACK_COMPLETE" || !status.ends_with("_COMPLETE") => {
                let sentence = format!("Stack:{name} is in {status} state and can not be updated.");
                return Err(("ValidationError", sentence));
            }
            (false, Some(_)) => {}
        }
        let replacements = self.replacements.clone();
        let refused = self.refused_template.take();
        let Some(stack) = self.find(&name) else {
            return Err(("ValidationError", "no stack".to_owned()));
        };
        let changes = diff(&stack.template, &template, &replacements);
        let same = changes.is_empty() && stack.template == template && stack.tags == tags;
        let (status, reason) = match refused {
            Some(reason) => ("FAILED", reason),
            None if same => (
                "FAILED",
                "The submitted information didn't contain changes. Submit different \
                                        information to create a change set."
                    .to_owned(),
            ),
            None => ("CREATE_COMPLETE", String::new()),
        };
        let stack_arn = stack.arn.clone();
        let arn = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{set_name}/{id}");
        self.change_sets.push(FakeChangeSet {
            arn: arn.clone(),
            name: set_name,
            token,
            stack_arn: stack_arn.clone(),
            status: status.to_owned(),
            reason,
            template,
            tags,
            changes,
            looks: 0,
        });
        Ok(format!("<Id>{arn}</Id><StackId>{stack_arn}</StackId>"))
    }

    fn change_set(&mut self, form: &Form) -> Result<&mut FakeChangeSet, Refusal> {
        let wanted = form.get("ChangeSetName").to_owned();
        let found = self.change_sets.iter_mut().find(|c| c.arn == wanted);
        found.ok_or(("ChangeSetNotFound", format!("ChangeSet [{wanted}] does not exist")))
    }

    fn describe_change_set(&mut self, form: &Form) -> Answer {
        let from: usize = form.get("NextToken").parse().unwrap_or(0);
        let set = self.change_set(form)?;
        set.looks += 1;
        if set.looks == 1 {
            return Ok("<Status>CREATE_IN_PROGRESS</Status>".to_owned());
        }
        let changes: Vec<String> = set.changes.iter().skip(from).take(PAGE).map(change_xml).collect();
        let more = from + PAGE < set.changes.len();
        let next = if more {
            format!("<NextToken>{}</NextToken>", from + PAGE)
        } else {
            String::new()
        };
        Ok(format!(
            "<ChangeSetId>{}</ChangeSetId><Status>{}</Status><StatusReason>{}</StatusReason>\
             <Changes>{}</Changes>{next}",
            set.arn,
            set.status,
            escape(&set.reason),
            changes.concat()
        ))
    }

    fn delete_change_set(&mut self, form: &Form) -> Answer {
        let arn = self.change_set(form)?.arn.clone();
        self.change_sets.retain(|c| c.arn != arn);
        Ok(String::new())
    }

    fn list_change_sets(&mut self, form: &Form) -> Answer {
        let arn = self.require(form)?.arn.clone();
        let of_stack = self.change_sets.iter().filter(|c| c.stack_arn == arn);
        let members: Vec<String> = of_stack
            .map(|c| format!("<member><ChangeSetId>{}</ChangeSetId></member>", c.arn))
            .collect();
        Ok(format!("<Summaries>{}</Summaries>", members.concat()))
    }

    fn execute_change_set(&mut self, form: &Form) -> Answer {
        if self.executed.contains(form.get("ClientRequestToken")) {
            // The same request again.
            return Ok(String::new());
        }
        let set = self.change_set(form)?.clone();
        if set.status != "CREATE_COMPLETE" {
            return Err((
                "InvalidChangeSetStatus",
                format!("ChangeSet [{}] cannot be executed", set.arn),
            ));
        }
        // An executed change set takes the stack's others with it.
        self.change_sets.retain(|c| c.stack_arn != set.stack_arn);
        let failure = self.failure.take();
        let token = form.get("ClientRequestToken").to_owned();
        if !token.is_empty() {
            self.executed.insert(token.clone());
        }
        let Some(stack) = self.find(&set.stack_arn) else {
            return Err(("ValidationError", "no stack".to_owned()));
        };
        let verb = if stack.status == "REVIEW_IN_PROGRESS" {
            "CREATE"
        } else {
            "UPDATE"
        };
        stack.tags = set.tags.clone();
        stack.happens(&format!("{verb}_IN_PROGRESS"), &token);
        let (old, new) = (stack.template["Resources"].clone(), set.template["Resources"].clone());
        let resource = |id: &str, kind: &str, status: String, reason: Option<&str>| Event {
            logical_id: id.to_owned(),
            kind: kind.to_owned(),
            physical_id: reference(id, new.get(id).unwrap_or(&old[id])),
            status,
            reason: reason.map(str::to_owned),
            token: token.clone(),
            ..Event::default()
        };
        let failing: BTreeMap<&str, &str> = failure
            .iter()
            .flat_map(|f| &f.resources)
            .map(|(id, why)| (id.as_str(), why.as_str()))
            .collect();
        let mut coming = Vec::new();
        for [_, id, kind, _] in set.changes.iter().filter(|c| !failing.contains_key(c[1].as_str())) {
            coming.push(resource(id, kind, format!("{verb}_IN_PROGRESS"), None));
            coming.push(resource(id, kind, format!("{verb}_COMPLETE"), None));
        }
        let stack_event = |status: &str, reason: Option<&str>| Event {
            reason: reason.map(str::to_owned),
            ..stack_event(&stack.name, &stack.arn, status, &token)
        };
        match &failure {
            None => {
                if verb == "UPDATE" {
                    coming.push(stack_event("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None));
                }
                coming.push(stack_event(&format!("{verb}_COMPLETE"), None));
                stack.template = set.template;
            }
            Some(failure) => {
                for (id, reason) in &failure.resources {
                    let kind = set.template["Resources"][id]["Type"]
                        .as_str()
                        .unwrap_or("AWS::Fake::Fake");
                    coming.push(resource(id, kind, format!("{verb}_FAILED"), Some(reason)));
                }
                let rollback = if verb == "CREATE" {
                    "ROLLBACK"
                } else {
                    "UPDATE_ROLLBACK"
                };
                let why = "The following resource(s) failed. Rollback requested by user.";
                coming.push(stack_event(&format!("{rollback}_IN_PROGRESS"), Some(why)));
                let end = if failure.rollback_fails { "FAILED" } else { "COMPLETE" };
                coming.push(stack_event(&format!("{rollback}_{end}"), None));
                if verb == "CREATE" {
                    stack.template = set.template;
                }
            }
        }
        stack.coming = coming;
        Ok(String::new())
    }

    fn describe_stacks(&mut self, form: &Form) -> Answer {
        let stack = self.require(form)?;
        // Something that is under way goes on whether or not anybody reads its events.
        stack.step();
        let tags: Vec<String> = stack
            .tags
            .iter()
            .map(|(k, v)| format!("<member><Key>{}</Key><Value>{}</Value></member>", escape(k), escape(v)))
            .collect();
        Ok(format!(
            "<Stacks><member><StackName>{}</StackName><StackId>{}</StackId><StackStatus>{}</StackStatus>\
             <CreationTime>2026-01-01T00:00:00Z</CreationTime><Tags>{}</Tags><Outputs>{}</Outputs></member></Stacks>",
            stack.name,
            stack.arn,
            stack.status,
            tags.concat(),
            outputs(&stack.template)
        ))
    }

    fn describe_stack_events(&mut self, form: &Form) -> Answer {
        let stack = self.require(form)?;
        stack.step();
        let members: Vec<String> = stack
            .events
            .iter()
            .rev()
            .map(|e| event_xml(e, &stack.name, &stack.arn))
            .collect();
        Ok(format!("<StackEvents>{}</StackEvents>", members.concat()))
    }

    fn list_stack_resources(&mut self, form: &Form) -> Answer {
        let stack = self.require(form)?;
        let resources = stack.template["Resources"].as_object().cloned().unwrap_or_default();
        let members: Vec<String> = resources
            .iter()
            .map(|(id, resource)| {
                let kind = resource["Type"].as_str().unwrap_or_default();
                format!(
                    "<member><LogicalResourceId>{id}</LogicalResourceId><ResourceType>{kind}</ResourceType>\
                     <PhysicalResourceId>{}</PhysicalResourceId><ResourceStatus>CREATE_COMPLETE</ResourceStatus>\
                     <LastUpdatedTimestamp>2026-01-01T00:00:00Z</LastUpdatedTimestamp></member>",
                    reference(id, resource)
                )
            })
            .collect();
        Ok(format!(
            "<StackResourceSummaries>{}</StackResourceSummaries>",
            members.concat()
        ))
    }

    fn delete_stack(&mut self, form: &Form) -> Answer {
        let fails = self.failing_deletions > 0;
        let blocked = if self.protected_database {
            Some((
                "Database",
                "AWS::RDS::DBInstance",
                "Cannot delete protected DB Instance",
            ))
        } else if !self.images.is_empty() {
            let why = "The repository cannot be deleted: it holds images";
            Some(("Repository", "AWS::ECR::Repository", why))
        } else if self.service_left {
            Some(("Cluster", "AWS::ECS::Cluster", SERVICE_LEFT))
        } else {
            fails.then_some((
                "Vpc",
                "AWS::EC2::VPC",
                "The vpc has dependencies and cannot be deleted.",
            ))
        };
        let token = form.get("ClientRequestToken").to_owned();
        let stack = self.require(form)?;
        if stack.status.starts_with("DELETE_") && stack.status != "DELETE_FAILED" {
            return Ok(String::new());
        }
        if stack.status == "REVIEW_IN_PROGRESS" {
            "DELETE_COMPLETE".clone_into(&mut stack.status);
            return Ok(String::new());
        }
        stack.happens("DELETE_IN_PROGRESS", &token);
        let resources = stack.template["Resources"].as_object().cloned().unwrap_or_default();
        for (id, resource) in &resources {
            let kind = resource["Type"].as_str().unwrap_or_default();
            let kept = resource["DeletionPolicy"]
                .as_str()
                .is_some_and(|p| p.starts_with("Retain"));
            stack.coming.push(Event {
                logical_id: id.clone(),
                kind: kind.to_owned(),
                physical_id: reference(id, resource),
                status: if kept { "DELETE_SKIPPED" } else { "DELETE_COMPLETE" }.to_owned(),
                token: token.clone(),
                ..Event::default()
            });
        }
        let end = if let Some((logical_id, kind, reason)) = blocked {
            stack.coming.push(Event {
                logical_id: logical_id.to_owned(),
                kind: kind.to_owned(),
                status: "DELETE_FAILED".to_owned(),
                reason: Some(reason.to_owned()),
                token: token.clone(),
                ..Event::default()
            });
            "DELETE_FAILED"
        } else {
            "DELETE_COMPLETE"
        };
        let event = stack_event(&stack.name, &stack.arn, end, &token);
        stack.coming.push(event);
        if resources.values().any(|r| r["DeletionPolicy"] == "Snapshot") && end == "DELETE_COMPLETE" {
            let name = format!("{}-snapshot-database", stack.name);
            self.snapshots.push(name);
        }
        self.failing_deletions = self.failing_deletions.saturating_sub(1);
        Ok(String::new())
    }

    fn continue_update_rollback(&mut self, form: &Form) -> Answer {
        let token = form.get("ClientRequestToken").to_owned();
        let stack = self.require(form)?;
        if stack.status != "UPDATE_ROLLBACK_FAILED" {
            return Err(("ValidationError", format!("Stack is in {} state", stack.status)));
        }
        stack.happens("UPDATE_ROLLBACK_IN_PROGRESS", &token);
        let end = stack_event(&stack.name, &stack.arn, "UPDATE_ROLLBACK_COMPLETE", &token);
        stack.coming.push(end);
        Ok(String::new())
    }

    fn describe_database(&self) -> String {
        format!(
            "<DBInstances><DBInstance><DBInstanceIdentifier>database</DBInstanceIdentifier>\
             <DeletionProtection>{}</DeletionProtection></DBInstance></DBInstances>",
            self.protected_database
        )
    }

    fn describe_snapshots(&self) -> String {
        let all: Vec<String> = self
            .snapshots
            .iter()
            .map(|s| format!("<DBSnapshot><DBSnapshotIdentifier>{s}</DBSnapshotIdentifier></DBSnapshot>"))
            .collect();
        format!("<DBSnapshots>{}</DBSnapshots>", all.concat())
    }
}
