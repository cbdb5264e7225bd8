//! As whom we speak to the bucket: one set of credentials for the SDK's client and for the signer, refreshed before it
//! expires.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::config::{Region, SharedHttpClient};
use database::Clock;

use super::config::{S3Config, S3Credentials};

/// The last minute of credentials is not used: a request signed in it may arrive after their end.
pub(super) const UNUSED_MS: i64 = 60_000;
/// With so little left, new ones are asked for in any case.
const REFRESH_MS: i64 = 10 * 60_000;
/// Between two attempts while the old ones are good: an instance gets the same ones again for a while.
const RETRY_MS: i64 = 30_000;
/// A chain that looks for a metadata service that is not there must not hang a request.
const LOAD: Duration = Duration::from_secs(20);

/// Who `config` says we are. Looks for ambient credentials anew when those at hand run out; not before the first use.
pub(super) async fn provider(config: &S3Config, http: SharedHttpClient) -> SharedCredentialsProvider {
    match &config.credentials {
        S3Credentials::Static { access_key, secret_key, session_token } => SharedCredentialsProvider::new(
            Credentials::new(access_key, secret_key, session_token.clone(), None, "granary"),
        ),
        S3Credentials::Ambient => {
            let region = Region::new(config.region.clone());
            let environment = ProviderConfig::without_region().with_http_client(http);
            let chain =
                DefaultCredentialsChain::builder().region(region).configure(environment).build().await;
            SharedCredentialsProvider::new(Refreshed::new(chain, config.clock.clone()))
        }
    }
}

/// Milliseconds since the epoch as the rest of the world counts them. The bucket and its credentials know nothing of a
/// clock that `granary debug clock` moved, and refuse a signature from another day.
pub(super) fn world_ms(clock: &Clock) -> i64 {
    clock.now_ms() - clock.offset_ms()
}

/// When `credentials` end; `None` if they do not.
pub(super) fn expiry_ms(credentials: &Credentials) -> Option<i64> {
    let since_epoch = |expiry: SystemTime| expiry.duration_since(UNIX_EPOCH).unwrap_or_default();
    credentials.expiry().map(|expiry| i64::try_from(since_epoch(expiry).as_millis()).unwrap_or(i64::MAX))
}

/// What another provider gave, for as long as it is good. One request at a time asks for new ones; the others meanwhile
/// use the old ones, if those are good.
#[derive(Debug)]
struct Refreshed<P> {
    provider: P,
    clock: Clock,
    held: Mutex<Held>,
    refreshing: Arc<tokio::sync::Semaphore>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    credentials: Option<Credentials>,
    /// When they came. An instance may give the same ones again: then they are as new as that.
    got_ms: i64,
    asked_ms: i64,
}

impl Held {
    /// How long they can be used yet.
    fn left_ms(&self, now_ms: i64) -> i64 {
        let expiry_ms = |credentials| expiry_ms(credentials).unwrap_or(i64::MAX);
        self.credentials.as_ref().map_or(0, expiry_ms).saturating_sub(now_ms + UNUSED_MS)
    }

    /// Once half of their time is over: a URL dies with the credentials that signed it, so one signed now is good for
    /// at least as long again as they are old.
    fn wants_refresh(&self, now_ms: i64) -> bool {
        let left_ms = self.left_ms(now_ms);
        let ends = self.credentials.as_ref().and_then(expiry_ms).is_some();
        let is_late = ends && (left_ms < REFRESH_MS || left_ms < self.left_ms(self.got_ms) / 2);
        left_ms <= 0 || (is_late && now_ms - self.asked_ms >= RETRY_MS)
    }

    fn usable(self, now_ms: i64) -> Option<Credentials> {
        if self.left_ms(now_ms) > 0 { self.credentials } else { None }
    }
}

impl<P: ProvideCredentials> Refreshed<P> {
    fn new(provider: P, clock: Clock) -> Self {
        Refreshed {
            provider,
            clock,
            held: Mutex::default(),
            refreshing: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    async fn current(&self) -> Result<Credentials, CredentialsError> {
        let held = self.held();
        let now_ms = world_ms(&self.clock);
        if !held.wants_refresh(now_ms)
            && let Some(credentials) = held.clone().usable(now_ms)
        {
            return Ok(credentials);
        }
        match (self.refreshing.try_acquire(), held.usable(now_ms)) {
            (Err(_), Some(credentials)) => Ok(credentials),
            (Ok(_permit), _) => self.refresh().await,
            (Err(_), None) => {
                let _permit = self.refreshing.acquire().await.map_err(CredentialsError::unhandled)?;
                self.refresh().await
            }
        }
    }

    /// Asks, unless somebody just did. If that fails, what is held and still good has to do.
    async fn refresh(&self) -> Result<Credentials, CredentialsError> {
        let now_ms = world_ms(&self.clock);
        let held = self.held();
        if !held.wants_refresh(now_ms)
            && let Some(credentials) = held.usable(now_ms)
        {
            return Ok(credentials);
        }
        let answer = tokio::time::timeout(LOAD, self.provider.provide_credentials()).await;
        let answer = answer.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(LOAD)));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.asked_ms = now_ms;
        match answer {
            Ok(credentials) => (held.credentials, held.got_ms) = (Some(credentials), now_ms),
            Err(error) => match held.clone().usable(now_ms) {
                Some(_) => {
                    tracing::warn!(%error, "credentials of the bucket could not be refreshed; the old ones are still good")
                }
                None => return Err(error),
            },
        }
        held.clone().usable(now_ms).ok_or_else(|| {
            CredentialsError::provider_error("the credentials that were found have expired; renew them")
        })
    }

    fn held(&self) -> Held {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<P: ProvideCredentials> ProvideCredentials for Refreshed<P> {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.current())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.held().usable(world_ms(&self.clock))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Gives credentials that end `lifetime_ms` from now, or fails if that is negative.
    #[derive(Debug, Default)]
    struct Issuer {
        lifetime_ms: AtomicI64,
        asked: AtomicUsize,
    }

    impl Issuer {
        async fn issue(&self) -> Result<Credentials, CredentialsError> {
            let number = self.asked.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
            let lifetime_ms = u64::try_from(self.lifetime_ms.load(Relaxed))
                .map_err(|_| CredentialsError::provider_error("no metadata service"))?;
            let now_ms = u64::try_from(Clock::default().now_ms()).unwrap();
            let expiry = UNIX_EPOCH + Duration::from_millis(now_ms + lifetime_ms);
            Ok(Credentials::new(format!("key-{number}"), "secret", None, Some(expiry), "test"))
        }
    }

    impl ProvideCredentials for Issuer {
        fn provide_credentials<'a>(&'a self) -> Provided<'a>
        where
            Self: 'a,
        {
            Provided::new(self.issue())
        }
    }

    const MINUTE_MS: i64 = 60_000;

    fn refreshed(lifetime_ms: i64) -> Refreshed<Issuer> {
        let issuer = Issuer { lifetime_ms: lifetime_ms.into(), asked: 0.into() };
        Refreshed::new(issuer, Clock::default())
    }

    /// As if the last answer were older by this.
    fn forget_attempt(refreshed: &Refreshed<Issuer>) {
        refreshed.held.lock().unwrap().asked_ms -= RETRY_MS;
    }

    #[tokio::test]
    async fn good_credentials_are_asked_for_once() {
        let credentials = Arc::new(refreshed(60 * MINUTE_MS));
        let users: Vec<_> = (0..8)
            .map(|_| {
                let credentials = credentials.clone();
                tokio::spawn(async move { credentials.current().await.unwrap().access_key_id().to_owned() })
            })
            .collect();
        for user in users {
            assert_eq!(user.await.unwrap(), "key-0");
        }
        assert_eq!(credentials.provider.asked.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn those_about_to_end_are_replaced_but_not_asked_for_all_the_time() {
        let credentials = refreshed(5 * MINUTE_MS);
        assert_eq!(credentials.current().await.unwrap().access_key_id(), "key-0");
        assert_eq!(credentials.current().await.unwrap().access_key_id(), "key-0", "just asked");
        forget_attempt(&credentials);
        assert_eq!(credentials.current().await.unwrap().access_key_id(), "key-1");
    }

    #[test]
    fn half_of_their_time_is_enough() {
        let minutes = |count: i64| 1_700_000_000_000 + count * MINUTE_MS;
        let end = UNIX_EPOCH + Duration::from_millis(minutes(361).unsigned_abs());
        let credentials = Some(Credentials::new("key", "secret", None, Some(end), "test"));
        let mut held = Held { credentials, got_ms: minutes(0), asked_ms: minutes(0) };
        assert!(!held.wants_refresh(minutes(1)) && !held.wants_refresh(minutes(180)));
        assert!(held.wants_refresh(minutes(181)));
        // The same ones came again.
        (held.got_ms, held.asked_ms) = (minutes(181), minutes(181));
        assert!(!held.wants_refresh(minutes(182)) && !held.wants_refresh(minutes(270)));
        assert!(held.wants_refresh(minutes(271)));
        // None came: not too often.
        held.asked_ms = minutes(271);
        assert!(
            !held.wants_refresh(minutes(271) + RETRY_MS - 1) && held.wants_refresh(minutes(271) + RETRY_MS)
        );
    }

    #[tokio::test]
    async fn a_failed_refresh_does_not_hurt_while_the_old_ones_are_good() {
        let credentials = refreshed(5 * MINUTE_MS);
        credentials.current().await.unwrap();
        credentials.provider.lifetime_ms.store(-1, Relaxed);
        forget_attempt(&credentials);
        assert_eq!(credentials.current().await.unwrap().access_key_id(), "key-0");
        assert_eq!(credentials.provider.asked.load(Relaxed), 2);
        assert_eq!(credentials.fallback_on_interrupt().unwrap().access_key_id(), "key-0");
    }

    #[tokio::test]
    async fn the_last_minute_is_not_used() {
        let credentials = refreshed(MINUTE_MS - 1);
        let error = credentials.current().await.unwrap_err();
        assert!(format!("{error:?}").contains("have expired; renew them"), "{error:?}");
        assert!(credentials.fallback_on_interrupt().is_none());
        credentials.provider.lifetime_ms.store(-1, Relaxed);
        let error = credentials.current().await.unwrap_err();
        assert!(format!("{error:?}").contains("no metadata service"), "{error:?}");
    }

    #[tokio::test]
    async fn those_that_never_end_are_kept() {
        let credentials = Some(Credentials::new("key", "secret", None, None, "test"));
        let forever = Held { credentials, got_ms: 0, asked_ms: 0 };
        assert!(!forever.wants_refresh(i64::MAX / 2));
        assert!(forever.usable(i64::MAX / 2).is_some());
    }

    #[test]
    fn a_moved_clock_does_not_move_the_world() {
        let clock = Clock::default();
        clock.advance_ms(15 * 24 * 60 * MINUTE_MS);
        assert!((world_ms(&clock) - Clock::default().now_ms()).abs() < MINUTE_MS);
    }
}
