#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

/// Calls back with every object that describes a field.
fn fields(value: &Value, path: &str, found: &mut dyn FnMut(&str, &Value)) {
    if let Some(Value::Object(properties)) = value.get("properties") {
        for (name, field) in properties {
            found(&format!("{path}.{name}"), field);
        }
    }
    if let Value::Object(members) = value {
        for (name, member) in members.iter().filter(|(name, _)| *name != "properties") {
            fields(member, &format!("{path}.{name}"), found);
        }
    }
}

#[test]
fn every_field_is_described_and_every_optional_one_names_its_default() {
    let schema = json_schema();
    let defs = schema["$defs"].as_object().unwrap();
    for (name, shape) in defs {
        let required: Vec<&str> = shape["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let one_of_several = ["ServerSpec", "ValueFrom", "Token"].contains(&name.as_str());
        fields(shape, name, &mut |path, field| {
            let text = field["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{path} has no description");
            let optional = !required.contains(&path.rsplit('.').next().unwrap()) && shape["type"] == "object";
            let said = text.contains("Default") || one_of_several || path == "MeshSpec.validation";
            assert!(!optional || said, "{path} does not say its default: {text}");
        });
    }
}

#[test]
fn the_schema_refuses_unknown_fields_everywhere() {
    for (name, shape) in json_schema()["$defs"].as_object().unwrap() {
        if shape.get("properties").is_some() {
            assert_eq!(shape["additionalProperties"], Value::Bool(false), "{name}");
        }
    }
}
