use super::*;
use crate::ids::HostName;
use crate::time::Millis;
use crate::trust::{Keyring, KeyringFile, KeyringKey, OpenError, Refusal, Sealed, SigningKey, Verified};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const FLEET: FleetId = FleetId([9; 16]);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// Ada's key is 1, Grace's is 2.
fn keyring() -> Keyring {
    let one = |person: &str, seed| KeyringKey {
        person: person.parse().unwrap(),
        groups: vec![],
        public: key(seed).public(),
        until: None,
    };
    let keys = vec![one("ada", 1), one("grace", 2)];
    // A plan needs two; an order about points needs one.
    Keyring::new(KeyringFile { fleet: FLEET, signatures: 2, emergency: None, keys }).unwrap()
}

fn host() -> HostName {
    "web-1".parse().unwrap()
}

fn order() -> Order {
    Order {
        fleet: FLEET,
        host: host(),
        nonce: Nonce([3; 16]),
        change: Change::Prune { confirmed: 3 },
        person: "ada".parse().unwrap(),
        reason: "INC-4127".into(),
        issued: NOW,
        expires: NOW + Millis::minutes(15),
    }
}

fn sealed(order: &Order, seeds: &[u8]) -> Vec<u8> {
    let mut sealed = Sealed::new(order).unwrap();
    seeds.iter().for_each(|seed| sealed.sign(&key(*seed)).unwrap());
    sealed.to_bytes()
}

fn opened(bytes: &[u8]) -> Result<Verified<Order>, OpenError> {
    Sealed::<Order>::parse(bytes).unwrap().open_point_order(&keyring(), NOW)
}

#[test]
fn one_persons_word_about_one_host_is_heard_there() {
    let order = opened(&sealed(&order(), &[1])).unwrap();
    assert_eq!(order.admit_on(&host(), NOW), Ok(()));
    assert_eq!(order.value().change, Change::Prune { confirmed: 3 });
}

#[test]
fn an_order_of_another_fleet_is_refused() {
    let other = Order { fleet: FleetId([8; 16]), ..order() };
    assert!(matches!(opened(&sealed(&other, &[1])), Err(OpenError::OtherFleet { .. })));
}

#[test]
fn nobody_orders_in_anothers_name() {
    let in_adas_name = sealed(&order(), &[2]);
    assert!(opened(&in_adas_name).is_err());
    assert!(matches!(opened(&sealed(&order(), &[7])), Err(OpenError::NobodyKnown)), "a key nobody knows");
    assert!(matches!(opened(&sealed(&order(), &[])), Err(OpenError::NobodyKnown)), "no signature at all");
    assert!(opened(&sealed(&order(), &[2, 1])).is_ok(), "a second signature does no harm");
}

#[test]
fn not_one_byte_of_a_signed_order_can_be_changed() {
    let good = sealed(&order(), &[1]);
    let heard = opened(&good).unwrap();
    for at in 0..good.len() {
        let mut forged = good.clone();
        forged[at] ^= 1;
        let Ok(parsed) = Sealed::<Order>::parse(&forged) else { continue };
        let outcome = parsed.open_point_order(&keyring(), NOW);
        assert!(outcome.is_err(), "byte {at} of {}: {heard:?}", good.len());
    }
}

#[test]
fn an_order_about_a_plan_is_none_about_points() {
    use crate::ids::PlanId;
    use crate::trust::{Order as PlanOrder, ParseError, Verb};
    let about_a_plan = PlanOrder {
        fleet: FLEET,
        plan: PlanId([1; 32]),
        nonce: Nonce([3; 16]),
        verb: Verb::Undo,
        person: "ada".parse().unwrap(),
        reason: "INC-4127".into(),
        issued: NOW,
        expires: NOW + Millis::minutes(15),
    };
    let mut sealed = Sealed::new(&about_a_plan).unwrap();
    sealed.sign(&key(1)).unwrap();
    let parsed = Sealed::<Order>::parse(&sealed.to_bytes());
    assert!(matches!(parsed, Err(ParseError::Type { .. })), "{parsed:?}");
}

#[test]
fn an_order_counts_on_its_host_and_in_its_time() {
    let judged = |order: Order, now| opened(&sealed(&order, &[1])).unwrap().admit_on(&host(), now);
    let elsewhere = Order { host: "web-2".parse().unwrap(), ..order() };
    assert_eq!(judged(elsewhere, NOW), Err(Refusal::OtherHost { meant: "web-2".parse().unwrap() }));
    let late = NOW + Millis::minutes(15);
    assert_eq!(judged(order(), late), Err(Refusal::Expired { by_ms: Millis::ZERO }));
    let early = Order { issued: NOW + Millis::minutes(6), expires: NOW + Millis::minutes(20), ..order() };
    assert!(matches!(judged(early, NOW), Err(Refusal::NotYet { .. })));
    let endless = Order { expires: NOW + Millis::hours(2), ..order() };
    assert!(matches!(judged(endless, NOW), Err(Refusal::ValidTooLong { .. })));
}

#[test]
fn what_is_wanted_can_be_read() {
    let want = Want { service: Some("shop".into()), tag: Some("before-1.3".into()), ..Want::default() };
    assert_eq!(want.to_string(), "of shop tagged before-1.3");
    assert_eq!(Want::default().to_string(), "any point");
    let create = Change::Create {
        service: Some("shop".into()),
        paths: vec![],
        kind: Kind::Component,
        component: Some("api".into()),
        tag: "before-1.3".into(),
        version: None,
        hook: true,
    };
    assert_eq!(create.to_string(), "component api of shop as before-1.3, by a hook");
    assert_eq!(Change::Untag { which: want, tag: None }.verb(), "untag");
}
