// Tries the pages beside the sandbox's console in a real browser: the website with a call button, the agent's widget, the
// API's reference. Media flows from a fake camera. Waits for what the pages show, never for a time.
//   node tests/console/pages.js [part of a test's name]
import assert from 'node:assert/strict';
import { assertAccessible } from './axe.js';
import { LIMIT, findBrowser, openBrowser, openConsole, startSandbox } from './sandbox.js';

const DESKTOP = { viewport: { width: 1100, height: 900 } };
const PHONE = { viewport: { width: 390, height: 800 }, hasTouch: true, isMobile: true };

const program = findBrowser();
if (!program) {
    process.stderr.write('NO BROWSER IS AVAILABLE (chromium). The pages are not tried.\n');
    process.exit(process.env.CI === 'true' ? 1 : 0);
}

// Validity of an instant room in seconds. Only tests that choose instant rooms get one.
const LIFETIME = 15;

// The vendor's client may confirm its media just after the node has ended the call: the node refuses that.
const LATE_ACK = /\/api\/client\/v2\/conferences\/.+\/ack$/;

const sandbox = await startSandbox(['--room-lifetime', String(LIFETIME)]);
const browser = await openBrowser(program);
// What must never happen. Tests in which a request is refused on purpose say so.
const faults = [];
let opened = [];

/** Opens a page of the sandbox in a browser profile of its own. */
async function open(path, options = DESKTOP, refused = /^$/) {
    const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
    context.setDefaultTimeout(LIMIT);
    opened.push(context);
    context.on('request', (request) => {
        const { protocol, hostname } = new URL(request.url());
        if (!['data:', 'blob:'].includes(protocol) && hostname !== '127.0.0.1') {
            faults.push(`a request to ${request.url()}`);
        }
    });
    const page = await context.newPage();
    page.on('console', (message) => {
        const isExpected = [refused, LATE_ACK].some((it) => it.test(message.location().url ?? ''));
        if (['error', 'warning'].includes(message.type()) && !isExpected) {
            faults.push(`${path}: ${message.text()} ${message.location().url}`);
        }
    });
    page.on('pageerror', (error) => faults.push(`${path}: ${error.message}`));
    await page.goto(new URL(path, sandbox.console).href);
    return page;
}

const state = (page, name) => page.locator(`main[data-state=${name}]`).waitFor();
const call = (page, name) => page.locator(`video-call[data-state=${name}]`).waitFor();
const press = (page, name) => page.getByRole('button', { name }).click();

/** Waits until so many people are in the room; the queue's telephone is none. */
async function people(page, count) {
    const list = page.locator('.people li').filter({ hasNotText: 'telephone' });
    await page.waitForFunction((wanted) => {
        const all = [...document.querySelectorAll('.people li')];
        return all.filter((it) => !it.textContent.includes('telephone')).length === wanted;
    }, count);
    return list.allTextContents();
}

/** The other side's picture moves. */
async function sees(page) {
    await page.locator('video-call[data-has-picture]').waitFor();
    await page.waitForFunction(() => {
        const { videoWidth, currentTime } = document.querySelector('.remote');
        return videoWidth > 0 && currentTime > 0.2;
    });
}

async function fits(page, what) {
    const [width, available] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(width <= available, `${what} is ${width} wide, and there are ${available}`);
}

/** A citizen who has started a call, the link to share, and the room as Genesys gets it. */
async function startCall(options = DESKTOP) {
    const citizen = await open('website/', options);
    await state(citizen, 'start');
    await press(citizen, 'Start a video call');
    await call(citizen, 'waiting');
    const link = await citizen.getByLabel('Link to this call').inputValue();
    const room = await citizen.evaluate(async () => (await (await fetch(`calls/${location.hash.slice(1)}`)).json()).alias);
    return { citizen, link: new URL(link).pathname.slice(1) + new URL(link).hash, room };
}

async function acceptCall(room, options = { viewport: { width: 420, height: 900 } }) {
    const agent = await open(`widget/?room=${room}`, options);
    await state(agent, 'ready');
    await press(agent, 'Accept');
    await call(agent, 'talking');
    return agent;
}

async function joinBy(link, name) {
    const page = await open(link);
    await state(page, 'invited');
    await page.getByRole('textbox', { name: 'Your first name' }).fill(name);
    await press(page, 'Join the call');
    return page;
}

/** The console's buttons. */
async function openButtons() {
    const console = await openConsole(browser, sandbox.console, faults);
    opened.push(console.context());
    const press = async (action, result = 'done') => {
        const button = console.locator(`[data-action=${action}]`);
        await button.click();
        await button.and(console.locator(':not([aria-busy])')).waitFor();
        const outcome = console.locator('#outcome');
        assert.equal(await outcome.getAttribute('data-result'), result, await outcome.textContent());
    };
    const share = async () => {
        await press('share');
        const address = new URL(await console.locator('#link-address').getAttribute('href'));
        return address.pathname.slice(1) + address.hash;
    };
    return { console, press, share };
}

/** Somebody who has joined by a link before its room's time was over: on a busy machine that may take another room. */
async function startUntilJoined(start) {
    const end = Date.now() + LIMIT;
    for (;;) {
        const link = await start();
        const guest = await open(link, DESKTOP, /\/api\/client\/v2\//);
        await guest.locator('main[data-state=invited], main[data-state=end]').waitFor();
        if (await guest.locator('main[data-state=invited]').count()) {
            await press(guest, 'Join the call');
            await guest.locator('video-call[data-state=waiting], main[data-state=end]').waitFor();
            if (await guest.locator('video-call[data-state=waiting]').count()) {
                return [link, guest];
            }
        }
        assert.ok(Date.now() < end, 'nobody has joined in time');
    }
}

const tests = {
    async 'citizen and agent see each other, and the call ends for both'() {
        const { citizen, room } = await startCall();
        const agent = await acceptCall(room);
        await call(citizen, 'talking');
        await Promise.all([sees(citizen), sees(agent)]);
        assert.deepEqual(await people(citizen, 2), ['Citizen you', 'Agent host']);
        const tab = agent.context().pages().find((page) => page.url().includes('case.html'));
        const tag = await agent.locator('.case a').textContent();
        assert.match(tag, /^https:\/\/id\.gov\.bc\.ca\/idcheck\/protected\/video\/[\w-]+$/);
        assert.equal(await tab.locator('code').textContent(), tag, 'the case is open');
        await Promise.all([assertAccessible(citizen, 'website, talking'), assertAccessible(agent, 'widget, talking')]);

        await press(citizen, 'Leave');
        await state(citizen, 'end');
        await state(agent, 'over');
        await agent.getByRole('heading', { name: 'This call is over' }).waitFor();
        assert.equal(await agent.evaluate(() => document.querySelector('.local').srcObject), null, 'the camera is off');
    },

    async 'whoever has the link joins, leaves and joins again'() {
        const { citizen, link, room } = await startCall();
        const helper = await joinBy(link, 'Helper');
        await call(helper, 'waiting');
        await Promise.all([sees(citizen), sees(helper)]);
        // A host comes before a guest who has a guest as peer.
        const agent = await acceptCall(room);
        await sees(agent);
        await people(citizen, 3);

        await press(helper, 'Leave');
        await helper.getByRole('heading', { name: 'You have left the call' }).waitFor();
        await people(citizen, 2);
        await press(helper, 'Join again');
        await call(helper, 'talking');
        await people(citizen, 3);
        await press(citizen, 'Leave');
        await helper.getByRole('heading', { name: 'This call is over' }).waitFor();
    },

    async 'a link is of no use when its call is over'() {
        const { citizen, link } = await startCall();
        await press(citizen, 'Leave');
        await citizen.getByText('You have ended the call').waitFor();
        const late = await open(link, DESKTOP, /\/website\/calls\//);
        await late.getByRole('heading', { name: 'This call is over' }).waitFor();
        await late.getByRole('link', { name: 'Start a new call' }).click();
        await state(late, 'start');
    },

    async 'who cannot end the call for everybody is told so, and can try again'() {
        const citizen = await open('website/', DESKTOP, /\/end$|\/website\/calls\//);
        await press(citizen, 'Start a video call');
        await call(citizen, 'waiting');
        await citizen.route('**/website/calls/*/end', (route) => route.fulfill({ status: 503, json: {} }));
        await press(citizen, 'Leave');
        await citizen.getByText('It could not be ended').waitFor();

        await citizen.route('**/website/calls/*', (route) => route.abort());
        await press(citizen, 'Join again');
        await citizen.getByText('Our server cannot be reached').waitFor();
        await citizen.unrouteAll();
        await citizen.getByRole('button', { name: 'Join again' }).dblclick();
        await call(citizen, 'waiting');
        assert.deepEqual(await people(citizen, 1), ['Citizen you']);
        await press(citizen, 'Leave');
        await citizen.getByText('You have ended the call').waitFor();
    },

    async 'whoever is invited before the time is told when the call opens'() {
        const { press, share } = await openButtons();
        await press('early', 'refused');
        const page = await open(await share());
        await page.getByText('The call opens at').waitFor();
        await page.getByRole('button', { name: 'Join the call' }).click();
        await page.getByRole('alert').getByText('You are too early').waitFor();
        await assertAccessible(page, 'website, too early');
    },

    async 'the call is over for everybody when the time of its room has run out'() {
        const { console, press, share } = await openButtons();
        await console.locator('[name=source][value=instant]').check({ force: true });
        const [link, guest] = await startUntilJoined(async () => {
            await press('start');
            return share();
        });
        const room = await console.locator('.tile[aria-pressed=true]').getAttribute('data-room');
        // The room's own time, and then the run of the timer that looks for rooms whose time is over.
        await console.locator(`.tile[data-room="${room}"][data-state=over]`).waitFor();
        await press('maintenance');
        await state(guest, 'end');
        await guest.getByRole('heading', { name: 'This call is over' }).waitFor();
        await guest.getByText('Its time has run out').waitFor();
        assert.equal(await guest.evaluate(() => document.querySelector('.local').srcObject), null, 'the camera is off');

        const late = await open(link);
        await late.getByRole('heading', { name: 'This call is over' }).waitFor();
        await late.getByText('Its time has run out').waitFor();
        await console.locator('[name=source][value=pool]').check({ force: true });
        await press('start');
    },

    async 'a start that fails is repeated with the same key'() {
        const page = await open('website/', DESKTOP, /\/website\/calls/);
        const keys = [];
        page.on('request', (request) => {
            if (request.method() === 'POST' && request.url().endsWith('/website/calls')) {
                keys.push(request.postDataJSON().key);
            }
        });
        await page.route('**/website/calls', (route) => route.fulfill({ status: 503, json: { retryAfter: 7 } }));
        await press(page, 'Start a video call');
        await page.getByText('Please try again in 7 seconds').waitFor();
        await page.unroute('**/website/calls');
        await press(page, 'Start a video call');
        await call(page, 'waiting');
        assert.equal(keys.length, 2);
        assert.equal(keys[0], keys[1]);
    },

    async 'one can take part without camera and microphone'() {
        const page = await open('website/');
        await page.evaluate(() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('none')); });
        await press(page, 'Start a video call');
        await call(page, 'waiting');
        await page.getByText('No camera and no microphone').waitFor();
        const room = await page.evaluate(async () => (await (await fetch(`calls/${location.hash.slice(1)}`)).json()).alias);
        await acceptCall(room);
        await sees(page);
    },

    async 'the keyboard alone is enough, on a phone in the dark as well'() {
        const page = await open('website/', { ...PHONE, colorScheme: 'dark' });
        await assertAccessible(page, 'website, start, phone, dark');
        await page.getByRole('textbox', { name: 'Your first name' }).focus();
        await page.keyboard.press('Tab');
        await page.keyboard.press('Enter');
        await call(page, 'waiting');
        assert.equal(await page.evaluate(() => document.activeElement.id), 'call-title', 'a screen reader begins here');
        await fits(page, 'the call');
        await assertAccessible(page, 'website, waiting, phone, dark');
        await page.keyboard.press('Tab');
        await page.keyboard.press('Space');
        assert.equal(await page.locator('.microphone').textContent(), 'Unmute', 'muted');
        const isHeard = () => page.evaluate(() => document.querySelector('.local').srcObject.getAudioTracks()[0].enabled);
        assert.equal(await isHeard(), false);
        await page.keyboard.press('Space');
        assert.equal(await page.locator('.microphone').textContent(), 'Mute');
        assert.equal(await isHeard(), true);
        await page.keyboard.press('Tab');
        await page.keyboard.press('Tab');
        await page.keyboard.press('Enter');
        await state(page, 'end');
        await assertAccessible(page, 'website, end, phone, dark');
        await fits(page, 'the end');
    },

    async 'the widget says why it shows no room'() {
        const page = await open('widget/?room=vbv-01jd5p3xk8qqqqqqqqqqqqqqqq', { ...PHONE, colorScheme: 'dark' }, /\/public\/room\//);
        await press(page, 'Accept');
        await page.getByRole('alert').getByText('There is no such room').waitFor();
        await assertAccessible(page, 'widget, no room, phone, dark');
        await fits(page, 'the widget');
    },

    async 'a room that cannot be read leaves nothing of the one before on the widget'() {
        const { room } = await startCall();
        const agent = await open(`widget/?room=${room}`, DESKTOP, /\/public\/room\//);
        await press(agent, 'Accept');
        await call(agent, 'talking');
        await agent.locator('.case').waitFor();
        await press(agent, 'Leave');
        await state(agent, 'left');

        await agent.locator('[name=room]').fill('vbv-01jd5p3xk8qqqqqqqqqqqqqqqq');
        await press(agent, 'Accept');

        await agent.getByRole('alert').getByText('There is no such room').waitFor();
        assert.ok(await agent.locator('.case').isHidden());
    },

    async 'whoever waits for a room can cancel, and does not join it from another call'() {
        const waitFor = async (citizen, seconds) => citizen.route('**/website/calls/*', async (route) => {
            const response = await route.fetch();
            await route.fulfill({ response, json: { ...await response.json(), joinIn: seconds } });
        });
        const citizen = await open('website/');
        await waitFor(citizen, 600);
        await press(citizen, 'Start a video call');
        await citizen.getByText('You will join in 600 seconds').waitFor();
        await assertAccessible(citizen, 'website, room in preparation');
        await press(citizen, 'Cancel');
        await citizen.getByText('You have ended the call').waitFor();

        const { link } = await startCall();
        const other = await open('website/');
        await other.clock.install();
        await waitFor(other, 600);
        await press(other, 'Start a video call');
        await other.getByRole('button', { name: 'Cancel' }).waitFor();
        await other.evaluate((hash) => { location.hash = hash; }, new URL(link, sandbox.console).hash);
        await state(other, 'invited');
        await other.locator('.cancel[hidden]').waitFor({ state: 'attached' });
        // Back to the first call, which is not joined without another press.
        await other.goBack();
        await state(other, 'invited');
        await other.clock.fastForward(601_000);
        assert.equal(await other.locator('video-call').getAttribute('data-state'), 'idle');
        assert.equal(await other.locator('main').getAttribute('data-state'), 'invited');
    },

    async 'no Entra token and no host PIN reaches the browser of a citizen'() {
        const citizen = await open('website/');
        const texts = [];
        citizen.on('request', (request) => texts.push(JSON.stringify(request.headers())));
        citizen.on('response', (response) => {
            if (response.url().includes('/website/calls')) {
                texts.push(response.text().catch(() => ''));
            }
        });
        await press(citizen, 'Start a video call');
        await call(citizen, 'waiting');
        const all = (await Promise.all(texts)).join('\n');
        assert.match(all, /"alias"/);
        for (const secret of [/eyJ[\w-]{16}/, /"5207"/, /idim-client-secret/, /"authorization"/i]) {
            assert.doesNotMatch(all, secret);
        }
    },

    async 'each request of the reference can be tried'() {
        const page = await open('api/');
        await page.locator('#reference:not([aria-busy])').waitFor();
        const tryIt = async (id, name = null) => {
            const operation = page.locator(`#operations-${id}`);
            await operation.locator('.opblock-summary-control').click();
            if (name) {
                assert.equal(await operation.getByPlaceholder('name').inputValue(), name, id);
            }
            await operation.getByRole('button', { name: 'Execute' }).click();
            const answer = operation.locator('.live-responses-table tbody .response').first();
            const [status, text] = [await answer.locator('.response-col_status').innerText(), await answer.innerText()];
            await operation.locator('.opblock-summary-control').click();
            return [Number.parseInt(status, 10), text];
        };
        assert.equal((await tryIt('Widget-public_room', 'vkiosk_1'))[0], 200);
        const [status, made] = await tryIt('IDIM-room_create');
        assert.equal(status, 200, made);
        const room = made.match(/"name": "([^"]+)"/)[1];
        for (const [id, expected, name] of [
            ['Widget-public_room', 200, room], ['Widget-public_room_preflight', 200, room], ['IDIM-room_read', 200, room],
            ['Pexip-policy', 200, null], ['Pexip-event_sink', 204, null], ['Operation-health_ready', 200, null],
            ['Operation-openapi', 200, null], ['IDIM-room_delete', 204, room],
        ]) {
            assert.equal((await tryIt(id, name))[0], expected, id);
        }
    },

    async 'the reference is searched, read on a phone and in the dark'() {
        const page = await open('api/', { ...PHONE, colorScheme: 'dark' });
        await page.locator('#reference:not([aria-busy])').waitFor();
        await page.getByLabel('Search operations').fill('citizen create');
        await page.waitForFunction(() => document.querySelectorAll('.opblock').length === 1);
        await page.locator('.opblock-summary-control').click();
        await page.getByRole('button', { name: 'Execute' }).click();
        await page.locator('.live-responses-table').waitFor();
        await assertAccessible(page, 'reference, phone, dark');
        await fits(page, 'the reference');
        await page.emulateMedia({ colorScheme: 'light' });
        await page.locator('html:not(.dark-mode)').waitFor();
        await assertAccessible(page, 'reference, phone, light');
    },
};

let failed = false;
for (const [name, test] of Object.entries(tests).filter(([name]) => name.includes(process.argv[2] ?? ''))) {
    const start = Date.now();
    try {
        await test();
        assert.deepEqual(faults, [], 'errors in the console, and requests that leave this machine');
        console.log(`ok ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
    } catch (error) {
        failed = true;
        console.error(`FAILED ${name}\n`, error);
        faults.length = 0;
    }
    await Promise.all(opened.map((context) => context.close()));
    opened = [];
}
if (failed) {
    console.error(sandbox.said.slice(-30).join('\n'));
}
await browser.close();
await sandbox.stop();
process.exit(failed ? 1 : 0);
