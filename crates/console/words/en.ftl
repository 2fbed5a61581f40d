# The frame
skip = Skip to content
nav-label = Main
nav-overview = Overview
nav-rollouts = Rollouts
nav-devices = Devices
nav-releases = Releases
nav-customers = Customers
nav-log = Log
nav-account = Account
settings-label = Language and colours
language = Language
theme = Colours
theme-auto = system
theme-light = light
theme-dark = dark
times-note = Times are UTC; your own time stands in brackets.
log-out = Log out
live-lost = No connection to the server: this page shows the past. Trying again.

# Log-in
login-title = Log in
login-name = Account
login-password = Password
login-button = Log in
login-wrong = Account or password is wrong.
login-with = Log in with { $name }
login-or = Or with an account of this server:
login-nobody = There is no account yet. Make one on the server:

# What went wrong
stop-title = This did not work
stop-back = To the overview
stop-not-found = There is no such page, or it is not for your account.
stop-not-found-hint = Check the address, or search for what you need.
stop-role = Your role does not allow this.
stop-whole-fleet = This concerns all customers; your account sees one.
stop-csrf = The form was not one of ours, or too old.
stop-oidc = The log-in was not accepted: the answer does not belong to it, or can't be believed.
stop-oidc-unmapped = Nobody has said yet what you may do here. Ask whoever runs this server.
stop-oidc-nameless = Your log-in service says no name for you that could stand in the log. Ask whoever runs this server.
stop-oidc-away = The log-in service can't be asked right now.
stop-oidc-away-hint = Try again in a moment, or log in with an account of this server.
stop-refused-hint = It was logged. Load the page again and repeat it, or ask somebody whose role allows it.
stop-too-many = { $n ->
    [one] Too many attempts. Wait one second.
   *[other] Too many attempts. Wait { $n } seconds.
  }
stop-internal = The server failed at this request.
stop-internal-hint = Try again; the server's own log has the cause.

# Times
seconds = { $n } s
minutes = { $n } min
hours = { $n } h
days = { $n } d
ago = { $time } ago
never = never heard
time = Time

# Overview
needs-title = What needs you now
needs-nothing = Nothing needs you now.
need-read-only = The log can't be written: nothing changes until it can
need-held = Rollout { $id }, { $name } { $version }, is held
need-decide = Decide
need-look = Look
need-halted = { $n ->
    [one] Rollout { $id }, { $name } { $version }, is halted, and one device is not back
   *[other] Rollout { $id }, { $name } { $version }, is halted, and { $n } devices are not back
  }
need-silent = { $n ->
    [one] One device is silent
   *[other] { $n } devices are silent
  }
need-silent-why = Not heard for three of their heartbeats, without a goodbye.
need-cloned = { $n ->
    [one] One device key is in use twice
   *[other] { $n } device keys are in use twice
  }
need-cloned-why = Two machines run with one key. They get no releases until somebody has looked.
need-safe-mode = { $n ->
    [one] One device is in safe mode
   *[other] { $n } devices are in safe mode
  }
need-safe-mode-why = They run on what worked before and wait for a remedy.
need-refusing = { $n ->
    [one] One device refused something out of the ordinary
   *[other] { $n } devices refused something out of the ordinary
  }
need-refusing-why = A signature, a time or a digest did not hold. Somebody may be lying to them.
fleet-title = Fleet
fleet-devices = Devices
sites-in-trouble = Sites with silent devices or devices in safe mode
sites-more = { $n ->
    [one] One more site.
   *[other] { $n } more sites.
  }
running-title = Rollouts going on
running-none = No rollout is going on.
ended-title = Ended last
server-note = The server has been up for { $time }. The log has { $n } entries.

# Rollouts
rollout = Rollout
rollout-n = rollout { $id }
rollouts-none = No rollout yet. Start one at a terminal, where the releasers' keys are:
release = Release
state = State
state-running = running
state-held = held
state-halted = halted
state-completed = completed
hidden-running = It goes on.
hidden-held = Held for all customers.
hidden-halted = Halted for all customers.
hidden-completed = Completed.
proven = Proven healthy
proven-of = { $n } of { $of } devices proven healthy
exposed = Exposed
exposed-k = Exposed of at most K
exposed-of = { $n } exposed, at most { $of } allowed
evidence = Evidence E
evidence-label = Evidence against the release: { $e } to 1. Held from { $hold }, halted from { $halt }, on a logarithmic scale
limits = hold { $hold }, halt { $halt }
failed-silent = Failed + silent
ceiling-now = Ceiling now
ceiling = Ceiling
frontier = Frontier
silent = Silent
bound = Bound on harm
started = Started
ended = Ended
opened = Opened
took = Took
profile = Profile
profile-demo = demo (times compressed)
profile-urgent = urgent
profile-standard = standard
profile-careful = careful
exposed-ever = Devices ever exposed
small-fleet = Below 200 devices order protects, not statistics: one device first, a silent one holds, one that does not come back halts.
wave = Wave
wave-n = wave { $n }
wave-course = Course
wave-says = { $treated } to treat, { $permitted } with permit, { $confirmed } proven, { $failed } failed
waves-title = Waves
waves-none = No wave was opened yet.
controls = Controls
course-title = Over time
course-table = The numbers as a table
chart-exposed = Exposed against K, and proven healthy
chart-evidence = Evidence E on a logarithmic scale, with the lines for hold and halt
chart-reach = Share of the fleet: signed ceiling and frontier
history-title = What happened
facts-title = Facts
lines-none = Nothing yet.
hold-button = Hold
hold-question = Hold { $name } { $version }?
hold-consequence = No device gets a new permit until somebody resumes. { $n ->
    [0] None is exposed at the moment.
    [one] One device that is exposed goes on with its trial.
   *[other] { $n } devices that are exposed go on with their trial.
  } (rollout { $id })
resume-button = Resume
resume-question = Let { $name } { $version } go on?
resume-consequence = The silence and the evidence so far are excused: they will not hold it again. { $n ->
    [0] None is exposed at the moment.
    [one] One device is exposed.
   *[other] { $n } devices are exposed.
  } (rollout { $id })
halt-button = Halt
halt-question = Halt { $name } { $version } for good?
halt-consequence = No device starts it any more, also where it was downloaded. The release can't be rolled out again without two releasers. { $n ->
    [0] None is exposed at the moment.
    [one] One device is exposed.
   *[other] { $n } devices are exposed.
  } (rollout { $id })
confirm-why = Reason, for everybody who reads the log
confirm-missing = Say why: it stands in the log.
confirm-logged = It is logged with your name, { $name }.
confirm-cancel = Leave it as it is

# Devices
device = Device
device-id = Id
device-why = Why it does nothing
device-no-rollout = No rollout concerns it.
device-says = In the device's own words:
starts-title = How it came to start
starts-note = What earlier starts of the machine left behind, in its own words.
start-id = Found by the start { $id }
trace-kernel = Kernel, { $reason }: { $line } ({ $bytes } bytes, SHA-256 { $sha256 })
trace-watchdog = Watchdog { $name } ({ $identity }): status { $status }
trace-entry = Boot entry { $number }, { $committed ->
    [yes] committed
   *[other] left
  }: { $why }
device-cloned = Two live boots on one key: cloned? It gets no releases until somebody has looked.
condition-n = Condition { $n } of 7
place = Place
customer = Customer
all-customers = all customers
site = Site
machine = Machine
runs = Runs
runs-example = name version
none = none
any = any
last-heard = Last heard
presence-alive = alive
presence-silent = silent
presence-left = shut down
presence-never-seen = never seen
presence-safe-mode = safe mode
presence-refusing = refusing
presence-cloned = key used twice
presence-retired = retired
search = Search
search-text = Name or id
search-clear = Clear
devices-none = No device matches.
pages-label = Pages
pages-first = First page
pages-next = Next page
pages-latest = Latest
pages-older = Older
place-joined-after-the-start-gets-the-release-when-it-is-completed = Joined after the start: gets the release when it is completed
place-proven-healthy-on-the-release = Proven healthy on the release
place-had-the-release-and-went-back = Had the release and went back
place-runs-the-release-on-trial-came-back-after-its-deadline = Runs the release on trial, came back after its deadline
place-got-the-release-and-has-been-silent-since-its-deadline = Got the release and has been silent since its deadline
place-runs-the-release-on-trial = Runs the release on trial
place-has-the-permit-its-first-word-is-awaited = Has the permit; its first word is awaited
place-in-the-open-wave-has-not-asked-for-its-permit = In the open wave, has not asked for its permit
place-control-of-the-open-wave-has-not-asked-for-its-permit = Control of the open wave, has not asked for its permit
place-control-of-the-open-wave-keeps-what-it-runs = Control of the open wave: keeps what it runs
place-waits-for-its-turn-in-the-order = Waits for its turn in the order
place-this-server-has-no-such-rollout = This server has no such rollout

# Releases
releases-none = No release was rolled out yet.
supplier = Supplier
unnamed = not named
kind = Kind
kind-content = content
kind-component = component
kind-os = operating system
kind-guard = guard
sequence = Sequence
running-on = Devices that run it
content = Content
digest = Digest
file = File
bytes = Bytes
files-n = { $n ->
    [one] one file, { $size }
   *[other] { $n } files, { $size }
  }
passed = passed
failed = failed
gate-title = Gate report
gate-passed = Passed
gate-failed = Not passed
gate-waived = Waived by two releasers: { $why }
gate-keys = { $n ->
    [one] signed by one gate key
   *[other] signed by { $n } gate keys
  }
gate-note = The gate ran the release as a device would. Each device checks this attestation itself, for its own consumer.
gate-used = What was used
gate-gone = The gate's attestation is no longer in the log.

# Log
what = What
log-note = { $n ->
    [one] One entry.
   *[other] { $n } entries.
  } Anybody can check that none was changed or removed:
log-entry = Log entry { $n }
entry-payload = Content
entry-payload-note = Without signed envelopes and secrets; long lists are cut.
proof-title = Proof that it is in the log
proof-holds = The proof holds for the tree of { $size } entries that the checkpoint signs. The server computed this; check it yourself on another machine.
proof-soon = The next checkpoint, within a second, will include it.
proof-fails = The proof does not hold. Do not trust this server; run staffel log verify on a copy of the log.
proof-note = The leaf is the SHA-256 of a zero byte and the record below. Hashing it with the hashes in order gives the root (RFC 6962).
proof-record = Leaf record
proof-leaf = Leaf hash
proof-hashes = Hashes, from the leaf up
proof-root = Root of the tree of { $size } entries
checkpoint = Checkpoint
checkpoint-note = The log's head, signed. Keep a copy: a log that does not extend it was tampered with.

# Customers
customers-none = No customer yet. One begins with its first enrolment token:
policy = Policy
policy-none = No policy was signed yet: everything is allowed.
policy-sequence = Signed by the customer, number { $n }. It is changed with its key:
policy-says-nothing = Everything at any time
policy-says-freeze = Frozen: { $reason }
policy-says-freeze-urgent = Frozen, but for what is urgent: { $reason }
policy-says-pin = { $name } stays on version { $version }
policy-says-n-minus-1 = One version behind the newest completed one
policy-says-defer = Waits { $time } after a rollout's start
policy-says-window = { $days } from { $from } to { $to } UTC
policy-says-pilots = Pilots: { $names }
policy-says-site-limit = { $n ->
    [one] At most one device of a site away at a time
   *[other] At most { $n } devices of a site away at a time
  }
policy-says-group = Never two at a time of { $group }: { $names }
policy-says-checks = Only what passed these checks of the gate: { $names }
policy-says-manual = By hand only: { $names }
day-0 = Mon
day-1 = Tue
day-2 = Wed
day-3 = Thu
day-4 = Fri
day-5 = Sat
day-6 = Sun
suppliers-title = Who can change these machines
suppliers-note = Every release that was rolled out on this server, by supplier. Each needs the gate and two releasers.
suppliers-none = Nothing was rolled out yet.
suppliers-runs = Runs here
suppliers-on = version { $version } on { $n }
suppliers-on-none = on none
sites-title = Sites

# Account
role = Role
role-viewer = viewer
role-viewer-may = looks
role-tenant-admin = customer's administrator
role-tenant-admin-may = looks; sets the policy of one customer and makes enrolment tokens
role-operator = operator
role-operator-may = looks; holds, resumes and halts rollouts
role-releaser = releaser
role-releaser-may = as an operator; starts rollouts
account-provider = Your log-in service knows your password; this server's rules say what you may do.
account-password = A new password is set on the server; sessions that are open end then:

# What a rollout waits for
waiting_on-start = It starts at { $at_ms }.
waiting_on-permits = Wave { $wave }: { $treated } to treat and { $control } controls have not asked for their permit.
waiting_on-outcomes = { $open ->
    [one] Wave { $wave }: one device is not yet proven healthy.
   *[other] Wave { $wave }: { $open } devices are not yet proven healthy.
  }
waiting_on-ceiling = It is at the signed ceiling of { $share }, which rises at { $until_ms }.
waiting_on-budget = { $exposed } devices got the release and are silent; { $budget } may be exposed at a time.
waiting_on-skipped = Devices that may not go now: { $reasons }.
waiting_on-held = Held: { $reason }
waiting_on-halted = Halted: { $reason }
waiting_on-completed = Done. Left out: { $left_out }
waiting_on-expired = The authorisation is over; what has not changed stays as it is.
held-silent = { $device } got the release and is silent past its deadline; { $exposed } exposed.
held-evidence = The evidence against the release is { $e } (held from { $at } on), strongest in { $scope }.
held-wave-lost = { $lost } of { $treated } in wave { $wave } are silent or went back.
held-one-customer = Over 80 % of the evidence ({ $e }) comes from { $tenant }, which is fenced. A person decides.
held-operator = { $who }: { $why }
halted-rolled-back = { $device } came back on the version before: { $why }
halted-safe-mode = { $device } came back in safe mode: { $why }
halted-not-back = { $device } got the release, went silent and missed { $deadlines } deadlines.
halted-evidence = The evidence against the release is { $e } to 1 (halt at { $at }): { $metric } in { $scope }.
halted-operator = { $who }: { $why }
halted-superseded = Replaced by rollout { $by }.
skip-frozen = { $count } frozen by the customer
skip-pinned = { $count } pinned to another version
skip-n-minus-one = { $count } one version behind by choice
skip-deferred = { $count } deferred
skip-window-closed = { $count } outside their window
skip-manual-only = { $count } by hand only
skip-redundancy-group = { $count } whose partner is away
skip-site-limit = { $count } at a site with its limit away
skip-other-rollout = { $count } in another rollout
skip-cloned = { $count } with a key used twice
skip-retired = { $count } retired
skip-fenced = { $count } of a fenced customer
skip-above-ceiling = { $count } above the ceiling
skip-offline = { $count } offline
skip-pilots-first = { $count } after their pilots
skip-declined = { $count } that gave their permit back
skip-silent = { $count } silent since they got it
skip-went-back = { $count } that went back

# Why a device refuses
refusal-release-missing = No verified release statement.
refusal-release-rejected = The release statement does not hold: { $why }
refusal-release-denied = The release is on the denylist: { $why }
refusal-below-security-floor = The release is below the security floor { $floor }.
refusal-kind-not-handled = This device has no installer for releases of this kind ({ $kind }).
refusal-gate-missing = No gate attestation for this release.
refusal-gate-rejected = The gate attestation does not hold: { $why }
refusal-gate-for-other-release = The gate attestation is for another release.
refusal-gate-failed = The gate says that the release failed.
refusal-gate-too-few-signers = { $have } of { $need } gate keys have signed.
refusal-gate-without-this-consumer = The gate did not run this device's consumer.
refusal-gate-without-check = The customer demands the gate's check { $check }, which this release has not passed.
refusal-waiver-too-few-signers = The gate is waived by { $have } releasers; two are needed.
refusal-waiver-for-guard = The gate is never waived for Staffel's own parts.
refusal-waiver-uncapped = The gate is waived, and the authorisation allows too many to be exposed at a time.
refusal-authorisation-missing = No authorisation by two releasers.
refusal-authorisation-rejected = The authorisation does not hold: { $why }
refusal-authorisation-for-other-release = The authorisation is for another release.
refusal-authorisation-too-few-signers = { $have } of 2 releasers have signed.
refusal-authorisation-too-long = The authorisation lives longer than 14 days.
refusal-authorisation-expired = The authorisation has expired.
refusal-authorisation-not-started = The authorisation starts at { $start_ms }.
refusal-above-ceiling = Its turn has not come: the ceiling is { $ceiling } at a proven age of { $age_ms }.
refusal-frontier-missing = No frontier for this rollout yet.
refusal-frontier-rejected = The frontier does not hold: { $why }
refusal-frontier-for-other = The frontier is for another rollout or release.
refusal-frontier-replayed = The frontier is an old one: number { $sequence }, { $seen } was seen before.
refusal-frontier-forked = Two different frontiers carry the number { $sequence }: held until a new authorisation.
refusal-frontier-expired = The frontier has expired.
refusal-halted = The rollout is halted.
refusal-ring-or-stratum-unknown = Ring { $ring }, stratum { $stratum } is not part of this rollout.
refusal-frontier-not-reached = The rollout has not come to this device yet.
refusal-policy-missing = No signed policy of the customer.
refusal-policy-rejected = The customer's policy does not hold: { $why }
refusal-no-last-known-good = There is nothing to go back to.
refusal-trial-running = Another change is on trial.
refusal-preflight-failed = The preflight failed: { $why }
refusal-permit-missing = No permit for this device yet.
refusal-permit-rejected = The permit does not hold: { $why }
refusal-permit-for-other = The permit is for another { $what }.
refusal-permit-replayed = The permit does not answer this device's nonce.
refusal-permit-expired = The permit has expired.
refusal-permit-too-long = The permit lives longer than 120 s.
refusal-control-arm = It is a control in this wave: it keeps what it runs.
policy-frozen = The customer has frozen its devices: { $reason }
policy-pinned = The customer pinned this release to version { $to }.
policy-n-minus-one = The customer stays one version behind, and no newer one is completed yet.
policy-deferred = The customer waits until { $until_ms }.
policy-window-closed = Outside the customer's maintenance windows.
policy-manual-only = The customer changes this device by hand only.

# What stands in the log
unknown = unknown
nobody = nobody known
reason-hidden = for all customers
log-erased = Erased; its place and proof remain.
log-server-started = The server started, version { $version }.
log-token-issued = { $by } made an enrolment token for { $tenant } / { $site }.
log-device-enrolled = { $device } enrolled.
log-device-changed = { $device } says what it runs.
log-device-refused = { $device } refused: { $refusals }; { $problems }
log-device-started = { $device } started, and found of an earlier start: { $traces }
log-certificate-recovered = { $device } got a certificate in place of an expired one, by its own key.
log-certificate-refused = { $device } asked for a certificate in place of an expired one and got none: { $certificate_refused ->
    [retired] it was retired
    [cloned] its key was seen in two machines
    [nonce-used] what it sent had been sent before
    [nonce-old] it took too long
   *[other] it did not sign a nonce of this server
  }.
log-device-left = { $device } said goodbye: { $why }
log-device-cloned = { $device }: two live boots on one key.
log-policy-set = { $by } set the policy of { $tenant }.
log-rollout-started = { $by } started rollout { $rollout }.
log-rollout-wave-opened = Rollout { $rollout }: wave { $wave } opened.
log-rollout-permitted = { $device } got its permit in rollout { $rollout }.
log-rollout-on-trial = { $device } runs the release on trial.
log-rollout-confirmed = { $device } is proven healthy.
log-rollout-failed = { $device } went back: { $why }
log-rollout-departed = { $device } shut down in an orderly way.
log-rollout-observed = Rollout { $rollout }: { $metric } of a { $arm } device; at risk { $n_t } treated, { $n_c } control.
log-rollout-wave-resolved = Rollout { $rollout }: wave { $wave } is over, excess harm below { $bound }; the next may treat { $next }.
log-rollout-held = Rollout { $rollout } was held: { $reason }
log-rollout-released = Rollout { $rollout } goes on: { $by }
log-rollout-fenced = Rollout { $rollout }: a customer was fenced.
log-rollout-halted = Rollout { $rollout } was halted: { $reason }
log-rollout-completed = Rollout { $rollout } was completed.
log-rollout-observation-gap = Rollout { $rollout }: nobody looked from { $from_ms } to { $to_ms }; every deadline moved.
log-permit-granted = A permit was granted in rollout { $rollout }.
log-frontier-moved = The frontier of rollout { $rollout } moved.
log-halt-signed = { $by } signed a halt with an operator's key.
log-access-refused = { $who } was refused: { $what } ({ $why })

# Recovery
nav-cases = Cases
need-incident = { $n ->
    [one] One device is not back: { $title }
   *[other] { $n } devices are not back: { $title }
  }
need-incident-why = Without owner: { $unowned }. Overdue: { $overdue }.
incident = Incident
incident-n = incident { $n }
incidents-open = Open incidents
incidents-none = No incident is open.
incidents-over = Over
incident-open = Open an incident
incident-open-note = Each device concerned gets a case. It closes when the device's own probe has passed and protection is on, and not before.
incident-why = What is wrong
incident-source = How it was noticed (call from the clinic, supplier's notice, ...)
incident-devices = Devices: ids or customer/site/name, with spaces between
incident-sites = Whole sites, as customer/site
incident-component = Software that Staffel did not ship is to blame
incident-unknown = Not known here: { $what }
component-name = Its name
component-version = Its version
class = Kind
class-faulty-update = faulty update
class-attack = attack
class-outage = outage
class-foreign = foreign software
origin-halted-rollout = { $release } was halted (rollout { $rollout })
origin-silence = Silent devices at { $tenant } / { $site }
origin-safe-mode = Safe mode at { $tenant } / { $site }
origin-component = { $name } { $version } of { $supplier }
origin-operator = Opened by hand
aware = Noticed
back = Back
back-of = { $n } of { $of } proven to be back
without-owner = { $n ->
    [0] every case has an owner
    [one] one without owner
   *[other] { $n } without owner
  }
overdue = { $n } overdue
with-debts = { $n } with protection off
calls-title = To be called
calls-note = Sites with devices that are not back, the most urgent first.
cases-title = Cases
cases-none = No case is like that.
case-filter-not-back = not back
case-filter-open = open
case-filter-overdue = overdue
case-filter-unowned = without owner
case-filter-debt = protection off
case-filter-unreachable = unreachable
case-filter-verified = verified
case-filter-closed = closed
show = Show
case-n = Case { $n }: { $device }
case-number = case { $n }
case-why = Why it has a case
case-do = What was done
case-state-suspected = suspected
case-state-notified = notified
case-state-reached = reached
case-state-instructed = instructed
case-state-working = working, not proven
case-state-restricted = protection off
case-state-unreachable = unreachable
case-state-verified = verified
case-state-closed = closed
owner = Owner
owner-none = nobody
own-button = I see to it
disown-button = Give it back
close-button = Close the case
closed-by-probe = by its probe
phone = Phone
phone-none = no number known
reach = How to reach the site
tried = Tried last
attempts = { $n ->
    [one] one attempt without an answer
   *[other] { $n } attempts without an answer
  }
contact-none = nothing yet
contact-was = { $channel }: { $outcome }, { $by }, { $time }
contact-title = Somebody was contacted
channel = How
channel-email = e-mail
channel-sms = SMS
channel-fax = fax
channel-letter = letter
channel-phone = phone
channel-visit = visit
outcome = Outcome
outcome-sent = sent
outcome-no-answer = no answer
outcome-wrong-address = the number or address does not work
outcome-reached = somebody answered
outcome-instructed = told them what to do
outcome-says-it-works = they say that it works
words = In words
save = Save
note-title = Note
debt-title = Protection was switched off
debt-what = What is off
debts-title = Protection is off
lift-why = How it came on again
lift-button = It is on again
reopen-title = Open it again
reopen-button = Open again
in-minutes = In how many minutes
next-action = Next
due-in = due in { $time }
overdue-since = overdue for { $time }
action-wait-for-return = It may come back by itself
action-call-site = Call the site
action-call-back = Call back, as the site asked
action-instruct = Tell the site what to do
action-ask-for-check-in = They say it works: ask why the device does not speak
action-probe = The probe runs with each check-in
action-switch-protection-on = Switch protection on again
action-try-another-way = Try another way to reach the site, or go there
action-close = Closes by itself
action-nothing = Nothing: it is closed
probe-title = Proof that it is back
probe-passed = { $n } of { $of } probes passed in a row.
can-close = It can be closed; it closes by itself, too.
cannot-close = It can't be closed yet:
not-back-title = Not back
not-back-none = Every device is proven to be back.
curve-title = Recovery curve
curve-reached = { $percent } % were back after { $time }.
curve-not-back = { $n ->
    [0] All { $of } are back.
    [one] One of { $of } is not back.
   *[other] { $n } of { $of } are not back.
  }
percent-back = { $percent } % back after
after-aware = After it was noticed
chart-curve = Devices proven to be back
concern-rollout = Rollout { $rollout } was halted, and this device { $how ->
    [permitted] had its permit and gave no word since.
    [on-trial] ran it on trial.
    [proven] was proven healthy on it.
   *[went-back] came back on its old version or in safe mode.
  }
concern-silent = Silent for too long, without a goodbye.
concern-safe-mode = In safe mode: { $why }
concern-named = Named by { $by }.
debt-safe-mode = In safe mode: none of our services runs
debt-not-running = { $name } ran before and does not run
debt-reported = Reported by the device: { $what }
debt-declared = Declared: { $what }
doubt-not-answered = It has not answered the probe.
doubt-safe-mode = It is in safe mode: { $why }
doubt-on-trial = What it runs is still on trial.
doubt-denied = It runs { $release }, which was halted.
doubt-probes-failed = Its own probes fail: { $failures }
doubt-protection-off = Protection is off: { $what }
refusal-closed = It is closed.
refusal-not-verified = Not verified by a probe: { $passed } of { $needed } passed. { $doubts }
refusal-debt-open = Protection is off. { $debt }
log-recovery-incident-opened = Incident { $incident } was opened: { $why }
log-recovery-cases-opened = Cases from { $first } on were opened in incident { $incident }: { $why }
log-recovery-owned = Case { $case }: { $owner } sees to it, says { $by }.
log-recovery-said = Case { $case }: { $by } says { $state }: { $why }
log-recovery-contacted = Case { $case }: { $by }, { $channel }, { $outcome }. { $text }
log-recovery-call-back = Case { $case }: the site asked { $by } to be called back. { $text }
log-recovery-noted = Case { $case }: { $by } notes: { $text }
log-recovery-heard = Case { $case }: { $device } speaks again; nothing is proven yet.
log-recovery-fell-silent = Case { $case }: { $device } fell silent again.
log-recovery-debt-opened = Case { $case }: protection is off. { $debt }
log-recovery-debt-lifted = Case { $case }: protection is on again ({ $debt }): { $why }
log-recovery-verified = Case { $case }: { $device } is verified by its probe.
log-recovery-doubted = Case { $case }: not proven any more. { $doubts }
log-recovery-reopened = Case { $case } was opened again: { $why }
log-recovery-closed = Case { $case } was closed: { $device }.
log-place-customer = { $by } recorded a customer's data.
log-place-site = { $by } recorded a site's data.
log-place-contacts = { $by } recorded how to reach a site.
log-place-expected-device = { $by } recorded a device that is to enrol.

log-device-clone-cleared = { $by } cleared the clone mark of { $device }: { $why }
log-device-inventory = { $device } has other foreign software than before.
log-device-retired = { $by } retired { $device }: { $why }
log-entry-erased = { $by } erased { $what } (entry { $entry }): { $why }
log-foreign-suspected = Foreign software is suspected: more of the devices that got it are in trouble than chance explains.
log-halt-taken-back = Two releasers took the halt of rollout { $rollout } back ({ $by }): { $why }
log-inventory-seen = Foreign software that no device had before was reported.
log-notice-acknowledged = Notice { $notice }: somebody at the site knows, says { $by }.
log-notice-addresses = The addresses of notice { $notice }.
log-notice-called = Notice { $notice }: { $by } called; { $result }.
log-notice-drawn = A notice was drawn up for a frozen list of recipients.
log-notice-ended = Notice { $notice }: an attempt ended; { $outcome }.
log-notice-looked-up = Notice { $notice }: an attempt with an unknown end was looked up; { $found }.
log-notice-started = Notice { $notice }: an attempt by { $channel } began.
log-remedy-done = { $device } on remedy { $sequence }: { $why }
log-remedy-sent = { $by } sent a signed remedy to { $device }.
log-rollout-cut-off = { $device } went back because it and the server could not hear one another.
log-rollout-overdue = { $device } is overdue.
log-rollout-withdrawn = { $device } gave its permit back, unused.
log-tenant-keys-set = { $by } registered the keys of { $tenant }.

# Foreign software
nav-software = Software
software = Software
software-of = { $name } { $version } of { $supplier }
software-unnamed = { $name } { $version }, maker unknown
software-kind-kernel-module = kernel module
software-kind-self-updater = updates itself
software-kind-service = service
software-kind-package = package
updaters-title = Who changes these machines without Staffel
updaters-note = Software that updates itself, as the machines say. No pilot and no halt holds it back.
updaters-none = Nothing on these machines updates itself.
suspects-title = Suspected
suspects-note = Software that Staffel did not ship and that came shortly before the trouble. A suspicion is a reason to look and to ask, never proof.
suspects-none = Nothing is suspected.
suspect-got = { $n } of { $of } that got it are silent, in safe mode or start again and again.
suspect-others = { $n } of { $of } that did not get it are.
suspect-chance = Chance alone would do that in { $chance } of cases.
suspect-devices = { $n ->
    [one] One device in trouble that got it
   *[other] { $n } devices in trouble that got it
  }
suspect-more = { $n ->
    [one] One more device.
   *[other] { $n } more devices.
  }
changes-title = What changed
changes-note = What came to machines in the last 24 hours without Staffel: modules, services, packages and what updates itself.
changes-none = Nothing changed.
changes-more = { $n ->
    [one] One more change.
   *[other] { $n } more changes.
  }

# Remedies
nav-remedies = Remedies
remedies-note = What operators had done to machines. Each act is signed for one device; what touches foreign software takes two operators. Signed at a terminal:
remedies-none = No remedy was sent.
remedies-more = { $n ->
    [one] One more remedy, at a terminal:
   *[other] { $n } more remedies, at a terminal:
  }
remedy-act = What
remedy-signers = Signed with operators' keys
remedy-sent = Sent by
remedy-number = remedy { $n }, { $case }
remedy-done = done
remedy-failed = failed
remedy-expired = expired
remedy-waiting = waiting

# Notices
nav-notices = Notices
notices-note = Who was told what. The list of recipients was fixed when the notice was sent.
notices-none = Nobody was written to.
notice = Notice
notice-title = Notice { $n }: { $wording }
notice-sent = Sent by
notice-reached = Reached
notice-knows = { $n } of { $of } know.
notice-calls = To call
notice-to-call = { $n ->
    [one] One site has to be called.
   *[other] { $n } sites have to be called.
  }
notice-routes = Channels, in order
notice-attempts = Attempts
notice-knows-since = Knows since
notice-unreached = not yet
notice-code = code { $code }
recipients-title = Recipients
recipients-more = { $n ->
    [one] One more recipient.
   *[other] { $n } more recipients.
  }
critical = first
wording-first-information = first information
wording-instruction = what to do
wording-all-clear = all-clear
wording-correction = correction
step-send = { $channel } is sent next
step-look-up = Whether the { $channel } was sent is being found out
step-call = Somebody has to call
waiting-attempt = { $channel } is on its way
waiting-answer = { $channel } was sent; an answer is awaited
waiting-route = { $channel } is tried again later: { $why }
done-acknowledged = They know
done-superseded = Replaced by notice { $by }
done-no-recipient = No recipient
answer-title = What was done
answer-software = { $n ->
    [0] no software suspected
    [one] one software suspected
   *[other] { $n } pieces of software suspected
  }
answer-remedies = { $n ->
    [0] no remedy
    [one] one remedy
   *[other] { $n } remedies
  }
answer-notices = { $n ->
    [0] no notice
    [one] one notice
   *[other] { $n } notices
  }

# Alerts of sensors
nav-alerts = Alerts
alerts-note = What the sensors on devices found. A repetition is counted; an alert that somebody has seen to opens again when it happens again.
alerts-open = Open alerts
alerts-none = Nobody has to look: no alert is open.
alerts-no-match = No alert matches.
alert-n = Alert { $n }
alert-text = Title, rule or tag
alert-times = Times
alert-n-times = { $n } times
alert-happened = Happened, by the device's clock
alert-rule = Rule
alert-tags = Tags
alert-events = Latest events
alert-events-none = No fields of events are kept: none came, there were too many, or they were erased.
alert-acknowledge = Acknowledge
alert-acknowledge-note = Says that somebody has looked. It opens again when it happens again, unless it is told to stay quiet; what is worse opens it always.
alert-open = open
alert-again = open again
alert-worse = got worse
alert-seen = seen to by { $by }
alert-quiet = seen to by { $by }, quiet for { $time }
alert-step-opened = opened
alert-step-seen = { $by }: { $why }
alert-step-quiet = (quiet until { $time })
alert-state-open = open
alert-state-acknowledged = seen to
alert-state-all = all
alert-about-rule = rules
alert-about-sensor = the sensor itself
quiet = Stay quiet
quiet-none = no: the next time opens it again
quiet-for = for { $time }
severity = Severity
severity-critical = critical
severity-high = high
severity-medium = medium
severity-low = low
severity-informational = information
severity-from-critical = critical
severity-from-high = high and worse
severity-from-medium = medium and worse
severity-from-low = low and worse
trouble-killed = A process of the sensor was ended by somebody else
trouble-stopped = A process of the sensor was stopped and does not answer
trouble-modified = The sensor's program or one of its files was changed
trouble-blind = The sensor is blind to something
trouble-quarantined = A detection pack was taken out of service
trouble-silent = Nothing is heard of the sensor
losses-lost = { $n ->
    [one] One finding never arrived: its device had to drop it.
   *[other] { $n } findings never arrived: their devices had to drop them.
  }
losses-folded = { $n ->
    [one] One finding is counted, without the fields of its event: there were too many.
   *[other] { $n } findings are counted, without the fields of their events: there were too many.
  }
losses-uncounted = { $n ->
    [one] One finding was not understood or found no room. It is in no count but this one.
   *[other] { $n } findings were not understood or found no room. They are in no count but this one.
  }
losses-dropped = { $n ->
    [one] One alert made room for another; the log has it.
   *[other] { $n } alerts made room for others; the log has them.
  }
device-alerts = What its sensor found
device-alerts-none = Nothing is open.
device-alerts-all = All alerts of this device
need-alerts = { $n ->
    [one] One alert of a sensor is critical or high, and nobody has looked
   *[other] { $n } alerts of sensors are critical or high, and nobody has looked
  }
need-alerts-why = What devices do looks like an attack, or something was done to a sensor.
log-detection-found = { $device }: its sensor found something (up to number { $through }).
log-detection-evidence = { $device }: the fields of what its sensor found.
log-detection-acknowledged = { $by } has seen to alert { $alert } of { $device }: { $why }
