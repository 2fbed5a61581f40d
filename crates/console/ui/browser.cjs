// The console in a real browser; run by crates/cli/tests/it/console.rs with a phase, which has a real fleet behind the address.
// Ends with status 1 and says why at the first thing that is not as it should be.
"use strict";

const { mkdirSync } = require("node:fs");
const { join } = require("node:path");

const { STAFFEL_URL: url, STAFFEL_NPM: packages, STAFFEL_SCREENS: screens, STAFFEL_USER: user, STAFFEL_PASSWORD: password } = process.env;
const { chromium } = require(join(packages, "playwright-core"));
const axe = require(join(packages, "axe-core"));
const phase = process.argv[2];
const PATIENCE = 120_000;

const problems = [];
const pending = new Set();
let deliberate = false;

function expect(holds, what) {
  if (!holds) throw new Error(what);
}

async function open(browser, options = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true, locale: "en-GB", timezoneId: "Europe/Berlin", viewport: { width: 1280, height: 900 }, ...options,
  });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("console", message => {
    if (["error", "warning"].includes(message.type()) && !deliberate) problems.push(`console: ${message.text()}`);
  });
  page.on("request", request => {
    pending.add(request.url());
    if (new URL(request.url()).host !== new URL(url).host) problems.push(`a request left the host: ${request.url()}`);
  });
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, request => pending.delete(request.url()));
  page.on("pageerror", error => problems.push(`page: ${error.message}`));
  return page;
}

async function logIn(page, next = "/") {
  await page.goto(`${url}/login?next=${encodeURIComponent(next)}`);
  await page.fill("#name", user);
  await page.fill("#password", password);
  await page.click("button.main");
  await page.waitForURL(url + next);
}

async function shoot(page, name) {
  await page.screenshot({ path: join(screens, `${name}.png`), fullPage: true });
}

async function accessible(page, name) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const { id, impact, help, nodes } of violations.filter(v => ["serious", "critical"].includes(v.impact))) {
    problems.push(`${name}: ${impact} ${id}: ${help}: ${nodes.slice(0, 3).map(n => n.target.join(" ")).join(", ")}`);
  }
}

const phases = {
  // From the list to the end of a bad rollout, without ever loading the page again, and on to its cases.
  async watch(browser) {
    const page = await open(browser);
    await logIn(page, "/rollouts");
    console.log("READY");
    await page.click("#rollout-2");
    await page.waitForURL(`${url}/rollouts/2`);
    await page.evaluate(() => { window.loadedOnce = true; });
    await page.waitForSelector(".charts.drawn canvas");
    // On a busy machine it may be over before the page is there.
    await page.waitForSelector('tr.now, h1 .badge:has-text("halted")');
    await shoot(page, "rollout-running");
    // The badge and the line of the history may come with two updates.
    const halted = await page.waitForFunction(() => {
      const line = [...document.querySelectorAll(".lines li")].find(line => line.textContent.includes("was halted"));
      return line && document.querySelector("h1 .badge").textContent === "halted"
        && { delay: Date.now() - Date.parse(line.querySelector("time").dateTime) };
    });
    const { delay } = await halted.jsonValue();
    console.log(`SHOW live update of a halt in the page: ${delay} ms`);
    expect(delay < 2000 || !process.env.STAFFEL_STRICT, `the page learned of the halt after ${delay} ms`);
    expect(await page.evaluate(() => window.loadedOnce), "the page was loaded again");
    expect(await page.locator("#halt").count() === 0, "a rollout that is over has no button");
    expect((await page.textContent("#state")).startsWith("Halted: "), "the reason is said");
    await shoot(page, "rollout-halted");
    await page.goto(`${url}/cases`);
    const incident = page.locator("#incident-1");
    await incident.waitFor();
    await shoot(page, "cases");
    await incident.click();
    await page.waitForFunction(() => document.querySelector("#state")?.textContent.includes("All "));
    await shoot(page, "incident-over");
    await page.goto(`${url}/cases/1`);
    await page.waitForFunction(() => document.querySelector("h1 .badge").textContent === "closed");
    await shoot(page, "case-closed");
  },

  // The stop button, by keyboard alone.
  async stop(browser) {
    const page = await open(browser);
    await logIn(page, "/rollouts/3");
    await page.focus("#halt");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/rollouts/3/halt`);
    await shoot(page, "halt-question");
    await page.focus("#why");
    await page.keyboard.type("tills hang in the north");
    await page.focus("form.stack button.danger");
    await page.keyboard.press("Enter");
    await page.waitForURL(`${url}/rollouts/3`);
    expect((await page.textContent("h1 .badge")) === "halted", "it is halted");
    expect((await page.textContent("#state")).includes(`${user}: tills hang in the north`), "the reason has the person's name");
  },

  // Every page in both languages, light and dark, wide and narrow.
  async tour(browser) {
    const page = await open(browser);
    await page.goto(`${url}/login`);
    await accessible(page, "login");
    await shoot(page, "login");
    await logIn(page);
    const device = await page.goto(`${url}/devices`).then(() => page.getAttribute("tbody a", "href"));
    const release = await page.goto(`${url}/releases`).then(() => page.getAttribute("tbody a", "href"));
    const pages = {
      overview: "/", rollouts: "/rollouts", rollout: "/rollouts/2", devices: "/devices?text=pc", device, releases: "/releases", release,
      alerts: "/alerts?state=all", software: "/software", remedies: "/remedies", notices: "/notices", customers: "/customers", customer: "/customers/clinic", cases: "/cases?state=closed", incident: "/incidents/1", case: "/cases/1",
      open: "/incidents/new", log: "/log", entry: "/log/5", account: "/account", missing: "/no/such/page",
    };
    for (const [theme, language, width] of [["light", "en", 1280], ["dark", "de", 1280], ["light", "de", 360], ["dark", "en", 360]]) {
      await page.setViewportSize({ width, height: 800 });
      await page.goto(`${url}/language/${language}`);
      await page.goto(`${url}/theme/${theme}`);
      for (const [name, path] of Object.entries(pages)) {
        const label = `${name}-${theme}-${language}-${width}`;
        // The browser itself reports a page that is not there.
        deliberate = name === "missing";
        await page.goto(url + path);
        expect((await page.getAttribute("html", "lang")) === language, `${label} is in ${language}`);
        expect((await page.getAttribute("html", "data-theme")) === theme, `${label} is ${theme}`);
        if (name === "rollout") await page.waitForSelector(".charts.drawn canvas");
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(overflow <= 0, `${label} is ${overflow} px wider than the window`);
        await accessible(page, label);
        await shoot(page, label);
        deliberate = false;
      }
    }
    // The first thing that a keyboard reaches leads to the content.
    await page.goto(url);
    await page.keyboard.press("Tab");
    expect(await page.evaluate(() => document.activeElement.getAttribute("href") === "#main"), "the skip link is first");
    // Without scripts everything can still be read, and searched.
    const plain = await open(browser, { javaScriptEnabled: false });
    await logIn(plain, "/rollouts/2");
    expect((await plain.textContent("main")).includes("halted"), "the page can be read without scripts");
    await plain.goto(`${url}/devices`);
    await plain.fill("#text", "pc-1");
    await plain.click("form.filters button.main");
    await plain.waitForURL(/text=pc-1/);
    expect(await plain.locator("tbody tr").count() === 1, "search works without scripts");
  },
};

(async () => {
  mkdirSync(screens, { recursive: true });
  const browser = await chromium.launch({
    executablePath: process.env.STAFFEL_CHROMIUM,
    // No name but the own one leads anywhere.
    args: ["--no-sandbox", "--disable-background-networking", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"],
  });
  try {
    await phases[phase](browser);
  } catch (error) {
    problems.push(`${error.message} (still open: ${[...pending].join(", ") || "nothing"})`);
    for (const context of browser.contexts()) for (const page of context.pages()) await shoot(page, `failed-${phase}`).catch(() => {});
  }
  await browser.close();
  for (const problem of problems) console.log(`PROBLEM ${problem}`);
  process.exitCode = problems.length ? 1 : 0;
})();
