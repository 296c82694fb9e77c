//! Signatures of requests: HMAC-SHA256, by the rules of each vendor.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// The beginning of a secret of Standard Webhooks.
const PREFIX: &str = "whsec_";

/// The key in a secret of Standard Webhooks, `whsec_` and base64 of 24 to 64 bytes; or why it is none.
pub(crate) fn standard_key(secret: &str) -> Result<Vec<u8>, String> {
    let text = secret.strip_prefix(PREFIX).ok_or_else(|| {
        format!("must begin with `{PREFIX}`: make one with `echo {PREFIX}$(openssl rand -base64 32)`")
    })?;
    let key = STANDARD.decode(text).map_err(|_| format!("must be base64 behind `{PREFIX}`"))?;
    match key.len() {
        24..=64 => Ok(key),
        length => Err(format!("must hold 24 to 64 bytes and holds {length}")),
    }
}

/// The `webhook-signature` of Standard Webhooks: one signature for each key, of `id.timestamp.body`.
pub(crate) fn standard(
    keys: &[Vec<u8>],
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> Result<String, ErrorStack> {
    let head = format!("{id}.{timestamp}.");
    let one = |key: &Vec<u8>| Ok(format!("v1,{}", sign(key, &[head.as_bytes(), body])?));
    Ok(keys.iter().map(one).collect::<Result<Vec<_>, ErrorStack>>()?.join(" "))
}

/// DingTalk's: the secret signs `milliseconds\nsecret`.
pub(crate) fn dingtalk(secret: &str, now_ms: i64) -> Result<String, ErrorStack> {
    sign(secret.as_bytes(), &[format!("{now_ms}\n{secret}").as_bytes()])
}

/// Feishu's: `seconds\nsecret` is the key that signs nothing.
pub(crate) fn feishu(secret: &str, seconds: i64) -> Result<String, ErrorStack> {
    sign(format!("{seconds}\n{secret}").as_bytes(), &[])
}

fn sign(key: &[u8], parts: &[&[u8]]) -> Result<String, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    for part in parts {
        signer.update(part)?;
    }
    Ok(STANDARD.encode(signer.sign_to_vec()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification: <https://github.com/standard-webhooks/standard-webhooks>.
    #[test]
    fn standard_webhooks_golden_value() {
        let key = standard_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed =
            standard(std::slice::from_ref(&key), id, 1_614_265_330, b"{\"test\": 2432232314}").unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = standard(&[key.clone(), key], id, 1_614_265_330, b"{\"test\": 2432232314}").unwrap();
        assert_eq!(both, format!("{signed} {signed}"), "two while a secret is being replaced");
    }

    #[test]
    fn robots_golden_values() {
        let dingtalk = dingtalk("SECthis-is-a-test", 1_700_000_000_000).unwrap();
        assert_eq!(dingtalk, "NMFx89/Ew+0YAO0M7Tk6uuWL14KgsoG36AkMt62uIHM=");
        assert_eq!(feishu("demo", 1_599_360_473).unwrap(), "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=");
    }

    #[test]
    fn a_wrong_secret_is_refused_without_showing_it() {
        for (secret, why) in [
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "must begin with `whsec_`"),
            ("whsec_!!", "must be base64"),
            ("whsec_c2hvcnQ=", "must hold 24 to 64 bytes and holds 5"),
        ] {
            let refused = standard_key(secret).unwrap_err();
            assert!(refused.starts_with(why), "{refused}");
        }
    }
}
