//! Where an environment is: region, account, emulator, target, and the name that it serves under.
//!
//! Invariant: an environment without an emulator names its account and its region, and what answers requests says
//! either its domain or that it is served without TLS.

use nuages_model::{AccountId, Region};
use serde::Serialize;

use crate::node::Value;
use crate::problem::Problem;
use crate::reader::{Field, Section, Word};
use crate::words::shown;

/// What runs the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Target {
    /// ECS on Fargate.
    Ecs,
}

/// What stands in for AWS on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Emulator {
    /// MiniStack.
    Ministack,
    /// LocalStack, the images with ECS, ECR and ELB.
    Localstack,
}

impl Emulator {
    /// As `nuages.toml` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ministack => "ministack",
            Self::Localstack => "localstack",
        }
    }
}

/// The region of emulators, where none is named.
const EMULATED_REGION: &str = "us-east-1";

pub(crate) struct Place {
    pub(crate) region: Option<Region>,
    pub(crate) account: Option<AccountId>,
    pub(crate) emulator: Option<Emulator>,
    pub(crate) emulated: bool,
    pub(crate) target: Target,
    pub(crate) domain: Option<String>,
    pub(crate) hosted_zone: Option<String>,
    pub(crate) insecure_http: bool,
}

/// Reads the keys of the place. `header` is the environment's own section, where what is missing would stand.
pub(crate) fn read(section: &mut Section<'_>, environment: &Field<'_>, serves: bool) -> Place {
    let emulator_field = section.get("emulator");
    let choices = [("ministack", Emulator::Ministack), ("localstack", Emulator::Localstack)];
    let emulator = emulator_field.and_then(|field| field.choice(&choices));
    let emulated = emulator_field.is_some();

    let region_field = section.get("region");
    let account_field = section.get("account");
    let mut region = region_field.and_then(|field| field.parsed::<Region>());
    let account = account_field.and_then(|field| account(&field));
    if region_field.is_none() && emulated {
        region = EMULATED_REGION.parse().ok();
    }
    if !emulated {
        let name = environment.name;
        for (key, missing, example) in [
            ("region", region_field.is_none(), "region = \"eu-west-1\""),
            (
                "account",
                account_field.is_none(),
                "account = \"123456789012\": nuages deploys to no other; `aws sts get-caller-identity` prints yours",
            ),
        ] {
            if missing && !section.misspelt(key) {
                environment.notes.add(
                    Problem::new(format!("`{key}` is missing in `[environments.{}]`", shown(name)))
                        .at(environment.key, "an environment in AWS")
                        .help(format!(
                            "{example}; or emulator = \"ministack\" for an environment on this machine"
                        )),
                );
            }
        }
    }
    target(section);
    store(section);
    let (domain, hosted_zone, insecure_http) = names(section, environment, emulator_field, serves);
    Place {
        region,
        account,
        emulator,
        emulated,
        target: Target::Ecs,
        domain,
        hosted_zone,
        insecure_http,
    }
}

fn account(field: &Field<'_>) -> Option<AccountId> {
    if let Value::Integer(number) = &field.node.value {
        let help = match number
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| *number < 1_000_000_000_000)
        {
            Some(number) => format!("in quotes, since it may begin with zeros: account = \"{number:012}\""),
            None => "twelve digits in quotes: account = \"123456789012\"".to_owned(),
        };
        field.notes.add(
            field
                .problem("`account` is a number, and a text is needed", "not a text")
                .help(help),
        );
        return None;
    }
    field.parsed()
}

fn target(section: &mut Section<'_>) {
    let Some(field) = section.get("target") else { return };
    let choices = [
        ("ecs", Word::Now(Target::Ecs)),
        ("ec2-compose", Word::Later),
        ("ec2-image", Word::Later),
    ];
    if field.choice_or_later(&choices) == Some(Word::Later) {
        field.refuse_for_now(
            "deploying to EC2 instances has no code yet",
            "target = \"ecs\" runs the same image on Fargate",
        );
    }
}

fn store(section: &mut Section<'_>) {
    let Some(field) = section.get("store") else { return };
    if field.choice_or_later(&[("sqlite", Word::Now(())), ("dynamodb", Word::Later)]) == Some(Word::Later) {
        field.refuse_for_now(
            "the shared store in DynamoDB has no code yet",
            "store = \"sqlite\", in one person's hands; --store names another place for it",
        );
    }
}

fn names(
    section: &mut Section<'_>,
    environment: &Field<'_>,
    emulator: Option<Field<'_>>,
    serves: bool,
) -> (Option<String>, Option<String>, bool) {
    let domain_field = section.get("domain");
    let zone_field = section.get("hosted_zone");
    let insecure_field = section.get("insecure_http");
    let domain = domain_field.and_then(|field| domain(&field));
    let hosted_zone = zone_field.and_then(|field| zone(&field));
    let insecure = insecure_field.and_then(|field| field.flag());

    if let (Some(zone), None) = (zone_field, domain_field) {
        zone.notes
            .add(Problem::new("`hosted_zone` needs a `domain`").at(zone.key, "the zone of what?"));
    }
    match (domain_field, insecure_field) {
        (Some(domain), Some(flag)) if insecure == Some(true) => domain.notes.add(
            Problem::new("both `domain` and `insecure_http` are said")
                .at(domain.key, "served over HTTPS")
                .at(flag.key, "served without")
                .help("keep one of the two"),
        ),
        (Some(domain), _) if emulator.is_some() => domain.notes.add(
            Problem::new("an emulator serves plain HTTP under a name of its own")
                .at(domain.key, "has no meaning with an emulator")
                .help("remove `domain` from this environment"),
        ),
        (Some(domain), _) if !serves => domain.notes.add(
            Problem::new("no service answers requests for the domain")
                .at(domain.key, "the name of what?")
                .help("a service `web` with a `port` does"),
        ),
        (None, flag) if serves && emulator.is_none() && insecure != Some(true) && !section.misspelt("domain") => {
            let at = flag.map_or(environment.key, |flag| flag.key);
            environment.notes.add(
                Problem::new(format!(
                    "`domain` is missing in `[environments.{}]`",
                    shown(environment.name)
                ))
                .at(at, "it is not said under which name it serves")
                .help("domain = \"www.example.org\"; or insecure_http = true, which every plan will mention"),
            );
        }
        _ => {}
    }
    (domain, hosted_zone, insecure.unwrap_or(emulator.is_some()))
}

fn domain(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let valid = text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
    if valid {
        return Some(text.to_owned());
    }
    let bare = text
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches(['/', '.'])
        .to_lowercase();
    let help = if bare != text && bare.split('.').all(label) && bare.contains('.') {
        format!("did you mean \"{bare}\"?")
    } else {
        "a host name in lowercase, such as \"www.example.org\"".to_owned()
    };
    field.notes.add(
        field
            .problem(format!("`{}` is not a domain", shown(text)), "here")
            .help(help),
    );
    None
}

fn zone(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let valid =
        text.len() <= 32 && text.starts_with('Z') && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    if !valid {
        field.notes.add(
            field
                .problem(format!("`{}` is not the id of a hosted zone", shown(text)), "here")
                .help(
                    "such as \"Z0123456789ABCDEFGHIJ\": `aws route53 list-hosted-zones` prints it after /hostedzone/",
                ),
        );
    }
    valid.then(|| text.to_owned())
}
