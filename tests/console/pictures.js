// Takes the pictures of the console that the documents show:
//   node tests/console/pictures.js infra/docs/pictures
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LIMIT, findBrowser, openBrowser, openConsole, startSandbox } from './sandbox.js';

const [folder] = process.argv.slice(2);
if (!folder) {
  process.stderr.write('usage: node tests/console/pictures.js <folder>\n');
  process.exit(2);
}

const SCREENS = {
  desktop: { viewport: { width: 1400, height: 980 } },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 1.5 },
};

const sandbox = await startSandbox();
const browser = await openBrowser(findBrowser());
const faults = [];

/** Something of everything: sessions that are over, a load, a call with its agent. */
async function play(page) {
  const press = async (selector) => {
    await page.locator(selector).click();
    await page.waitForFunction((wanted) => !document.querySelector(wanted).hasAttribute('aria-busy'), selector, { timeout: LIMIT });
  };
  await press('[data-action=load]');
  await press('[data-action=delete_all]');
  await press('[data-action=maintenance]');
  await page.getByText('8 of 8 in the pool').waitFor();
  await page.locator('[name=source][value=instant]').check({ force: true });
  await press('[data-action=start]');
  await press('[data-action=accept]');
  await page.locator('[name=source][value=pool]').check({ force: true });
  await press('[data-action=start]');
  await press('[data-action=hang_up][data-who=citizen]');
  await page.locator('#clear').click();
  await page.locator('#with-key').check();
  await press('[data-action=start]');
  await press('[data-action=accept]');
}

/** As WebP: less than half of a PNG, and small text stays sharp at this quality. */
async function save(page, name) {
  const png = await page.screenshot({ animations: 'disabled' });
  const webp = await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext('2d').drawImage(bitmap, 0, 0);
    const blob = await canvas.convertToBlob({ type: 'image/webp', quality: 0.75 });
    return [...new Uint8Array(await blob.arrayBuffer())];
  }, png.toString('base64'));
  await writeFile(join(folder, `${name}.webp`), Buffer.from(webp));
  if (process.env.PICTURES_PNG) await writeFile(join(process.env.PICTURES_PNG, `${name}.png`), png);
  console.log(`${name}.webp: ${webp.length} bytes`);
}

try {
  for (const [screen, options] of Object.entries(SCREENS)) {
    const page = await openConsole(browser, sandbox.console, faults, options);
    if (screen === 'desktop') await play(page);
    await page.locator('#people li', { hasText: 'Agent (host)' }).waitFor();
    await page.evaluate(() => {
      document.activeElement.blur();
      const scroll = document.querySelector('#scroll');
      const start = [...document.querySelectorAll('#lines li.note:not([hidden])')].find((note) => note.textContent.includes('starts'));
      if (start) scroll.scrollTop += start.getBoundingClientRect().top - scroll.getBoundingClientRect().top;
    });
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      await save(page, `console-${screen}-${scheme}`);
    }
    await page.context().close();
  }
} finally {
  await browser.close();
  await sandbox.stop();
}
if (faults.length) {
  process.stderr.write(`${faults.join('\n')}\n`);
  process.exit(1);
}
