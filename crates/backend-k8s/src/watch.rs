//! Follows the objects of one kind: a watch for speed, a list for truth.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use teraslice_core::backend::BackendError;
use tokio::time::{sleep, timeout};

use crate::api::{self, CALL_MAX, Listed};

/// Everything is listed again this often, whatever the watch says.
pub(crate) const RELIST_EVERY: Duration = Duration::from_secs(30);
/// The first pause after a failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What has been learned.
pub(crate) enum News<K> {
    /// All there is.
    All(Listed<K>),
    /// Made or changed.
    Changed(K),
    /// Gone.
    Gone(K),
    /// Nothing, for this reason.
    Failed(BackendError),
}

/// Tells everything about the objects with these labels and fields until `take` says that nobody listens.
pub(crate) async fn follow<K>(api: Api<K>, params: ListParams, mut take: impl FnMut(News<K>) -> bool)
where
    K: Resource + Clone + DeserializeOwned + Debug + 'static,
{
    let mut pause = PAUSE_MIN;
    loop {
        let is_wanted = match api::list(&api, &params).await {
            Ok(listed) => {
                pause = PAUSE_MIN;
                let version = listed.version.clone();
                take(News::All(listed)) && watch(&api, &params, &version, &mut take).await
            }
            Err(error) => {
                let at_least = match &error {
                    BackendError::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
                    _ => PAUSE_MAX,
                };
                let is_wanted = take(News::Failed(error));
                sleep(pause.max(at_least)).await;
                pause = (pause * 2).min(PAUSE_MAX);
                is_wanted
            }
        };
        if !is_wanted {
            return;
        }
    }
}

/// Tells changes until it is time for a list; returns whether somebody listens.
async fn watch<K>(
    api: &Api<K>,
    params: &ListParams,
    version: &str,
    take: &mut impl FnMut(News<K>) -> bool,
) -> bool
where
    K: Resource + Clone + DeserializeOwned + Debug + 'static,
{
    let seconds = u32::try_from(RELIST_EVERY.as_secs()).unwrap_or(u32::MAX);
    let params = WatchParams {
        label_selector: params.label_selector.clone(),
        field_selector: params.field_selector.clone(),
        ..WatchParams::default().timeout(seconds)
    };
    let Ok(changes) = api::call(api.watch(&params, version)).await else { return true };
    pin_mut!(changes);
    // A connection that died in silence says nothing: the server would have ended the watch by then.
    while let Ok(Some(Ok(event))) = timeout(RELIST_EVERY + CALL_MAX, changes.next()).await {
        let is_wanted = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => take(News::Changed(object)),
            WatchEvent::Deleted(object) => take(News::Gone(object)),
            WatchEvent::Bookmark(_) => true,
            // The version is too old, most likely.
            WatchEvent::Error(_) => return true,
        };
        if !is_wanted {
            return false;
        }
    }
    true
}
