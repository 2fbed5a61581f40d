//! Log-in by a provider's word: who is let in, who is not, and that each refusal stands in the log.

use crate::{
    provider::{Provider, Token},
    support::{Browser, PATIENCE, World},
};
use reqwest::{Response, StatusCode};
use staffel_console::sessions::Lifetime;
use staffel_server::api::Role;

const WHAT: &str = "log in with the provider";

async fn world() -> (Provider, World) {
    let provider = Provider::start().await;
    let world = World::built(Lifetime::default(), Some(provider.oidc())).await;
    (provider, world)
}

/// Goes to the provider as a browser would; answers the path that leads back.
async fn errand(provider: &Provider, browser: &mut Browser) -> String {
    let page = browser.page("/login?next=%2Fcases").await;
    assert!(page.contains("Log in with Example &#38; Sons"), "{page}");
    let answer = browser.get("/login/oidc?next=%2Fcases").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{answer:?}");
    let to = answer.headers()["location"].to_str().unwrap().to_owned();
    let sent_back = provider.http.get(&to).send().await.unwrap();
    assert_eq!(sent_back.status(), StatusCode::SEE_OTHER);
    let back = sent_back.headers()["location"].to_str().unwrap();
    back.strip_prefix("https://staffel.test").unwrap().to_owned()
}

async fn log_in(provider: &Provider, browser: &mut Browser) -> Response {
    let back = errand(provider, browser).await;
    browser.get(&back).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_whom_a_rule_fits_gets_in_as_what_the_rule_says() {
    let (provider, world) = world().await;
    for token in [Token::Rs256, Token::Es256, Token::Ps256] {
        provider.tell(token);
        let mut ann = world.stranger();
        let answer = log_in(&provider, &mut ann).await;
        assert_eq!(
            (answer.status(), answer.headers()["location"].to_str().unwrap()),
            (StatusCode::SEE_OTHER, "/cases"),
            "{token:?}"
        );
        let page = ann.page("/account").await;
        for part in ["oidc:ann@example.org", "clinic", "operator", "Your log-in service"] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert_eq!(ann.get("/log").await.status(), StatusCode::FORBIDDEN, "ann sees one customer");
        assert_eq!(ann.submit("/", "/logout", &[]).await.status(), StatusCode::SEE_OTHER);
        assert_eq!(ann.get("/account").await.status(), StatusCode::SEE_OTHER);
    }
    assert!(world.refusals().iter().all(|(.., why)| why == "it concerns all customers"), "{:?}", world.refusals());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_not_good_let_nobody_in_and_are_logged() {
    let (provider, world) = world().await;
    let lies = [
        (Token::WrongNonce, "it answers another log-in"),
        (Token::WrongAudience, "it is for somebody else"),
        (Token::OtherParty, "it is for somebody else"),
        (Token::WrongIssuer, "it is from another issuer"),
        (Token::Expired, "it has expired"),
        (Token::NoExpiry, "it has expired"),
        (Token::TooEarly, "it is not valid yet"),
        (Token::AlgorithmNone, "its algorithm is none of RS256, PS256 and ES256"),
        (Token::PublicKeyAsSecret, "its algorithm is none of RS256, PS256 and ES256"),
        (Token::UnknownKey, "it names a key that the provider does not have"),
        (Token::WrongAlgorithm, "it names a key that the provider does not have"),
        (Token::ForgedKey, "the signature is wrong"),
        (Token::Changed, "the signature is wrong"),
    ];
    for (token, why) in lies {
        provider.tell(token);
        let mut eve = world.stranger();
        let answer = log_in(&provider, &mut eve).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{token:?}");
        assert!(!eve.cookies.contains_key("__Host-staffel"), "{token:?}");
        let page = answer.text().await.unwrap();
        assert!(page.contains("The log-in was not accepted"), "{page}");
        let expected = (None, WHAT.to_string(), format!("the ID token is not good: {why}"));
        assert_eq!(world.refusals().last(), Some(&expected), "{token:?}");
    }
    assert_eq!(world.refusals().len(), lies.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_no_rule_fits_stays_outside_and_that_is_logged() {
    let (provider, world) = world().await;
    for token in [Token::Unmapped, Token::UnverifiedMail] {
        provider.tell(token);
        let mut ben = world.stranger();
        let answer = log_in(&provider, &mut ben).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{token:?}");
        assert!(answer.text().await.unwrap().contains("Nobody has said yet what you may do here"));
        assert!(!ben.cookies.contains_key("__Host-staffel"));
        let expected = (None, WHAT.to_string(), "no rule says what subject subject-7 may do".to_string());
        assert_eq!(world.refusals().last(), Some(&expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_once_and_for_the_browser_that_asked() {
    let (provider, world) = world().await;
    let mut ann = world.stranger();
    let back = errand(&provider, &mut ann).await;
    // Somebody who got hold of the address, and somebody who was made to follow it.
    let mut eve = world.stranger();
    assert_eq!(eve.get(&back).await.status(), StatusCode::FORBIDDEN);
    let theirs = errand(&provider, &mut eve).await;
    assert_eq!(eve.get(&back).await.status(), StatusCode::FORBIDDEN, "another log-in's state");
    assert_eq!(eve.get(&theirs).await.status(), StatusCode::FORBIDDEN, "an attempt that failed is over");
    let kept = ann.cookies.clone();
    assert_eq!(ann.get(&back).await.status(), StatusCode::SEE_OTHER);
    ann.cookies = kept;
    assert_eq!(ann.get(&back).await.status(), StatusCode::FORBIDDEN, "the answer was used already");
    let back = errand(&provider, &mut ann).await;
    let elsewhere = back.split("&iss=").next().unwrap().to_string() + "&iss=https://id.example.org";
    assert_eq!(ann.get(&elsewhere).await.status(), StatusCode::FORBIDDEN);
    let back = errand(&provider, &mut ann).await;
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let declined = format!("/login/oidc/back?error=access_denied%0A%3Cb%3E&state={state}");
    assert_eq!(ann.get(&declined).await.status(), StatusCode::FORBIDDEN);
    let reasons: Vec<_> = world.refusals().into_iter().map(|(.., why)| why).collect();
    let unknown = "this browser has begun no such log-in, or too long ago";
    assert_eq!(
        reasons,
        [
            unknown,
            unknown,
            unknown,
            unknown,
            "the answer comes from somebody else than the provider",
            "the provider lets nobody in: access_denied??b?",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_provider_local_accounts_still_get_in() {
    let provider = Provider::start().await;
    let oidc = provider.oidc();
    drop(provider);
    let world = World::built(Lifetime::default(), Some(oidc)).await;
    let mut ann = world.stranger();
    let answer = tokio::time::timeout(PATIENCE, ann.get("/login/oidc")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.unwrap().contains("log in with an account of this server"));
    assert_eq!(world.refusals().last().unwrap().1, WHAT);
    let mut ben = world.person("ben", Role::Viewer, None).await;
    assert!(ben.page("/account").await.contains("ben"));
    // A console without a provider has no such door.
    let plain = World::new().await;
    assert_eq!(plain.stranger().get("/login/oidc").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(plain.stranger().get("/login/oidc/back?code=1&state=2").await.status(), StatusCode::NOT_FOUND);
}
