//! Cuts an index into slices by ids.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use teraslice_core::operation::{OperationError, Sliced, Slicer, SlicerContext};
use teraslice_model::slice::Request;

use super::walk::{Alphabet, Place, Walk};
use crate::elasticsearch_reader::{count::Counter, settings::IndexReaderConfig};

/// Walks through a share of the ids.
pub(super) struct IdSlicer {
    walk: Walk,
    slicers: u32,
    counter: Arc<dyn Counter>,
}

/// Where a slicer stands. The slicers share the first characters, so their number stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    slicers: u32,
    #[serde(flatten)]
    place: Place,
}

/// Makes the slicers of a job, from their checkpoints; an earlier run says how many there are.
pub(super) fn slicers(
    config: &IndexReaderConfig,
    context: &SlicerContext,
    counter: Arc<dyn Counter>,
) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
    let mut places = Vec::new();
    let mut slicers = context.slicers.max(1);
    for checkpoint in &context.checkpoints {
        let Some(stored) = &checkpoint.position else { continue };
        let position: Position = stored
            .parse()
            .map_err(|error| OperationError::slice(format!("the checkpoint is not of id_reader: {error}")))?;
        slicers = position.slicers.max(1);
        places.push((checkpoint.slicer_id, position.place));
    }
    if slicers < context.slicers {
        tracing::warn!(
            wanted = context.slicers,
            slicers,
            "the shares of the earlier run are kept: there are no more slicers than it had"
        );
    }
    let alphabet = Alphabet::of(config);
    let make = |slicer: u32| -> Box<dyn Slicer> {
        let stored = places.iter().find(|(id, _)| *id == slicer).map(|(_, place)| place.clone());
        let place = stored.unwrap_or_default();
        let walk = Walk::new(alphabet.clone(), config.size, &place, slicer as usize, slicers as usize);
        Box::new(IdSlicer { walk, slicers, counter: Arc::clone(&counter) })
    };
    Ok((0..slicers).map(make).collect())
}

#[async_trait]
impl Slicer for IdSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let mut requests = Vec::new();
        let mut is_exhausted = false;
        while requests.len() < max {
            match self.walk.next() {
                Ok(Some(found)) => requests.push(found.request(None)),
                Ok(None) => {
                    is_exhausted = true;
                    break;
                }
                // What is made already goes out before anything is waited for.
                Err(_) if !requests.is_empty() => break,
                Err(ask) => {
                    let counts = self.counter.keys(None, &ask.prefix, &ask.next).await?;
                    self.walk.supply(counts);
                }
            }
        }
        let position = Position { slicers: self.slicers, place: self.walk.place() };
        let position = Request::new(&position).map_err(|error| OperationError::slice(error.to_string()))?;
        Ok(Sliced { requests, position, is_exhausted })
    }
}
