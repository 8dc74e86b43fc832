//! What server is at the other end.

use std::fmt;

use serde::Deserialize;

use crate::{Client, Error, Method, Request};

/// The product and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Which of the two.
    pub product: Product,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// A product that speaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Elasticsearch, 7 to 9.
    Elasticsearch,
    /// OpenSearch, 1 to 3.
    OpenSearch,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.product {
            Product::Elasticsearch => "Elasticsearch",
            Product::OpenSearch => "OpenSearch",
        };
        write!(f, "{name} {}.{}", self.version.0, self.version.1)
    }
}

impl Server {
    /// Asks the server what it is; refuses what is not supported, with what it said.
    pub(crate) async fn ask(client: &Client) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Answer {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            number: String,
            distribution: Option<String>,
        }
        let (number, is_open) = match client.send(&Request::get("/")).await {
            Ok(answer) => {
                let Answer { version } = answer.json()?;
                (version.number, version.distribution.as_deref() == Some("opensearch"))
            }
            // Builds without the main module have no answer there; only Elasticsearch comes so.
            Err(Error::Refused { status: 405, .. }) => {
                let nodes = client.send(&Request::get("/_cat/nodes?h=version")).await?;
                let text = String::from_utf8_lossy(nodes.body()).into_owned();
                (text.lines().next().unwrap_or_default().trim().to_owned(), false)
            }
            Err(error) => return Err(error),
        };
        let product = if is_open { Product::OpenSearch } else { Product::Elasticsearch };
        let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
        let version = parts.next().flatten().zip(parts.next().flatten());
        let supported = if is_open { 1..=3 } else { 7..=9 };
        match version {
            Some(version) if supported.contains(&version.0) => Ok(Self { product, version }),
            _ => Err(Error::Unexpected {
                connection: client.name().to_owned(),
                what: Request::new(Method::GET, "/").what(),
                reason: format!(
                    "{product:?} {number}; Elasticsearch 7 to 9 and OpenSearch 1 to 3 are supported"
                ),
            }),
        }
    }
}
