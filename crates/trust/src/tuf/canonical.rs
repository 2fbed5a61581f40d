//! Canonical JSON as TUF signs it (OLPC canonical JSON in securesystemslib's reading).
//!
//! Keys sorted by code point, no white space, only `\` and `"` escaped, every other character (line feeds and other control
//! characters too) as plain UTF-8, integers only. This is not RFC 8785, which escapes control characters and knows
//! fractions. Source: <http://wiki.laptop.org/go/Canonical_JSON>. Parsing does not belong here.

use serde_json::Value;

/// Nesting deeper than this is refused; `serde_json` refuses to read deeper text as well.
pub const MAXIMUM_DEPTH: usize = 128;

/// Why a value has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// The value holds a number with a fraction or an exponent, or one outside the 64 bit integers.
    #[error("canonical JSON: {number} is not an integer")]
    NotAnInteger {
        /// The number as JSON writes it.
        number: String,
    },
    /// The value is nested deeper than [`MAXIMUM_DEPTH`].
    #[error("canonical JSON: nested deeper than {MAXIMUM_DEPTH}")]
    TooDeep,
}

/// The canonical bytes of `value`.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut output = Vec::new();
    write_value(value, MAXIMUM_DEPTH, &mut output)?;
    Ok(output)
}

fn write_value(value: &Value, depth_left: usize, output: &mut Vec<u8>) -> Result<(), CanonicalError> {
    let deeper = || depth_left.checked_sub(1).ok_or(CanonicalError::TooDeep);
    match value {
        Value::Null => output.extend(b"null"),
        Value::Bool(true) => output.extend(b"true"),
        Value::Bool(false) => output.extend(b"false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => output.extend(number.to_string().as_bytes()),
        Value::Number(number) => return Err(CanonicalError::NotAnInteger { number: number.to_string() }),
        Value::String(text) => write_string(text, output),
        Value::Array(items) => {
            let depth = deeper()?;
            output.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    output.push(b',');
                }
                write_value(item, depth, output)?;
            }
            output.push(b']');
        }
        Value::Object(members) => {
            let depth = deeper()?;
            // Order of UTF-8 bytes is order of code points. Sorted here, because the map keeps insertion order when
            // any crate in the build asks serde_json for it.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| name.as_bytes());
            output.push(b'{');
            for (index, (name, member)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    output.push(b',');
                }
                write_string(name, output);
                output.push(b':');
                write_value(member, depth, output)?;
            }
            output.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, output: &mut Vec<u8>) {
    output.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            output.push(b'\\');
        }
        output.push(byte);
    }
    output.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value, expected: &str) {
        assert_eq!(String::from_utf8(to_canonical(&value).unwrap()).unwrap(), expected);
    }

    #[test]
    fn keys_are_sorted_by_code_point() {
        check(json!({"b": 1, "a": 2, "B": 3, "": 4, "aa": 5}), r#"{"":4,"B":3,"a":2,"aa":5,"b":1}"#);
        // UTF-16 order would put U+1F600 before U+FF5E; code points do not.
        check(json!({"\u{1F600}": 1, "\u{FF5E}": 2, "é": 3}), "{\"é\":3,\"\u{FF5E}\":2,\"\u{1F600}\":1}");
    }

    #[test]
    fn only_quote_and_backslash_are_escaped() {
        check(json!("a\"b\\c/d"), r#""a\"b\\c/d""#);
        check(json!("line\nfeed\ttab\u{0}nul\u{7f}"), "\"line\nfeed\ttab\u{0}nul\u{7f}\"");
        check(json!({"a\"": "ä€😀"}), "{\"a\\\"\":\"ä€😀\"}");
    }

    #[test]
    fn integers_only() {
        check(json!([0, -1, i64::MIN, u64::MAX]), "[0,-1,-9223372036854775808,18446744073709551615]");
        for text in ["1.5", "1.0", "1e3", "-0.0", "18446744073709551616"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(
                matches!(to_canonical(&json!({ "x": [value] })), Err(CanonicalError::NotAnInteger { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn empty_and_nested() {
        check(
            json!({"a": [], "b": {}, "c": [null, true, false, [""]]}),
            r#"{"a":[],"b":{},"c":[null,true,false,[""]]}"#,
        );
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(to_canonical(&nest(MAXIMUM_DEPTH)).is_ok());
        assert_eq!(to_canonical(&nest(MAXIMUM_DEPTH + 1)), Err(CanonicalError::TooDeep));
    }

    /// Our encoder and the client's must agree on everything, or our signatures would not verify there.
    mod agreement {
        use super::*;
        use proptest::prelude::*;

        fn any_json() -> impl Strategy<Value = Value> {
            let leaf = prop_oneof![
                Just(Value::Null),
                any::<bool>().prop_map(Value::from),
                any::<i64>().prop_map(Value::from),
                any::<u64>().prop_map(Value::from),
                any::<String>().prop_map(Value::from),
            ];
            leaf.prop_recursive(4, 32, 6, |inner| {
                prop_oneof![
                    prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                    prop::collection::btree_map(any::<String>(), inner, 0..6)
                        .prop_map(|members| Value::Object(members.into_iter().collect())),
                ]
            })
        }

        proptest! {
            #[test]
            fn with_the_client_library(value in any_json()) {
                let theirs = sigstore_tuf::canonical_json::to_canonical_bytes(&value).unwrap();
                prop_assert_eq!(to_canonical(&value).unwrap(), theirs);
            }
        }
    }
}
