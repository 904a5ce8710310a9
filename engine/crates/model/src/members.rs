//! JSON objects read as Go reads them into structs: a member's name counts in any case.
//!
//! Go's decoder takes `memory`, `Memory` and `MEMORY` for a field `Memory`; serde takes one of them and drops the
//! others in silence, limit and all. Docker's clients rely on Go's way, so every struct that Docker's own decoder
//! would read is read through here. The names of a struct's fields come from serde's derive; keys of maps (labels,
//! options, ports) are data and stay as they are. Where an object has a name in two cases, the exact one counts.
//! `null` in place of an object is an empty object, as in Go.

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// Reads a value, with the names of members in any case.
///
/// # Errors
/// As `serde_json::from_value`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(AnyCase(value))
}

/// Reads a text, with the names of members in any case.
///
/// # Errors
/// As `serde_json::from_slice`.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    from_value(serde_json::from_slice(text)?)
}

/// A member of an object, by its name in any case.
pub fn get<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    get_in(object.as_object()?, name)
}

/// A member of a map that is an object of JSON, by its name in any case.
pub fn get_in<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let other = || members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    members.get(name).or_else(other)
}

/// Renames the members of an object to those of a struct, for who looks at the object before it is read. Only its own
/// members: those of objects inside keep their names.
pub fn rename<T: DeserializeOwned>(value: &mut Value) {
    struct Names<'a>(&'a mut Value);
    impl<'de> Deserializer<'de> for Names<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Error> {
            if let Value::Object(members) = self.0 {
                *members = renamed(std::mem::take(members), fields);
            }
            Value::Null.deserialize_unit(visitor)
        }

        fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            Value::Null.deserialize_unit(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    // What it reads is nothing, which is no such struct: only the names were wanted.
    let _ = T::deserialize(Names(value));
}

/// Members under the names of a struct's fields.
fn renamed(members: Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    if members.keys().all(|name| fields.contains(&name.as_str())) {
        return members;
    }
    let mut renamed = Map::new();
    let mut others = Vec::new();
    for (name, value) in members {
        if fields.contains(&name.as_str()) {
            renamed.insert(name, value);
        } else {
            others.push((name, value));
        }
    }
    for (name, value) in others {
        let field = fields.iter().find(|field| field.eq_ignore_ascii_case(&name));
        let name = field.map_or(name, |field| (*field).to_owned());
        renamed.entry(name).or_insert(value);
    }
    renamed
}

/// A value whose structs are read so, at any depth.
struct AnyCase(Value);

impl<'de> Deserializer<'de> for AnyCase {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(members) => visitor.visit_map(Members::new(members)),
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members::new(renamed(members, fields))),
            Value::Null => visitor.visit_map(Members::new(Map::new())),
            other => other.deserialize_struct(name, fields, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(AnyCase(item))).transpose()
    }
}

struct Members {
    rest: serde_json::map::IntoIter,
    value: Option<Value>,
}

impl Members {
    fn new(members: Map<String, Value>) -> Self {
        Self { rest: members.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(StringDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(AnyCase(self.value.take().unwrap_or(Value::Null)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "PascalCase")]
    struct Inner {
        memory: Option<i64>,
        labels: Option<BTreeMap<String, String>>,
        list: Option<Vec<Inner>>,
        by_name: Option<BTreeMap<String, Inner>>,
        plain: Option<Value>,
    }

    fn read(value: Value) -> Inner {
        from_value(value).unwrap()
    }

    #[test]
    fn names_count_in_any_case_at_any_depth() {
        let wanted = Inner { memory: Some(5), ..Inner::default() };
        for name in ["Memory", "memory", "MEMORY", "mEmOrY"] {
            assert_eq!(read(json!({ name: 5 })), wanted);
            assert_eq!(read(json!({ "list": [{ name: 5 }] })).list.unwrap()[0], wanted);
            assert_eq!(read(json!({ "byname": { "A": { name: 5 } } })).by_name.unwrap()["A"], wanted);
        }
    }

    #[test]
    fn keys_of_maps_are_data() {
        let labels = read(json!({ "labels": { "memory": "a", "Memory": "b" } })).labels.unwrap();
        assert_eq!(labels, BTreeMap::from([("memory".into(), "a".into()), ("Memory".into(), "b".into())]));
        let plain = json!({ "memory": 1, "Memory": [{ "x": null }] });
        assert_eq!(read(json!({ "Plain": plain })).plain.unwrap(), plain);
    }

    #[test]
    fn the_exact_name_counts_before_another() {
        assert_eq!(read(json!({ "memory": 1, "Memory": 2, "MEMORY": 3 })).memory, Some(2));
    }

    #[test]
    fn null_is_nothing_and_unknown_members_are_ignored() {
        assert_eq!(read(json!({ "memory": null, "List": null, "other": { "Memory": 1 } })), Inner::default());
        assert_eq!(read(Value::Null), Inner::default());
        let error = from_value::<Inner>(json!({ "memory": "five" })).unwrap_err().to_string();
        assert!(error.contains("invalid type: string \"five\""), "{error}");
        assert!(from_value::<Inner>(json!([1])).is_err());
    }

    #[test]
    fn an_object_can_be_renamed_alone() {
        let mut value = json!({ "MEMORY": 1, "list": [{ "memory": 2 }], "zzz": 3 });
        rename::<Inner>(&mut value);
        assert_eq!(value, json!({ "Memory": 1, "List": [{ "memory": 2 }], "zzz": 3 }));
        let mut word = json!("x");
        rename::<Inner>(&mut word);
        assert_eq!(word, "x");
    }

    proptest::proptest! {
        #[test]
        fn exact_names_are_read_as_serde_reads_them(memory: Option<i64>, labels: BTreeMap<String, String>) {
            let value = json!({ "Memory": memory, "Labels": labels, "List": [{ "Memory": memory }] });
            let usual: Inner = serde_json::from_value(value.clone()).unwrap();
            proptest::prop_assert_eq!(read(value), usual);
        }
    }
}
