//! `teraslice k8s`: checks whether a Kubernetes cluster is ready for a master.

use teraslice_core::context::Context;
use teraslice_node::{
    doctor::{self, DoctorError, Finding, Verdict},
    exit_code,
};

use super::session::{Session, runtime};
use crate::{
    args::k8s::K8s,
    failure::Failure,
    output,
    table::{Align, Table},
};

/// Checks and says what was found; returns the exit code.
pub(crate) fn execute(session: &Session, command: &K8s) -> Result<u8, Failure> {
    let K8s::Doctor { namespace } = command;
    session.start_log(None)?;
    let config = session.parts.config();
    if !config.is_kubernetes() {
        session.screen.say("note: the configuration does not say `cluster_manager_type: kubernetes`");
    }
    let findings = runtime(None)?.block_on(async {
        let context = Context::system();
        Box::pin(doctor::examine(config, namespace.as_deref(), &context)).await.map_err(of_doctor)
    })?;
    output::print(session.output(), &findings, || render(&findings))?;
    let has_failed = findings.iter().any(|found| found.verdict == Verdict::Fail);
    Ok(if has_failed { exit_code::REFUSED } else { exit_code::DONE })
}

fn of_doctor(error: DoctorError) -> Failure {
    let (code, hint) = match &error {
        DoctorError::Config(_) => {
            (exit_code::BAD_CONFIG, "set KUBECONFIG, or run this in a pod of the cluster")
        }
        DoctorError::Unreachable(_) => (exit_code::UNAVAILABLE, "does `kubectl version` get an answer?"),
    };
    Failure::new(code, error).with_hint(hint)
}

/// Writes a line for each finding, and below what to do.
fn render(findings: &[Finding]) -> String {
    let mut table = Table::new(&[("result", Align::Left), ("what", Align::Left), ("detail", Align::Left)]);
    for found in findings {
        let verdict = match found.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        table.row([verdict.to_owned(), found.what.clone(), found.detail.clone()]);
    }
    let mut text = table.render();
    for (hint, whats) in hints(findings) {
        text.push_str(&format!("\n{}\n  hint: {hint}\n", whats.join(", ")));
    }
    text
}

/// Lists the hints, each once, with what they are for.
fn hints(findings: &[Finding]) -> Vec<(&str, Vec<&str>)> {
    let mut hints: Vec<(&str, Vec<&str>)> = Vec::new();
    for found in findings {
        let Some(hint) = found.hint.as_deref() else { continue };
        match hints.iter_mut().find(|(known, _)| *known == hint) {
            Some((_, whats)) => whats.push(&found.what),
            None => hints.push((hint, vec![&found.what])),
        }
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_was_found_and_each_hint_once() {
        let found = |verdict, what: &str, hint: Option<&str>| Finding {
            verdict,
            what: what.to_owned(),
            detail: "so".to_owned(),
            hint: hint.map(str::to_owned),
        };
        let findings = [
            found(Verdict::Ok, "a", None),
            found(Verdict::Warn, "b", Some("do it")),
            found(Verdict::Fail, "c", Some("do it")),
        ];
        let text = "result  what  detail\nok      a     so\nwarn    b     so\nfail    c     so\n\nb, c\n  hint: do it\n";
        assert_eq!(render(&findings), text);
    }
}
