//! The HTTP client under every SDK client.
//!
//! Invariant: TLS is rustls on ring and is always verified; the trusted roots are the system's, plus `AWS_CA_BUNDLE`
//! where a company inspects TLS. Proxies come from the environment, as with the AWS CLI.

use std::path::PathBuf;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use crate::context::AwsError;

pub(crate) fn build() -> Result<SharedHttpClient, AwsError> {
    let tls = match std::env::var_os("AWS_CA_BUNDLE")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
    {
        None => TlsContext::default(),
        Some(path) => {
            let pem = std::fs::read(&path).map_err(|source| AwsError::CaBundle {
                path: path.clone(),
                source,
            })?;
            let store = TrustStore::empty().with_native_roots(true).with_pem_certificate(pem);
            TlsContext::builder()
                .with_trust_store(store)
                .build()
                .map_err(|e| AwsError::CaBundle {
                    path,
                    source: std::io::Error::other(e),
                })?
        }
    };
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.set_sleep_impl(components.and_then(aws_sdk_sts::config::RuntimeComponents::sleep_impl));
        connector
            .tls_provider(Provider::rustls(CryptoMode::Ring))
            .tls_context(tls.clone())
            .build()
    }))
}

/// For emulators on plain HTTP: no roots are loaded, which saves milliseconds of every run.
pub(crate) fn build_plain() -> SharedHttpClient {
    Builder::new().build_http()
}
