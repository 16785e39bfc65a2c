//! Where a registry is, and where it may send us.
//!
//! Invariant: plain HTTP reaches this very machine or what was allowed by name; and no registry on the internet makes us
//! ask an address within our own network (the metadata service of a cloud machine gives credentials to whoever asks).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::RegistryError;

/// Whether an address belongs to this machine.
fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

/// Whether an address is of no public network.
pub(crate) fn is_private(address: IpAddr) -> bool {
    let private_v4 = |v4: Ipv4Addr| {
        let [a, b, ..] = v4.octets();
        v4.is_private()
            || v4.is_loopback()
            || v4.is_link_local()
            || v4.is_unspecified()
            || v4.is_broadcast()
            || v4.is_multicast()
            // Shared address space (RFC 6598), benchmarking (RFC 2544), "this network".
            || (a == 100 && (64..128).contains(&b))
            || (a == 198 && (b == 18 || b == 19))
            || a == 0
    };
    match address {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            v6.to_ipv4_mapped().is_some_and(private_v4)
                // NAT64 (RFC 6052) carries an IPv4 address in its last four bytes.
                || (v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && {
                    let o = v6.octets();
                    private_v4(Ipv4Addr::new(o[12], o[13], o[14], o[15]))
                })
                || v6 == Ipv6Addr::UNSPECIFIED
                || v6.is_loopback()
                || v6.is_multicast()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
        }
    }
}

/// The address that a URL's host *is*, if it is one and no name.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(v4) => Some(v4.into()),
        url::Host::Ipv6(v6) => Some(v6.into()),
        url::Host::Domain(name) => {
            (name == "localhost" || name.ends_with(".localhost")).then_some(Ipv4Addr::LOCALHOST.into())
        }
    }
}

/// The base of a registry's API. `docker.io` is the one registry whose API answers under another name.
pub(crate) fn base(host: &str, plain_http: bool) -> Result<Url, RegistryError> {
    let refuse = |why: &str| RegistryError::BadHost {
        host: host.chars().take(200).collect(),
        why: why.to_owned(),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\\']) || host.contains(char::is_whitespace) {
        return Err(refuse("it is not a host name with an optional port"));
    }
    let name = if host == "docker.io" {
        "registry-1.docker.io"
    } else {
        host
    };
    let https = Url::parse(&format!("https://{name}/")).map_err(|error| refuse(&error.to_string()))?;
    if plain_http || literal(&https).is_some_and(is_loopback) {
        return Url::parse(&format!("http://{name}/")).map_err(|error| refuse(&error.to_string()));
    }
    Ok(https)
}

/// Whether the registry itself stands on the internet. A name that cannot be resolved here (behind a proxy) counts as such.
pub(crate) async fn is_public(base: &Url) -> bool {
    if let Some(address) = literal(base) {
        return !is_private(address);
    }
    let Some(host) = base.host_str() else { return true };
    match tokio::net::lookup_host((host, base.port_or_known_default().unwrap_or(443))).await {
        Ok(mut addresses) => !addresses.any(|address| is_private(address.ip())),
        Err(_) => true,
    }
}

/// Whether two URLs are of one origin: the same scheme, host and port.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether it is safe to go where a registry points.
pub(crate) fn check_target(what: &str, base: &Url, public: bool, target: &Url) -> Result<(), RegistryError> {
    let refuse = |why| {
        let host = target.host_str().unwrap_or("nowhere").to_owned();
        Err(RegistryError::UnsafeRedirect {
            what: what.to_owned(),
            host,
            why,
        })
    };
    if !matches!(target.scheme(), "http" | "https") || target.host_str().is_none() {
        return refuse("which is no address of a web server");
    }
    if same_origin(base, target) {
        return Ok(());
    }
    if base.scheme() == "https" && target.scheme() == "http" {
        return refuse("without encryption");
    }
    if public && literal(target).is_some_and(is_private) {
        return refuse("an address within a private network");
    }
    Ok(())
}

/// Resolves names for requests to which a public registry sent us: private addresses are not among the answers.
#[derive(Debug)]
pub(crate) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_private(address.ip())) {
                return Err("the name stands for an address within a private network".into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for (host, url) in [
            ("localhost:5000", "http://localhost:5000/"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/"),
            ("registry.example", "https://registry.example/"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/"),
            ("docker.io", "https://registry-1.docker.io/"),
        ] {
            assert_eq!(base(host, false).unwrap().as_str(), url);
        }
        assert_eq!(base("10.0.0.1:5000", true).unwrap().as_str(), "http://10.0.0.1:5000/");
        for bad in ["", "a/b", "user@host", "a b", "a?b", "host:port"] {
            assert!(base(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn private_networks_are_known() {
        for private in [
            "10.1.2.3",
            "169.254.169.254",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fd00:ec2::254",
            "fe80::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "8.8.8.8",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_public_registry_does_not_lead_inside() {
        let registry: Url = "https://registry.example/".parse().unwrap();
        let check = |public, to: &str| check_target("x", &registry, public, &to.parse().unwrap());
        assert!(check(true, "https://storage.example/blob").is_ok());
        assert!(check(true, "https://169.254.169.254/latest/meta-data").is_err());
        assert!(check(true, "https://[fd00:ec2::254]/latest").is_err());
        assert!(check(true, "https://localhost/x").is_err());
        assert!(check(true, "http://storage.example/blob").is_err());
        assert!(check(true, "file:///etc/passwd").is_err());
        // Harbor with MinIO beside it, inside of a company.
        assert!(check(false, "https://10.0.0.9:9000/blob").is_ok());
        assert!(check(false, "http://10.0.0.9:9000/blob").is_err());
    }

    proptest! {
        #[test]
        fn a_base_never_leaves_its_host(host in "[a-z0-9.:@/?#\\[\\] -]{0,16}") {
            if let Ok(url) = base(&host, false) {
                prop_assert_eq!(url.path(), "/");
                prop_assert!(url.username().is_empty() && url.query().is_none());
            }
        }
    }
}
