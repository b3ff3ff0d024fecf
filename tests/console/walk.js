// Walks through the sandbox's console in a real browser, as people do: every button, every fault, the keyboard alone,
// a phone. Waits for what the page shows, never for a time.
//   node tests/console/walk.js [part of a walk's name]
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { request as send } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertAccessible } from './axe.js';
import { LIMIT, findBrowser, openBrowser, openConsole, startSandbox } from './sandbox.js';

const ROOMS_IN_POOL = 8;

const program = findBrowser();
if (!program) {
  process.stderr.write('NO BROWSER IS AVAILABLE (chromium). The console is not tried.\n');
  process.exit(process.env.CI === 'true' ? 1 : 0);
}

const faults = [];
const sandbox = await startSandbox();
const browser = await openBrowser(program);
const address = sandbox.console;
let page;

/** Presses a button and waits for its outcome. */
async function press(selector, result, text = /./) {
  const button = page.locator(selector);
  await button.click();
  await settled(button);
  const outcome = page.locator('#outcome');
  const said = await outcome.textContent();
  assert.equal(await outcome.getAttribute('data-result'), result, `${selector}: ${said}`);
  assert.match(said, text, selector);
}

async function settled(button) {
  await page.waitForFunction((element) => !element.hasAttribute('aria-busy'), await button.elementHandle(), { timeout: LIMIT });
}

/** Presses a button until it ends well: after a fault that takes some time, and on a busy machine the pool may be empty. */
async function pressUntilDone(selector, text = /./) {
  const start = Date.now();
  for (;;) {
    await page.locator(selector).click();
    await settled(page.locator(selector));
    const outcome = page.locator('#outcome');
    if (await outcome.getAttribute('data-result') === 'done' && text.test(await outcome.textContent())) return;
    assert.ok(Date.now() - start < LIMIT, `${selector} never ends well: ${await outcome.textContent()}`);
  }
}

const fault = (name) => `[data-fault=${name}]`;
const instance = (name) => `[data-instance=${name}]`;
const clear = () => page.locator('#clear').click();
const shown = (selector) => page.locator(`#lines > li:not([hidden]) ${selector}`);
const arrow = (from, to, more = '') => shown(`button.line[data-from=${from}][data-to=${to}]${more}`);

/** Waits for arrows between these parties. */
async function arrows(...pairs) {
  for (const [from, to, more] of pairs) await arrow(from, to, more).first().waitFor({ state: 'attached' });
}

const people = (name) => page.locator('#people li', { hasText: name });
const source = (name) => page.locator(`[name=source][value=${name}]`).check({ force: true });
const stage = (title) => page.locator(`#stages > li[data-stage="${title}"]`);
const chosenTile = (title) => stage(title).locator('[aria-pressed=true]');

/** Status of a request as a program sends it, which may say of itself what no browser lets a page say. */
function ask(path, { method = 'GET', headers = {}, body = '' } = {}) {
  return new Promise((resolve, reject) => {
    const request = send(new URL(path, address), { method, headers, timeout: LIMIT }, (answer) => {
      resolve(answer.statusCode);
      answer.destroy();
    });
    request.on('error', reject);
    request.end(body);
  });
}

const ownHeaders = () => ({ 'content-type': 'application/json', origin: new URL(address).origin });
const act = (action, headers = ownHeaders()) => ask('act', { method: 'POST', headers, body: JSON.stringify(action) });

/** What a page gets that has just come. */
async function readAll() {
  const abort = new AbortController();
  const answer = await fetch(new URL('events', address), { signal: abort.signal });
  let read = '';
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    read += chunk;
    if (read.includes('\n\n')) break;
  }
  abort.abort();
  return JSON.parse(read.slice(read.indexOf('data: ') + 6, read.indexOf('\n\n')));
}

const walks = {
  async 'the pool is full and nobody is in'() {
    page = await openConsole(browser, address, faults);
    await page.getByText(`${ROOMS_IN_POOL} of ${ROOMS_IN_POOL} in the pool`).waitFor();
    for (const button of await page.locator('[data-session]').all()) assert.ok(await button.isDisabled());
    await assertAccessible(page, 'before anything');
    for (const path of ['', 'website/', 'widget/', 'api/']) {
      const { headers } = await fetch(new URL(path, address));
      assert.match(headers.get('content-security-policy'), /^default-src 'none'; .*frame-ancestors 'none'$/, path);
      assert.equal(headers.get('cross-origin-resource-policy'), 'same-origin', path);
      assert.equal(headers.get('cache-control'), 'no-store', path);
    }
  },

  async 'a citizen starts with a room of the pool'() {
    await clear();
    await page.locator('#with-key').check();
    await pressUntilDone('[data-action=start]', /ready in the pool/);
    await arrows(
      ['citizen', 'idim'], ['idim', 'entra'], ['idim', 'api', '[data-what="creates a room"]'],
      ['api', 'records', '[data-what="claims the room"]'], ['api', 'queue', '[data-what="deletes the message"]'],
      ['api', 'pexip', '[data-what="tags the room"]'], ['citizen', 'node', '[data-what=joins]'], ['node', 'api'],
    );
    await people('Citizen').waitFor();
    await chosenTile('In call').waitFor();
    // The refill.
    await arrows(['api', 'pexip', '[data-what="makes a room"]'], ['api', 'queue', '[data-what="puts a room’s name"]']);
  },

  async 'the agent accepts, and sees this citizen’s case'() {
    await press('[data-action=accept]', 'done');
    await page.locator('#case').getByText('the citizen’s own').waitFor();
    await people('Agent (host)').waitFor();
    await arrows(['agent', 'api', '[data-status="200"]'], ['api', 'genesys'], ['agent', 'node', '[data-what=joins]']);
  },

  async 'details hide secrets and show that they do'() {
    await arrow('citizen', 'node', '[data-what=joins]').first().click();
    await page.locator('#detail-body .hidden-secret', { hasText: 'PIN hidden' }).first().waitFor();
    await page.locator('#detail-body .hidden-secret', { hasText: 'token hidden' }).first().waitFor();
    await assertAccessible(page, 'details of an exchange');
    await page.keyboard.press('Escape');
    await page.locator('#detail').waitFor({ state: 'hidden' });
    assert.equal(await page.evaluate(() => document.activeElement.dataset.what), 'joins');
  },

  async 'a second citizen joins by the link, and a wrong PIN is refused'() {
    await press('[data-action=share]', 'done', /joins as a guest/);
    const opened = page.context().waitForEvent('page');
    await page.locator('#link-address').click();
    const website = await opened;
    await website.getByRole('textbox', { name: 'Your first name' }).fill('Helper');
    await website.getByRole('button', { name: 'Join the call' }).click();
    await people('Helper').waitFor();
    await website.close();
    await people('Helper').waitFor({ state: 'detached' });

    const link = await page.locator('#link-address').getAttribute('href');
    assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\/website\/#[\w-]{22}$/, 'neither a PIN nor a case');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.locator('#copy').click();
    await page.locator('#outcome', { hasText: 'copied' }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), link);

    await press('[data-action=join]', 'done');
    await people('Second citizen').waitFor();
    await press('[data-action=share]', 'done');
    assert.equal(await page.locator('#link-address').getAttribute('href'), link, 'the same link');
    await press('[data-action=wrong_pin]', 'refused', /403, Invalid PIN/);
  },

  async 'the same key gets the same room'() {
    const before = await page.locator('#pick option').count();
    await press('[data-action=repeat]', 'done', /same room/);
    assert.equal(await page.locator('#pick option').count(), before);
  },

  async 'people hang up, and IDIM deletes the room'() {
    await press('[data-action=hang_up][data-who=citizen]', 'done');
    await people('Citizen').filter({ hasNotText: 'Second' }).waitFor({ state: 'detached' });
    await press('[data-action=hang_up][data-who=agent]', 'done');
    await press('[data-action=delete]', 'done', /gone/);
    await chosenTile('Gone').waitFor();
    for (const step of ['handed_out', 'in_call', 'deleted']) await page.locator(`#life [data-step=${step}]`).first().waitFor();
    await page.locator('#only-room').check();
    await arrows(['idim', 'api', '[data-what="deletes the room"][data-status="204"]'], ['api', 'pexip', '[data-what="deletes the room"]']);
    await page.locator('#only-room').uncheck();
  },

  async 'without a key each request gets a room of its own'() {
    await page.locator('#with-key').uncheck();
    await press('[data-action=start]', 'done');
    const before = await page.locator('#pick').inputValue();
    await press('[data-action=repeat]', 'done', /room of its own/);
    await page.waitForFunction((value) => document.querySelector('#pick').value !== value, before);
  },

  async 'an instant room is a record that nodes ask for'() {
    await clear();
    await source('instant');
    await press('[data-action=start]', 'done', /instant room/);
    await arrows(['api', 'records', '[data-what="makes an instant room"]'], ['node', 'api', '[data-what="asks who may join"]']);
    assert.equal(await arrow('api', 'pexip', '[data-what="tags the room"]').count(), 0);
    await chosenTile('In call').and(page.locator('[data-kind=instant]')).waitFor();
    await press('[data-action=accept]', 'done');
    await press('[data-action=early]', 'refused', /404.*in an hour/);
    await press('[data-action=late]', 'refused', /404.*over/);
    await chosenTile('Gone').waitFor();
    await source('pool');
  },

  async 'a call that starts on the website is in the sequence, without its secrets'() {
    await clear();
    const calls = new URL('website/calls', address);
    const post = (url, body) => fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    const key = randomUUID();
    const { linkId, owner } = await (await post(calls, { key })).json();
    const { pin } = await (await fetch(`${calls}/${linkId}`)).json();
    assert.match(pin, /^\d+$/);
    assert.equal((await post(`${calls}/${linkId}/end`, { owner })).status, 200);
    const steps = [['asks for a video session', 201], ['asks what to join with', 200], ['ends the session', 200]];
    await arrows(
      ...steps.map(([what, status]) => ['citizen', 'idim', `[data-what="${what}"][data-status="${status}"]`]),
      ['idim', 'api', '[data-what="creates a room"]'], ['idim', 'api', '[data-what="deletes the room"]'],
    );
    for (const [from, to, what, hidden] of [
      ...steps.map(([what]) => ['citizen', 'idim', what, 'link']), ['idim', 'api', 'creates a room', 'key'],
    ]) {
      const line = arrow(from, to, `[data-what="${what}"]`);
      assert.match(await line.locator('.ms').textContent(), /^[\d.]+ m?s$/);
      await line.click();
      await page.locator('#detail-body .hidden-secret', { hasText: `${hidden} hidden` }).first().waitFor();
      const text = await page.locator('#detail-body').textContent();
      for (const secret of [key, linkId, owner, `"${pin}"`]) assert.ok(!text.includes(secret), `${what} shows ${secret}`);
      await page.keyboard.press('Escape');
      await page.locator('#detail').waitFor({ state: 'hidden' });
    }
  },

  async 'Pexip is slow'() {
    await clear();
    await press(fault('pexip_slow'), 'done');
    await press('[data-action=start]', 'done');
    await arrow('api', 'pexip').filter({ has: page.locator('.ms', { hasText: /^\d+\.\d s$/ }) }).first().waitFor({ state: 'attached' });
    await press(fault('pexip_slow'), 'done');
  },

  async 'Pexip is down'() {
    await press(fault('pexip_down'), 'done');
    await press('[data-action=start]', 'failed', /50[34], (pexip_|no_room)/);
    await press(fault('pexip_down'), 'done');
    await pressUntilDone('[data-action=start]');
  },

  async 'storage is down, so rooms are made directly'() {
    await clear();
    await press(fault('storage_down'), 'done');
    await press('[data-action=start]', 'done', /made just now/);
    await arrows(['api', 'pexip', '[data-what="makes a room"]']);
    await press(fault('storage_down'), 'done');
    await pressUntilDone('[data-action=start]');
  },

  async 'Genesys answers 429, so no agent gets in'() {
    await press(fault('genesys_busy'), 'done');
    await press('[data-action=accept]', 'failed', /503, genesys_unavailable/);
    await press(fault('genesys_busy'), 'done');
    await pressUntilDone('[data-action=accept]');
  },

  async 'answers are lost, and the room is handed out all the same'() {
    await clear();
    await press(fault('answers_lost'), 'done');
    await pressUntilDone('[data-action=start]', /ready in the pool/);
    await arrows(['api', 'pexip', '[data-what="tags the room"][data-status=cut]'], ['api', 'pexip', '[data-what="tags the room"][data-status="202"]']);
    await press(fault('answers_lost'), 'done');
  },

  async 'Pexip is restored from a backup, and later rooms are gone'() {
    await pressUntilDone('[data-action=start]');
    await press('[data-action=restore]', 'done');
    await chosenTile('Gone').or(chosenTile('In call')).waitFor();
    await press('[data-action=accept]', 'failed', /404, room_not_found/);
    await pressUntilDone('[data-action=maintenance]');
    await pressUntilDone('[data-action=start]');
    await press('[data-action=accept]', 'done');
  },

  async 'an instance is killed, and the other one answers'() {
    await press(instance('A'), 'done');
    await clear();
    await pressUntilDone('[data-action=start]');
    const named = async (lines) => [...new Set(await lines.locator('.who').allTextContents())];
    assert.deepEqual(await named(arrow('idim', 'api')), ['IDIM → API instance B']);
    for (const [callee, name] of [['records', 'Records'], ['queue', 'Queue'], ['pexip', 'Pexip management']]) {
      assert.deepEqual(await named(arrow('api', callee)), [`API instance B → ${name}`]);
    }
    await press(instance('B'), 'done');
    await press('[data-action=start]', 'failed', /502/);
    await page.locator('#mend').click();
    for (const name of ['A', 'B']) await page.locator(`${instance(name)}[aria-checked=true]`).waitFor();
    await pressUntilDone('[data-action=start]');
  },

  async 'fifty creates at once'() {
    let release;
    const released = new Promise((resolve) => { release = resolve; });
    await page.route('**/act', async (route) => {
      await released;
      await route.continue();
    }, { times: 1 });
    await page.locator('#when-empty').focus();
    await page.locator('#when-empty').selectOption('refuse');
    assert.ok(await page.locator('#when-empty').evaluate((select) => select.disabled), 'nothing can be chosen that would be lost');
    release();
    await page.locator('#when-empty').selectOption('instant');
    await settled(page.locator('#when-empty'));
    assert.equal((await readAll()).state.mode.when_empty, 'instant');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'when-empty', 'the focus stays');
    await press('[data-action=load]', 'done', /50 of 50/);
    await page.locator('#plot-figure[data-running=false]').waitFor();
    const counts = await page.locator('#plot-rows td:nth-child(2)').allTextContents();
    assert.equal(counts.reduce((sum, count) => sum + Number(count), 0), 50);
    assert.ok(Number(counts[2]) > 0, `some got instant rooms: ${counts}`);
    assert.equal(await page.locator('#plot rect').count(), 50);
    await page.locator('#when-empty').selectOption('direct');
    await settled(page.locator('#when-empty'));
    await pressUntilDone('[data-action=delete_all]');
    // A room that a restored backup brought back without its tag stays until the sweep.
    await stage('Handed out').locator('.tile:not([data-state=claimed])').first().waitFor({ state: 'detached' });
    await assertAccessible(page, 'after everything');
  },

  async 'the keyboard alone'() {
    await page.reload();
    await page.locator('#live[data-state=live]').waitFor();
    const focusOn = async (selector) => {
      for (let steps = 0; steps < 80; steps += 1) {
        if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) return;
        await page.keyboard.press('Tab');
      }
      assert.fail(`the Tab key does not reach ${selector}`);
    };
    await focusOn('[data-action=start]');
    await page.keyboard.press('Enter');
    await settled(page.locator('[data-action=start]'));
    await people('Citizen').waitFor();
    assert.ok(await page.evaluate(() => document.activeElement.matches('[data-action=start]')), 'the focus stays');
    await focusOn('[data-action=accept]');
    await page.keyboard.press('Space');
    await people('Agent (host)').waitFor();
    await focusOn('[data-fault=genesys_busy]');
    await page.keyboard.press('Space');
    await page.locator('[data-fault=genesys_busy][aria-checked=true]').waitFor();
    await settled(page.locator('[data-fault=genesys_busy]'));
    await page.keyboard.press('Space');
    await page.locator('[data-fault=genesys_busy][aria-checked=false]').waitFor();
    await focusOn('button.tile');
    await focusOn('button.line');
    const last = await page.evaluate(() => document.activeElement.closest('li').dataset.id);
    await page.keyboard.press('ArrowUp');
    assert.notEqual(await page.evaluate(() => document.activeElement.closest('li').dataset.id), last);
    await page.keyboard.press('Enter');
    await page.locator('#detail-body h3').first().waitFor();
    await page.keyboard.press('Escape');
    await page.locator('#detail').waitFor({ state: 'hidden' });
  },

  async 'a dark screen'() {
    await page.emulateMedia({ colorScheme: 'dark' });
    await assertAccessible(page, 'dark');
    await page.context().close();
  },

  async 'a phone'() {
    page = await openConsole(browser, address, faults, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
    await page.locator('[data-action=start]').tap();
    await settled(page.locator('[data-action=start]'));
    await people('Citizen').waitFor();
    await arrow('citizen', 'node').first().locator('.who').waitFor();
    const [wide, most] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(wide <= most, `${wide} pixels wide, the screen has ${most}`);
    await assertAccessible(page, 'phone');
    await page.context().close();
  },

  async 'a page that the sandbox does not answer says so'() {
    const context = await browser.newContext({ reducedMotion: 'reduce' });
    context.setDefaultTimeout(LIMIT);
    page = await context.newPage();
    await page.route('**/events', (route) => route.abort());
    await page.goto(address);
    await page.getByRole('alert').getByText('The sandbox does not answer').waitFor();
    for (const button of await page.locator('[data-session]').all()) assert.ok(await button.isDisabled());
    await assertAccessible(page, 'no answer');
    await page.unroute('**/events');
    await page.reload();
    await page.locator('#live[data-state=live]').waitFor();
    await page.locator('#lost').waitFor({ state: 'hidden' });

    await page.route('**/events', (route) => route.fulfill({ status: 503 }));
    await page.reload();
    await page.getByRole('alert').getByText('Close one of the others').waitFor();
    await assertAccessible(page, 'too many pages');
    await context.close();
  },

  async 'a page starts anew with another sandbox'() {
    const context = await browser.newContext({ reducedMotion: 'reduce' });
    context.setDefaultTimeout(LIMIT);
    page = await context.newPage();
    // Each stream ends at once, and the page connects again.
    const { state } = await readAll();
    let loads = 0;
    page.on('load', () => { loads += 1; });
    const answerFrom = (run) => (route) => route.fulfill({
      contentType: 'text/event-stream', body: `retry: 100\nevent: all\ndata: ${JSON.stringify({ run, state, lines: [], load: null })}\n\n`,
    });
    await page.route('**/events', answerFrom(1));
    await page.goto(address);
    for (let streams = 0; streams < 2; streams += 1) await page.waitForResponse('**/events');
    assert.equal(loads, 1);
    const reloaded = page.waitForEvent('load');
    await page.route('**/events', answerFrom(2));
    await reloaded;
    await context.close();
  },

  async 'no other page can press a button or read'() {
    const own = ownHeaders();
    const maintenance = (headers) => act({ action: 'maintenance' }, { ...own, ...headers });
    const elsewhere = `console.example:${new URL(address).port}`;
    assert.equal(await maintenance({}), 200);
    assert.equal(await maintenance({ origin: 'http://127.0.0.1:1' }), 403, 'another origin');
    assert.equal(await act({ action: 'maintenance' }, { 'content-type': 'application/json' }), 403, 'no origin');
    assert.equal(await maintenance({ 'content-type': 'text/plain' }), 403, 'what a form can send');
    assert.equal(await maintenance({ 'sec-fetch-site': 'cross-site' }), 403, 'another site');
    assert.equal(await maintenance({ host: elsewhere, origin: `http://${elsewhere}` }), 421, 'another name');
    assert.equal(await act({ action: 'x'.repeat(5_000) }), 413, 'too long');
    const [loaded, opened] = ['cors', 'navigate'].map((mode) => ({ 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': mode }));
    for (const path of ['', 'events', 'website/', 'widget/settings.json', 'api/credentials.json']) {
      assert.equal(await ask(path, { headers: loaded }), 403, `another site loads ${path}`);
    }
    assert.equal(await ask('events', { headers: opened }), 403, 'a link to the stream');
    for (const path of ['', 'website/', 'widget/', 'api/']) {
      assert.equal(await ask(path, { headers: opened }), 200, `a link to ${path}`);
    }
    for (const path of ['website/calls', 'widget/genesys-token', 'api/try/room/create']) {
      assert.equal(await ask(path, { method: 'POST', headers: { ...own, ...opened } }), 403, `another site posts to ${path}`);
      assert.equal(await ask(path, { method: 'POST', headers: { ...own, origin: 'null' } }), 403, `another origin posts to ${path}`);
    }
    assert.equal(await ask('widget/genesys-token', { method: 'POST', headers: { origin: own.origin } }), 200);
    const service = /^The room service is ready: (\S+)/.exec(sandbox.said.find((line) => line.startsWith('The room service is ready:')))[1];
    assert.equal(await ask(`${service}health/ready`, { headers: { host: elsewhere } }), 421, 'another name of the service');
    assert.equal(await ask(`${service}health/ready`), 200);
  },

  async 'no secret leaves the sandbox'() {
    assert.equal(await act({ action: 'start', source: 'pool', with_key: true }), 200);
    const [session] = (await readAll()).state.sessions;
    assert.equal(await act({ action: 'accept', session: session.id }), 200);
    const all = await readAll();
    assert.equal(all.state.sessions.find(({ id }) => id === session.id).is_own_case, true);
    const { lines } = all;
    const exchanges = lines.filter(([kind, line]) => kind === 'exchange' && line.ms !== undefined);
    const details = await Promise.all(exchanges.map(async ([, { id }]) => (await fetch(new URL(`exchange/${id}`, address))).text()));
    for (const what of ['creates a room', 'joins', 'reads the room and its tag']) {
      assert.ok(details.some((text) => text.includes(`"what":"${what}"`)), what);
    }
    for (const text of [JSON.stringify(all), ...details]) {
      for (const secret of [/protected\/video/, /eyJ[\w-]{16}/, /idim-client-secret/, /"5207"/, /-password/, /696426[0-9a-f]{8}/, /Bearer [^⟦]/, /Basic [^⟦"]/]) {
        assert.doesNotMatch(text, secret);
      }
    }
  },

  async 'a stream has an end to the number of its readers'() {
    const open = [];
    const statuses = [];
    for (let count = 0; count < 9; count += 1) {
      const abort = new AbortController();
      open.push(abort);
      statuses.push((await fetch(new URL('events', address), { signal: abort.signal })).status);
    }
    for (const abort of open) abort.abort();
    assert.deepEqual([...new Set(statuses)].sort(), [200, 503], `${statuses}`);
  },
};

let failed = false;
try {
  const [wanted = ''] = process.argv.slice(2);
  const all = Object.entries(walks);
  for (const [name, walk] of all.filter(([name], at) => at === 0 || name.includes(wanted))) {
    const start = Date.now();
    await walk();
    console.log(`ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  }
  assert.deepEqual(faults, [], 'errors in the console, and requests that leave this machine');
} catch (error) {
  failed = true;
  console.error(error);
  if (page && !page.isClosed()) {
    const path = join(tmpdir(), 'console-failed.png');
    await page.screenshot({ path }).then(() => console.error(`what the page shows: ${path}`), () => {});
  }
  console.error(sandbox.said.slice(-30).join('\n'));
} finally {
  await browser.close();
  await sandbox.stop();
}
process.exit(failed ? 1 : 0);
