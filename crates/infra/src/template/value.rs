//! Values that CloudFormation computes.
//!
//! Invariant: a reference names a resource by [`Id`], and the template refuses to be finished with one that dangles.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A resource's logical id.
pub(crate) type Id = Cow<'static, str>;

/// A text, perhaps computed by CloudFormation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// As it stands.
    Literal(String),
    /// What `Ref` gives for a resource or a pseudo parameter.
    Ref(Id),
    /// An attribute of a resource.
    Attribute(Id, &'static str),
    /// A text with `${…}` in it.
    Sub(String),
    /// One of the region's availability zones.
    Zone(usize),
    /// Texts joined by commas.
    List(Vec<Text>),
}

impl Text {
    pub(crate) fn reference(id: impl Into<Id>) -> Self {
        Self::Ref(id.into())
    }

    pub(crate) fn attribute(id: impl Into<Id>, name: &'static str) -> Self {
        Self::Attribute(id.into(), name)
    }

    pub(crate) fn sub(text: impl Into<String>) -> Self {
        Self::Sub(text.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::Literal(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::Literal(text)
    }
}

impl From<&nuages_model::Arn> for Text {
    fn from(arn: &nuages_model::Arn) -> Self {
        Self::Literal(arn.to_string())
    }
}

fn intrinsic<S: Serializer, V: Serialize>(serializer: S, name: &str, value: &V) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry(name, value)?;
    map.end()
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(text) => serializer.serialize_str(text),
            Self::Ref(id) => intrinsic(serializer, "Ref", id),
            Self::Attribute(id, name) => intrinsic(serializer, "Fn::GetAtt", &(id, name)),
            Self::Sub(text) => intrinsic(serializer, "Fn::Sub", text),
            Self::Zone(index) => intrinsic(serializer, "Fn::Select", &(index, Zones)),
            Self::List(parts) => intrinsic(serializer, "Fn::Join", &(",", parts)),
        }
    }
}

struct Zones;

impl Serialize for Zones {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The empty text is the stack's own region.
        intrinsic(serializer, "Fn::GetAZs", &"")
    }
}
