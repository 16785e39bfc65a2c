//! The Route 53 zone that a domain is in.
//!
//! Invariant: of several zones none is guessed. Only a public zone will do: certificates are validated from outside.

use nuages_aws::AwsContext;
use nuages_aws::error::describe;

use crate::error::InfraError;

/// The id of the public zone of this account that holds the domain: the one with the longest name, since that is the
/// one that DNS asks.
///
/// ```no_run
/// # async fn example(aws: nuages_aws::AwsContext) -> Result<(), nuages_infra::InfraError> {
/// let zone = nuages_infra::find_zone(&aws, "staging.example.org").await?;
/// println!("its records are made in {zone}");
/// # Ok(())
/// # }
/// ```
pub async fn find_zone(aws: &AwsContext, domain: &str) -> Result<String, InfraError> {
    let route53 = aws_sdk_route53::Client::new(aws.sdk());
    for name in candidates(domain) {
        let mut zones = public_zones(&route53, name).await?;
        match zones.len() {
            0 => {}
            1 => return Ok(zones.remove(0)),
            _ => {
                return Err(InfraError::SeveralZones {
                    name: name.to_owned(),
                    ids: zones,
                });
            }
        }
    }
    Err(InfraError::NoZone {
        domain: domain.to_owned(),
    })
}

/// The names that the zone may have, the longest first. Nobody has the zone of a top-level domain.
fn candidates(domain: &str) -> impl Iterator<Item = &str> {
    let parents = domain
        .char_indices()
        .filter(|(_, c)| *c == '.')
        .map(|(at, _)| &domain[at + 1..]);
    std::iter::once(domain).chain(parents).filter(|name| name.contains('.'))
}

/// The ids of the public zones of exactly this name.
async fn public_zones(route53: &aws_sdk_route53::Client, name: &str) -> Result<Vec<String>, InfraError> {
    // Zones come in the order of their names, those of this name first. Nobody has a page full of one name.
    let answer = route53.list_hosted_zones_by_name().dns_name(name).send().await;
    let answer = answer.map_err(|e| InfraError::Call {
        what: "look for the domain's hosted zone",
        source: describe("route53:ListHostedZonesByName", &e),
    })?;
    let zones = answer
        .hosted_zones()
        .iter()
        .filter(|zone| zone.name().trim_end_matches('.').eq_ignore_ascii_case(name))
        .filter(|zone| {
            !zone
                .config()
                .is_some_and(aws_sdk_route53::types::HostedZoneConfig::private_zone)
        })
        .map(|zone| zone.id().trim_start_matches("/hostedzone/").to_owned());
    Ok(zones.collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_longest_name_is_asked_for_first() {
        let asked: Vec<&str> = super::candidates("www.blog.example.org").collect();
        assert_eq!(asked, ["www.blog.example.org", "blog.example.org", "example.org"]);
    }
}
