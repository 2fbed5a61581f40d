//! An alert as a Detection Finding of the Open Cybersecurity Schema Framework (schema.ocsf.io, class 2004, version 1.4.0).
//! What must stay out: anything that the alert does not say; what has no name there goes into `unmapped`.

use crate::api::{DetectionEvidence, DetectionView, DeviceView};
use serde_json::{Map, Value, json};
use staffel_core::detection::{Opening, Severity};
use std::collections::BTreeMap;

/// The version of the schema.
const VERSION: &str = "1.4.0";
/// Detection Finding, in the category Findings.
const CLASS: u32 = 2_004;

/// The finding; `evidence`: events that triggered it, as far as they are kept.
pub(super) fn finding(view: &DetectionView, evidence: &[DetectionEvidence], device: Option<&DeviceView>) -> Value {
    // 1 Create, 2 Update, 3 Close.
    let activity = match (&view.opened, &view.acknowledged) {
        (_, Some(_)) => 3,
        (Some(Opening::New), None) if view.began_ms == view.heard_ms => 1,
        _ => 2,
    };
    let severity = match view.severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    let (status, status_id) = match &view.acknowledged {
        None => ("New", 1),
        Some(said) if said.quiet_until_ms.is_some() => ("Suppressed", 3),
        Some(_) => ("Resolved", 4),
    };
    let mut out = json!({
        "activity_id": activity,
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "time": view.heard_ms,
        "start_time": view.first_ms,
        "end_time": view.last_ms,
        "count": view.count,
        "message": format!("{} on {}", view.title, view.name),
        "severity_id": severity,
        "severity": capital(view.severity.word()),
        "status_id": status_id,
        "status": status,
        "is_alert": view.acknowledged.is_none(),
        "metadata": {
            "version": VERSION,
            "product": { "name": "Staffel", "vendor_name": "Staffel", "version": env!("CARGO_PKG_VERSION") },
            "profiles": ["host"],
            "uid": format!("{}-{}", view.detection, view.position),
            "sequence": view.position,
            "logged_time": view.heard_ms,
        },
        "finding_info": info(view),
        "device": machine(view, device),
    });
    if let Some(fields) = out.as_object_mut() {
        if let Some(said) = &view.acknowledged {
            fields.insert("comment".into(), json!(format!("{}: {}", said.by, said.why)));
        }
        if !evidence.is_empty() {
            fields.insert("evidences".into(), evidence.iter().map(artifacts).collect());
        }
    }
    out
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn info(view: &DetectionView) -> Value {
    let trouble = view.trouble.map(|trouble| format!("sensor-{}", trouble.word()));
    // 1 Rule, 99 Other.
    let (uid, kind) = match (&view.rule, trouble) {
        (Some(rule), _) => (rule.clone(), 1),
        (None, trouble) => (trouble.unwrap_or_default(), 99),
    };
    let mut analytic = json!({ "uid": uid, "name": view.title, "type_id": kind });
    if let Some(fields) = analytic.as_object_mut() {
        match view.pack.is_empty() {
            true => fields.insert("type".into(), json!("Sensor")),
            false => fields.insert("version".into(), json!(format!("{} {}", view.pack, view.version))),
        };
    }
    let mut info = json!({
        "uid": view.detection.to_string(),
        "title": view.title,
        "analytic": analytic,
        "created_time": view.began_ms,
        "modified_time": view.heard_ms,
        "first_seen_time": view.first_ms,
        "last_seen_time": view.last_ms,
    });
    if let Some(fields) = info.as_object_mut() {
        let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
        if !view.detail.is_empty() {
            put("desc", json!(view.detail));
        }
        if !view.class.is_empty() {
            put("data_sources", json!([view.class]));
        }
        let attacks: Vec<Value> = view.tags.iter().filter_map(|tag| attack(tag)).collect();
        if !attacks.is_empty() {
            put("attacks", json!(attacks));
        }
        let others: Vec<Value> = view
            .tags
            .iter()
            .filter(|tag| attack(tag).is_none())
            .map(|tag| match tag.split_once('.') {
                Some((name, value)) => json!({ "name": name, "value": value }),
                None => json!({ "name": "tag", "value": tag }),
            })
            .collect();
        if !others.is_empty() {
            put("tags", json!(others));
        }
    }
    info
}

/// A technique of MITRE ATT&CK from a tag of Sigma, such as `attack.t1059.004`. Tactics have no number there and stay tags.
fn attack(tag: &str) -> Option<Value> {
    let number = tag.strip_prefix("attack.t")?;
    let mut parts = number.split('.');
    let (technique, sub) = (parts.next()?, parts.next());
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(technique, 4) || sub.is_some_and(|sub| !digits(sub, 3)) || parts.next().is_some() {
        return None;
    }
    let mut attack = json!({ "technique": { "uid": format!("T{technique}") } });
    if let Some(sub) = sub {
        attack["sub_technique"] = json!({ "uid": format!("T{technique}.{sub}") });
    }
    Some(attack)
}

fn machine(view: &DetectionView, device: Option<&DeviceView>) -> Value {
    let mut parts = view.name.splitn(3, '/');
    let (tenant, site, name) = (parts.next(), parts.next(), parts.next());
    // 0 Unknown: nobody says what kind of machine it is.
    let mut out = json!({
        "uid": view.device,
        "hostname": name,
        "name": view.name,
        "type_id": 0,
        "org": { "name": tenant, "ou_name": site },
    });
    if let Some(device) = device {
        // 200 Linux: there is no sensor for another system.
        out["os"] = json!({ "name": device.os_build, "type_id": 200, "type": "Linux" });
    }
    out
}

/// The fields of an event under their names there. The sensor's names are those of the Sigma taxonomy.
fn artifacts(evidence: &DetectionEvidence) -> Value {
    let fields = &evidence.fields;
    let mut out = Map::new();
    let mut used = vec!["UtcTime"];
    let mut process = Map::new();
    put(&mut process, "cmd_line", text(fields, "CommandLine", &mut used));
    put(&mut process, "pid", number(fields, "ProcessId", &mut used));
    put(&mut process, "file", text(fields, "Image", &mut used).and_then(|path| file(&path)));
    put(&mut process, "working_directory", text(fields, "CurrentDirectory", &mut used));
    put(&mut process, "user", text(fields, "User", &mut used).map(|name| json!({ "name": name })));
    let mut parent = Map::new();
    put(&mut parent, "cmd_line", text(fields, "ParentCommandLine", &mut used));
    put(&mut parent, "pid", number(fields, "ParentProcessId", &mut used));
    put(&mut parent, "file", text(fields, "ParentImage", &mut used).and_then(|path| file(&path)));
    put(&mut parent, "user", text(fields, "ParentUser", &mut used).map(|name| json!({ "name": name })));
    put(&mut process, "parent_process", (!parent.is_empty()).then_some(Value::Object(parent)));
    put(&mut out, "process", (!process.is_empty()).then_some(Value::Object(process)));
    put(&mut out, "file", text(fields, "TargetFilename", &mut used).and_then(|path| file(&path)));
    for (name, ip, port, host) in [
        ("src_endpoint", "SourceIp", "SourcePort", None),
        ("dst_endpoint", "DestinationIp", "DestinationPort", Some("DestinationHostname")),
    ] {
        let mut endpoint = Map::new();
        put(&mut endpoint, "ip", text(fields, ip, &mut used));
        put(&mut endpoint, "port", number(fields, port, &mut used));
        put(&mut endpoint, "hostname", host.and_then(|host| text(fields, host, &mut used)));
        put(&mut out, name, (!endpoint.is_empty()).then_some(Value::Object(endpoint)));
    }
    // What has no name there, and how often; an artifact needs at least one part.
    let rest: BTreeMap<&str, &str> = fields
        .iter()
        .filter(|(name, _)| !used.contains(&name.as_str()))
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let mut data = json!({ "count": evidence.count, "last_seen_time": evidence.last_ms });
    if !rest.is_empty() {
        data["fields"] = json!(rest);
    }
    out.insert("data".into(), data);
    Value::Object(out)
}

fn put(into: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        into.insert(name.into(), value);
    }
}

fn text<'a>(fields: &BTreeMap<String, String>, name: &'a str, used: &mut Vec<&'a str>) -> Option<Value> {
    let value = fields.get(name).filter(|value| !value.is_empty())?;
    used.push(name);
    Some(json!(value))
}

/// A field that is a number; what is none stays among the unnamed.
fn number<'a>(fields: &BTreeMap<String, String>, name: &'a str, used: &mut Vec<&'a str>) -> Option<Value> {
    let value: u64 = fields.get(name)?.parse().ok()?;
    used.push(name);
    Some(json!(value))
}

/// A file by its path; 0: its kind is unknown.
fn file(path: &Value) -> Option<Value> {
    let path = path.as_str()?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(path);
    Some(json!({ "path": path, "name": name, "type_id": 0 }))
}
