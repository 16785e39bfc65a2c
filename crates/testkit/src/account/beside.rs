//! What is only read: who we are, roles, zones, and a network in which tasks can start.
//!
//! Invariant: it answers for what stacks made, and for what the test gave.

use ::http::Response;
use bytes::Bytes;

use super::Account;
use crate::aws::{ACCOUNT, REGION};
use crate::http::{Received, xml};

/// Who may assume a role: ECS for this account's tasks, percent-encoded, as IAM answers it.
fn trust() -> String {
    let document = format!(
        "{{\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":\"sts:AssumeRole\",\
         \"Principal\":{{\"Service\":\"ecs-tasks.amazonaws.com\"}},\
         \"Condition\":{{\"StringEquals\":{{\"aws:SourceAccount\":\"{ACCOUNT}\"}}}}}}]}}"
    );
    url::form_urlencoded::byte_serialize(document.as_bytes()).collect()
}

impl Account {
    pub(super) fn beside(&self, service: &str, operation: &str, request: &Received) -> Response<Bytes> {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(request.body()).into_owned().collect();
        let values = |prefix: &str| {
            let of = form.iter().filter(|(key, _)| key.starts_with(prefix));
            of.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        match (service, operation) {
            ("sts", "GetCallerIdentity") => xml(
                200,
                format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/tester</Arn>\
                     <UserId>AIDATESTER</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult>\
                     </GetCallerIdentityResponse>"
                ),
            ),
            ("iam", "GetRole") => self.role_of(&values("RoleName").concat()),
            ("ec2", "DescribeSubnets") => described("DescribeSubnets", "subnetSet", &subnets(&values("SubnetId."))),
            ("ec2", "DescribeRouteTables") => described(
                "DescribeRouteTables",
                "routeTableSet",
                "<item><routeTableId>rtb-1</routeTableId><vpcId>vpc-vpc</vpcId><routeSet><item>\
                 <destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><gatewayId>igw-1</gatewayId><state>active</state>\
                 </item></routeSet><associationSet><item><main>true</main></item></associationSet></item>",
            ),
            ("ec2", "DescribeVpcEndpoints") => described("DescribeVpcEndpoints", "vpcEndpointSet", ""),
            ("ec2", "DescribeSecurityGroups") => {
                let groups: String = values("GroupId.").iter().map(|id| group(id)).collect();
                described("DescribeSecurityGroups", "securityGroupInfo", &groups)
            }
            ("route53", _) if request.uri().path().ends_with("/hostedzonesbyname") => self.zones(request),
            (service, operation) => panic!("the scripted account does not know {service}:{operation}"),
        }
    }

    fn role_of(&self, name: &str) -> Response<Bytes> {
        let made = self.cloud.made().unwrap_or_default();
        let there = made.iter().any(|made| made.kind == "AWS::IAM::Role" && made.id == name);
        if !there && !self.kept().roles.iter().any(|role| role == name) {
            let error = "<Error><Code>NoSuchEntity</Code><Message>The role cannot be found.</Message></Error>";
            return xml(404, format!("<ErrorResponse>{error}</ErrorResponse>"));
        }
        let trust = trust();
        xml(
            200,
            format!(
                "<GetRoleResponse><GetRoleResult><Role><Path>/</Path><RoleName>{name}</RoleName><RoleId>AROA1</RoleId>\
                 <Arn>arn:aws:iam::{ACCOUNT}:role/{name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>\
                 <AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>"
            ),
        )
    }

    fn zones(&self, request: &Received) -> Response<Bytes> {
        let query = request.uri().query().unwrap_or_default();
        let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "dnsname");
        let asked = asked.map(|(_, name)| name.into_owned()).unwrap_or_default();
        let kept = self.kept();
        let zones = kept.zones.iter().filter(|(name, _)| *name == asked).map(|(name, id)| {
            format!(
                "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}.</Name><CallerReference>c</CallerReference>\
                 </HostedZone>"
            )
        });
        let zones: String = zones.collect();
        xml(
            200,
            format!(
                "<ListHostedZonesByNameResponse><HostedZones>{zones}</HostedZones><IsTruncated>false</IsTruncated>\
                 <MaxItems>100</MaxItems></ListHostedZonesByNameResponse>"
            ),
        )
    }
}

fn described(operation: &str, set: &str, items: &str) -> Response<Bytes> {
    xml(
        200,
        format!(
            "<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>\
             <{set}>{items}</{set}></{operation}Response>"
        ),
    )
}

/// Subnets of one network, in one zone after the other.
fn subnets(ids: &[String]) -> String {
    let subnet = |(number, id): (usize, &String)| {
        let zone = ["a", "b", "c"][number % 3];
        format!(
            "<item><subnetId>{id}</subnetId><vpcId>vpc-vpc</vpcId><cidrBlock>10.0.{number}.0/24</cidrBlock>\
             <availabilityZone>{REGION}{zone}</availabilityZone><availableIpAddressCount>250</availableIpAddressCount>\
             </item>"
        )
    };
    ids.iter().enumerate().map(subnet).collect()
}

/// A group that lets everything in and out.
fn group(id: &str) -> String {
    let all =
        "<item><ipProtocol>-1</ipProtocol><groups/><ipRanges><item><cidrIp>0.0.0.0/0</cidrIp></item></ipRanges></item>";
    format!(
        "<item><groupId>{id}</groupId><groupName>{id}</groupName><vpcId>vpc-vpc</vpcId><ipPermissions>{all}\
         </ipPermissions><ipPermissionsEgress>{all}</ipPermissionsEgress></item>"
    )
}
