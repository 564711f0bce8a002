//! Why something is not in a point, in words.

use crate::explain::Line;

/// What becomes of an object, a kind or a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Taken,
    LeftOut(Reason),
}

impl Fate {
    #[must_use]
    pub fn is_taken(&self) -> bool {
        *self == Self::Taken
    }
}

/// Why it is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// `spec.include.objects` is false.
    ObjectsOff,
    /// Controllers make it again.
    DerivedKind,
    /// Asks the platform for an act, or tells of one.
    PlatformKind,
    /// `spec.include.kinds` names others.
    KindNotIncluded,
    /// `spec.exclude.kinds` names it.
    KindExcluded,
    /// `spec.include.secrets` is `None`.
    SecretsOff,
    /// Its controller makes it again.
    Owned { kind: String, name: String },
    /// Tripod made it, and makes it again.
    Platform,
    /// Kubernetes puts it into every namespace.
    Given,
    /// A token of a service account, which is good in one cluster only.
    AccountToken,
    /// `spec.include.labelSelector` does not match.
    NotSelected,
    /// `spec.exclude.labelSelector` matches.
    Deselected,
    /// `spec.include.secrets` is `Labelled`, and this Secret is not.
    SecretNotLabelled,
    /// `spec.include.volumes` is false.
    VolumesOff,
    /// `spec.include.volumeSelector` does not match.
    VolumeNotSelected,
    /// `spec.exclude.volumes` names it.
    VolumeExcluded,
    /// A claim without a volume.
    NotBound,
}

impl Reason {
    /// A stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ObjectsOff => "ObjectsOff",
            Self::DerivedKind => "DerivedKind",
            Self::PlatformKind => "PlatformKind",
            Self::KindNotIncluded => "KindNotIncluded",
            Self::KindExcluded => "KindExcluded",
            Self::SecretsOff => "SecretsOff",
            Self::Owned { .. } => "Owned",
            Self::Platform => "Platform",
            Self::Given => "Given",
            Self::AccountToken => "AccountToken",
            Self::NotSelected => "NotSelected",
            Self::Deselected => "Deselected",
            Self::SecretNotLabelled => "SecretNotLabelled",
            Self::VolumesOff => "VolumesOff",
            Self::VolumeNotSelected => "VolumeNotSelected",
            Self::VolumeExcluded => "VolumeExcluded",
            Self::NotBound => "NotBound",
        }
    }

    /// For people.
    #[must_use]
    pub fn line(&self) -> Line {
        match self {
            Self::ObjectsOff => Line::new("spec.include.objects is false", "spec.include.objects 为 false"),
            Self::DerivedKind => Line::new("derived kind", "派生类型，由控制器重新生成"),
            Self::PlatformKind => Line::new("the platform's kind", "平台自身的类型"),
            Self::KindNotIncluded => Line::new("not in spec.include.kinds", "不在 spec.include.kinds 之内"),
            Self::KindExcluded => Line::new("in spec.exclude.kinds", "由 spec.exclude.kinds 排除"),
            Self::SecretsOff => Line::new("spec.include.secrets is None", "spec.include.secrets 为 None"),
            Self::Owned { kind, name } => {
                Line::new(format!("owned by {kind}/{name}"), format!("属于 {kind}/{name}"))
            }
            Self::Platform => Line::new("the platform's own", "平台自身所有"),
            Self::Given => Line::new("given by Kubernetes", "由 Kubernetes 自动提供"),
            Self::AccountToken => Line::new("a token of a service account", "服务账号的令牌"),
            Self::NotSelected => {
                Line::new("does not match spec.include.labelSelector", "不符合 spec.include.labelSelector")
            }
            Self::Deselected => {
                Line::new("matches spec.exclude.labelSelector", "符合 spec.exclude.labelSelector，被排除")
            }
            Self::SecretNotLabelled => Line::new(
                format!("spec.include.secrets is Labelled, and it has no label {}=true", super::BACKUP_LABEL),
                format!("spec.include.secrets 为 Labelled，而它没有标签 {}=true", super::BACKUP_LABEL),
            ),
            Self::VolumesOff => Line::new("spec.include.volumes is false", "spec.include.volumes 为 false"),
            Self::VolumeNotSelected => {
                Line::new("does not match spec.include.volumeSelector", "不符合 spec.include.volumeSelector")
            }
            Self::VolumeExcluded => Line::new("in spec.exclude.volumes", "由 spec.exclude.volumes 排除"),
            Self::NotBound => Line::new("not bound to a volume", "尚未绑定存储卷"),
        }
    }
}
