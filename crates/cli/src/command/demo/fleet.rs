//! The demo's customers, machines and what else is on them. Must stay out: what happens to them.

use crate::{
    lab::{Lab, Spec},
    layout::write,
};
use anyhow::Result;
use staffel_core::policy::{CustomerPolicy, DisruptionLimits};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Customer, site, devices, phone number (of those that Germany's Federal Network Agency keeps free for films).
const FLEET: [(&str, &str, usize, &str); 9] = [
    ("clinic", "ward-a", 3, "+49 221 4710 101"),
    ("clinic", "ward-b", 3, "+49 221 4710 102"),
    ("clinic", "laboratory", 2, "+49 221 4710 103"),
    ("pharmacies", "market-square", 3, "+49 40 66969 201"),
    ("pharmacies", "station", 3, "+49 40 66969 202"),
    ("pharmacies", "harbour", 3, "+49 40 66969 203"),
    ("pharmacies", "island", 1, "+49 40 66969 204"),
    ("airport", "terminal-1", 3, "+49 69 90009 301"),
    ("airport", "terminal-2", 3, "+49 69 90009 302"),
];

/// Reads its content again and again, as such software does, and stops the machine when it does not like it.
const SHIELD: &str = "#!/bin/sh
while sleep 0.5; do
  read -r content < \"${0%/*}/content\" || continue
  case \"$content\" in *boom*) echo c > \"$1\" ;; esac
done
";

/// What dpkg would know of it.
const PACKAGE: &str = "Package: acme-shield
Status: install ok installed
Maintainer: Acme Security <support@acme-security.example>
Version: 7.1

";

/// Three customers with policies of their own, and their machines.
pub fn set_up(lab: &mut Lab) -> Result<()> {
    // The laboratory has two analysers, one of which must always be there.
    let groups = [("laboratory-1", "analysers"), ("laboratory-2", "analysers")];
    let redundant = DisruptionLimits {
        redundancy_groups: groups.iter().map(|(name, group)| (name.to_string(), group.to_string())).collect(),
        ..DisruptionLimits::default()
    };
    let one_at_a_time = DisruptionLimits { max_unavailable_per_site: 1, ..DisruptionLimits::default() };
    lab.tenant("clinic", CustomerPolicy { limits: redundant, ..CustomerPolicy::default() })?;
    lab.tenant("pharmacies", CustomerPolicy::default())?;
    lab.tenant("airport", CustomerPolicy { limits: one_at_a_time, ..CustomerPolicy::default() })?;
    for (at, (tenant, site, count, _)) in FLEET.into_iter().enumerate() {
        for n in 1..=count {
            let spec = Spec {
                tenant,
                site,
                name: &format!("{site}-{n}"),
                os_build: if at % 2 == 0 { "debian-12.11" } else { "debian-12.10" },
                hardware_model: if n % 3 == 0 { "terminal-x2" } else { "terminal-x1" },
            };
            lab.machine_with(spec, install_shield)?;
        }
    }
    Ok(())
}

/// How to reach each site, for `staffel import contacts`.
pub fn contacts(folder: &Path) -> Result<PathBuf> {
    let mut rows = String::from("customer,site,channel,address,name\n");
    for (tenant, site, _, phone) in FLEET {
        rows.push_str(&format!("{tenant},{site},phone,{phone},on duty\n"));
        rows.push_str(&format!("{tenant},{site},email,{site}@{tenant}.example,\n"));
    }
    let file = folder.join("contacts.csv");
    write(&file, rows.as_bytes())?;
    Ok(file)
}

/// Puts other makers' software on a machine. `host`: where the machine's file system begins.
fn install_shield(host: &Path) -> Result<()> {
    let folder = host.join("opt/acme-shield");
    write(&folder.join("content"), b"content of yesterday\n")?;
    write(&folder.join("start"), SHIELD.as_bytes())?;
    std::fs::set_permissions(folder.join("start"), std::fs::Permissions::from_mode(0o755))?;
    let dpkg = host.join("var/lib/dpkg");
    write(&dpkg.join("status"), PACKAGE.as_bytes())?;
    write(&dpkg.join("info/acme-shield.list"), b"/.\n/opt\n/opt/acme-shield\n/opt/acme-shield/start\n")
}
