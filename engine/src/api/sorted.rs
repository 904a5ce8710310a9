//! Maps in answers, sorted by their keys, as Go writes them.
//!
//! The generated types have hash maps: the same object would be told in another order each time. What is a struct keeps
//! its fields' order, and only the name of a field tells the two apart in JSON.

use crate::structs::{Kind, Ordered};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Fields of the API that hold maps.
const MAPS: [&str; 19] = [
    "Annotations",
    "Attributes",
    "AuxiliaryAddresses",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "Services",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// One of Docker's structs as JSON, with all the fields that Docker writes, its maps sorted.
pub(super) fn whole<T: Serialize>(value: &T, kind: Kind) -> Result<String, serde_json::Error> {
    Ok(Ordered::parse_struct(&maps(&serde_json::to_vec(value)?)?, kind)?.json())
}

/// The same JSON with its maps sorted.
pub(super) fn maps(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let whole: &RawValue = serde_json::from_slice(json)?;
    let mut sorted = Vec::with_capacity(json.len());
    write(whole, ("", ""), &mut sorted)?;
    Ok(sorted)
}

/// `path` is the names of the field and of the one around it.
fn write(value: &RawValue, path: (&str, &str), out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let is_map = MAPS.contains(&path.1) || path == ("LogConfig", "Config");
    match value.get().as_bytes().first() {
        Some(b'{') => {
            let Fields(mut fields) = serde_json::from_str(value.get())?;
            if is_map {
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            out.push(b'{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                // A key of a map is no field's name.
                let name = if is_map { "" } else { name };
                write(value, (path.1, name), out)?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get())?;
            out.push(b'[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, ("", ""), out)?;
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(value.get().as_bytes()),
    }
    Ok(())
}

/// An object's fields in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(0));
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Collect).map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_sorted_and_structs_stay_as_they_are() {
        let json =
            br#"{"Z":1,"Labels":{"b":"\"x\"","a":"{","Labels":"y"},"A":[{"Y":1.50,"B":{"D":0,"C":[]}}],
            "LogConfig":{"Type":"t","Config":{"z":"1","c":"2"}},"Config":{"Tty":false,"Env":null},
            "Networks":{"n":{"Z":1,"DriverOpts":{"y":"","x":""},"A":2},"m":{}}}"#;
        let sorted = String::from_utf8(maps(json).unwrap()).unwrap();
        assert_eq!(
            sorted,
            r#"{"Z":1,"Labels":{"Labels":"y","a":"{","b":"\"x\""},"A":[{"Y":1.50,"B":{"D":0,"C":[]}}],"LogConfig":{"Type":"t","Config":{"c":"2","z":"1"}},"Config":{"Tty":false,"Env":null},"Networks":{"m":{},"n":{"Z":1,"DriverOpts":{"x":"","y":""},"A":2}}}"#
        );
    }
}
