//! Takes secrets out of a request.
//!
//! Invariant: what stands in for a secret is as long as it was, and is made of stars only.

use serde_json::Value;

/// Members whose value is a secret, in whichever service.
const SECRET: [&str; 6] = [
    "MasterUserPassword",
    "ParameterValue",
    "Password",
    "SecretAccessKey",
    "SecretBinary",
    "SecretString",
];

fn is_secret(name: &str) -> bool {
    SECRET.contains(&name)
}

fn stars(text: &str) -> String {
    "*".repeat(text.chars().count())
}

/// A JSON protocol's input.
pub(super) fn json(target: &str, input: &mut Value) {
    // The value of a parameter is one too.
    let parameters = target.starts_with("AmazonSSM.");
    walk(input, &|name| is_secret(name) || (parameters && name == "Value"));
}

fn walk(value: &mut Value, is_secret: &dyn Fn(&str) -> bool) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if is_secret(name) => *text = stars(text),
                    _ => walk(member, is_secret),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, is_secret)),
        _ => {}
    }
}

/// A form's field.
pub(super) fn field(name: String, value: String) -> (String, String) {
    let last = name.rsplit('.').next().unwrap_or_default();
    let value = if is_secret(last) { stars(&value) } else { value };
    (name, value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_parameters_value_is_secret_and_a_tags_is_not() {
        let mut input = json!({"Name": "/blog/token", "Value": "hünter", "Tags": [{"Key": "a"}]});
        super::json("AmazonSSM.PutParameter", &mut input);
        assert_eq!(
            input,
            json!({"Name": "/blog/token", "Value": "******", "Tags": [{"Key": "a"}]})
        );
        let mut input = json!({"Name": "x", "Tags": [{"Key": "a", "Value": "b"}], "Nested": [{"SecretString": "s"}]});
        super::json("secretsmanager.CreateSecret", &mut input);
        assert_eq!(input["Tags"][0]["Value"], "b");
        assert_eq!(input["Nested"][0]["SecretString"], "*");
    }
}
