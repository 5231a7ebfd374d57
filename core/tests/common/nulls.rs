//! The check that a JSON null behaves as an absent field (`docs/spec.md`, 4).

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Fields whose keys the user chooses. The entries of a map are not optional fields.
const MAPS: [&str; 2] = ["tags", "metadata"];

/// Sets each field in turn to null, at every depth, and checks that the result is the same as
/// without the field: the same value, or a refusal of both. Returns the paths of the optional
/// fields.
pub fn behave_as_absent<T: DeserializeOwned + PartialEq + Debug>(whole: &Value) -> Vec<String> {
    let mut optional = Vec::new();
    for path in fields(whole, "") {
        let mut null = whole.clone();
        *null.pointer_mut(&path).expect("a path of this value") = Value::Null;
        let mut absent = whole.clone();
        let (object, field) = path.rsplit_once('/').expect("a path begins with a slash");
        let object = absent.pointer_mut(object).and_then(Value::as_object_mut);
        object.expect("the object of a field").remove(&unescaped(field));
        let absent = serde_json::from_value::<T>(absent);
        match (serde_json::from_value::<T>(null), absent) {
            (Ok(null), Ok(absent)) => {
                assert_eq!(null, absent, "{path} as null, and absent, in {whole}");
                optional.push(path);
            }
            (Err(_), Err(_)) => {}
            (null, absent) => panic!("{path}: null gives {null:?}, absent {absent:?}, in {whole}"),
        }
    }
    optional
}

/// The paths of all fields (RFC 6901).
fn fields(value: &Value, path: &str) -> Vec<String> {
    let mut paths = Vec::new();
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
                if !MAPS.contains(&name.as_str()) {
                    paths.extend(fields(value, &path));
                }
                paths.push(path);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                paths.extend(fields(item, &format!("{path}/{number}")));
            }
        }
        _ => {}
    }
    paths
}

fn unescaped(field: &str) -> String {
    field.replace("~1", "/").replace("~0", "~")
}
