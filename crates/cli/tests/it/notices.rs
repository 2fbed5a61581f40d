//! People are told: an e-mail, a fax page and a letter through the real press into the spool; who answered stands in the report,
//! as a PDF that cites the log; what is personal can be erased; and no customer reads of another on any of these papers.

use crate::fleet::{Fleet, has_tool, press, show};
use serde_json::{Value, json};
use staffel_cli::lab::{Options, Spec, put_program};
use staffel_core::policy::CustomerPolicy;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

const DESK: &str = r#"
mail_from = "Musterhaus <dienst@musterhaus.example>"

[letterhead]
short_name = "Musterhaus"
signature_de = "Jürgen Weiß"
signature_en = "Jürgen Weiß"
answer_address = "https://status.example/c/"

[letterhead.sender]
name = "Musterhaus Kassensoftware GmbH"
address = ["Lange Straße 12", "70173 Stuttgart"]
phone = "0711 555 01 99"
"#;

const SITES: &str =
    "customer,site,address\nclinic,mailed,\nclinic,faxed,\nclinic,posted,\"Größe-Weg 3, 01099 Dresden\"\n";

const CONTACTS: &str = "customer,site,channel,address,name
clinic,mailed,email,aenne@kunde.example,
clinic,faxed,fax,0351 555 77 01,
clinic,posted,letter,\"Löwen-Apotheke, Größe-Weg 3, 01099 Dresden\",
";

/// What poppler reads in a PDF; none if poppler is missing.
fn text_of(pdf: &Path) -> Option<String> {
    if !has_tool("what stands on paper", "pdftotext") {
        return None;
    }
    let out = Command::new("pdftotext").arg("-layout").arg(pdf).arg("-").output().expect("pdftotext runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8(out.stdout).expect("UTF-8"))
}

/// The text with each run of white space as one space: lines break where the paper ends.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write(fleet: &Fleet, name: &str, text: &str) -> String {
    let path = fleet.lab.folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.to_string_lossy().into_owned()
}

fn code(sheet: &Value, site: &str) -> String {
    let all = sheet["recipients"].as_array().expect("a list");
    let one = all.iter().find(|one| one["site"] == site).expect("a recipient");
    one["code"].as_str().expect("a code").to_string()
}

/// The file with what a first information says.
fn first_information(fleet: &Fleet) -> String {
    let time = json!({ "time": "2026-11-22T06:10+01:00" });
    let text = |words: &str| json!({ "text": words });
    let values = json!({
        "all": { "since": time, "next_update": time },
        "de": {
            "problem": text("Kassenplätze starten nicht"), "affected": text("alle Kassen"),
            "known": text("Ein Update war fehlerhaft."), "do_now": text("Bitte nichts ausschalten."),
        },
    });
    write(fleet, "values.json", &values.to_string())
}

/// Waits until notice 1 has left for everybody.
fn wait_until_sent(fleet: &Fleet, what: &str) {
    fleet.wait(what, |_| {
        let sheet = fleet.json(&["notice", "show", "1"]);
        let sent = |one: &Value| one["next"].as_str().is_some_and(|next| next.starts_with("waits for an answer"));
        Ok(sheet["recipients"].as_array().is_some_and(|all| all.iter().all(sent)))
    });
}

#[test]
fn a_notice_goes_out_on_paper_and_the_report_says_who_was_told() {
    let mut fleet = Fleet::new(1, Options::default());
    fleet.lab.stop_server();
    std::fs::write(fleet.lab.layout.notices_file(), DESK).expect("written");
    fleet.lab.start_server().expect("the server starts");
    fleet.wait("the machine", |lab| Ok(lab.client()?.status()?.alive == 1));
    let import = |kind: &str, text: &str| {
        let path = write(&fleet, kind, text);
        fleet.lab.staffel_ok(&["import", kind, &path]).expect("a good file");
    };
    import("customers", "customer,name,language\nclinic,Löwen-Apotheke,de\n");
    import("sites", SITES);
    import("contacts", CONTACTS);
    fleet.json(&["incident", "open", "--device", "pc-1", "--why", "die Kasse startet nicht"]);

    // Without the press nothing is printed, and it is said what to do.
    let pdf = fleet.lab.folder.join("report.pdf").to_string_lossy().into_owned();
    let (code_, error) = fleet.refusal(&["report", "incident", "1", "--format", "pdf", "--out", &pdf]);
    assert_eq!(code_, Some(1), "{error}");
    assert!(error.contains("staffel-press is missing") && error.contains("./dev build"), "{error}");
    let (code_, error) = fleet.refusal(&["report", "incident", "1", "--format", "pdf"]);
    assert_eq!(code_, Some(2), "{error}");
    put_program(&press(), &fleet.lab.folder.join("bin")).expect("it is put there");

    let values = first_information(&fleet);
    let sites = ["--site", "clinic/mailed", "--site", "clinic/faxed", "--site", "clinic/posted"];
    let send = ["notice", "send", "first-information", &values, "--incident", "1"];
    let sheet = fleet.json(&[&send[..], &sites[..]].concat());
    assert_eq!(sheet["notice"]["recipients"], 3, "{sheet}");
    wait_until_sent(&fleet, "everything to leave");
    let spool = fleet.lab.layout.server_dir().join("spool");
    let spooled = |channel: &str, ending: &str| -> PathBuf {
        let files = std::fs::read_dir(spool.join(channel)).expect("a spool folder").flatten();
        let mut files = files.map(|file| file.path()).filter(|file| file.to_string_lossy().ends_with(ending));
        files.next().unwrap_or_else(|| panic!("nothing ends with {ending} in {channel}"))
    };
    let mail = std::fs::read_to_string(spooled("email", ".eml")).expect("a mail");
    assert!(mail.contains("aenne@kunde.example"), "{mail}");
    for (channel, ending, site) in [("fax", ".fax.pdf", "faxed"), ("letter", ".letter.pdf", "posted")] {
        let Some(text) = text_of(&spooled(channel, ending)) else { continue };
        for part in ["Kassenplätze starten nicht", "0711 555 01 99", code(&sheet, site).as_str()] {
            assert!(flat(&text).contains(part), "{part} is not on the {channel}: {text}");
        }
    }
    fleet.lab.staffel_ok(&["notice", "ack", &code(&sheet, "faxed")]).expect("noted");

    // The review and the dossier, in the customer's language, on paper.
    let folder = fleet.lab.folder.join("dossiers").to_string_lossy().into_owned();
    fleet
        .lab
        .staffel_ok(&["report", "incident", "1", "--format", "pdf", "--out", &pdf, "--dossiers", &folder])
        .expect("printed");
    let review = fleet.json(&["report", "incident", "1"]);
    let entries = review["entries"].as_array().expect("a list");
    let kinds: Vec<&str> = entries.iter().filter_map(|entry| entry["kind"].as_str()).collect();
    for kind in ["recovery.incident-opened", "notice.drawn", "notice.ended", "notice.acknowledged"] {
        assert!(kinds.contains(&kind), "{kind} is not cited: {kinds:?}");
    }
    for (file, own) in
        [(PathBuf::from(&pdf), "nicht erreicht"), (Path::new(&folder).join("dossier-clinic.pdf"), "Dossier clinic")]
    {
        assert!(std::fs::metadata(&file).expect("it was written").len() > 10_000);
        let Some(text) = text_of(&file) else { continue };
        let flat = flat(&text);
        let parts = [
            own,
            "übergeben",
            "bestätigt am",
            "Rückruf mit Code",
            "ging über Fax",
            "Musterhaus",
            "Ursache",
            "notice.acknowledged",
        ];
        for part in parts {
            assert!(flat.contains(part), "{part} is missing in {}: {text}", file.display());
        }
        let drawn = entries.iter().find(|entry| entry["kind"] == "notice.drawn").expect("it is cited");
        let number = drawn["position"].to_string();
        assert!(flat.contains(&format!("[{number}")) || flat.contains(&format!(", {number}")), "{number} in {text}");
        assert!(flat.contains(&drawn["hash"].as_str().expect("a hash")[..32]), "{text}");
    }
    let before = review["log_size"].as_u64().expect("a number");
    show("report", format!("{} sentences' entries, {before} entries in the log", entries.len()));

    // The addresses go, and the log still verifies, also after a restart.
    fleet.lab.staffel_ok(&["notice", "erase", "1", "--why", "the customer asked"]).expect("erased");
    let (code_, _) = fleet.refusal(&["notice", "erase", "1", "--why", "the customer asked"]);
    assert_eq!(code_, Some(3), "once");
    fleet.lab.staffel_ok(&["case", "note", "1", "Frau Dr. Größe ruft zurück"]).expect("noted");
    let history = fleet.json(&["case", "show", "1"])["history"].clone();
    let history = history.as_array().expect("a list");
    let noted =
        history.iter().find(|entry| entry["kind"] == "recovery.noted").expect("the note")["position"].to_string();
    fleet.lab.staffel_ok(&["case", "erase", "1", &noted, "--why", "it names a person"]).expect("erased");
    fleet.lab.kill_server();
    fleet.lab.start_server().expect("the server starts");
    assert!(!fleet.json(&["case", "show", "1"]).to_string().contains("Größe"));
    assert!(!fleet.json(&["notice", "call-list", "1"]).to_string().contains("0351"));
    assert_eq!(fleet.json(&["notice", "show", "1"])["notice"]["acknowledged"], 1, "what was said stays");
    assert!(fleet.log_is_sound() > before);
}

/// What only one of two customers has. Both stand in one incident, in one notice, and in one word of the operator.
struct Customer {
    name: &'static str,
    secrets: [&'static str; 8],
}

const CLINIC: Customer = Customer {
    name: "clinic",
    secrets: ["clinic", "Löwen-Apotheke", "ward-b", "pc-1", "Größe-Weg", "0351 555 77", "Ännchen", "lila Aufkleber"],
};
const BAKERY: Customer = Customer {
    name: "bakery",
    secrets: ["bakery", "Morgenrot", "backstube", "ofen-9", "Hefegasse", "0341 555 02", "Bäckermeister", "Mehlstaub"],
};

/// Letters and digits in lower case: neither a line's end nor a hyphen hides a name.
fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Fails if a paper names the other customer, or does not name its own.
fn is_only_about(paper: &Path, own: &Customer, other: &Customer) {
    let Some(text) = text_of(paper) else { return };
    let bare_text = bare(&text);
    for secret in other.secrets {
        assert!(!bare_text.contains(&bare(secret)), "{} shows {secret}: {text}", paper.display());
    }
    assert!(own.secrets.iter().any(|name| bare_text.contains(&bare(name))), "{}: {text}", paper.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().map(|file| file.path()).collect();
    files.sort();
    files
}

#[test]
fn no_customer_reads_of_another_on_paper() {
    let mut fleet = Fleet::new(1, Options::default());
    fleet.lab.stop_server();
    std::fs::write(fleet.lab.layout.notices_file(), DESK).expect("written");
    fleet.lab.start_server().expect("the server starts");
    fleet.lab.tenant("bakery", CustomerPolicy::default()).expect("a customer");
    let oven =
        Spec { tenant: "bakery", site: "backstube", name: "ofen-9", os_build: "debian-12.11", hardware_model: "oven" };
    fleet.lab.machine(oven).expect("a machine");
    fleet.wait("both machines", |lab| Ok(lab.client()?.status()?.alive == 2));
    put_program(&press(), &fleet.lab.folder.join("bin")).expect("it is put there");
    for (kind, text) in [
        ("customers", "customer,name,language\nclinic,Löwen-Apotheke,de\nbakery,Bäckerei Morgenrot,de\n"),
        (
            "sites",
            "customer,site,address\nclinic,ward-b,\"Größe-Weg 3, 01099 Dresden\"\nbakery,backstube,\"Hefegasse 1, 04109 Leipzig\"\n",
        ),
        (
            "contacts",
            "customer,site,channel,address,name\n\
             clinic,ward-b,letter,\"Löwen-Apotheke, Größe-Weg 3, 01099 Dresden\",Ännchen\n\
             clinic,ward-b,phone,0351 555 77 01,Ännchen\n\
             bakery,backstube,letter,\"Bäckerei Morgenrot, Hefegasse 1, 04109 Leipzig\",Bäckermeister\n\
             bakery,backstube,phone,0341 555 02 02,Bäckermeister\n",
        ),
    ] {
        let path = write(&fleet, kind, text);
        fleet.lab.staffel_ok(&["import", kind, &path]).expect("a good file");
    }
    let both = ["incident", "open", "--device", "pc-1", "--device", "ofen-9", "--why", "pc-1 und ofen-9 stehen"];
    fleet.json(&both);
    fleet.json(&["incident", "open", "--device", "ofen-9", "--why", "der Ofen bleibt kalt"]);
    for (case, words) in [("1", "ein lila Aufkleber am Gerät"), ("2", "Mehlstaub im Gerät")] {
        fleet.lab.staffel_ok(&["case", "note", case, words]).expect("noted");
    }
    let values = first_information(&fleet);
    let sheet = fleet.json(&["notice", "send", "first-information", &values, "--incident", "1"]);
    assert_eq!(sheet["notice"]["recipients"], 2, "{sheet}");
    wait_until_sent(&fleet, "both letters");

    // Each letter is about its recipient.
    let letters = files(&fleet.lab.layout.server_dir().join("spool/letter"));
    let letters: Vec<_> = letters.into_iter().filter(|file| file.to_string_lossy().ends_with(".pdf")).collect();
    assert_eq!(letters.len(), 2, "{letters:?}");
    for (own, other, site) in [(CLINIC, BAKERY, "ward-b"), (BAKERY, CLINIC, "backstube")] {
        let code = bare(&code(&sheet, site));
        let is_theirs = |file: &&PathBuf| text_of(file).is_none_or(|text| bare(&text).contains(&code));
        let theirs: Vec<_> = letters.iter().filter(is_theirs).collect();
        if has_tool("a letter a customer", "pdftotext") {
            assert_eq!(theirs.len(), 1, "{theirs:?}");
            is_only_about(theirs[0], &own, &other);
        }
    }

    // The dossiers that the software house hands out, and what each customer's own people print for themselves.
    let folder = |name: &str| fleet.lab.folder.join(name).to_string_lossy().into_owned();
    let report = |out: &str, more: &[&str]| {
        let (dossiers, review) = (folder(out), folder(&format!("{out}.pdf")));
        let all = ["report", "incident", "1", "--format", "pdf", "--dossiers", &dossiers, "--out", &review];
        fleet.lab.staffel_ok(&[&all[..], more].concat()).expect("printed");
        (PathBuf::from(&review), files(Path::new(&dossiers)))
    };
    let names = |dossiers: &[PathBuf]| {
        let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
        dossiers.iter().filter_map(name).collect::<Vec<_>>()
    };
    let (whole, dossiers) = report("handed-out", &[]);
    assert_eq!(names(&dossiers), ["dossier-bakery.pdf", "dossier-clinic.pdf"]);
    is_only_about(&dossiers[0], &BAKERY, &CLINIC);
    is_only_about(&dossiers[1], &CLINIC, &BAKERY);
    // The text is really read: the review of all names both.
    if let Some(text) = text_of(&whole) {
        assert!(text.contains("ofen-9") && text.contains("pc-1"), "{text}");
    }
    let token = |name: &str, tenant: &str| {
        let made = fleet.lab.staffel_ok(&["operator", "add", name, "--role", "operator", "--tenant", tenant]);
        write(&fleet, &format!("{name}.token"), &made.expect("a token"))
    };
    let (carl, dora) = (token("carl", "clinic"), token("dora", "bakery"));
    assert_eq!(fleet.json(&["operator", "ls"]).as_array().map(Vec::len), Some(3));
    assert_eq!(fleet.refusal(&["operator", "add", "carl", "--role", "viewer"]).0, Some(3), "the name is taken");
    for (token, own, other) in [(&carl, CLINIC, BAKERY), (&dora, BAKERY, CLINIC)] {
        let (review, dossiers) = report(own.name, &["--token-file", token]);
        is_only_about(&review, &own, &other);
        assert_eq!(names(&dossiers), [format!("dossier-{}.pdf", own.name)]);
        is_only_about(&dossiers[0], &own, &other);
    }

    // Numbers that were guessed: what is another's is as if it did not exist, and no paper comes out.
    let nothing = folder("nothing.pdf");
    let refused = |words: &[&str]| {
        let (exit, error) = fleet.refusal(&[words, &["--token-file", &carl]].concat());
        assert_ne!(exit, Some(0), "{words:?}");
        for secret in BAKERY.secrets {
            assert!(!bare(&error).contains(&bare(secret)), "{words:?} says {secret}: {error}");
        }
        assert!(!Path::new(&nothing).exists(), "{words:?} wrote a paper");
        (exit, error)
    };
    let guess = |incident: &str| refused(&["report", "incident", incident, "--format", "pdf", "--out", &nothing]);
    let (theirs, nobodys) = (guess("2"), guess("99"));
    assert_eq!((theirs.0, theirs.1.replace("incident 2", "incident 99")), nobodys);
    refused(&["notice", "call-list", "1", "--pdf", &nothing]);
    refused(&["notice", "show", "1"]);
    refused(&["case", "show", "2"]);
    // A token that was taken back is worthless.
    fleet.lab.staffel_ok(&["operator", "rm", "carl"]).expect("removed");
    let (_, error) = refused(&["case", "show", "1"]);
    assert!(error.contains("nobody has this token"), "{error}");
    // Whoever may see all gets both on the list of calls.
    fleet.lab.staffel_ok(&["notice", "call-list", "1", "--pdf", &nothing]).expect("printed");
    if let Some(text) = text_of(Path::new(&nothing)) {
        assert!(text.contains("backstube") && text.contains("ward-b"), "{text}");
    }
    show("papers that name one customer alone", 2 + 2 + 2 * 2);
}
