//! What the program does when no command is named: the role that its environment or configuration says.

use std::{env, path::Path};

use teraslice_node::exit_code;

use crate::{
    args::{Command, Common, roles},
    failure::Failure,
};

/// The variables that name the role, the stronger first.
const VARIABLES: [&str; 2] = ["assignment", "NODE_TYPE"];
/// The folder of an image in which a configuration makes the program a node.
const IMAGE: &str = "/app/config";

/// Returns the command for the role: of `assignment` or `NODE_TYPE`; a node where there is a configuration; else none.
pub(crate) fn find(common: &Common) -> Result<Option<Command>, Failure> {
    let named = VARIABLES.iter().find_map(|name| env::var(name).ok().filter(|role| !role.is_empty()));
    let has_config = common.config.is_some()
        || env::var_os("TERAFOUNDATION_CONFIG").is_some_and(|path| !path.is_empty())
        || Path::new(IMAGE).is_dir();
    of(named.as_deref(), has_config)
}

fn of(named: Option<&str>, has_config: bool) -> Result<Option<Command>, Failure> {
    match named {
        Some("execution_controller") => Ok(Some(Command::Controller)),
        Some("worker") => Ok(Some(Command::Worker)),
        Some("cluster_master") => Ok(Some(Command::Master(roles::Master::default()))),
        Some("assets_service") => Err(Failure::text(
            exit_code::BAD_CONFIG,
            "there is no assets service of its own: the master serves assets",
        )
        .with_hint("use the role cluster_master")),
        Some("node_master") => Ok(Some(Command::Node(roles::Node::default()))),
        Some(other) => Err(Failure::text(exit_code::BAD_CONFIG, format!("unknown role {other:?}"))
            .with_hint(
                "assignment or NODE_TYPE is one of cluster_master, node_master, execution_controller, worker",
            )),
        None => Ok(has_config.then(|| Command::Node(roles::Node::default()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_role_from_the_environment() {
        assert!(matches!(of(Some("worker"), false), Ok(Some(Command::Worker))));
        assert!(matches!(of(Some("execution_controller"), true), Ok(Some(Command::Controller))));
        assert!(matches!(of(Some("cluster_master"), true), Ok(Some(Command::Master(_)))));
        assert!(matches!(of(None, true), Ok(Some(Command::Node(_)))));
        assert!(matches!(of(None, false), Ok(None)));
    }

    #[test]
    fn says_what_to_use_in_place_of_a_role_that_is_not_there() {
        assert_eq!(of(Some("assets_service"), true).unwrap_err().code, exit_code::BAD_CONFIG);
        assert_eq!(of(Some("wroker"), true).unwrap_err().code, exit_code::BAD_CONFIG);
    }
}
