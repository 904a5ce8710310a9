//! `/images`. Names hold slashes and colons, so the last word of the path is the verb.

use crate::Engine;
use crate::api::body::{BodyReader, Input, ok_json, ok_struct, typed, write_to};
use crate::api::params::Params;
use crate::api::place::Place;
use crate::api::status::{ApiError, ApiResult};
use crate::api::{Version, blocking, convert, fetch};
use crate::filters::Filters;
use crate::image::import::ImportRequest;
use crate::image::{self};
use crate::structs::Kind;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::IntoResponse;
use bollard_stubs::models as wire;
use dhow_model::{Error, ErrorKind, Reference, Result, ResultExt};
use http::{HeaderMap, StatusCode};
use std::io::{Seek, SeekFrom};

/// Since this version `VirtualSize` is gone.
const NO_VIRTUAL_SIZE_SINCE: Version = Version { major: 1, minor: 44 };

/// `GET /images/json`
pub(in crate::api) async fn list(State(engine): State<Engine>, params: Params) -> ApiResult {
    let filters = params.filters()?;
    if params.flag("manifests") {
        return list_with_manifests(engine, filters).await;
    }
    let rows = blocking(move || {
        let images = image::list::list(&engine, &filters)?.iter().map(convert::image::summary).collect();
        Ok(convert::artifact::among(images, &image::artifacts::list(&engine, &filters)?))
    })
    .await?;
    ok_json(&rows)
}

async fn list_with_manifests(engine: Engine, filters: Filters) -> ApiResult {
    let rows = blocking(move || {
        let mut rows = Vec::new();
        for row in image::list::list(&engine, &filters)? {
            match image::inspect::inspect(&engine, row.image.id.as_str()) {
                Ok(found) => rows.push(convert::image::summary_with_manifests(&row, &found)),
                // Removed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(convert::artifact::among(rows, &image::artifacts::list(&engine, &filters)?))
    })
    .await?;
    ok_json(&rows)
}

/// Splits `a/b:c/json` into `a/b:c` and `json`.
fn split_verb(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/').filter(|(name, verb)| !name.is_empty() && !verb.is_empty())
}

/// `GET /images/{name}/json`, `…/history`, `…/get`
pub(in crate::api) async fn get_by_name(
    State(engine): State<Engine>,
    Path(path): Path<String>,
    version: Version,
    params: Params,
    headers: HeaderMap,
) -> ApiResult {
    let Some((name, verb)) = split_verb(&path) else { return Err(ApiError::page_not_found()) };
    let name = name.to_owned();
    match verb {
        "json" => {
            let with_manifests = params.flag("manifests");
            let (artifacts, who) = (engine.clone(), name.clone());
            if let Some(found) = blocking(move || image::artifacts::inspect(&artifacts, &who)).await? {
                return ok_struct(&convert::artifact::inspect(&found, with_manifests), Kind::Image);
            }
            let found = blocking(move || image::inspect::inspect(&engine, &name)).await?;
            let with_virtual_size = version < NO_VIRTUAL_SIZE_SINCE;
            ok_struct(&convert::image::inspect(&found, with_virtual_size, with_manifests), Kind::Image)
        }
        "history" => {
            let (id, references, steps) = blocking(move || image::history::history(&engine, &name)).await?;
            ok_json(&convert::image::history(&id, &references, &steps))
        }
        "get" => save(engine, &headers, vec![name]).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// `POST /images/{name}/tag`
pub(in crate::api) async fn post_by_name(
    State(engine): State<Engine>,
    Path(path): Path<String>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult {
    match split_verb(&path) {
        Some((name, "tag")) => {
            let target = with_tag(params.text("repo").unwrap_or(""), params.text("tag"));
            let name = name.to_owned();
            blocking(move || image::tag::tag(&engine, &name, &target)).await?;
            Ok(StatusCode::CREATED.into_response())
        }
        Some((name, "push")) => super::registry::push(engine, &params, &headers, name).await,
        None if path == "prune" => prune(engine, params).await,
        _ => Err(ApiError::page_not_found()),
    }
}

/// Docker's clients send a name and a tag in two parameters.
pub(super) fn with_tag(repository: &str, tag: Option<&str>) -> String {
    match tag {
        Some(digest) if digest.contains(':') => format!("{repository}@{digest}"),
        Some("") => repository.to_owned(),
        Some(tag) => format!("{repository}:{tag}"),
        None => repository.to_owned(),
    }
}

async fn prune(engine: Engine, params: Params) -> ApiResult {
    let filters = params.filters()?;
    let pruned = blocking(move || image::prune::prune(&engine, &filters)).await?;
    ok_json(&wire::ImagePruneResponse {
        images_deleted: Some(convert::image::removed(&pruned.removed)),
        space_reclaimed: i64::try_from(pruned.reclaimed_bytes).ok(),
    })
}

/// `DELETE /images/{name}`
pub(in crate::api) async fn remove(
    State(engine): State<Engine>,
    Path(name): Path<String>,
    params: Params,
) -> ApiResult {
    let force = params.flag("force");
    let removed = blocking(move || image::remove::remove(&engine, &name, force)).await?;
    ok_json(&convert::image::removed(&removed))
}

/// `GET /images/get?names=a&names=b`
pub(in crate::api) async fn save_several(
    State(engine): State<Engine>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult {
    // Some clients send one parameter with commas.
    let names = params
        .all("names")
        .iter()
        .flat_map(|n| n.split(','))
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    save(engine, &headers, names).await
}

async fn save(engine: Engine, headers: &HeaderMap, names: Vec<String>) -> ApiResult {
    if names.is_empty() {
        return Err(Error::invalid("no image names given").into());
    }
    write_to(Place::take().await, headers, "application/x-tar", move |out| {
        image::save::prepare(&engine, &names)?.write(&engine, out)
    })
    .await
}

/// `POST /images/load`
pub(in crate::api) async fn load(
    State(engine): State<Engine>,
    params: Params,
    request: Request,
) -> ApiResult {
    if params.text("platform").is_some() {
        return Err(Error::unsupported("not supported by dhow yet: load --platform").into());
    }
    let input = Input::of(request).await?;
    let loaded = blocking(move || {
        let mut body = match input {
            Input::Handed(file) => return image::load::load(&engine, file.into_inner()),
            Input::Body(body) => body,
        };
        // The archive is read more than once: its index may come last.
        let directory = engine.layout().content().join("tmp");
        let mut file = tempfile::tempfile_in(&directory)
            .context(|| format!("make a temporary file in {}", directory.display()))?;
        std::io::copy(&mut body, &mut file).context(|| "receive the archive".to_owned())?;
        file.seek(SeekFrom::Start(0)).context(|| "rewind the archive".to_owned())?;
        image::load::load(&engine, file)
    })
    .await?;
    let mut lines = String::new();
    let mut say = |text: String| {
        lines.push_str(&serde_json::json!({ "stream": text + "\n" }).to_string());
        lines.push_str("\r\n");
    };
    loaded.warnings.into_iter().for_each(&mut say);
    let images = loaded.images.iter().map(|one| ("image", &one.image.id, &one.references));
    let artifacts = loaded.artifacts.iter().map(|one| ("artifact", one.artifact.id(), &one.references));
    for (kind, id, references) in images.chain(artifacts) {
        references.iter().for_each(|name| say(format!("Loaded {kind}: {}", name.familiar())));
        if references.is_empty() {
            say(format!("Loaded {kind} ID: {id}"));
        }
    }
    Ok(typed("application/json", Body::from(lines)))
}

/// `POST /images/create`: an import, or a pull.
pub(in crate::api) async fn create(
    State(engine): State<Engine>,
    params: Params,
    request: Request,
) -> ApiResult {
    match (params.text("fromImage"), params.text("fromSrc")) {
        (Some(name), _) => {
            let name = with_tag(name, params.text("tag"));
            super::registry::pull(engine, &params, request.headers(), &name).await
        }
        (None, Some(source)) => {
            let import = parse_import(&params)?;
            import_from(engine, source, import, Input::of(request).await?).await
        }
        (None, None) => Err(Error::invalid("neither fromImage nor fromSrc is given").into()),
    }
}

fn parse_import(params: &Params) -> Result<ImportRequest> {
    let reference = match params.text("repo") {
        None => None,
        Some(repository) => {
            let reference = Reference::parse(&with_tag(repository, params.text("tag")))?;
            if reference.digest().is_some() {
                return Err(Error::invalid("cannot import digest reference"));
            }
            Some(reference.with_default_tag())
        }
    };
    Ok(ImportRequest {
        reference,
        changes: params.all("changes"),
        message: params.owned("message").unwrap_or_default(),
        platform: params.owned("platform").unwrap_or_default(),
    })
}

async fn import_from(engine: Engine, source: &str, mut import: ImportRequest, input: Input) -> ApiResult {
    let mut lines = String::new();
    let mut reader = if source == "-" {
        input
    } else {
        lines.push_str(&status_line(&format!("Downloading from {source}")));
        if import.message.is_empty() {
            import.message = format!("Imported from {source}");
        }
        // One request, one place.
        drop(input);
        Input::Body(BodyReader::new(fetch::get(source).await?).await)
    };
    let id = blocking(move || image::import::import(&engine, &mut reader, &import)).await?;
    lines.push_str(&status_line(id.as_str()));
    Ok(typed("application/json", Body::from(lines)))
}

/// One line of a progress stream.
fn status_line(text: &str) -> String {
    format!("{}\r\n", serde_json::json!({ "status": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_end_the_path() {
        assert_eq!(split_verb("debian/json"), Some(("debian", "json")));
        assert_eq!(split_verb("reg:5000/a/b:c/history"), Some(("reg:5000/a/b:c", "history")));
        assert_eq!(split_verb("json"), None);
        assert_eq!(split_verb("/json"), None);
        assert_eq!(split_verb("a/"), None);
    }

    #[test]
    fn tags_come_apart_from_names() {
        assert_eq!(with_tag("a/b", Some("c")), "a/b:c");
        assert_eq!(with_tag("a/b", None), "a/b");
        assert_eq!(with_tag("a", Some("sha256:00")), "a@sha256:00");
    }
}
