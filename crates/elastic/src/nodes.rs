//! Which server of a cluster a request goes to.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Url;
use tokio::time::Instant;

/// A server that did not answer is passed over for so long, unless no other is left.
const AWAY: Duration = Duration::from_secs(30);

/// The servers of a cluster, in turn.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Mutex<Vec<Node>>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    url: Url,
    away_until: Option<Instant>,
}

impl Nodes {
    pub(crate) fn new(urls: &[Url]) -> Self {
        let nodes = urls.iter().map(|url| Node { url: url.clone(), away_until: None }).collect();
        Self { nodes: Mutex::new(nodes), next: AtomicUsize::new(fastrand::usize(..urls.len().max(1))) }
    }

    /// Returns the next server that is not away; else the one that has been away longest.
    pub(crate) fn next(&self) -> Url {
        let nodes = self.nodes();
        let now = Instant::now();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..nodes.len()).map(|step| &nodes[(start.wrapping_add(step)) % nodes.len()]);
        let mut least: Option<&Node> = None;
        for node in in_turn {
            match node.away_until {
                Some(until) if until > now => {
                    if least.is_none_or(|least| node.away_until < least.away_until) {
                        least = Some(node);
                    }
                }
                _ => return node.url.clone(),
            }
        }
        least.expect("a connection has at least one server").url.clone()
    }

    /// Notes that a server did not answer, or did.
    pub(crate) fn mark(&self, url: &Url, is_away: bool) {
        let away_until = is_away.then(|| Instant::now() + AWAY);
        for node in self.nodes().iter_mut().filter(|node| node.url == *url) {
            node.away_until = away_until;
        }
    }

    /// Takes another list of servers; an empty one is not taken.
    pub(crate) fn replace(&self, urls: &[Url]) {
        if urls.is_empty() {
            return;
        }
        let mut nodes = self.nodes();
        nodes.retain(|node| urls.contains(&node.url));
        for url in urls {
            if !nodes.iter().any(|node| node.url == *url) {
                nodes.push(Node { url: url.clone(), away_until: None });
            }
        }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(name: &str) -> Url {
        Url::parse(&format!("http://{name}:9200")).expect("a URL")
    }

    #[tokio::test(start_paused = true)]
    async fn passes_over_who_is_away() {
        let (a, b) = (url("a"), url("b"));
        let nodes = Nodes::new(&[a.clone(), b.clone()]);
        let two = [nodes.next(), nodes.next()];
        assert!(two.contains(&a) && two.contains(&b));
        nodes.mark(&a, true);
        assert_eq!([nodes.next(), nodes.next()], [b.clone(), b.clone()]);
        tokio::time::advance(Duration::from_secs(1)).await;
        nodes.mark(&b, true);
        assert_eq!(nodes.next(), a, "the one that has been away longest");
        tokio::time::advance(AWAY).await;
        assert_ne!(nodes.next(), nodes.next());
    }

    #[tokio::test(start_paused = true)]
    async fn takes_another_list() {
        let nodes = Nodes::new(&[url("a"), url("b")]);
        nodes.replace(&[]);
        nodes.mark(&url("a"), true);
        nodes.replace(&[url("a"), url("c")]);
        assert_eq!([nodes.next(), nodes.next()], [url("c"), url("c")], "a is still away");
    }
}
