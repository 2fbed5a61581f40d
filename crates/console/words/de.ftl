# Der Rahmen
skip = Zum Inhalt
nav-label = Hauptmenü
nav-overview = Überblick
nav-rollouts = Rollouts
nav-devices = Geräte
nav-releases = Releases
nav-customers = Kunden
nav-log = Log
nav-account = Konto
settings-label = Sprache und Farben
language = Sprache
theme = Farben
theme-auto = wie das System
theme-light = hell
theme-dark = dunkel
times-note = Zeiten sind UTC; die eigene Zeit steht in Klammern.
log-out = Abmelden
live-lost = Keine Verbindung zum Server: diese Seite zeigt Vergangenes. Neuer Versuch läuft.

# Anmeldung
login-title = Anmelden
login-name = Konto
login-password = Passwort
login-button = Anmelden
login-wrong = Konto oder Passwort ist falsch.
login-with = Anmelden mit { $name }
login-or = Oder mit einem Konto dieses Servers:
login-nobody = Es gibt noch kein Konto. Eines anlegen, auf dem Server:

# Was nicht ging
stop-title = Das ging nicht
stop-back = Zum Überblick
stop-not-found = Diese Seite gibt es nicht, oder sie ist nicht für dieses Konto.
stop-not-found-hint = Adresse prüfen oder suchen.
stop-role = Die Rolle dieses Kontos erlaubt das nicht.
stop-whole-fleet = Das betrifft alle Kunden; dieses Konto sieht nur einen.
stop-csrf = Das Formular war keines von uns oder ist zu alt.
stop-oidc = Die Anmeldung wurde nicht angenommen: Die Antwort gehört nicht zu ihr oder ist nicht glaubwürdig.
stop-oidc-unmapped = Noch hat niemand festgelegt, was Sie hier dürfen. Bitte an den Betreiber dieses Servers wenden.
stop-oidc-nameless = Der Anmeldedienst nennt keinen Namen für Sie, der im Log stehen könnte. Bitte an den Betreiber dieses Servers wenden.
stop-oidc-away = Der Anmeldedienst ist gerade nicht erreichbar.
stop-oidc-away-hint = Gleich noch einmal versuchen oder mit einem Konto dieses Servers anmelden.
stop-refused-hint = Das steht im Log. Seite neu laden und wiederholen, oder jemanden fragen, dessen Rolle es erlaubt.
stop-too-many = { $n ->
    [one] Zu viele Versuche. Eine Sekunde warten.
   *[other] Zu viele Versuche. { $n } Sekunden warten.
  }
stop-internal = Der Server ist an dieser Anfrage gescheitert.
stop-internal-hint = Noch einmal versuchen; die Ursache steht im Protokoll des Servers.

# Zeiten
seconds = { $n } s
minutes = { $n } min
hours = { $n } h
days = { $n } d
ago = vor { $time }
never = nie gehört
time = Zeit

# Überblick
needs-title = Was jetzt jemanden braucht
needs-nothing = Jetzt braucht nichts jemanden.
need-read-only = Das Log ist nicht beschreibbar: bis dahin ändert sich nichts
need-held = Rollout { $id }, { $name } { $version }, ist angehalten
need-decide = Entscheiden
need-look = Ansehen
need-halted = { $n ->
    [one] Rollout { $id }, { $name } { $version }, ist gestoppt, und ein Gerät ist nicht zurück
   *[other] Rollout { $id }, { $name } { $version }, ist gestoppt, und { $n } Geräte sind nicht zurück
  }
need-silent = { $n ->
    [one] Ein Gerät schweigt
   *[other] { $n } Geräte schweigen
  }
need-silent-why = Seit drei ihrer Meldetakte nicht gehört, ohne Abmeldung.
need-cloned = { $n ->
    [one] Ein Geräteschlüssel ist doppelt in Gebrauch
   *[other] { $n } Geräteschlüssel sind doppelt in Gebrauch
  }
need-cloned-why = Zwei Maschinen laufen mit einem Schlüssel. Sie bekommen keine Releases, bis jemand nachgesehen hat.
need-safe-mode = { $n ->
    [one] Ein Gerät ist im Notbetrieb
   *[other] { $n } Geräte sind im Notbetrieb
  }
need-safe-mode-why = Sie laufen mit dem, was zuletzt ging, und warten auf Abhilfe.
need-refusing = { $n ->
    [one] Ein Gerät hat etwas Ungewöhnliches abgelehnt
   *[other] { $n } Geräte haben etwas Ungewöhnliches abgelehnt
  }
need-refusing-why = Eine Signatur, eine Zeit oder eine Prüfsumme stimmte nicht. Vielleicht belügt sie jemand.
fleet-title = Flotte
fleet-devices = Geräte
sites-in-trouble = Standorte mit schweigenden Geräten oder Geräten im Notbetrieb
sites-more = { $n ->
    [one] Ein weiterer Standort.
   *[other] { $n } weitere Standorte.
  }
running-title = Laufende Rollouts
running-none = Es läuft kein Rollout.
ended-title = Zuletzt beendet
server-note = Der Server läuft seit { $time }. Das Log hat { $n } Einträge.

# Rollouts
rollout = Rollout
rollout-n = Rollout { $id }
rollouts-none = Noch kein Rollout. Gestartet wird an einem Terminal, wo die Schlüssel der Freigebenden sind:
release = Release
state = Zustand
state-running = läuft
state-held = angehalten
state-halted = gestoppt
state-completed = abgeschlossen
hidden-running = Es geht weiter.
hidden-held = Für alle Kunden angehalten.
hidden-halted = Für alle Kunden gestoppt.
hidden-completed = Abgeschlossen.
proven = Nachweislich gesund
proven-of = { $n } von { $of } Geräten nachweislich gesund
exposed = Ausgesetzt
exposed-k = Ausgesetzt von höchstens K
exposed-of = { $n } ausgesetzt, höchstens { $of } erlaubt
evidence = Evidenz E
evidence-label = Evidenz gegen das Release: { $e } zu 1. Angehalten ab { $hold }, gestoppt ab { $halt }, logarithmisch dargestellt
limits = anhalten { $hold }, stoppen { $halt }
failed-silent = Gescheitert + stumm
ceiling-now = Obergrenze jetzt
ceiling = Obergrenze
frontier = Front
silent = Stumm
bound = Schranke des Schadens
started = Begonnen
ended = Beendet
opened = Geöffnet
took = Dauer
profile = Profil
profile-demo = Demo (Zeiten gestaucht)
profile-urgent = dringend
profile-standard = normal
profile-careful = behutsam
exposed-ever = Je ausgesetzte Geräte
small-fleet = Unter 200 Geräten schützt die Reihenfolge, nicht die Statistik: erst ein Gerät; ein stummes hält an, eines, das nicht zurückkommt, stoppt.
wave = Welle
wave-n = Welle { $n }
wave-course = Verlauf
wave-says = { $treated } zu ändern, { $permitted } mit Erlaubnis, { $confirmed } gesund, { $failed } gescheitert
waves-title = Wellen
waves-none = Noch keine Welle geöffnet.
controls = Kontrollen
course-title = Im Zeitverlauf
course-table = Die Zahlen als Tabelle
chart-exposed = Ausgesetzt gegen K, und nachweislich gesund
chart-evidence = Evidenz E, logarithmisch, mit den Linien für Anhalten und Stoppen
chart-reach = Anteil der Flotte: signierte Obergrenze und Front
history-title = Was geschah
facts-title = Angaben
lines-none = Noch nichts.
hold-button = Anhalten
hold-question = { $name } { $version } anhalten?
hold-consequence = Kein Gerät bekommt eine neue Erlaubnis, bis jemand fortsetzt. { $n ->
    [0] Im Augenblick ist keines ausgesetzt.
    [one] Ein ausgesetztes Gerät setzt seine Probe fort.
   *[other] { $n } ausgesetzte Geräte setzen ihre Probe fort.
  } (Rollout { $id })
resume-button = Fortsetzen
resume-question = { $name } { $version } fortsetzen?
resume-consequence = Schweigen und Evidenz bis hierher sind entschuldigt: sie halten nicht noch einmal an. { $n ->
    [0] Im Augenblick ist kein Gerät ausgesetzt.
    [one] Ein Gerät ist ausgesetzt.
   *[other] { $n } Geräte sind ausgesetzt.
  } (Rollout { $id })
halt-button = Stoppen
halt-question = { $name } { $version } endgültig stoppen?
halt-consequence = Kein Gerät startet es mehr, auch wo es schon geladen ist. Ohne zwei Freigebende kann das Release nicht wieder ausgerollt werden. { $n ->
    [0] Im Augenblick ist kein Gerät ausgesetzt.
    [one] Ein Gerät ist ausgesetzt.
   *[other] { $n } Geräte sind ausgesetzt.
  } (Rollout { $id })
confirm-why = Grund, für alle, die das Log lesen
confirm-missing = Bitte einen Grund nennen: er steht im Log.
confirm-logged = Es steht im Log mit dem Namen { $name }.
confirm-cancel = Lassen, wie es ist

# Geräte
device = Gerät
device-id = Kennung
device-why = Warum es nichts tut
device-no-rollout = Kein Rollout betrifft es.
device-says = In den Worten des Geräts:
starts-title = Wie es zum Start kam
starts-note = Was frühere Starts des Rechners hinterließen, in seinen eigenen Worten.
start-id = Gefunden vom Start { $id }
trace-kernel = Kernel, { $reason }: { $line } ({ $bytes } Bytes, SHA-256 { $sha256 })
trace-watchdog = Watchdog { $name } ({ $identity }): Status { $status }
trace-entry = Starteintrag { $number }, { $committed ->
    [yes] übernommen
   *[other] verlassen
  }: { $why }
device-cloned = Zwei lebende Systeme mit einem Schlüssel: geklont? Es bekommt keine Releases, bis jemand nachgesehen hat.
condition-n = Bedingung { $n } von 7
place = Ort
customer = Kunde
all-customers = alle Kunden
site = Standort
machine = Maschine
runs = Darauf läuft
runs-example = Name Version
none = keine
any = alle
last-heard = Zuletzt gehört
presence-alive = am Leben
presence-silent = stumm
presence-left = abgemeldet
presence-never-seen = nie gesehen
presence-safe-mode = Notbetrieb
presence-refusing = lehnt ab
presence-cloned = Schlüssel doppelt
presence-retired = außer Dienst
search = Suchen
search-text = Name oder Kennung
search-clear = Leeren
devices-none = Kein Gerät passt.
pages-label = Seiten
pages-first = Erste Seite
pages-next = Nächste Seite
pages-latest = Neueste
pages-older = Ältere
place-joined-after-the-start-gets-the-release-when-it-is-completed = Kam nach dem Beginn: bekommt das Release, wenn es abgeschlossen ist
place-proven-healthy-on-the-release = Nachweislich gesund mit dem Release
place-had-the-release-and-went-back = Hatte das Release und ging zurück
place-runs-the-release-on-trial-came-back-after-its-deadline = Läuft mit dem Release auf Probe, kam nach der Frist zurück
place-got-the-release-and-has-been-silent-since-its-deadline = Bekam das Release und schweigt seit seiner Frist
place-runs-the-release-on-trial = Läuft mit dem Release auf Probe
place-has-the-permit-its-first-word-is-awaited = Hat die Erlaubnis; sein erstes Wort wird erwartet
place-in-the-open-wave-has-not-asked-for-its-permit = In der offenen Welle, hat noch nicht um Erlaubnis gebeten
place-control-of-the-open-wave-has-not-asked-for-its-permit = Kontrolle der offenen Welle, hat noch nicht um Erlaubnis gebeten
place-control-of-the-open-wave-keeps-what-it-runs = Kontrolle der offenen Welle: behält, was darauf läuft
place-waits-for-its-turn-in-the-order = Wartet, bis es an der Reihe ist
place-this-server-has-no-such-rollout = Dieser Server kennt diesen Rollout nicht

# Releases
releases-none = Noch kein Release ausgerollt.
supplier = Lieferant
unnamed = nicht genannt
kind = Art
kind-content = Inhalt
kind-component = Komponente
kind-os = Betriebssystem
kind-guard = Wächter
sequence = Folgenummer
running-on = Geräte damit
content = Inhalt
digest = Prüfsumme
file = Datei
bytes = Bytes
files-n = { $n ->
    [one] eine Datei, { $size }
   *[other] { $n } Dateien, { $size }
  }
passed = bestanden
failed = gescheitert
gate-title = Prüfbericht
gate-passed = Bestanden
gate-failed = Nicht bestanden
gate-waived = Zwei Freigebende haben darauf verzichtet: { $why }
gate-keys = { $n ->
    [one] von einem Prüfschlüssel signiert
   *[other] von { $n } Prüfschlüsseln signiert
  }
gate-note = Die Prüfung hat das Release betrieben wie ein Gerät. Jedes Gerät prüft diese Bescheinigung selbst, für seinen eigenen Verbraucher.
gate-used = Was benutzt wurde
gate-gone = Die Bescheinigung der Prüfung ist nicht mehr im Log.

# Log
what = Was
log-note = { $n ->
    [one] Ein Eintrag.
   *[other] { $n } Einträge.
  } Jeder kann prüfen, dass keiner geändert oder entfernt wurde:
log-entry = Logeintrag { $n }
entry-payload = Inhalt
entry-payload-note = Ohne signierte Umschläge und Geheimnisse; lange Listen sind gekürzt.
proof-title = Nachweis, dass er im Log steht
proof-holds = Der Nachweis gilt für den Baum aus { $size } Einträgen, den der Prüfpunkt signiert. Das hat der Server gerechnet; selbst prüfen auf einer anderen Maschine.
proof-soon = Der nächste Prüfpunkt, in spätestens einer Sekunde, schließt ihn ein.
proof-fails = Der Nachweis gilt nicht. Diesem Server nicht trauen; staffel log verify mit einer Kopie des Logs ausführen.
proof-note = Das Blatt ist die SHA-256 eines Nullbytes und des Satzes unten. Mit den Prüfsummen der Reihe nach ergibt sie die Wurzel (RFC 6962).
proof-record = Satz des Blatts
proof-leaf = Prüfsumme des Blatts
proof-hashes = Prüfsummen, vom Blatt aufwärts
proof-root = Wurzel des Baums aus { $size } Einträgen
checkpoint = Prüfpunkt
checkpoint-note = Der Kopf des Logs, signiert. Eine Kopie aufheben: ein Log, das ihn nicht fortsetzt, wurde verfälscht.

# Kunden
customers-none = Noch kein Kunde. Einer beginnt mit seinem ersten Aufnahmecode:
policy = Regeln
policy-none = Noch keine Regeln signiert: alles ist erlaubt.
policy-sequence = Vom Kunden signiert, Nummer { $n }. Geändert wird mit seinem Schlüssel:
policy-says-nothing = Alles zu jeder Zeit
policy-says-freeze = Eingefroren: { $reason }
policy-says-freeze-urgent = Eingefroren, außer Dringendem: { $reason }
policy-says-pin = { $name } bleibt auf Version { $version }
policy-says-n-minus-1 = Eine Version hinter der neuesten abgeschlossenen
policy-says-defer = Wartet { $time } nach Beginn eines Rollouts
policy-says-window = { $days } von { $from } bis { $to } UTC
policy-says-pilots = Pilotgeräte: { $names }
policy-says-site-limit = { $n ->
    [one] Höchstens ein Gerät eines Standorts zugleich weg
   *[other] Höchstens { $n } Geräte eines Standorts zugleich weg
  }
policy-says-group = Nie zwei zugleich aus { $group }: { $names }
policy-says-checks = Nur was diese Prüfungen bestanden hat: { $names }
policy-says-manual = Nur von Hand: { $names }
day-0 = Mo
day-1 = Di
day-2 = Mi
day-3 = Do
day-4 = Fr
day-5 = Sa
day-6 = So
suppliers-title = Wer diese Maschinen ändern kann
suppliers-note = Jedes Release, das auf diesem Server ausgerollt wurde, nach Lieferant. Jedes braucht die Prüfung und zwei Freigebende.
suppliers-none = Noch nichts ausgerollt.
suppliers-runs = Läuft hier
suppliers-on = Version { $version } auf { $n }
suppliers-on-none = auf keinem
sites-title = Standorte

# Konto
role = Rolle
role-viewer = Betrachter
role-viewer-may = sieht zu
role-tenant-admin = Verwalter eines Kunden
role-tenant-admin-may = sieht zu; setzt die Regeln eines Kunden und macht Aufnahmecodes
role-operator = Operator
role-operator-may = sieht zu; hält Rollouts an, setzt sie fort, stoppt sie
role-releaser = Freigebende Person
role-releaser-may = wie ein Operator; startet Rollouts
account-provider = Das Passwort kennt der Anmeldedienst; was Sie hier dürfen, sagen die Regeln dieses Servers.
account-password = Ein neues Passwort wird auf dem Server gesetzt; offene Sitzungen enden dann:

# Worauf ein Rollout wartet
waiting_on-start = Beginnt um { $at_ms }.
waiting_on-permits = Welle { $wave }: { $treated } zu ändernde und { $control } Kontrollen haben noch nicht um Erlaubnis gebeten.
waiting_on-outcomes = { $open ->
    [one] Welle { $wave }: ein Gerät ist noch nicht nachweislich gesund.
   *[other] Welle { $wave }: { $open } Geräte sind noch nicht nachweislich gesund.
  }
waiting_on-ceiling = An der signierten Obergrenze von { $share }; sie steigt um { $until_ms }.
waiting_on-budget = { $exposed } Geräte bekamen das Release und schweigen; { $budget } dürfen zugleich ausgesetzt sein.
waiting_on-skipped = Geräte, die jetzt nicht dürfen: { $reasons }.
waiting_on-held = Angehalten: { $reason }
waiting_on-halted = Gestoppt: { $reason }
waiting_on-completed = Fertig. Ausgelassen: { $left_out }
waiting_on-expired = Die Freigabe ist abgelaufen; was sich nicht geändert hat, bleibt, wie es ist.
held-silent = { $device } bekam das Release und schweigt über seine Frist hinaus; { $exposed } ausgesetzt.
held-evidence = Die Evidenz gegen das Release ist { $e } (angehalten ab { $at }), am stärksten in { $scope }.
held-wave-lost = { $lost } von { $treated } in Welle { $wave } schweigen oder gingen zurück.
held-one-customer = Über 80 % der Evidenz ({ $e }) kommen von { $tenant }; der Kunde ist ausgenommen. Ein Mensch entscheidet.
held-operator = { $who }: { $why }
halted-rolled-back = { $device } kam mit der Version davor zurück: { $why }
halted-safe-mode = { $device } kam im Notbetrieb zurück: { $why }
halted-not-back = { $device } bekam das Release, schwieg und versäumte { $deadlines } Fristen.
halted-evidence = Die Evidenz gegen das Release ist { $e } zu 1 (Stopp bei { $at }): { $metric } in { $scope }.
halted-operator = { $who }: { $why }
halted-superseded = Ersetzt durch Rollout { $by }.
skip-frozen = { $count } vom Kunden eingefroren
skip-pinned = { $count } auf andere Version festgelegt
skip-n-minus-one = { $count } bewusst eine Version zurück
skip-deferred = { $count } aufgeschoben
skip-window-closed = { $count } außerhalb ihres Zeitfensters
skip-manual-only = { $count } nur von Hand
skip-redundancy-group = { $count } mit abwesendem Partner
skip-site-limit = { $count } an Standorten an ihrer Grenze
skip-other-rollout = { $count } in anderem Rollout
skip-cloned = { $count } mit doppeltem Schlüssel
skip-retired = { $count } ausgemustert
skip-fenced = { $count } eines ausgenommenen Kunden
skip-above-ceiling = { $count } über der Obergrenze
skip-offline = { $count } nicht erreichbar
skip-pilots-first = { $count } nach ihren Pilotgeräten
skip-declined = { $count } mit zurückgegebener Erlaubnis
skip-silent = { $count } still, seit sie es bekamen
skip-went-back = { $count } zurückgekehrt

# Warum ein Gerät ablehnt
refusal-release-missing = Keine geprüfte Aussage zum Release.
refusal-release-rejected = Die Aussage zum Release gilt nicht: { $why }
refusal-release-denied = Das Release steht auf der Sperrliste: { $why }
refusal-below-security-floor = Das Release liegt unter der Sicherheitsschwelle { $floor }.
refusal-kind-not-handled = Dieses Gerät kann Releases dieser Art ({ $kind }) nicht einspielen.
refusal-gate-missing = Keine Bescheinigung der Prüfung für dieses Release.
refusal-gate-rejected = Die Bescheinigung der Prüfung gilt nicht: { $why }
refusal-gate-for-other-release = Die Bescheinigung der Prüfung ist für ein anderes Release.
refusal-gate-failed = Die Prüfung sagt, dass das Release gescheitert ist.
refusal-gate-too-few-signers = { $have } von { $need } Prüfschlüsseln haben signiert.
refusal-gate-without-this-consumer = Die Prüfung hat den Verbraucher dieses Geräts nicht betrieben.
refusal-gate-without-check = Der Kunde verlangt die Prüfung { $check }, die dieses Release nicht bestanden hat.
refusal-waiver-too-few-signers = { $have } Freigebende verzichten auf die Prüfung; zwei sind nötig.
refusal-waiver-for-guard = Für Staffels eigene Teile wird nie auf die Prüfung verzichtet.
refusal-waiver-uncapped = Auf die Prüfung wurde verzichtet, und die Freigabe lässt zu viele auf einmal ausgesetzt sein.
refusal-authorisation-missing = Keine Freigabe von zwei Freigebenden.
refusal-authorisation-rejected = Die Freigabe gilt nicht: { $why }
refusal-authorisation-for-other-release = Die Freigabe ist für ein anderes Release.
refusal-authorisation-too-few-signers = { $have } von 2 Freigebenden haben signiert.
refusal-authorisation-too-long = Die Freigabe gilt länger als 14 Tage.
refusal-authorisation-expired = Die Freigabe ist abgelaufen.
refusal-authorisation-not-started = Die Freigabe beginnt um { $start_ms }.
refusal-above-ceiling = Noch nicht an der Reihe: die Obergrenze ist { $ceiling } bei einem nachgewiesenen Alter von { $age_ms }.
refusal-frontier-missing = Noch keine Front für diesen Rollout.
refusal-frontier-rejected = Die Front gilt nicht: { $why }
refusal-frontier-for-other = Die Front ist für einen anderen Rollout oder ein anderes Release.
refusal-frontier-replayed = Die Front ist eine alte: Nummer { $sequence }, { $seen } wurde schon gesehen.
refusal-frontier-forked = Zwei verschiedene Fronten tragen die Nummer { $sequence }: angehalten bis zu einer neuen Freigabe.
refusal-frontier-expired = Die Front ist abgelaufen.
refusal-halted = Der Rollout ist gestoppt.
refusal-ring-or-stratum-unknown = Ring { $ring }, Schicht { $stratum } gehört nicht zu diesem Rollout.
refusal-frontier-not-reached = Der Rollout ist noch nicht bis zu diesem Gerät gekommen.
refusal-policy-missing = Keine signierten Regeln des Kunden.
refusal-policy-rejected = Die Regeln des Kunden gelten nicht: { $why }
refusal-no-last-known-good = Es gibt nichts, wohin es zurück kann.
refusal-trial-running = Eine andere Änderung ist auf Probe.
refusal-preflight-failed = Die Vorprüfung ist gescheitert: { $why }
refusal-permit-missing = Noch keine Erlaubnis für dieses Gerät.
refusal-permit-rejected = Die Erlaubnis gilt nicht: { $why }
refusal-permit-for-other = Die Erlaubnis ist für etwas anderes ({ $what }).
refusal-permit-replayed = Die Erlaubnis antwortet nicht auf die Frage dieses Geräts.
refusal-permit-expired = Die Erlaubnis ist abgelaufen.
refusal-permit-too-long = Die Erlaubnis gilt länger als 120 s.
refusal-control-arm = Es ist in dieser Welle Kontrolle: es behält, was darauf läuft.
policy-frozen = Der Kunde hat seine Geräte eingefroren: { $reason }
policy-pinned = Der Kunde hat dieses Release auf Version { $to } festgelegt.
policy-n-minus-one = Der Kunde bleibt eine Version zurück, und noch ist keine neuere abgeschlossen.
policy-deferred = Der Kunde wartet bis { $until_ms }.
policy-window-closed = Außerhalb der Wartungsfenster des Kunden.
policy-manual-only = Der Kunde ändert dieses Gerät nur von Hand.

# Was im Log steht
unknown = unbekannt
nobody = niemand Bekanntes
reason-hidden = für alle Kunden
log-erased = Gelöscht; Platz und Nachweis bleiben.
log-server-started = Der Server ist gestartet, Version { $version }.
log-token-issued = { $by } hat einen Aufnahmecode für { $tenant } / { $site } gemacht.
log-device-enrolled = { $device } wurde aufgenommen.
log-device-changed = { $device } sagt, was darauf läuft.
log-device-refused = { $device } hat abgelehnt: { $refusals }; { $problems }
log-device-started = { $device } ist gestartet und fand von einem früheren Start: { $traces }
log-certificate-recovered = { $device } bekam mit seinem eigenen Schlüssel ein Zertifikat anstelle eines abgelaufenen.
log-certificate-refused = { $device } bat um ein Zertifikat anstelle eines abgelaufenen und bekam keines: { $certificate_refused ->
    [retired] es ist ausgemustert
    [cloned] sein Schlüssel wurde in zwei Rechnern gesehen
    [nonce-used] was es schickte, war schon einmal geschickt worden
    [nonce-old] es brauchte zu lange
   *[other] es unterschrieb keine Zufallszahl dieses Servers
  }.
log-device-left = { $device } hat sich abgemeldet: { $why }
log-device-cloned = { $device }: zwei lebende Systeme mit einem Schlüssel.
log-policy-set = { $by } hat die Regeln von { $tenant } gesetzt.
log-rollout-started = { $by } hat Rollout { $rollout } gestartet.
log-rollout-wave-opened = Rollout { $rollout }: Welle { $wave } geöffnet.
log-rollout-permitted = { $device } bekam seine Erlaubnis in Rollout { $rollout }.
log-rollout-on-trial = { $device } läuft mit dem Release auf Probe.
log-rollout-confirmed = { $device } ist nachweislich gesund.
log-rollout-failed = { $device } ging zurück: { $why }
log-rollout-departed = { $device } wurde ordentlich heruntergefahren.
log-rollout-observed = Rollout { $rollout }: { $metric } eines Geräts ({ $arm }); im Risiko { $n_t } geändert, { $n_c } Kontrollen.
log-rollout-wave-resolved = Rollout { $rollout }: Welle { $wave } ist vorbei, Mehrschaden unter { $bound }; die nächste darf { $next } ändern.
log-rollout-held = Rollout { $rollout } wurde angehalten: { $reason }
log-rollout-released = Rollout { $rollout } geht weiter: { $by }
log-rollout-fenced = Rollout { $rollout }: ein Kunde wurde ausgenommen.
log-rollout-halted = Rollout { $rollout } wurde gestoppt: { $reason }
log-rollout-completed = Rollout { $rollout } wurde abgeschlossen.
log-rollout-observation-gap = Rollout { $rollout }: von { $from_ms } bis { $to_ms } sah niemand hin; alle Fristen verschoben.
log-permit-granted = Eine Erlaubnis wurde erteilt in Rollout { $rollout }.
log-frontier-moved = Die Front von Rollout { $rollout } ist vorgerückt.
log-halt-signed = { $by } hat einen Stopp mit einem Operatorschlüssel signiert.
log-access-refused = { $who } wurde abgewiesen: { $what } ({ $why })

# Wiederherstellung
nav-cases = Fälle
need-incident = { $n ->
    [one] Ein Gerät ist nicht zurück: { $title }
   *[other] { $n } Geräte sind nicht zurück: { $title }
  }
need-incident-why = Ohne Zuständigen: { $unowned }. Überfällig: { $overdue }.
incident = Vorfall
incident-n = Vorfall { $n }
incidents-open = Offene Vorfälle
incidents-none = Kein Vorfall ist offen.
incidents-over = Vorbei
incident-open = Vorfall eröffnen
incident-open-note = Jedes betroffene Gerät bekommt einen Fall. Er schließt, wenn die eigene Probe des Geräts bestanden und der Schutz an ist, nicht früher.
incident-why = Was nicht stimmt
incident-source = Wie es bemerkt wurde (Anruf aus der Klinik, Meldung des Lieferanten, ...)
incident-devices = Geräte: Kennungen oder Kunde/Standort/Name, mit Leerzeichen dazwischen
incident-sites = Ganze Standorte, als Kunde/Standort
incident-component = Software, die Staffel nicht ausgeliefert hat, ist schuld
incident-unknown = Hier nicht bekannt: { $what }
component-name = Ihr Name
component-version = Ihre Version
class = Art
class-faulty-update = fehlerhaftes Update
class-attack = Angriff
class-outage = Ausfall
class-foreign = fremde Software
origin-halted-rollout = { $release } wurde gestoppt (Rollout { $rollout })
origin-silence = Stumme Geräte in { $tenant } / { $site }
origin-safe-mode = Notbetrieb in { $tenant } / { $site }
origin-component = { $name } { $version } von { $supplier }
origin-operator = Von Hand eröffnet
aware = Bemerkt
back = Zurück
back-of = { $n } von { $of } nachweislich zurück
without-owner = { $n ->
    [0] jeder Fall hat einen Zuständigen
    [one] einer ohne Zuständigen
   *[other] { $n } ohne Zuständigen
  }
overdue = { $n } überfällig
with-debts = { $n } mit ausgeschaltetem Schutz
calls-title = Anzurufen
calls-note = Standorte mit Geräten, die nicht zurück sind, das Dringendste zuerst.
cases-title = Fälle
cases-none = So ist kein Fall.
case-filter-not-back = nicht zurück
case-filter-open = offen
case-filter-overdue = überfällig
case-filter-unowned = ohne Zuständigen
case-filter-debt = Schutz aus
case-filter-unreachable = nicht erreichbar
case-filter-verified = nachgewiesen
case-filter-closed = geschlossen
show = Zeigen
case-n = Fall { $n }: { $device }
case-number = Fall { $n }
case-why = Warum es einen Fall hat
case-do = Was getan wurde
case-state-suspected = vermutet
case-state-notified = benachrichtigt
case-state-reached = erreicht
case-state-instructed = angeleitet
case-state-working = läuft, nicht nachgewiesen
case-state-restricted = Schutz aus
case-state-unreachable = nicht erreichbar
case-state-verified = nachgewiesen
case-state-closed = geschlossen
owner = Zuständig
owner-none = niemand
own-button = Ich kümmere mich
disown-button = Zurückgeben
close-button = Fall schließen
closed-by-probe = durch seine Probe
phone = Telefon
phone-none = keine Nummer bekannt
reach = Wie der Standort zu erreichen ist
tried = Zuletzt versucht
attempts = { $n ->
    [one] ein Versuch ohne Antwort
   *[other] { $n } Versuche ohne Antwort
  }
contact-none = noch nichts
contact-was = { $channel }: { $outcome }, { $by }, { $time }
contact-title = Jemand wurde angesprochen
channel = Wie
channel-email = E-Mail
channel-sms = SMS
channel-fax = Fax
channel-letter = Brief
channel-phone = Telefon
channel-visit = Besuch
outcome = Ergebnis
outcome-sent = abgeschickt
outcome-no-answer = keine Antwort
outcome-wrong-address = Nummer oder Adresse stimmt nicht
outcome-reached = jemand hat geantwortet
outcome-instructed = gesagt, was zu tun ist
outcome-says-it-works = sie sagen, es geht
words = In Worten
save = Speichern
note-title = Notiz
debt-title = Schutz wurde ausgeschaltet
debt-what = Was aus ist
debts-title = Schutz ist aus
lift-why = Wie er wieder anging
lift-button = Er ist wieder an
reopen-title = Wieder öffnen
reopen-button = Wieder öffnen
in-minutes = In wie vielen Minuten
next-action = Als Nächstes
due-in = fällig in { $time }
overdue-since = überfällig seit { $time }
action-wait-for-return = Es kann von selbst zurückkommen
action-call-site = Standort anrufen
action-call-back = Zurückrufen, wie der Standort bat
action-instruct = Dem Standort sagen, was zu tun ist
action-ask-for-check-in = Sie sagen, es geht: fragen, warum das Gerät schweigt
action-probe = Die Probe läuft mit jeder Meldung
action-switch-protection-on = Schutz wieder einschalten
action-try-another-way = Standort anders erreichen oder hinfahren
action-close = Schließt von selbst
action-nothing = Nichts: er ist geschlossen
probe-title = Nachweis, dass es zurück ist
probe-passed = { $n } von { $of } Proben nacheinander bestanden.
can-close = Er kann geschlossen werden; er schließt auch von selbst.
cannot-close = Er kann noch nicht geschlossen werden:
not-back-title = Nicht zurück
not-back-none = Jedes Gerät ist nachweislich zurück.
curve-title = Verlauf der Wiederherstellung
curve-reached = { $percent } % waren nach { $time } zurück.
curve-not-back = { $n ->
    [0] Alle { $of } sind zurück.
    [one] Eines von { $of } ist nicht zurück.
   *[other] { $n } von { $of } sind nicht zurück.
  }
percent-back = { $percent } % zurück nach
after-aware = Nach dem Bemerken
chart-curve = Nachweislich zurückgekehrte Geräte
concern-rollout = Rollout { $rollout } wurde gestoppt, und dieses Gerät { $how ->
    [permitted] hatte seine Erlaubnis und schweigt seither.
    [on-trial] lief damit auf Probe.
    [proven] war damit nachweislich gesund.
   *[went-back] kam mit seiner alten Version oder im Notbetrieb zurück.
  }
concern-silent = Zu lange stumm, ohne Abmeldung.
concern-safe-mode = Im Notbetrieb: { $why }
concern-named = Genannt von { $by }.
debt-safe-mode = Im Notbetrieb: keiner unserer Dienste läuft
debt-not-running = { $name } lief vorher und läuft nicht
debt-reported = Vom Gerät gemeldet: { $what }
debt-declared = Angegeben: { $what }
doubt-not-answered = Es hat die Probe nicht beantwortet.
doubt-safe-mode = Es ist im Notbetrieb: { $why }
doubt-on-trial = Was darauf läuft, ist noch auf Probe.
doubt-denied = Darauf läuft { $release }, das gestoppt wurde.
doubt-probes-failed = Seine eigenen Proben scheitern: { $failures }
doubt-protection-off = Schutz ist aus: { $what }
refusal-closed = Er ist geschlossen.
refusal-not-verified = Nicht durch eine Probe nachgewiesen: { $passed } von { $needed } bestanden. { $doubts }
refusal-debt-open = Schutz ist aus. { $debt }
log-recovery-incident-opened = Vorfall { $incident } wurde eröffnet: { $why }
log-recovery-cases-opened = Fälle ab { $first } wurden in Vorfall { $incident } eröffnet: { $why }
log-recovery-owned = Fall { $case }: { $owner } kümmert sich, sagt { $by }.
log-recovery-said = Fall { $case }: { $by } sagt { $state }: { $why }
log-recovery-contacted = Fall { $case }: { $by }, { $channel }, { $outcome }. { $text }
log-recovery-call-back = Fall { $case }: der Standort bat { $by } um Rückruf. { $text }
log-recovery-noted = Fall { $case }: { $by } notiert: { $text }
log-recovery-heard = Fall { $case }: { $device } meldet sich wieder; nachgewiesen ist noch nichts.
log-recovery-fell-silent = Fall { $case }: { $device } ist wieder stumm.
log-recovery-debt-opened = Fall { $case }: Schutz ist aus. { $debt }
log-recovery-debt-lifted = Fall { $case }: Schutz ist wieder an ({ $debt }): { $why }
log-recovery-verified = Fall { $case }: { $device } ist durch seine Probe nachgewiesen.
log-recovery-doubted = Fall { $case }: nicht mehr nachgewiesen. { $doubts }
log-recovery-reopened = Fall { $case } wurde wieder geöffnet: { $why }
log-recovery-closed = Fall { $case } wurde geschlossen: { $device }.
log-place-customer = { $by } hat die Angaben eines Kunden erfasst.
log-place-site = { $by } hat die Angaben eines Standorts erfasst.
log-place-contacts = { $by } hat erfasst, wie ein Standort zu erreichen ist.
log-place-expected-device = { $by } hat ein Gerät erfasst, das aufgenommen werden soll.

log-device-clone-cleared = { $by } nahm den Klon-Vermerk von { $device } zurück: { $why }
log-device-inventory = { $device } hat andere Fremdsoftware als zuvor.
log-device-retired = { $by } nahm { $device } außer Dienst: { $why }
log-entry-erased = { $by } löschte { $what } (Eintrag { $entry }): { $why }
log-foreign-suspected = Fremdsoftware steht unter Verdacht: Von den Geräten, die sie bekamen, sind mehr gestört, als der Zufall erklärt.
log-halt-taken-back = Zwei Freigebende nahmen den Stopp von Rollout { $rollout } zurück ({ $by }): { $why }
log-inventory-seen = Fremdsoftware wurde gemeldet, die bisher kein Gerät hatte.
log-notice-acknowledged = Mitteilung { $notice }: Am Standort weiß man Bescheid, sagt { $by }.
log-notice-addresses = Die Adressen der Mitteilung { $notice }.
log-notice-called = Mitteilung { $notice }: { $by } rief an; { $result }.
log-notice-drawn = Eine Mitteilung wurde für eine feste Empfängerliste aufgesetzt.
log-notice-ended = Mitteilung { $notice }: Ein Versuch endete; { $outcome }.
log-notice-looked-up = Mitteilung { $notice }: Ein Versuch mit unbekanntem Ausgang wurde nachgesehen; { $found }.
log-notice-started = Mitteilung { $notice }: Ein Versuch per { $channel } begann.
log-remedy-done = { $device } zur Abhilfe { $sequence }: { $why }
log-remedy-sent = { $by } schickte { $device } eine unterschriebene Abhilfe.
log-rollout-cut-off = { $device } ging zurück, weil Gerät und Server einander nicht hörten.
log-rollout-overdue = { $device } ist überfällig.
log-rollout-withdrawn = { $device } gab seine Erlaubnis ungenutzt zurück.
log-tenant-keys-set = { $by } hinterlegte die Schlüssel von { $tenant }.

# Fremde Software
nav-software = Software
software = Software
software-of = { $name } { $version } von { $supplier }
software-unnamed = { $name } { $version }, Hersteller unbekannt
software-kind-kernel-module = Kernelmodul
software-kind-self-updater = aktualisiert sich selbst
software-kind-service = Dienst
software-kind-package = Paket
updaters-title = Wer diese Rechner ohne Staffel ändert
updaters-note = Software, die sich selbst aktualisiert, nach Angaben der Rechner. Kein Pilot und kein Halt bremst sie.
updaters-none = Nichts auf diesen Rechnern aktualisiert sich selbst.
suspects-title = Verdacht
suspects-note = Software, die nicht von Staffel kam und kurz vor der Störung eintraf. Ein Verdacht ist ein Grund, hinzusehen und nachzufragen, nie ein Beweis.
suspects-none = Es besteht kein Verdacht.
suspect-got = { $n } von { $of }, die sie bekamen, schweigen, sind im abgesicherten Modus oder starten immer wieder neu.
suspect-others = { $n } von { $of }, die sie nicht bekamen, ebenfalls.
suspect-chance = Durch Zufall allein käme das in { $chance } der Fälle vor.
suspect-devices = { $n ->
    [one] Ein gestörtes Gerät, das sie bekam
   *[other] { $n } gestörte Geräte, die sie bekamen
  }
suspect-more = { $n ->
    [one] Ein weiteres Gerät.
   *[other] { $n } weitere Geräte.
  }
changes-title = Was sich geändert hat
changes-note = Was in den letzten 24 Stunden ohne Staffel auf Rechner kam: Module, Dienste, Pakete und was sich selbst aktualisiert.
changes-none = Nichts hat sich geändert.
changes-more = { $n ->
    [one] Eine weitere Änderung.
   *[other] { $n } weitere Änderungen.
  }

# Eingriffe
nav-remedies = Eingriffe
remedies-note = Was auf Rechnern veranlasst wurde. Jeder Eingriff ist für ein einziges Gerät unterschrieben; an fremde Software dürfen nur zwei gemeinsam. Unterschrieben wird im Terminal:
remedies-none = Es gab keinen Eingriff.
remedies-more = { $n ->
    [one] Ein weiterer Eingriff, im Terminal:
   *[other] { $n } weitere Eingriffe, im Terminal:
  }
remedy-act = Was
remedy-signers = Unterschrieben mit Schlüssel
remedy-sent = Abgeschickt von
remedy-number = Eingriff { $n }, { $case }
remedy-done = ausgeführt
remedy-failed = gescheitert
remedy-expired = verfallen
remedy-waiting = wartet

# Benachrichtigungen
nav-notices = Nachrichten
notices-note = Wer was erfahren hat. Die Empfänger standen fest, als die Nachricht abging.
notices-none = Niemand wurde angeschrieben.
notice = Nachricht
notice-title = Nachricht { $n }: { $wording }
notice-sent = Abgeschickt von
notice-reached = Erreicht
notice-knows = { $n } von { $of } wissen Bescheid.
notice-calls = Anzurufen
notice-to-call = { $n ->
    [one] Ein Standort ist anzurufen.
   *[other] { $n } Standorte sind anzurufen.
  }
notice-routes = Wege, der Reihe nach
notice-attempts = Versuche
notice-knows-since = Weiß Bescheid seit
notice-unreached = noch nicht
notice-code = Code { $code }
recipients-title = Empfänger
recipients-more = { $n ->
    [one] Ein weiterer Empfänger.
   *[other] { $n } weitere Empfänger.
  }
critical = zuerst
wording-first-information = Erstinformation
wording-instruction = was zu tun ist
wording-all-clear = Entwarnung
wording-correction = Berichtigung
step-send = Als Nächstes: { $channel }
step-look-up = Es wird geklärt, ob { $channel } abging
step-call = Jemand muss anrufen
waiting-attempt = { $channel } ist unterwegs
waiting-answer = { $channel } ist abgegangen; eine Antwort steht aus
waiting-route = { $channel } wird später wiederholt: { $why }
done-acknowledged = Sie wissen Bescheid
done-superseded = Ersetzt durch Nachricht { $by }
done-no-recipient = Kein Empfänger
answer-title = Was geschah
answer-software = { $n ->
    [0] keine Software verdächtig
    [one] eine Software verdächtig
   *[other] { $n }-mal Software verdächtig
  }
answer-remedies = { $n ->
    [0] kein Eingriff
    [one] ein Eingriff
   *[other] { $n } Eingriffe
  }
answer-notices = { $n ->
    [0] keine Nachricht
    [one] eine Nachricht
   *[other] { $n } Nachrichten
  }

# Alarme der Sensoren
nav-alerts = Alarme
alerts-note = Was die Sensoren auf den Geräten fanden. Wiederholungen werden gezählt; was jemand quittiert hat, ist wieder offen, wenn es wieder geschieht.
alerts-open = Offene Alarme
alerts-none = Niemand muss nachsehen: Kein Alarm ist offen.
alerts-no-match = Kein Alarm passt.
alert-n = Alarm { $n }
alert-text = Titel, Regel oder Kennwort
alert-times = Anzahl
alert-n-times = { $n }-mal
alert-happened = Geschehen, nach der Uhr des Geräts
alert-rule = Regel
alert-tags = Kennwörter
alert-events = Letzte Ereignisse
alert-events-none = Felder von Ereignissen sind nicht aufbewahrt: Es kamen keine, es waren zu viele, oder sie wurden gelöscht.
alert-acknowledge = Quittieren
alert-acknowledge-note = Sagt, dass jemand nachgesehen hat. Geschieht es wieder, ist der Alarm wieder offen, außer er soll still bleiben; was schlimmer ist, öffnet ihn immer.
alert-open = offen
alert-again = wieder offen
alert-worse = schlimmer geworden
alert-seen = quittiert von { $by }
alert-quiet = quittiert von { $by }, still für { $time }
alert-step-opened = eröffnet
alert-step-seen = { $by }: { $why }
alert-step-quiet = (still bis { $time })
alert-state-open = offen
alert-state-acknowledged = quittiert
alert-state-all = alle
alert-about-rule = Regeln
alert-about-sensor = der Sensor selbst
quiet = Still bleiben
quiet-none = nein: Das nächste Mal öffnet ihn wieder
quiet-for = für { $time }
severity = Schwere
severity-critical = kritisch
severity-high = ernst
severity-medium = mittel
severity-low = gering
severity-informational = Hinweis
severity-from-critical = kritisch
severity-from-high = ernst und schlimmer
severity-from-medium = mittel und schlimmer
severity-from-low = gering und schlimmer
trouble-killed = Ein Prozess des Sensors wurde von jemand anderem beendet
trouble-stopped = Ein Prozess des Sensors wurde angehalten und antwortet nicht
trouble-modified = Das Programm des Sensors oder eine seiner Dateien wurde verändert
trouble-blind = Der Sensor ist für etwas blind
trouble-quarantined = Ein Erkennungspaket wurde außer Dienst gestellt
trouble-silent = Vom Sensor ist nichts zu hören
losses-lost = { $n ->
    [one] Ein Fund kam nie an: Sein Gerät musste ihn verwerfen.
   *[other] { $n } Funde kamen nie an: Ihre Geräte mussten sie verwerfen.
  }
losses-folded = { $n ->
    [one] Ein Fund ist gezählt, ohne die Felder seines Ereignisses: Es waren zu viele.
   *[other] { $n } Funde sind gezählt, ohne die Felder ihrer Ereignisse: Es waren zu viele.
  }
losses-uncounted = { $n ->
    [one] Ein Fund war nicht zu verstehen oder fand keinen Platz. Er steht nur in dieser Zahl.
   *[other] { $n } Funde waren nicht zu verstehen oder fanden keinen Platz. Sie stehen nur in dieser Zahl.
  }
losses-dropped = { $n ->
    [one] Ein Alarm machte einem anderen Platz; das Log hat ihn.
   *[other] { $n } Alarme machten anderen Platz; das Log hat sie.
  }
device-alerts = Was sein Sensor fand
device-alerts-none = Nichts ist offen.
device-alerts-all = Alle Alarme dieses Geräts
need-alerts = { $n ->
    [one] Ein Alarm eines Sensors ist kritisch oder ernst, und niemand hat nachgesehen
   *[other] { $n } Alarme von Sensoren sind kritisch oder ernst, und niemand hat nachgesehen
  }
need-alerts-why = Was auf Geräten geschieht, sieht nach einem Angriff aus, oder einem Sensor wurde etwas getan.
log-detection-found = { $device }: Der Sensor fand etwas (bis Nummer { $through }).
log-detection-evidence = { $device }: die Felder dessen, was der Sensor fand.
log-detection-acknowledged = { $by } hat Alarm { $alert } von { $device } quittiert: { $why }
