//! Built-in readers, sinks and small processors.

mod collect;
mod data_generator;
mod date_math;
mod dead_letter_reader;
mod delay;
mod elastic;
mod elasticsearch_bulk;
mod elasticsearch_reader;
mod file_exporter;
mod file_format;
mod file_reader;
mod id_reader;
mod json;
mod noop;
mod offload;
mod stdout;
mod task;
mod test_reader;

use teraslice_core::registry::Registry;
use teraslice_elastic::Connections;

pub use collect::Collect;
pub use data_generator::DataGenerator;
pub use dead_letter_reader::DeadLetterReader;
pub use delay::Delay;
pub use elasticsearch_bulk::ElasticsearchBulk;
pub use elasticsearch_reader::ElasticsearchReader;
pub use file_exporter::FileExporter;
pub use file_reader::FileReader;
pub use id_reader::IdReader;
pub use noop::Noop;
pub use stdout::Stdout;
pub use test_reader::TestReader;

/// Adds every operation of this crate; those that talk to servers use `connections`.
pub fn register(registry: &mut Registry, connections: &Connections) {
    registry.reader(DataGenerator);
    registry.reader(DeadLetterReader);
    registry.reader(ElasticsearchReader::new(connections));
    registry.reader(FileReader);
    registry.reader(IdReader::new(connections));
    registry.reader(TestReader);
    registry.processor(Collect);
    registry.processor(Delay);
    registry.processor(Noop);
    registry.sink(ElasticsearchBulk::new(connections));
    registry.sink(FileExporter);
    registry.sink(Stdout);
}
