//! Every endpoint of the API.

mod access;
mod assets;
mod cluster;
mod executions;
mod insight;
mod jobs;
mod text;

use crate::{
    endpoint::{Endpoint, Kind, Param},
    executions::WORKERS_MAX,
    params::COUNT_MAX,
};

const FROM: Param =
    Param { name: "from", kind: Kind::Whole(COUNT_MAX), about: "How many records to skip (default 0)." };
const SIZE: Param = Param {
    name: "size",
    kind: Kind::Whole(10_000),
    about: "How many records to return at most (default 100).",
};
const SORT: Param = Param {
    name: "sort",
    kind: Kind::Pattern("^([^,:]+(:(asc|desc))?)?$"),
    about: "`<field>:asc` or `<field>:desc` (default `_updated:desc`, assets `_created:desc`).",
};
const FILTER: Param =
    Param { name: "filter", kind: Kind::Text, about: "Only records that this Lucene query matches." };
const DELETED: Param = Param {
    name: "deleted",
    kind: Kind::OneOf(&["true", "false", ""]),
    about: "`true`: only deleted records; else only those that are not.",
};
const ACTIVE: Param = Param {
    name: "active",
    kind: Kind::Text,
    about: "`true`: only jobs whose `active` is not false; `false`: only the others; anything else: both.",
};
const EX: Param = Param {
    name: "ex",
    kind: Kind::Text,
    about: "Fields of the latest execution, with commas between them; they come as `ex`.",
};
const CLEANUP: [Param; 2] = [
    Param {
        name: "cleanup_type",
        kind: Kind::OneOf(&["all", "errors", "pending", ""]),
        about: "Replay only these slices, then end; absent: replay all that are not completed, and go on slicing.",
    },
    Param {
        name: "cleanup",
        kind: Kind::OneOf(&["all", "errors", "pending", ""]),
        about: "The same, under its earlier name.",
    },
];
const STOPPING: [Param; 3] = [
    Param { name: "timeout", kind: Kind::Whole(COUNT_MAX), about: "Milliseconds to wait at most." },
    Param {
        name: "blocking",
        kind: Kind::OneOf(&["true", "false", ""]),
        about: "Whether to wait until it has ended (default true).",
    },
    Param {
        name: "force",
        kind: Kind::OneOf(&["true", "false", ""]),
        about: "Whether to answer with a message, too.",
    },
];
const SCALING: [Param; 3] = [
    Param { name: "add", kind: Kind::Whole(WORKERS_MAX as u64), about: "So many more workers." },
    Param { name: "remove", kind: Kind::Whole(WORKERS_MAX as u64), about: "So many fewer workers." },
    Param { name: "total", kind: Kind::Whole(WORKERS_MAX as u64), about: "So many workers." },
];

/// Returns every endpoint.
pub(crate) fn all() -> Vec<Endpoint> {
    [
        cluster::endpoints(),
        jobs::endpoints(),
        executions::endpoints(),
        insight::endpoints(),
        assets::endpoints(),
        access::endpoints(),
        text::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
