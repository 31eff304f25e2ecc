// Drives the page in a headless Chromium, as people do: with eyes, a keyboard, a phone. Arguments: where the page is, an
// operator's token, a viewer's token, a folder for screenshots, the browser. Prints `fine`, or fails and says what is wrong.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const puppeteer = require("puppeteer-core");

const [url, operator, viewer, shots, executablePath] = process.argv.slice(2);
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
// On a machine that is busy with other things.
const PATIENCE_MS = 90_000;

// A page of its own for one who has this token; whatever goes wrong in it is collected.
async function open(browser, token, viewport, scheme = "light") {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const wrong = [];
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => wrong.push(`error: ${error}`));
  page.on("requestfailed", (request) => wrong.push(`failed: ${request.url()} ${request.failure().errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400 && response.status() !== 401) wrong.push(`${response.status()}: ${response.url()}`);
  });
  page.on("request", (request) => {
    const to = new URL(request.url());
    if (to.protocol !== "data:" && to.origin !== new URL(url).origin) wrong.push(`elsewhere: ${request.url()}`);
  });
  await page.authenticate({ username: "people", password: token });
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  await page.goto(url, { waitUntil: "load" });
  await page.waitForSelector("#incidents-heading");
  return { page, wrong, close: () => context.close() };
}

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

const shot = (page, name) => page.screenshot({ path: path.join(shots, `${name}.png`), fullPage: true });
const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const focused = (page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    return element.id || element.getAttribute("aria-label") || element.textContent.trim();
  });

// What a checker of accessibility finds, in words.
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const said = violations.map((v) => `${v.id}: ${v.help}\n  ${v.nodes.map((n) => n.html).slice(0, 5).join("\n  ")}`);
  assert.equal(said.length, 0, `${what}:\n${said.join("\n")}`);
}

// The offset in the journal's box moves with the writes; what the reader marked stays, so nothing was loaded anew.
async function livesWithoutLoading(page) {
  await page.evaluate(() => (globalThis.marked = document.querySelector("#flow-heading")));
  const offset = () => page.$$eval(".picture.wide .part", (parts) => parts[1].textContent);
  const before = await offset();
  await page.waitForFunction(
    (before) => document.querySelectorAll(".picture.wide .part")[1].textContent !== before, {}, before);
  assert.equal(await page.evaluate(() => globalThis.marked === document.querySelector("#flow-heading")), true, "nothing was loaded anew");
  assert.equal(await page.evaluate(() => performance.getEntriesByType("navigation").length), 1);
}

// From the skip link through the sections to the table, by keys alone, while the page goes on living.
async function keyboard(page) {
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "Skip to the flow");
  const link = await page.evaluateHandle(() => document.activeElement);
  const place = await link.boundingBox();
  assert.ok(place.y >= 0 && place.width > 40, "the skip link can be seen while it has the focus");
  await page.keyboard.press("Enter");
  assert.equal(await focused(page), "live", "it leads past the navigation");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "The same as a table");
  const outline = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(await outline(), "none", "who has the focus can be seen");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#flow details[open] table");
  const summary = await page.evaluateHandle(() => document.activeElement);
  const cell = () => page.$eval("#flow details table tbody tr:nth-child(2)", (row) => row.textContent);
  const before = await cell();
  await page.waitForFunction(
    (before) => document.querySelector("#flow details table tbody tr:nth-child(2)").textContent !== before,
    {}, before);
  assert.equal(await page.$eval("#flow details", (details) => details.open), true, "it stays open");
  assert.equal(await page.evaluate((was) => was === document.activeElement, summary), true, "the focus stays");
}

async function discards(page) {
  const row = await page.waitForSelector("#quarantine tbody tr");
  assert.match(await row.evaluate((row) => row.textContent), /7.*book/s);
  const button = await page.waitForSelector("#quarantine button");
  await button.focus();
  assert.match(await focused(page), /^Discard 7 of book in memory$/);
  const loaded = page.waitForNavigation();
  await page.keyboard.press("Enter");
  await loaded;
  assert.equal(new URL(page.url()).hash, "#quarantine");
  assert.match(await text(page, "#quarantine"), /No row is in quarantine/);
}

async function fits(page) {
  const { wide, beyond } = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const shown = [...document.body.querySelectorAll("*")].filter((element) => {
      const style = getComputedStyle(element);
      return element.getClientRects().length > 0 && style.position !== "absolute" && !element.closest("svg, thead");
    });
    const beyond = shown.filter((element) => element.getBoundingClientRect().right > width + 0.5);
    return { wide: document.scrollingElement.scrollWidth - width, beyond: beyond.map((e) => e.outerHTML.slice(0, 120)) };
  });
  assert.ok(wide <= 0 && beyond.length === 0, `wider than the screen by ${wide}:\n${beyond.join("\n")}`);
}

// A check that finds nothing whatever there is would find nothing here: so it is shown what it must find.
async function checksSee(page) {
  await page.evaluate(() => {
    document.body.insertAdjacentHTML("beforeend", '<div id="wrong"><img src="data:,"></div>');
    document.getElementById("wrong").style.width = "500px";
  });
  await assert.rejects(fits(page), /wider than the screen/);
  await assert.rejects(accessible(page, "wrong"), /image-alt/);
  await page.evaluate(() => document.getElementById("wrong").remove());
}

const lightness = (page) =>
  page.evaluate(() => {
    const colour = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    return (colour[0] + colour[1] + colour[2]) / 3 / 255;
  });

(async () => {
  const browser = await puppeteer.launch({
    executablePath,
    protocolTimeout: PATIENCE_MS,
    timeout: PATIENCE_MS,
    // The sandbox needs what containers and root do not have; the page is our own.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  });
  try {
    const desk = await open(browser, operator, DESKTOP);
    assert.ok((await lightness(desk.page)) > 0.85, "light");
    await livesWithoutLoading(desk.page);
    await keyboard(desk.page);
    await accessible(desk.page, "light");
    await shot(desk.page, "light");
    await desk.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
    assert.ok((await lightness(desk.page)) < 0.25, "dark");
    await accessible(desk.page, "dark");
    await shot(desk.page, "dark");

    const phone = await open(browser, viewer, PHONE, "dark");
    await fits(phone.page);
    await phone.page.$eval("#flow details", (details) => (details.open = true));
    await fits(phone.page);
    await accessible(phone.page, "phone");
    await shot(phone.page, "phone");
    assert.equal(await phone.page.$("#quarantine button"), null, "a viewer only looks");
    assert.match(await text(phone.page, "#quarantine"), /7/);
    await checksSee(phone.page);

    await discards(desk.page);
    await desk.page.evaluate(() => document.activeElement.blur());
    await shot(desk.page, "discarded");
    assert.deepEqual([desk.wrong, phone.wrong], [[], []]);
    console.log("fine");
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
