//! The database, its password, and the one URL that containers get.
//!
//! Invariant: what holds data outlives the stack: the secrets stay, and the instance leaves a snapshot.

use super::network::{outbound_nowhere, private_subnets};
use super::resources::{
    DbInstance, DbSubnetGroup, GenerateSecretString, PasswordTemplate, Rule, Secret, SecurityGroup, named,
};
use super::{Keep, Policy, Template, Text};
use crate::spec::{DatabaseSpec, StackSpec};

/// The master user. `rotate` gives the application users of their own later.
pub(crate) const USER: &str = "nuages";
/// The database that the application uses. Another name would replace the instance, so it is nobody's choice.
pub(crate) const NAME: &str = "app";
/// What stands in `DATABASE_URL` between the stack's end and the database's, where the stack cannot compose it.
pub(crate) const PENDING_URL: &str = "pending";
/// PostgreSQL's port.
const PORT: u16 = 5432;
/// All of ASCII's punctuation: nothing in the password needs escaping in a URL. Some emulators know this list only.
const PUNCTUATION: &str = r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##;

pub(super) fn add(template: &mut Template, spec: &StackSpec) {
    let Some(database) = &spec.database else { return };
    let name = spec.name();
    template.add(
        "DatabaseGroup",
        &SecurityGroup {
            group_description: format!("Database of {name}"),
            security_group_egress: vec![outbound_nowhere()],
            security_group_ingress: vec![Rule {
                cidr_ip: None,
                description: "PostgreSQL from the tasks",
                from_port: Some(PORT),
                ip_protocol: "tcp",
                source_security_group_id: Some(Text::attribute("TaskGroup", "GroupId")),
                to_port: Some(PORT),
            }],
            tags: named(format!("{name}-database")),
            vpc_id: Text::reference("Vpc"),
        },
    );
    template.add(
        "DatabaseSubnets",
        &DbSubnetGroup {
            description: format!("Private subnets of {name}"),
            subnet_ids: private_subnets(),
        },
    );
    let secret = |what: &str| format!("{}/{}/{what}-{}", spec.app, spec.env, spec.world);
    // CloudFormation deletes a secret without its days of grace, so it is told not to.
    let kept = if spec.emulation.disposable {
        Keep::NOTHING
    } else {
        Keep {
            on_delete: Policy::RetainExceptOnCreate,
            on_replace: Policy::Retain,
        }
    };
    template
        .add(
            "DatabasePassword",
            &Secret {
                description: format!("Master user of the database of {name}"),
                generate_secret_string: Some(GenerateSecretString {
                    exclude_characters: PUNCTUATION,
                    exclude_punctuation: true,
                    generate_string_key: "password",
                    password_length: 40,
                    secret_string_template: PasswordTemplate { username: USER },
                }),
                name: secret("database-password"),
                secret_string: None,
            },
        )
        .keep(kept);
    let url = if spec.emulation.database_by_api {
        Text::from(PENDING_URL)
    } else {
        add_instance(template, database);
        Text::sub(format!(
            "postgres://{USER}:{PASSWORD_REFERENCE}@${{Database.Endpoint.Address}}:${{Database.Endpoint.Port}}/{NAME}\
             ?sslmode=require"
        ))
    };
    template
        .add(
            "DatabaseUrl",
            &Secret {
                description: format!("DATABASE_URL of {name}"),
                generate_secret_string: None,
                name: secret("database-url"),
                secret_string: Some(url),
            },
        )
        .keep(kept);
}

const PASSWORD_REFERENCE: &str = "{{resolve:secretsmanager:${DatabasePassword.Id}:SecretString:password}}";

fn add_instance(template: &mut Template, database: &DatabaseSpec) {
    template
        .add(
            "Database",
            &DbInstance {
                allocated_storage: database.storage_gib,
                auto_minor_version_upgrade: true,
                backup_retention_period: database.backup_retention_days,
                copy_tags_to_snapshot: true,
                class: database.class.clone(),
                db_name: NAME,
                subnet_group: Text::reference("DatabaseSubnets"),
                deletion_protection: database.deletion_protection,
                engine: "postgres",
                engine_version: database.version.clone(),
                master_username: USER,
                master_user_password: Text::sub(PASSWORD_REFERENCE),
                multi_az: database.multi_az,
                publicly_accessible: false,
                storage_encrypted: true,
                storage_type: "gp3",
                security_groups: vec![Text::attribute("DatabaseGroup", "GroupId")],
            },
        )
        .keep(Keep {
            on_delete: Policy::Snapshot,
            on_replace: Policy::Snapshot,
        });
}
