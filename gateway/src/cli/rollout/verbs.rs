//! What a person decides.

use super::{Of, Which, path, pretty, show, understood};
use crate::{cli::gateway::Trouble, screen::Paint};
use http::Method;
use tidegate_judge::Verb;

/// The path of a stop of everything.
const FREEZE: &str = "/api/v1/freeze";

/// Asks for `verb`; says what the rollout is then.
pub(super) async fn act(of: &Of, verb: Verb) -> Result<String, Trouble> {
    let path = match verb {
        Verb::PromoteFull => path(of, "/promote?full=true"),
        verb => path(of, &format!("/{}", verb.name())),
    };
    let body = of.how.gateway.ask(Method::POST, &path).await?;
    if of.how.json {
        return Ok(pretty(&body));
    }
    Ok(format!("{}\n", show::line(&understood(body)?, Paint::for_stdout())))
}

pub(super) async fn pause(which: &Which) -> Result<String, Trouble> {
    let said = "all rollouts are frozen: none starts or advances until `rollout resume --all`";
    one_or_all(which, Verb::Pause, Method::POST, said).await
}

pub(super) async fn resume(which: &Which) -> Result<String, Trouble> {
    let said = "all rollouts may go on";
    one_or_all(which, Verb::Resume, Method::DELETE, said).await
}

async fn one_or_all(
    which: &Which,
    verb: Verb,
    method: Method,
    said: &str,
) -> Result<String, Trouble> {
    if let Some(name) = &which.name {
        return act(&Of { name: name.clone(), how: which.how.clone() }, verb).await;
    }
    let body = which.how.gateway.ask(method, FREEZE).await?;
    Ok(if which.how.json { pretty(&body) } else { format!("{said}\n") })
}
