//! What follows from an attempt: done, once more, or given up. Nothing here reads a clock or draws a number.

use database::Then;

/// What the target said, if it said anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(u16),
    /// No connection, no answer in time, or no target that may be called.
    Failed,
}

/// Where the delivery and its webhook stood before the attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// Since it was queued.
    pub age_ms: i64,
    /// Of this delivery.
    pub attempts: u32,
    /// Of the webhook in a row, also of deliveries before this one.
    pub failures: u32,
    /// Deliveries of the webhook in a row.
    pub given_up: u32,
}

const SECOND_MS: i64 = 1000;
const HOUR_MS: i64 = 3600 * SECOND_MS;
/// After the first failure in a row; after each further one, twice as long.
const PAUSE_MIN_MS: i64 = 10 * SECOND_MS;
const PAUSE_MAX_MS: i64 = HOUR_MS;
/// A target that fails is tried for so long, and so often at least.
const TRIED_FOR_MS: i64 = 24 * HOUR_MS;
const TRIED_MIN: u32 = 3;
/// One that answers, and refuses what it is sent, so often: others wait behind.
const REFUSED_MAX: u32 = 6;
/// So many deliveries given up in a row suspend the webhook.
const GIVEN_UP_MAX: u32 = 5;

/// `jitter` is between 0 and 1: those that failed together do not come back together.
pub(crate) fn then(outcome: Outcome, before: Before, now_ms: i64, jitter: f64) -> Then {
    let pause_ms = PAUSE_MIN_MS.saturating_mul(1 << before.failures.min(20)).min(PAUSE_MAX_MS);
    let due_ms = now_ms + (pause_ms as f64 * (0.8 + 0.4 * jitter)) as i64;
    let attempts = before.attempts + 1;
    let suspends = before.given_up + 1 >= GIVEN_UP_MAX;
    match outcome {
        Outcome::Answered(200..=299) => Then::Delivered,
        // It says itself that it is gone for good.
        Outcome::Answered(410) => Then::GiveUp { next_ms: now_ms, suspends: true },
        Outcome::Answered(400..=407 | 409 | 411..=424 | 426..=428 | 430..=499) if attempts >= REFUSED_MAX => {
            Then::GiveUp { next_ms: now_ms, suspends }
        }
        _ if attempts >= TRIED_MIN && before.age_ms >= TRIED_FOR_MS => {
            Then::GiveUp { next_ms: due_ms, suspends }
        }
        _ => Then::Again { due_ms },
    }
}

/// For the log; `None` if it was delivered.
pub(crate) fn said(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => {
            Some(format!("the target answered {status}: redirects are not followed, so give its own url"))
        }
        410 => Some("the target answered 410: it is gone for good".to_owned()),
        _ => Some(format!("the target answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Before = Before { age_ms: 0, attempts: 0, failures: 0, given_up: 0 };

    #[test]
    fn what_was_taken_is_done() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(then(Outcome::Answered(status), NEW, 0, 0.5), Then::Delivered);
            assert_eq!(said(status), None);
        }
        for status in [100, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503, 599] {
            assert!(matches!(then(Outcome::Answered(status), NEW, 0, 0.5), Then::Again { .. }), "{status}");
            assert!(said(status).unwrap().contains(&status.to_string()));
        }
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pause = |failures, jitter| match then(Outcome::Failed, Before { failures, ..NEW }, 1_000, jitter)
        {
            Then::Again { due_ms } => due_ms - 1_000,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 8].map(|failures| pause(failures, 0.5)), [10_000, 20_000, 40_000, 2_560_000]);
        assert_eq!([9, 31, u32::MAX].map(|failures| pause(failures, 0.5)), [HOUR_MS; 3]);
        assert_eq!((pause(0, 0.0), pause(0, 1.0)), (8_000, 12_000));
    }

    #[test]
    fn a_target_that_fails_is_tried_for_a_day() {
        let at = |age_ms, attempts| then(Outcome::Answered(500), Before { age_ms, attempts, ..NEW }, 0, 0.5);
        assert!(matches!(at(TRIED_FOR_MS - 1, 40), Then::Again { .. }));
        assert!(matches!(at(TRIED_FOR_MS, 1), Then::Again { .. }), "the server was off for days");
        assert_eq!(at(TRIED_FOR_MS, 2), Then::GiveUp { next_ms: 10_000, suspends: false });
    }

    #[test]
    fn one_that_refuses_holds_up_the_others_for_minutes() {
        let at = |status, attempts| then(Outcome::Answered(status), Before { attempts, ..NEW }, 7, 0.5);
        assert!(matches!(at(422, 4), Then::Again { .. }));
        assert_eq!(at(422, 5), Then::GiveUp { next_ms: 7, suspends: false });
        for status in [408, 425, 429, 500, 302] {
            assert!(matches!(at(status, 50), Then::Again { .. }), "{status}");
        }
    }

    #[test]
    fn a_webhook_is_suspended_after_five_or_when_its_target_says_so() {
        let at = |given_up| then(Outcome::Answered(400), Before { attempts: 5, given_up, ..NEW }, 7, 0.5);
        assert_eq!(at(3), Then::GiveUp { next_ms: 7, suspends: false });
        assert_eq!(at(4), Then::GiveUp { next_ms: 7, suspends: true });
        assert_eq!(then(Outcome::Answered(410), NEW, 7, 0.5), Then::GiveUp { next_ms: 7, suspends: true });
    }
}
