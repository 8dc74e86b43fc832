//! Assets: publish, list, fetch, remove.

use std::io;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};
use teraslice_api::answer::AssetAnswer;
use teraslice_model::asset::AssetRecord;
use tokio_util::io::ReaderStream;

use super::{FROM, SIZE, SORT};
use crate::{
    answer,
    app::App,
    body,
    documents::{object, sort},
    endpoint::{Answered, At, Call, Content, Endpoint, Kind, Param, Taken},
    params::Params,
    refusal::Refusal,
};

/// Characters of an asset's id.
const ID_LEN: usize = 40;
const BLOCKING: Param = Param {
    name: "blocking",
    kind: Kind::Text,
    about: "Has no effect: the answer always comes when the asset is there, or says what is wrong.",
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let (assets, answer) = (Content::List("Asset"), Content::Json("AssetAnswer"));
    let list_params = [FROM, SIZE, SORT];
    vec![
        Endpoint::post("/assets", upload)
            .summary("Publishes a bundle; what is no zip is answered 500")
            .params(&[BLOCKING])
            .body(Taken::Zip)
            .gives(answer)
            .gives_as(201, answer)
            .refuses(&[400, 409, 422, 500]),
        Endpoint::get("/assets", list)
            .summary("Lists assets; a number that is none is answered 500")
            .params(&list_params)
            .gives(assets)
            .refuses(&[400, 500]),
        Endpoint::get("/assets/{id}", list)
            .summary("Lists the versions of an asset by its name")
            .params(&list_params)
            .gives(assets)
            .refuses(&[400, 500]),
        Endpoint::get("/assets/{id}/{version}", list)
            .summary("Lists assets by name and version; `*` stands for anything")
            .params(&list_params)
            .gives(assets)
            .refuses(&[400, 500]),
        Endpoint::get("/assets/{id}/bundle", fetch)
            .at(At::Versioned)
            .summary("Returns the bundle of an asset")
            .gives(Content::Zip)
            .refuses(&[404]),
        Endpoint::delete("/assets/{id}", delete)
            .summary("Removes an asset that no active execution uses; an id that is none is answered with the text in `error`")
            .gives(answer)
            .gives_as(400, Content::Json("TextError"))
            .refuses(&[404, 409]),
    ]
}

async fn upload(mut call: Call) -> Answered {
    if body::is_json(&call.headers) {
        return Err(Refusal::bad(
            "an asset is posted as a zip, content type application/octet-stream; found JSON",
        ));
    }
    let body = call.take_body().into_data_stream().map_err(io::Error::other).boxed();
    let uploaded = call.app.services.library.upload(body).await?;
    let status = if uploaded.is_new { StatusCode::CREATED } else { StatusCode::OK };
    if uploaded.is_new {
        call.note(&uploaded.id, Value::Null, json!({"asset_id": uploaded.id})).await?;
    }
    answer::json_as(status, &AssetAnswer { asset_id: uploaded.id })
}

async fn list(call: Call) -> Answered {
    answer::json(&listed(&call.app, &call.params, call.path("id"), call.path("version")).await?)
}

/// Lists assets as the parameters say; an empty name or version means any.
pub(super) async fn listed(
    app: &App,
    params: &Params,
    name: &str,
    version: &str,
) -> Result<Vec<Map<String, Value>>, Refusal> {
    let (page, order) = (params.page_of_original(app.options.list_len_max)?, params.sort("_created:desc")?);
    let assets = app.services.library.list().await?;
    let is_wanted = |asset: &AssetRecord| {
        (name.is_empty() || matches(name, &asset.name))
            && (version.is_empty() || matches(version, &asset.version))
    };
    let mut documents: Vec<_> =
        assets.iter().filter(|asset| is_wanted(asset)).map(|asset| object(json!(asset))).collect();
    sort(&mut documents, &order);
    let (from, size) = (usize::try_from(page.from), usize::try_from(page.size));
    let (from, size) = (from.unwrap_or(usize::MAX), size.unwrap_or(usize::MAX));
    Ok(documents.into_iter().skip(from).take(size).collect())
}

/// Compares with a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let Some((middle, last)) = rest.rsplit_once('*') else { return text.ends_with(rest) };
    for part in middle.split('*') {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

async fn fetch(call: Call) -> Answered {
    let (record, file) = call.app.services.library.open(call.path("id")).await?;
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(file, 64 << 10)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    headers.insert(header::CONTENT_LENGTH, record.size.into());
    if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", record.sha256)) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}

async fn delete(call: Call) -> Answered {
    let id = call.path("id").to_owned();
    if id.chars().count() != ID_LEN {
        let message = format!("parameter asset_id must be {ID_LEN} characters, found {id:?}");
        return Err(Refusal::bad(message).text_only());
    }
    call.app.services.library.delete(&id).await?;
    call.note(&id, json!({"asset_id": id}), Value::Null).await?;
    answer::json(&AssetAnswer { asset_id: id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_with_patterns() {
        let cases = [
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "1.2.30", false),
            ("1.*", "1.2.3", true),
            ("1.*", "2.1.0", false),
            ("*", "", true),
            ("*.3", "1.2.3", true),
            ("1*2*3", "1.2.3", true),
            ("1*2*3", "1.3.2", false),
            ("a*a", "a", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
