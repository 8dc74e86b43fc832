//! Tokens signed with keys of our own, and the keys served as the API server would.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;
use crate::fake::{Fault, Server};

/// Made for these tests, PKCS #8.
const EC_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg5/mPbiRp18ibs5XVksNfzOSniVAF/zKu1K6G7PN7exehRANCA\
AR5BbdeGtBUeQYUm3t0LxadOQCJbxkdMDWktfgWtQdbmRgKm5XrFUYlLiyBlYk+HilLRBlWDtaTwe1cq6WQgaM0";
/// Made for these tests, PKCS #1.
const RSA_KEY: &str = "\
MIIEpAIBAAKCAQEArKZDKg8cJW0563jcp2vGwmayrxb12AY9DwF53ybJmtrfee5MZZx+utYzxuBDwiczkzM6oFalIrwGIsTfoGeo7bAVCTwyKDnlzjZ8\
UN6JOqd9msWcWN+reVd8RuirD47LXs1CMtLF9ATiwLhve0mmrss/79Y6VhSZuTqALczzKt+v56xNEntWzh1Sso6Ix/O7jkUG8w1FQWZYeNnSCL2q7/t8\
rhqq1HBc9I/DudM8CZ4yTHXMlcI8QKsLrOMarIMt89nYzVFafRk7DtcJtGpVMRDbizwNL2d4onev1BXVlJOlZGjUDc27k31F+HXAI9fHOg/dh2iflRVh\
bSF5V2223wIDAQABAoIBAAfFJdGvQ2eFzm0ED/4y8guOvqz1nhPeWAIkYV1DLCCdiCA/Ms4B6Iw1Frh1IGeNBxuxWwqbS6xQBQCslpnsAGTOH2w+es1n\
qamJtzeWhFuQ7Sy5hwtS6a842j2AvC4jkZCPMVMDPGh6jc/5nP7R9j/4osSDAjYckDyPXvRwvGLqAj/5TMBShmmmstfOBa47OA7nx6VYpa3PVCFJwMzD\
5n0uIZXxarFYW+qUKP61K7vmMDXUtYDBfdYotjzHPNzt/btbi+mkraf0FhLylQNg1v+TUd6oXyiJVFI6Z/r4yhgyCY3ztIZZ70J8HUDVL28PN1DK3qaG\
M6e9jwKFlpQ0YqECgYEA60/CBBBd1caxA/5wI+bhjTOrxIbS4U8SAuMTfA5DIOLMoEuklDt9hIabNZNkJ2MRugk6yJjjZ8QJzdcr5gfZ0zhRxH5BeRUB\
LTE+EIwy1OI63K4Rvz6pcq58G6yn2sfePpHcjlXf7/Aeymi1ogVYj0WabUA1kxUBAn3ZFdBuZCECgYEAu9QlaoASw7cV0T31u28/uRV7Iyp0tsupcQB/\
olsbWOAgV9fZt2eZ/RsEQjduZDEJLwzGKU/5/RfxtXtSS3++QgJgABG74YZ+jlF/dYlwcvLvvB76UrjZB1Y211fsm17b343qGVyU0lQMydrKHogn9Sp4\
3zXlkbwUTkNgxO24uv8CgYEAxNttuY6jodNehbPXxwFBUqqWmYwdYaaPr+CejVs1J471l2iQ3/3A7RzbPf/3esfzrYpJJkZZgJbNiOno7MFGpuDn7xWc\
2poK6O7YOGnBoL0+dx4c9LyMb8evRku0BWDN+dR3CpCnDoj4iWb+BPSp+PpGzf04lLqupJH6CbjckWECgYEAgYr/g0RxrKpJUdb59Bv2RyCZnNdbR/eP\
FXDSlpdfdRyfMfadIfFCM16+wSyZ5mArhVe6FCQktnodKp2zVH72KXCZ5XJVsmWgQ2fSEK6J7729unFjFEqI5JaBnGP3u/DglH68RmGkAqwVZeKQJB6j\
8GMqmkgB3VFqb8/onemWzuECgYAnb6CstCNeLuszpe3CZGtQQnNYziFOPIKK5fjQSYaP3suofSZgOTDx+AtvFu+jtwZQ5ctVuWT6lVunE7uYYQ0WdyYs\
f29yE2l6wm768Myvw03SiwKWBuncWIa2j7NrK3PUnJ600GWDX7nj/0xXhR+SUGQlSVxmUDNJhhVCiOPjog==";

/// The public halves, named `ec` and `rsa`.
fn keys() -> Value {
    json!({"keys": [
        {
            "kid": "ec", "kty": "EC", "alg": "ES256", "use": "sig", "crv": "P-256",
            "x": "eQW3XhrQVHkGFJt7dC8WnTkAiW8ZHTA1pLX4FrUHW5k", "y": "GAqblesVRiUuLIGViT4eKUtEGVYO1pPB7VyrpZCBozQ",
        },
        {
            "kid": "rsa", "kty": "RSA", "alg": "RS256", "use": "sig", "e": "AQAB",
            "n": concat!(
                "rKZDKg8cJW0563jcp2vGwmayrxb12AY9DwF53ybJmtrfee5MZZx-utYzxuBDwiczkzM6oFalIrwGIsTfoGeo7bAVCTwyKDnlzjZ8UN6JOqd9ms",
                "WcWN-reVd8RuirD47LXs1CMtLF9ATiwLhve0mmrss_79Y6VhSZuTqALczzKt-v56xNEntWzh1Sso6Ix_O7jkUG8w1FQWZYeNnSCL2q7_t8rhqq",
                "1HBc9I_DudM8CZ4yTHXMlcI8QKsLrOMarIMt89nYzVFafRk7DtcJtGpVMRDbizwNL2d4onev1BXVlJOlZGjUDc27k31F-HXAI9fHOg_dh2iflR",
                "VhbSF5V2223w",
            ),
        },
    ]})
}

fn key(algorithm: Algorithm) -> EncodingKey {
    let der = |text: &str| STANDARD.decode(text).unwrap();
    match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_der(&der(RSA_KEY)),
        Algorithm::ES256 => EncodingKey::from_ec_der(&der(EC_KEY)),
        _ => EncodingKey::from_secret(b"secret").unwrap(),
    }
}

struct Scene {
    server: Server,
    verifier: TokenVerifier,
    now_s: i64,
}

impl Scene {
    fn new() -> Self {
        let context = Context::simulated(1);
        let server = Server::new(&context);
        server.publish(keys());
        let (audience, namespace) = ("teraslice/ns/ts".to_owned(), "ns".to_owned());
        let verifier = TokenVerifier::new(server.client(""), audience, namespace, context);
        Self { server, verifier, now_s: Context::system().wall().as_millis() / 1_000 }
    }

    fn claims(&self) -> Value {
        json!({
            "aud": ["teraslice/ns/ts"], "exp": self.now_s + 3_600, "iat": self.now_s, "iss": "https://kubernetes.default.svc",
            "sub": "system:serviceaccount:ns:default",
            "kubernetes.io": {"namespace": "ns", "pod": {"name": "worker-0", "uid": "u0"}, "serviceaccount": {"name": "default"}},
        })
    }

    async fn verify(
        &self,
        algorithm: Algorithm,
        kid: &str,
        claims: &Value,
    ) -> Result<PodIdentity, TokenError> {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
        self.verifier.verify(&encode(&header, claims, &key(algorithm)).unwrap()).await
    }

    fn asked(&self) -> usize {
        self.server.requests("GET", KEYS).len()
    }
}

#[tokio::test(start_paused = true)]
async fn knows_a_pod_by_its_token() {
    let scene = Scene::new();
    for (algorithm, kid) in [(Algorithm::RS256, "rsa"), (Algorithm::ES256, "ec")] {
        let pod = scene.verify(algorithm, kid, &scene.claims()).await.unwrap();
        assert_eq!(pod, PodIdentity { name: "worker-0".to_owned(), uid: "u0".to_owned() });
    }
    assert_eq!(scene.asked(), 1, "keys are asked for once");
}

#[tokio::test(start_paused = true)]
async fn refuses_a_token_that_is_for_somebody_else_or_over() {
    let scene = Scene::new();
    let cases = [
        ("/aud/0", json!("teraslice/ns/other"), "it is not valid here"),
        ("/aud", json!([]), "it is not valid here"),
        ("/exp", json!(scene.now_s - 3_600), "it is not valid here"),
        ("/exp", Value::Null, "it is not valid here"),
        ("/kubernetes.io/namespace", json!("other"), "it is of namespace \"other\""),
        ("/kubernetes.io/pod", Value::Null, "it is bound to no pod"),
        ("/kubernetes.io", Value::Null, "it is not valid here"),
    ];
    for (pointer, value, reason) in cases {
        let mut claims = scene.claims();
        *claims.pointer_mut(pointer).unwrap() = value.clone();
        let refused = scene.verify(Algorithm::ES256, "ec", &claims).await.unwrap_err();
        assert_eq!(refused.to_string(), reason, "{pointer} {value}");
        assert!(!refused.is_passing(), "{pointer} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn refuses_a_signature_that_is_not_by_the_key_it_names() {
    let scene = Scene::new();
    for (algorithm, kid) in [(Algorithm::ES256, "rsa"), (Algorithm::RS256, "ec"), (Algorithm::HS256, "rsa")] {
        let refused = scene.verify(algorithm, kid, &scene.claims()).await.unwrap_err();
        assert!(matches!(refused, TokenError::Invalid(_)), "{algorithm:?} {kid}: {refused}");
    }
    let header = Header { kid: Some("ec".to_owned()), ..Header::new(Algorithm::ES256) };
    let token = encode(&header, &scene.claims(), &key(Algorithm::ES256)).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = encode(&header, &json!({}), &key(Algorithm::ES256)).unwrap();
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert!(scene.verifier.verify(&forged).await.is_err());
    for broken in ["", "a.b.c", signed] {
        assert!(scene.verifier.verify(broken).await.is_err(), "{broken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn asks_for_the_keys_again_but_seldom_when_it_does_not_know_one() {
    let scene = Scene::new();
    let unknown = || async { scene.verify(Algorithm::ES256, "new", &scene.claims()).await.unwrap_err() };
    for _ in 0..5 {
        assert!(matches!(unknown().await, TokenError::UnknownKey { key } if key == "new"));
    }
    assert_eq!(scene.asked(), 1);
    tokio::time::advance(KEYS_PAUSE).await;
    unknown().await;
    unknown().await;
    assert_eq!(scene.asked(), 2);
    let mut keys = keys();
    keys["keys"][0]["kid"] = json!("new");
    scene.server.publish(keys);
    tokio::time::advance(KEYS_PAUSE).await;
    scene.verify(Algorithm::ES256, "new", &scene.claims()).await.unwrap();
    assert_eq!(scene.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn lets_those_with_known_keys_pass_while_nobody_answers() {
    let scene = Scene::new();
    scene.verify(Algorithm::ES256, "ec", &scene.claims()).await.unwrap();
    tokio::time::advance(KEYS_PAUSE).await;
    scene.server.fail("", "GET", KEYS, Fault::Hang);
    let claims = scene.claims();
    let (unknown, known) = tokio::join!(
        scene.verify(Algorithm::ES256, "new", &claims),
        tokio::time::timeout(Duration::from_secs(1), scene.verify(Algorithm::ES256, "ec", &claims)),
    );
    known.expect("it need not wait").unwrap();
    assert!(unknown.unwrap_err().is_passing(), "it may be known later");
}
