//! The three kinds of grants, in the form in which processes exchange them (`docs/spec.md`, 1).
//!
//! A grant admits one worker to one execution for a limited time.

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
            /// The execution that the worker may claim.
            pub execution_id: ExecutionId,
            /// The partition that holds the execution.
            pub partition_key: PartitionKey,
            /// The opaque text that identifies the grant.
            pub grant_key: String,
            /// The expiry by the store's clock, in milliseconds since the Unix epoch: the grant
            /// is valid while `now < expires_at_ms`.
            pub expires_at_ms: TimestampMs,
            $(
                /// The lane of the execution.
                pub $lane: LaneId,
            )?
        }

        impl $name {
            /// Creates a grant from its parts.
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

            /// Parses the grant's partition key.
            ///
            /// # Errors
            ///
            /// [`PartitionKeyParseError`] if the key does not name a partition.
            pub fn partition(&self) -> Result<Partition, PartitionKeyParseError> {
                self.partition_key.parse()
            }
        }
    };
}

grant!(
    /// Admits one worker to an execution to start a new attempt.
    ClaimGrant
);
grant!(
    /// Admits one worker to an execution to continue its interrupted attempt.
    ResumeGrant,
    lane_id
);
grant!(
    /// Admits one worker to an execution whose lease has expired or was revoked.
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
