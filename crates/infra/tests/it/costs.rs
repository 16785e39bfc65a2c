//! The estimate, as numbers that can be checked by hand.

use nuages_infra::{Egress, StackSpec, cost};

use crate::fixture::blog;

fn table(spec: &StackSpec) -> String {
    let estimate = cost(spec);
    let lines = estimate.lines.iter().map(|l| {
        let price = l.monthly.map_or_else(|| "?".to_owned(), |d| d.to_string());
        format!("{:<28} {:<52} {price:>9}", l.what, l.basis)
    });
    let all: Vec<String> = lines
        .chain([format!("{:<81} {:>9}", "total", estimate.total.to_string())])
        .collect();
    format!("{}\n{}", all.join("\n"), estimate.assumptions.join("\n"))
}

#[test]
fn line_by_line() {
    insta::assert_snapshot!(table(&blog()));
}

#[test]
fn a_public_address_costs_365_a_month_and_endpoints_more_than_a_gateway() {
    let egress = |egress| {
        let estimate = cost(&StackSpec { egress, ..blog() });
        let line = estimate.lines.iter().find(|l| l.what.starts_with("egress")).unwrap();
        line.monthly.unwrap()
    };
    // Three tasks.
    assert_eq!(egress(Egress::Public).to_string(), "$10.95");
    assert!(egress(Egress::Endpoints) > egress(Egress::Nat { per_zone: false }));
}

#[test]
fn an_unknown_price_is_said_and_not_taken_for_zero() {
    let mut spec = StackSpec {
        region: "sa-east-1".parse().unwrap(),
        ..blog()
    };
    spec.database.as_mut().unwrap().class = "db.x2g.large".to_owned();
    let estimate = cost(&spec);
    assert!(
        estimate
            .lines
            .iter()
            .any(|l| l.what == "database db.x2g.large" && l.monthly.is_none())
    );
    assert!(estimate.assumptions[0].contains("no prices of sa-east-1"));
    assert!(estimate.assumptions.last().unwrap().contains("db.x2g.large"));
}
