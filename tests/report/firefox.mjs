// Visits a page with Firefox in several looks, and prints what it finds as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { page: url, firefox, modules, looks } = JSON.parse(readFileSync(0, "utf8"));
const { default: puppeteer } = await import(createRequire(`${modules}/`).resolve("puppeteer-core"));
const axe = readFileSync(`${modules}/node_modules/axe-core/axe.min.js`, "utf8");

async function visited({ width, height, prefs }) {
  const browser = await puppeteer.launch({
    browser: "firefox", executablePath: firefox, headless: true, extraPrefsFirefox: prefs,
  });
  try {
    const page = await browser.newPage();
    const warnings = [];
    page.on("console", (message) => warnings.push(message.text()));
    page.on("pageerror", (error) => warnings.push(String(error)));
    await page.setViewport({ width, height });
    await page.goto(url);
    for (const summary of await page.$$("details:not([open]) > summary")) {
      if (await summary.isVisible()) await summary.click();
    }
    const until = async (holds) => {
      for (let wait = 0; wait < 100 && !(await page.evaluate(holds)); wait++) {
        await new Promise((next) => setTimeout(next, 50));
      }
    };
    await page.click("#play");
    await until("player.time > 0.3");
    const played = await page.evaluate("player.time");
    await page.evaluate("player.pause()");
    await page.keyboard.press("3");
    await until("element('said').textContent.startsWith('Solo')");
    const said = await page.evaluate("element('said').textContent");
    await page.evaluate(axe);
    const found = await page.evaluate("axe.run({ resultTypes: ['violations'] })");
    return {
      said, played, warnings, passes: found.passes.length,
      width: await page.evaluate("document.documentElement.scrollWidth"),
      dark: await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"),
      forced: await page.evaluate("matchMedia('(forced-colors: active)').matches"),
      violations: found.violations.map((each) => [each.id, each.nodes.map((node) => node.html)]),
    };
  } finally {
    await browser.close();
  }
}

const results = [];
for (const look of looks) results.push(await visited(look));
console.log(JSON.stringify(results));
