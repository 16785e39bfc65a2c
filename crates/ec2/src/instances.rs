//! Instances.
//!
//! Invariant: terminated instances are left out: EC2 lists them for an hour, and they are nobody's.

use std::collections::BTreeMap;

use aws_sdk_ec2::types as ec2;
use serde::{Deserialize, Serialize};

use crate::client::{Ec2, Ec2Error, told};

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: String,
    /// `pending`, `running`, `stopping`, `stopped` or `shutting-down`.
    pub state: String,
    /// Its type, such as `t4g.small`.
    pub kind: String,
    /// The image it was started from.
    pub image: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its private address.
    pub private_address: Option<String>,
    /// Its public address.
    pub public_address: Option<String>,
    /// When it was launched, in milliseconds since 1970.
    pub launched_ms: Option<i64>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Ec2 {
    /// The instances that carry all these tags, oldest first.
    ///
    /// ```no_run
    /// # async fn example(ec2: nuages_ec2::Ec2) -> Result<(), nuages_ec2::Ec2Error> {
    /// for instance in ec2.instances(&[("nuages:app", "blog"), ("nuages:env", "staging")]).await? {
    ///     println!("{} {}", instance.id, instance.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn instances(&self, tags: &[(&str, &str)]) -> Result<Vec<Instance>, Ec2Error> {
        let mut filters: Vec<_> = tags
            .iter()
            .map(|(key, value)| filter(&format!("tag:{key}"), &[value]))
            .collect();
        let alive = ["pending", "running", "stopping", "stopped", "shutting-down"];
        filters.push(filter("instance-state-name", &alive));
        let mut instances = Vec::new();
        let mut token = None;
        loop {
            let call = self
                .ec2
                .describe_instances()
                .set_filters(Some(filters.clone()))
                .set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(told("ec2:DescribeInstances", "list the instances"))?;
            instances.extend(
                page.reservations()
                    .iter()
                    .flat_map(ec2::Reservation::instances)
                    .map(instance),
            );
            token = page.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                break;
            }
        }
        instances.retain(|i| i.state != "terminated");
        instances.sort_by(|a, b| (a.launched_ms, &a.id).cmp(&(b.launched_ms, &b.id)));
        Ok(instances)
    }
}

pub(crate) fn filter(name: &str, values: &[&str]) -> ec2::Filter {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    ec2::Filter::builder().name(name).set_values(Some(values)).build()
}

fn instance(i: &ec2::Instance) -> Instance {
    let some = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    Instance {
        id: i.instance_id().unwrap_or_default().to_owned(),
        state: i
            .state()
            .and_then(ec2::InstanceState::name)
            .map(|n| n.as_str().to_owned())
            .unwrap_or_default(),
        kind: i.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        image: i.image_id().unwrap_or_default().to_owned(),
        zone: some(i.placement().and_then(ec2::Placement::availability_zone)),
        private_address: some(i.private_ip_address()),
        public_address: some(i.public_ip_address()),
        launched_ms: i.launch_time().and_then(|t| t.to_millis().ok()),
        tags: i
            .tags()
            .iter()
            .filter_map(|t| Some((t.key()?.to_owned(), t.value().unwrap_or_default().to_owned())))
            .collect(),
    }
}
