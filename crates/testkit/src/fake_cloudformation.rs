//! CloudFormation as a state machine: change sets, stacks and events, with the failures that emulators do not have.
//!
//! Invariant: an operation that CloudFormation refuses in a state is refused here too. A stack moves by one event each
//! time that its events are read, so that a client which looks too early sees that it is too early.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::Response;
use bytes::Bytes;
use serde_json::Value;

use crate::aws::{ACCOUNT, REGION};
use crate::http::{FakeServer, Received, json, operation, xml};

/// A running fake. It also answers what a stack's owner asks of IAM, ECR and RDS beside it.
#[derive(Debug)]
pub struct FakeCloudFormation {
    server: FakeServer,
    world: Arc<Mutex<World>>,
}

/// What happens to the next operation that is executed.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// Resources that fail, in order, with CloudFormation's reasons.
    pub resources: Vec<(String, String)>,
    /// Whether the rollback fails too.
    pub rollback_fails: bool,
}

#[derive(Debug, Default)]
struct World {
    stacks: Vec<FakeStack>,
    change_sets: Vec<FakeChangeSet>,
    replacements: BTreeMap<String, String>,
    failure: Option<Failure>,
    /// Deletions that fail before one succeeds.
    failing_deletions: usize,
    refused_template: Option<String>,
    images: BTreeSet<String>,
    protected_database: bool,
    snapshots: Vec<String>,
    counter: usize,
}

#[derive(Debug, Clone, Default)]
struct FakeStack {
    name: String,
    arn: String,
    status: String,
    template: Value,
    tags: BTreeMap<String, String>,
    /// Newest last.
    events: Vec<Event>,
    /// What will still happen, next first.
    coming: Vec<Event>,
}

#[derive(Debug, Clone, Default)]
struct Event {
    id: String,
    logical_id: String,
    kind: String,
    physical_id: String,
    status: String,
    reason: Option<String>,
    token: String,
}

#[derive(Debug, Clone)]
struct FakeChangeSet {
    arn: String,
    stack_arn: String,
    status: String,
    reason: String,
    template: Value,
    tags: BTreeMap<String, String>,
    changes: Vec<[String; 4]>,
    looks: usize,
}

impl FakeCloudFormation {
    /// Starts an account without stacks.
    pub async fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let shared = Arc::clone(&world);
        let server = FakeServer::start(move |request| {
            let answer = shared.lock().unwrap_or_else(PoisonError::into_inner).answer(&request);
            std::future::ready(answer)
        })
        .await;
        Self { server, world }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The operations that were asked for, in order.
    pub fn operations(&self) -> Vec<String> {
        self.server.requests().iter().filter_map(operation).collect()
    }

    /// How often an operation was asked for.
    pub fn count(&self, name: &str) -> usize {
        self.operations().iter().filter(|o| *o == name).count()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes of this resource replace it: `True` or `Conditional`.
    pub fn replaces(&self, logical_id: &str, replacement: &str) {
        self.world()
            .replacements
            .insert(logical_id.to_owned(), replacement.to_owned());
    }

    /// The next operation fails.
    pub fn fail_next(&self, failure: Failure) {
        self.world().failure = Some(failure);
    }

    /// So many deletions fail before one succeeds.
    pub fn fail_deletions(&self, count: usize) {
        self.world().failing_deletions = count;
    }

    /// The next change set fails with this reason.
    pub fn refuse_template(&self, reason: &str) {
        self.world().refused_template = Some(reason.to_owned());
    }

    /// Puts a stack into a status, as if something had happened to it meanwhile.
    pub fn set_status(&self, stack: &str, status: &str) {
        if let Some(stack) = self.world().stacks.iter_mut().rev().find(|s| s.name == stack) {
            stack.status = status.to_owned();
        }
    }

    /// Takes a stack's tags away, as if somebody else had made it.
    pub fn disown(&self, stack: &str) {
        if let Some(stack) = self.world().stacks.iter_mut().rev().find(|s| s.name == stack) {
            stack.tags.clear();
        }
    }

    /// The statuses of all stacks of this name, oldest first.
    pub fn statuses(&self, stack: &str) -> Vec<String> {
        self.world()
            .stacks
            .iter()
            .filter(|s| s.name == stack)
            .map(|s| s.status.clone())
            .collect()
    }

    /// How many change sets there are.
    pub fn change_sets(&self) -> usize {
        self.world().change_sets.len()
    }

    /// Puts images into every repository.
    pub fn push_images(&self, digests: &[&str]) {
        self.world().images.extend(digests.iter().map(|&d| d.to_owned()));
    }

    /// The images that are left.
    pub fn images(&self) -> usize {
        self.world().images.len()
    }
}

/// Changes per page of a change set, so that whoever reads one page only misses some.
const PAGE: usize = 7;

/// Events between two looks.
const EVENTS: usize = 9;

impl World {
    fn answer(&mut self, request: &Received) -> Response<Bytes> {
        let Some(operation) = operation(request) else {
            return error(400, "InvalidAction", "no operation is named");
        };
        if request.headers().contains_key("x-amz-target") {
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
                self.protected_database = false;
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
        let set_name = form.get("ChangeSetName");
        let arn = format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{set_name}/{id}");
        self.change_sets.push(FakeChangeSet {
            arn: arn.clone(),
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
        let changes: String = set.changes.iter().skip(from).take(PAGE).map(change_xml).collect();
        let more = from + PAGE < set.changes.len();
        let next = if more {
            format!("<NextToken>{}</NextToken>", from + PAGE)
        } else {
            String::new()
        };
        Ok(format!(
            "<ChangeSetId>{}</ChangeSetId><Status>{}</Status><StatusReason>{}</StatusReason>\
             <Changes>{changes}</Changes>{next}",
            set.arn,
            set.status,
            escape(&set.reason)
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
        let members: String = of_stack
            .map(|c| format!("<member><ChangeSetId>{}</ChangeSetId></member>", c.arn))
            .collect();
        Ok(format!("<Summaries>{members}</Summaries>"))
    }

    fn execute_change_set(&mut self, form: &Form) -> Answer {
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
        let resource = |id: &str, kind: &str, status: String, reason: Option<&str>| Event {
            logical_id: id.to_owned(),
            kind: kind.to_owned(),
            physical_id: physical_id(id, kind),
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
        let tags: String = stack
            .tags
            .iter()
            .map(|(k, v)| format!("<member><Key>{}</Key><Value>{}</Value></member>", escape(k), escape(v)))
            .collect();
        Ok(format!(
            "<Stacks><member><StackName>{}</StackName><StackId>{}</StackId><StackStatus>{}</StackStatus>\
             <CreationTime>2026-01-01T00:00:00Z</CreationTime><Tags>{tags}</Tags><Outputs>{}</Outputs></member></Stacks>",
            stack.name,
            stack.arn,
            stack.status,
            outputs(&stack.template)
        ))
    }

    fn describe_stack_events(&mut self, form: &Form) -> Answer {
        let stack = self.require(form)?;
        stack.step();
        let members: String = stack
            .events
            .iter()
            .rev()
            .map(|e| event_xml(e, &stack.name, &stack.arn))
            .collect();
        Ok(format!("<StackEvents>{members}</StackEvents>"))
    }

    fn list_stack_resources(&mut self, form: &Form) -> Answer {
        let stack = self.require(form)?;
        let resources = stack.template["Resources"].as_object().cloned().unwrap_or_default();
        let members: String = resources
            .iter()
            .map(|(id, resource)| {
                let kind = resource["Type"].as_str().unwrap_or_default();
                format!(
                    "<member><LogicalResourceId>{id}</LogicalResourceId><ResourceType>{kind}</ResourceType>\
                     <PhysicalResourceId>{}</PhysicalResourceId><ResourceStatus>CREATE_COMPLETE</ResourceStatus>\
                     <LastUpdatedTimestamp>2026-01-01T00:00:00Z</LastUpdatedTimestamp></member>",
                    physical_id(id, kind)
                )
            })
            .collect();
        Ok(format!("<StackResourceSummaries>{members}</StackResourceSummaries>"))
    }

    fn delete_stack(&mut self, form: &Form) -> Answer {
        let fails = self.failing_deletions > 0;
        let blocked = self.protected_database.then_some("Cannot delete protected DB Instance");
        let blocked =
            blocked.or((!self.images.is_empty()).then_some("The repository cannot be deleted: it holds images"));
        let token = form.get("ClientRequestToken").to_owned();
        let stack = self.require(form)?;
        if stack.status == "REVIEW_IN_PROGRESS" {
            stack.status = "DELETE_COMPLETE".to_owned();
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
                physical_id: physical_id(id, kind),
                status: if kept { "DELETE_SKIPPED" } else { "DELETE_COMPLETE" }.to_owned(),
                token: token.clone(),
                ..Event::default()
            });
        }
        let end = if fails || blocked.is_some() {
            stack.coming.push(Event {
                logical_id: "Vpc".to_owned(),
                kind: "AWS::EC2::VPC".to_owned(),
                status: "DELETE_FAILED".to_owned(),
                reason: Some(
                    blocked
                        .unwrap_or("The vpc has dependencies and cannot be deleted.")
                        .to_owned(),
                ),
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
        let all: String = self
            .snapshots
            .iter()
            .map(|s| format!("<DBSnapshot><DBSnapshotIdentifier>{s}</DBSnapshotIdentifier></DBSnapshot>"))
            .collect();
        format!("<DBSnapshots>{all}</DBSnapshots>")
    }
}

impl FakeCloudFormation {
    /// Makes RDS refuse the deletion of the stack's database until its protection is lifted.
    pub fn protect_database(&self) {
        self.world().protected_database = true;
    }
}

type Refusal = (&'static str, String);
type Answer = Result<String, Refusal>;

impl FakeStack {
    /// Puts an event of the stack itself at the end, now.
    fn happens(&mut self, status: &str, token: &str) {
        let event = stack_event(&self.name, &self.arn, status, token);
        self.take(event);
    }

    fn take(&mut self, mut event: Event) {
        event.id = format!("{}-{}", self.events.len(), event.logical_id);
        if event.physical_id == self.arn {
            self.status.clone_from(&event.status);
        }
        self.events.push(event);
    }

    /// Some of what is to come, so that it comes in several parts.
    fn step(&mut self) {
        let some = self.coming.len().min(EVENTS);
        let now: Vec<Event> = self.coming.drain(..some).collect();
        now.into_iter().for_each(|event| self.take(event));
    }
}

fn stack_event(name: &str, arn: &str, status: &str, token: &str) -> Event {
    Event {
        logical_id: name.to_owned(),
        kind: "AWS::CloudFormation::Stack".to_owned(),
        physical_id: arn.to_owned(),
        status: status.to_owned(),
        token: token.to_owned(),
        ..Event::default()
    }
}

fn physical_id(id: &str, kind: &str) -> String {
    let service = kind.split("::").nth(1).unwrap_or("fake").to_lowercase();
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{id}")
}

/// Action, logical id, type and replacement of everything that differs.
fn diff(old: &Value, new: &Value, replacements: &BTreeMap<String, String>) -> Vec<[String; 4]> {
    let resources = |t: &Value| t["Resources"].as_object().cloned().unwrap_or_default();
    let (old, new) = (resources(old), resources(new));
    let ids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |action: &str, id: &str, resource: &Value, replacement: &str| {
        [action, id, resource["Type"].as_str().unwrap_or_default(), replacement].map(str::to_owned)
    };
    ids.into_iter()
        .filter_map(|id| match (old.get(id), new.get(id)) {
            (None, Some(added)) => Some(change("Add", id, added, "")),
            (Some(removed), None) => Some(change("Remove", id, removed, "")),
            (Some(before), Some(after)) if before != after => {
                let replacement = replacements.get(id).map_or("False", String::as_str);
                Some(change("Modify", id, after, replacement))
            }
            _ => None,
        })
        .collect()
}

fn change_xml([action, id, kind, replacement]: &[String; 4]) -> String {
    let replacement = match replacement.as_str() {
        "" => String::new(),
        r => format!("<Replacement>{r}</Replacement><Scope><member>Properties</member></Scope>"),
    };
    format!(
        "<member><Type>Resource</Type><ResourceChange><Action>{action}</Action><LogicalResourceId>{id}\
         </LogicalResourceId><ResourceType>{kind}</ResourceType>{replacement}</ResourceChange></member>"
    )
}

fn event_xml(event: &Event, name: &str, arn: &str) -> String {
    let reason = event
        .reason
        .as_deref()
        .map(|r| format!("<ResourceStatusReason>{}</ResourceStatusReason>", escape(r)));
    let token = (!event.token.is_empty()).then(|| format!("<ClientRequestToken>{}</ClientRequestToken>", event.token));
    format!(
        "<member><EventId>{}</EventId><StackId>{arn}</StackId><StackName>{name}</StackName><LogicalResourceId>{}\
         </LogicalResourceId><PhysicalResourceId>{}</PhysicalResourceId><ResourceType>{}</ResourceType>\
         <ResourceStatus>{}</ResourceStatus><Timestamp>2026-01-01T00:00:00Z</Timestamp>{}{}</member>",
        event.id,
        event.logical_id,
        event.physical_id,
        event.kind,
        event.status,
        reason.unwrap_or_default(),
        token.unwrap_or_default()
    )
}

/// The template's outputs: literals as they are, computed values as ARNs that lead nowhere.
fn outputs(template: &Value) -> String {
    let all = template["Outputs"].as_object().cloned().unwrap_or_default();
    all.iter()
        .map(|(key, output)| {
            let value = compute(template, &output["Value"]);
            format!(
                "<member><OutputKey>{key}</OutputKey><OutputValue>{}</OutputValue></member>",
                escape(&value)
            )
        })
        .collect()
}

fn compute(template: &Value, value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    if let Some(parts) = value["Fn::Join"][1].as_array() {
        return parts.iter().map(|p| compute(template, p)).collect::<Vec<_>>().join(",");
    }
    let id = value["Ref"]
        .as_str()
        .or_else(|| value["Fn::GetAtt"][0].as_str())
        .unwrap_or("Unknown");
    let resource = &template["Resources"][id];
    match resource["Properties"]["LogGroupName"].as_str() {
        Some(group) => group.to_owned(),
        None => physical_id(id, resource["Type"].as_str().unwrap_or("AWS::Fake")),
    }
}

fn error(status: u16, code: &str, message: &str) -> Response<Bytes> {
    xml(
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{}</Message></Error>\
             <RequestId>r-1</RequestId></ErrorResponse>",
            escape(message)
        ),
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A form, as the query protocol sends it.
struct Form(BTreeMap<String, String>);

impl Form {
    fn parse(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn list(&self, key: &str) -> Vec<&str> {
        let prefix = format!("{key}.member.");
        self.0
            .iter()
            .filter(|(k, _)| k.starts_with(&prefix))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    fn tags(&self) -> BTreeMap<String, String> {
        let key = |n: usize, part: &str| self.get(&format!("Tags.member.{n}.{part}")).to_owned();
        (1..)
            .map(|n| (key(n, "Key"), key(n, "Value")))
            .take_while(|(k, _)| !k.is_empty())
            .collect()
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
