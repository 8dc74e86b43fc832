//! Tokens and the audit log: for bearers of the role admin.

use axum::http::StatusCode;
use serde_json::{Value, json};
use teraslice_api::access::{NewToken, TokenMade, TokenShown};
use teraslice_core::store::StoreError;
use teraslice_model::access::TokenRecord;

use super::{FROM, SIZE};
use crate::{
    access, answer,
    endpoint::{Answered, At, Call, Content, Endpoint, Taken},
    refusal::Refusal,
};

/// Characters of a token's name at most.
const NAME_LEN_MAX: usize = 64;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let all = vec![
        Endpoint::get("/tokens", list).summary("Lists tokens").gives(Content::List("Token")),
        Endpoint::post("/tokens", create)
            .summary("Makes a token; its word is told this once")
            .body(Taken::NeededJson("NewToken"))
            .gives_as(201, Content::Json("TokenMade"))
            .refuses(&[400, 409, 413, 415]),
        Endpoint::delete("/tokens/{id}", delete)
            .summary("Withdraws a token by its name")
            .gives(Content::Json("Token"))
            .refuses(&[404]),
        Endpoint::get("/audit", audit)
            .summary("Lists the changes that were made, the newest first")
            .params(&[FROM, SIZE])
            .gives(Content::List("AuditEntry"))
            .refuses(&[400]),
    ];
    all.into_iter().map(|endpoint| endpoint.at(At::Versioned)).collect()
}

async fn list(call: Call) -> Answered {
    let tokens = call.app.services.store.tokens().await?;
    answer::json(&tokens.into_iter().map(shown).collect::<Vec<_>>())
}

async fn create(mut call: Call) -> Answered {
    let wanted: Option<NewToken> = call.shaped().await?;
    let NewToken { name, role } =
        wanted.ok_or_else(|| Refusal::bad("name and role of the token are needed"))?;
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_plain) {
        let message = format!(
            "the name of a token is 1 to {NAME_LEN_MAX} letters, digits, dots, dashes and underscores"
        );
        return Err(Refusal::bad(message));
    }
    let drawn = access::draw(&name, role, call.app.now());
    let drawn =
        drawn.map_err(|error| Refusal::unavailable(format!("no random numbers are to be had: {error}")))?;
    let token = shown(drawn.record.clone());
    match call.app.services.store.create_token(drawn.record).await {
        Err(StoreError::Conflict { .. }) => {
            return Err(Refusal::conflict(format!("there is a token {name:?} already")));
        }
        created => created?,
    }
    call.app.guard.forget_tokens();
    call.note(&name, Value::Null, json!(token)).await?;
    let TokenShown { name, role, created } = token;
    answer::json_as(StatusCode::CREATED, &TokenMade { name, role, token: drawn.word, created })
}

async fn delete(call: Call) -> Answered {
    let name = call.path("id");
    let tokens = call.app.services.store.tokens().await?;
    let token = tokens.into_iter().find(|token| token.name == name).map(shown);
    let token = token.ok_or_else(|| Refusal::not_found(format!("token {name:?}")))?;
    call.app.services.store.delete_token(name).await?;
    call.app.guard.forget_tokens();
    call.note(name, json!(token), Value::Null).await?;
    answer::json(&token)
}

async fn audit(call: Call) -> Answered {
    let page = call.params.page(call.app.options.list_len_max)?;
    answer::json(&call.app.services.store.audit(page).await?)
}

fn shown(token: TokenRecord) -> TokenShown {
    let TokenRecord { name, role, created, .. } = token;
    TokenShown { name, role, created }
}
