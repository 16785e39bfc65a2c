//! Prints the template of an environment, for reading and for linters.
//!
//! `cargo run -p nuages-infra --example render -- [--egress public|nat|nat-per-zone|endpoints] [--domain NAME]
//! [--region REGION] [--partition PARTITION] [--emulated] [--no-database] [--no-web]`, or `-- --all FOLDER`, which writes
//! every shape that a template can have into that folder.

use std::io::Write as _;
use std::path::Path;

use nuages_infra::{DatabaseSpec, Domain, Egress, Emulation, Exposure, ServiceSize, StackSpec, Template, WebSpec};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [all, folder] = &arguments[..]
        && all == "--all"
    {
        return write_all(Path::new(folder));
    }
    Ok(writeln!(std::io::stdout(), "{}", render(arguments)?)?)
}

fn render(arguments: impl IntoIterator<Item = String>) -> Outcome<String> {
    Ok(Template::render(&parse(arguments.into_iter())?)?.pretty())
}

fn write_all(folder: &Path) -> Outcome {
    let shapes = [
        ("public-http", ""),
        ("public-https", "--domain blog.example.org"),
        ("nat-https", "--egress nat --domain blog.example.org"),
        ("nat-per-zone-http", "--egress nat-per-zone"),
        ("endpoints-https", "--egress endpoints --domain blog.example.org"),
        (
            "endpoints-china",
            "--egress endpoints --partition aws-cn --region cn-north-1",
        ),
        ("worker-only", "--no-web --no-database"),
        ("emulated", "--emulated"),
    ];
    for (name, arguments) in shapes {
        let template = render(arguments.split_whitespace().map(str::to_owned))?;
        std::fs::write(folder.join(name).with_extension("json"), template + "\n")?;
    }
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Outcome<StackSpec> {
    let mut arguments = arguments;
    let mut spec = blog()?;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--egress" => {
                spec.egress = match value()?.as_str() {
                    "public" => Egress::Public,
                    "nat" => Egress::Nat { per_zone: false },
                    "nat-per-zone" => Egress::Nat { per_zone: true },
                    "endpoints" => Egress::Endpoints,
                    other => return Err(format!("`{other}` is no egress").into()),
                };
            }
            "--domain" => {
                let domain = Domain {
                    name: value()?,
                    hosted_zone_id: "Z0123456789ABCDEFGHIJ".to_owned(),
                };
                spec.web = spec.web.map(|web| WebSpec {
                    exposure: Exposure::Https(domain),
                    ..web
                });
            }
            "--region" => spec.region = value()?.parse()?,
            "--partition" => spec.partition = value()?,
            "--emulated" => {
                spec.emulation = Emulation {
                    database_by_api: true,
                    plain_http: true,
                    no_nat: true,
                    disposable: true,
                };
            }
            "--no-database" => spec.database = None,
            "--no-web" => spec.web = None,
            other => return Err(format!("`{other}` is no option").into()),
        }
    }
    Ok(spec)
}

/// A blog with a worker beside it.
fn blog() -> Outcome<StackSpec> {
    Ok(StackSpec {
        app: "blog".parse()?,
        env: "staging".parse()?,
        world: "01hxyzabcdefghjkmnpqrstvwx".parse()?,
        region: "eu-west-1".parse()?,
        partition: "aws".to_owned(),
        egress: Egress::Public,
        web: Some(WebSpec {
            port: 8000,
            health_live: "/livez".to_owned(),
            longest_request_seconds: 30,
            exposure: Exposure::InsecureHttp,
        }),
        database: Some(DatabaseSpec {
            version: "17".to_owned(),
            class: "db.t4g.micro".to_owned(),
            storage_gib: 20,
            multi_az: false,
            deletion_protection: true,
            backup_retention_days: 7,
        }),
        services: vec![
            ServiceSize {
                name: "web".parse()?,
                cpu: 256,
                memory: 512,
                count: 2,
            },
            ServiceSize {
                name: "worker".parse()?,
                cpu: 256,
                memory: 512,
                count: 1,
            },
        ],
        secrets: Vec::new(),
        kms_keys: Vec::new(),
        log_retention_days: 30,
        exec: true,
        permissions_boundary: None,
        emulation: Emulation::none(),
    })
}
