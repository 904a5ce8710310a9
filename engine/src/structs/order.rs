//! The order of an object's fields. Go prints a struct's fields as they are declared; a JSON value here is sorted, so
//! the order is kept beside it: for each set of keys, the order in which the text first had them.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;

/// Orders of keys by the sorted keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyOrders(HashMap<Vec<String>, Vec<String>>);

/// Structs of Docker's that people print as a whole, with fields that JSON leaves out when they are empty.
const STRUCTS: [&[&str]; 7] = [
    &["Name", "MaximumRetryCount"],
    &["Type", "Config"],
    &["HostIp", "HostPort"],
    &["Type", "Layers"],
    &["Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"],
    &["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"],
    &[
        "Status",
        "Running",
        "Paused",
        "Restarting",
        "OOMKilled",
        "Dead",
        "Pid",
        "ExitCode",
        "Error",
        "StartedAt",
        "FinishedAt",
        "Health",
    ],
];

/// The declared fields of an object that was a struct in Go, if it is one of those that are known.
pub(crate) fn struct_fields(object: &Map<String, Value>) -> Option<&'static [&'static str]> {
    // By what is never left out: the name of the first field, and one that no other has.
    STRUCTS.into_iter().find(|fields| match fields.len() {
        2 => object.len() == 2 && fields.iter().all(|field| object.contains_key(*field)),
        6 => object.len() == 6 && fields.iter().all(|field| object.contains_key(*field)),
        8 => object.contains_key("Destination") && object.contains_key("RW"),
        _ => object.contains_key("OOMKilled") && object.contains_key("FinishedAt"),
    })
}

impl KeyOrders {
    /// Reads the orders of a JSON text.
    pub(crate) fn of_text(json: &[u8]) -> Result<Self, serde_json::Error> {
        let mut orders = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(json);
        Collect(&mut orders).deserialize(&mut reader)?;
        Ok(orders)
    }

    /// Notes in which order an object's fields are shown, and which of them are.
    pub(crate) fn note(&mut self, object: &Map<String, Value>, shown: impl IntoIterator<Item = String>) {
        self.0.insert(object.keys().cloned().collect(), shown.into_iter().collect());
    }

    /// An object's keys in their order: a struct's as declared, a map's sorted.
    fn keys<'a>(&'a self, object: &'a Map<String, Value>) -> Vec<&'a String> {
        let sorted: Vec<&String> = object.keys().collect();
        // A map's keys are somebody's words; only a struct's are Go's exported names. The one exception has both.
        let is_event = || object.contains_key("timeNano") && object.contains_key("Action");
        if !sorted.iter().all(|key| key.starts_with(|c: char| c.is_ascii_uppercase())) && !is_event() {
            return sorted;
        }
        let owned: Vec<String> = sorted.iter().map(|key| (*key).clone()).collect();
        match self.0.get(&owned) {
            Some(order) => order.iter().collect(),
            None => sorted,
        }
    }

    /// JSON text on one line, fields in their order.
    pub(crate) fn json(&self, value: &Value) -> String {
        match value {
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.json(item)).collect();
                format!("[{}]", items.join(","))
            }
            Value::Object(object) => {
                let fields = self.keys(object).into_iter().filter_map(|key| {
                    let value = object.get(key)?;
                    Some(format!("{}:{}", Value::from(key.as_str()), self.json(value)))
                });
                format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }
}

/// Walks a JSON text and notes the orders.
struct Collect<'a>(&'a mut KeyOrders);

impl<'de> DeserializeSeed<'de> for Collect<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Collect(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut order: Vec<String> = Vec::new();
        while let Some(key) = fields.next_key()? {
            order.push(key);
            fields.next_value_seed(Collect(&mut *self.0))?;
        }
        let mut sorted = order.clone();
        sorted.sort();
        self.0.0.entry(sorted).or_insert(order);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let orders = KeyOrders::of_text(json.as_bytes()).unwrap();
        orders.json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn structs_keep_their_order_and_maps_are_sorted() {
        let text = r#"{"Name":"no","MaximumRetryCount":0,"A":[{"Z":1,"B":null}],"E":{},"T":"a\"b<"}"#;
        assert_eq!(shown(text), text);
        assert_eq!(
            shown(r#"{"Labels":{"b":"1","a":"2","C":"3"}}"#),
            r#"{"Labels":{"C":"3","a":"2","b":"1"}}"#
        );
        assert_eq!(KeyOrders::default().json(&serde_json::json!({"B": 1, "A": 2.5})), r#"{"A":2.5,"B":1}"#);
        assert!(KeyOrders::of_text(b"{").is_err());
    }
}
