//! `dhow events`: shows what happens, as it happens.

use crate::cli::arguments::Rules;
use crate::cli::client::Route;
use crate::cli::context::Context;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::listing::{BAD_TEMPLATE, fill, filter_map, parse_filter, parse_template};
use crate::cli::template::{Data, KeyOrders, Template};
use crate::cli::{moment, output};
use crate::local_time::Zone;
use bytes::BytesMut;
use clap::Parser;
use dhow_model::Timestamp;
use http_body_util::BodyExt;
use serde_json::Value;

/// Get real time events from the server
#[derive(Debug, Parser)]
#[command(name = "dhow events")]
pub(crate) struct Args {
    /// Resume after the event of that number (`seq` in the JSON form), without loss
    #[arg(long)]
    cursor: Option<i64>,
    /// Filter output based on conditions provided
    #[arg(short, long, value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(long)]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long)]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long)]
    until: Option<String>,
}

pub(crate) const RULES: Rules = Rules { stop_at_first: false, refused: &[] };

pub(crate) async fn execute(context: &Context, args: Args) -> Outcome {
    let template = match args.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(parse_template("{{json .}}")?),
        Some(text) => {
            crate::cli::output::print_as_it_is();
            Some(Template::parse(text).map_err(|why| {
                Failure::new(format!("Error parsing format: {why}")).with_code(BAD_TEMPLATE)
            })?)
        }
    };
    let since = args.since.as_deref().map(|t| moment::parse("since", t)).transpose()?;
    let until = args.until.as_deref().map(|t| moment::parse("until", t)).transpose()?;
    let filters = (!args.filter.is_empty()).then(|| serde_json::to_string(&filter_map(&args.filter)));
    let filters = filters.transpose().map_err(crate::cli::client::wire)?;
    let route = Route::new("/events")
        .maybe("since", since.as_deref())
        .maybe("until", until.as_deref())
        .maybe("cursor", args.cursor.map(|n| n.to_string()).as_deref())
        .maybe("filters", filters.as_deref());
    let client = context.client().await?;
    let mut body = client.get(route.as_str()).await?.into_body();
    let zone = Zone::local();
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(crate::cli::client::wire)?;
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        for event in complete(&mut pending)? {
            let line = match &template {
                Some(template) => fill(template, &Message::of(event))?,
                None => line(&event, &zone),
            };
            output::print_line(&line)?;
        }
    }
    Ok(0)
}

/// An event as a template sees it: by the names of Docker's Go fields, some of which JSON spells differently or not at
/// all. As a whole it is the JSON that the engine sent.
struct Message {
    fields: Value,
    json: KeyOrders,
}

impl Message {
    fn of(event: Value) -> Self {
        let mut fields = event.clone();
        let names = [
            ("Time", "time"),
            ("TimeNano", "timeNano"),
            ("Scope", "scope"),
            ("Status", "Action"),
            ("Seq", "seq"),
        ];
        for (go, wire) in names {
            fields[go] = event[wire].clone();
        }
        fields["ID"] = event["Actor"]["ID"].clone();
        fields["From"] = event["Actor"]["Attributes"]["image"].clone();
        let order = ["status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano", "seq"];
        let mut json = KeyOrders::default();
        if let Some(fields) = fields.as_object() {
            json.note(fields, order.into_iter().filter(|key| fields.contains_key(*key)).map(str::to_owned));
        }
        if let Some(actor) = event["Actor"].as_object() {
            json.note(actor, ["ID", "Attributes"].map(str::to_owned));
        }
        Self { fields, json }
    }
}

impl Data for Message {
    fn value(&self) -> &Value {
        &self.fields
    }

    fn orders(&self) -> Option<&KeyOrders> {
        Some(&self.json)
    }
}

/// Takes the whole JSON values off the front.
fn complete(pending: &mut BytesMut) -> Outcome<Vec<Value>> {
    let mut events = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(pending).into_iter::<Value>();
    let mut used = 0;
    while let Some(value) = values.next() {
        match value {
            Ok(value) => {
                events.push(value);
                used = values.byte_offset();
            }
            Err(error) if error.is_eof() => break,
            Err(error) => return Err(Failure::new(format!("unexpected event: {error}"))),
        }
    }
    drop(values);
    let _ = pending.split_to(used);
    Ok(events)
}

/// `2026-11-21T09:40:27.022722584Z container create ID (image=bb:1, name=a1)`.
fn line(event: &Value, zone: &Zone) -> String {
    let moment = match event["timeNano"].as_i64().filter(|n| *n != 0) {
        Some(nanos) => Timestamp(nanos),
        None => Timestamp::from_seconds(event["time"].as_i64().unwrap_or_default()),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut line = format!(
        "{} {} {} {}",
        zone.rfc3339_fixed(moment),
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"])
    );
    if let Some(attributes) = event["Actor"]["Attributes"].as_object().filter(|a| !a.is_empty()) {
        let mut pairs: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={}", text(v))).collect();
        pairs.sort();
        line.push_str(&format!(" ({})", pairs.join(", ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_pieces() {
        let mut pending = BytesMut::from(
            "{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"x\",\"Attributes\":{\"name\":\"n\",\"image\":\"i\"}},\"timeNano\":1500000000}\n{\"Ty",
        );
        let events = complete(&mut pending).unwrap();
        assert_eq!(&pending[..], b"\n{\"Ty");
        assert_eq!(
            line(&events[0], &Zone::default()),
            "1970-01-01T00:00:01.500000000Z container die x (image=i, name=n)"
        );
        pending.extend_from_slice(b"pe\":\"image\"}");
        assert_eq!(complete(&mut pending).unwrap()[0]["Type"], "image");
        assert!(pending.is_empty());
    }
}
