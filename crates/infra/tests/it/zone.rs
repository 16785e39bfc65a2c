//! Finding a domain's zone in Route 53.

use aws_sdk_route53::types::{HostedZoneConfig, Vpc, VpcRegion};
use nuages_infra::{InfraError, find_zone};
use nuages_testkit::emulators::{self, unique_account, unique_name};

/// An account of its own, with these public zones; answers their ids, too.
async fn account(zones: &[&str]) -> (nuages_aws::AwsContext, Vec<String>) {
    let emulator = emulators::localstack().await;
    let aws = nuages_testkit::aws::localstack(&emulator.url, &unique_account());
    let route53 = aws_sdk_route53::Client::new(aws.sdk());
    let mut ids = Vec::new();
    for name in zones {
        let call = route53.create_hosted_zone().name(*name);
        let made = call.caller_reference(unique_name("zone")).send().await.unwrap();
        ids.push(
            made.hosted_zone
                .unwrap()
                .id
                .trim_start_matches("/hostedzone/")
                .to_owned(),
        );
    }
    (aws, ids)
}

#[tokio::test]
async fn the_zone_with_the_longest_name_is_taken() {
    let zones = [
        "example.org",
        "staging.example.org",
        "xstaging.example.org",
        "other.org",
    ];
    let (aws, ids) = account(&zones).await;
    for (domain, zone) in [
        ("staging.example.org", 1),
        ("www.staging.example.org", 1),
        ("www.example.org", 0),
        ("example.org", 0),
        ("a.b.other.org", 3),
    ] {
        assert_eq!(find_zone(&aws, domain).await.unwrap(), ids[zone], "{domain}");
    }
}

#[tokio::test]
async fn a_domain_without_a_public_zone_is_told() {
    let (aws, _) = account(&["example.org"]).await;
    let route53 = aws_sdk_route53::Client::new(aws.sdk());
    let private = HostedZoneConfig::builder().private_zone(true).comment("").build();
    let network = aws_sdk_ec2::Client::new(aws.sdk())
        .create_vpc()
        .cidr_block("10.0.0.0/16");
    let network = network.send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let vpc = Vpc::builder().vpc_region(VpcRegion::EuWest1).vpc_id(network).build();
    route53
        .create_hosted_zone()
        .name("example.net")
        .hosted_zone_config(private)
        .vpc(vpc)
        .caller_reference(unique_name("zone"))
        .send()
        .await
        .unwrap();
    for domain in ["www.example.com", "www.example.net", "www.notexample.org"] {
        let error = find_zone(&aws, domain).await.unwrap_err();
        assert!(matches!(error, InfraError::NoZone { .. }), "{domain}: {error:?}");
        assert_eq!(
            error.to_string(),
            format!("no public Route 53 zone of this account holds the domain `{domain}`")
        );
        assert!(error.hint().unwrap().contains("create-hosted-zone"));
    }
}

#[tokio::test]
async fn of_two_zones_of_one_name_none_is_guessed() {
    let (aws, mut ids) = account(&["example.org", "example.org"]).await;
    let error = find_zone(&aws, "www.example.org").await.unwrap_err();
    let InfraError::SeveralZones { ids: mut told, .. } = error else {
        panic!("{error:?}")
    };
    told.sort();
    ids.sort();
    assert_eq!(told, ids);
    let error = InfraError::SeveralZones {
        name: "example.org".to_owned(),
        ids: vec!["Z1".to_owned(), "Z2".to_owned()],
    };
    assert_eq!(
        error.to_string(),
        "the account has 2 public Route 53 zones `example.org`: Z1, Z2"
    );
    assert!(error.hint().unwrap().contains("hosted_zone"));
}
