//! Follows the objects of one kind: a watch for speed, a list for truth.

use std::{fmt::Debug, time::Duration};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use teraslice_core::backend::BackendError;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{self, CALL_MAX, Listed};

/// Everything is listed again this often, whatever the watch says.
pub(crate) const RELIST_EVERY: Duration = Duration::from_secs(30);
/// The first pause after a failure, or a watch that has ended soon; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause; what has lasted for so long has not ended soon.
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

/// Tells everything about the objects with these labels and fields, for ever.
pub(crate) async fn follow<K>(api: Api<K>, params: ListParams, mut take: impl FnMut(News<K>))
where
    K: Resource + Clone + DeserializeOwned + Debug + 'static,
{
    let mut pause = PAUSE_MIN;
    loop {
        let since = Instant::now();
        let at_least = match api::list(&api, &params).await {
            Ok(listed) => {
                let version = listed.version.clone();
                take(News::All(listed));
                match watch(&api, &params, &version, &mut take).await {
                    Ok(()) => Duration::ZERO,
                    Err(error) => {
                        // Lists have to do meanwhile, so they are not put off for as long as a watch may have to be.
                        let at_least = api::pause_after(&error).min(PAUSE_MAX);
                        take(News::Failed(error));
                        at_least
                    }
                }
            }
            Err(error) => {
                let at_least = api::pause_after(&error);
                take(News::Failed(error));
                at_least
            }
        };
        if since.elapsed() >= PAUSE_MAX {
            pause = PAUSE_MIN;
            sleep(at_least).await;
        } else {
            sleep(pause.max(at_least)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Tells changes until it is time for a list: the watch is over, or the server had enough of it.
///
/// # Errors
///
/// When it is not let begin.
async fn watch<K>(
    api: &Api<K>,
    params: &ListParams,
    version: &str,
    take: &mut impl FnMut(News<K>),
) -> Result<(), BackendError>
where
    K: Resource + Clone + DeserializeOwned + Debug + 'static,
{
    let seconds = u32::try_from(RELIST_EVERY.as_secs()).unwrap_or(u32::MAX);
    let params = WatchParams {
        label_selector: params.label_selector.clone(),
        field_selector: params.field_selector.clone(),
        ..WatchParams::default().timeout(seconds)
    };
    let changes = api::call(api.watch(&params, version)).await?;
    pin_mut!(changes);
    // A connection that died in silence says nothing: the server would have ended the watch by then.
    while let Ok(Some(Ok(event))) = timeout(RELIST_EVERY + CALL_MAX, changes.next()).await {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => take(News::Changed(object)),
            WatchEvent::Deleted(object) => take(News::Gone(object)),
            WatchEvent::Bookmark(_) => {}
            // The version is too old, most likely.
            WatchEvent::Error(_) => break,
        }
    }
    Ok(())
}
