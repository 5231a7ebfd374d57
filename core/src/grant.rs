//! The three grants as they travel between processes (`docs/spec.md`, 1).

use serde::{Deserialize, Serialize};

use crate::id::{ExecutionId, LaneId};
use crate::partition::{Partition, PartitionKey, PartitionKeyParseError};
use crate::time::TimestampMs;

macro_rules! grant {
    ($(#[$doc:meta])* $name:ident $(, $lane:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            /// The execution that may be taken.
            pub execution_id: ExecutionId,
            /// The partition that it lives in.
            pub partition_key: PartitionKey,
            /// The opaque name of the grant.
            pub grant_key: String,
            /// When it ends, in milliseconds since the epoch by the store's clock: it is good
            /// while `now < expires_at_ms`.
            pub expires_at_ms: TimestampMs,
            $(
                /// The lane of the execution.
                pub $lane: LaneId,
            )?
        }

        impl $name {
            /// A grant with these parts.
            pub fn new(
                execution_id: ExecutionId,
                partition_key: PartitionKey,
                grant_key: impl Into<String>,
                expires_at_ms: TimestampMs,
                $($lane: LaneId,)?
            ) -> Self {
                Self {
                    execution_id,
                    partition_key,
                    grant_key: grant_key.into(),
                    expires_at_ms,
                    $($lane,)?
                }
            }

            /// The partition that the grant's key names.
            ///
            /// # Errors
            ///
            /// [`PartitionKeyParseError`] when the key names none.
            pub fn partition(&self) -> Result<Partition, PartitionKeyParseError> {
                self.partition_key.parse()
            }
        }
    };
}

grant!(
    /// Admits one worker to an execution that starts a new attempt.
    ClaimGrant
);
grant!(
    /// Admits one worker to an execution that goes on with its interrupted attempt.
    ResumeGrant,
    lane_id
);
grant!(
    /// Admits one worker to an execution whose lease expired or was revoked.
    ReclaimGrant,
    lane_id
);

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn grants_are_json_with_stable_names() {
        let id = ExecutionId::from_parts(7, Uuid::nil());
        let key = PartitionKey::from(id.partition());
        let lane = LaneId::try_new("default").unwrap();
        let grant = ResumeGrant::new(id, key, "g", TimestampMs::new(5), lane);
        assert_eq!(
            serde_json::to_string(&grant).unwrap(),
            concat!(
                r#"{"execution_id":"{fp:7}:00000000-0000-0000-0000-000000000000","#,
                r#""partition_key":"{fp:7}","grant_key":"g","expires_at_ms":5,"#,
                r#""lane_id":"default"}"#
            )
        );
        assert_eq!(grant.partition(), Ok(Partition::flow(7)));
    }
}
