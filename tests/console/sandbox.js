// The sandbox and a browser, for whoever looks at its console.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

/** Every wait ends after this, also on a machine that is busy with other work. */
export const LIMIT = Number(process.env.CONSOLE_LIMIT ?? 120_000);

/** Starts the sandbox and waits until its pool is full. `settings` are arguments of its command line. */
export async function startSandbox(settings = []) {
  // In a process group of its own: the signal must reach the sandbox, not cargo alone.
  const child = spawn('cargo', ['run', '--quiet', '--locked', '--example', 'sandbox', '--', '--port', '0', ...settings], {
    cwd: join(import.meta.dirname, '../..'), stdio: ['ignore', 'pipe', 'inherit'], detached: true,
  });
  const said = [];
  let console = null;
  const ready = new Promise((resolve, reject) => {
    const failed = (why) => reject(new Error(`${why}\n${said.slice(-40).join('\n')}`));
    // The build may come first.
    const limit = setTimeout(() => failed('the sandbox is not ready in time'), 10 * LIMIT);
    createInterface({ input: child.stdout }).on('line', (line) => {
      said.push(line);
      console ??= /^The console: (\S+)/.exec(line)?.[1] ?? null;
      if (!line.startsWith('The room service is ready:')) return;
      clearTimeout(limit);
      resolve();
    });
    child.once('exit', (code) => failed(`the sandbox has ended with ${code}`));
  });
  const ended = new Promise((resolve) => { child.once('exit', (code, signal) => resolve(code ?? signal)); });
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid, 'SIGINT');
    return ended;
  };
  try {
    await ready;
  } catch (error) {
    await stop();
    throw error;
  }
  return { console, said, stop };
}

/** Debian's browser, or another one of this machine; none is downloaded. */
export function findBrowser() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path)) ?? null;
}

export function openBrowser(program) {
  return chromium.launch({
    executablePath: program,
    args: [
      '--no-sandbox', '--disable-dev-shm-usage', '--disable-background-networking', '--no-proxy-server',
      '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}

/** The console in a window of its own. What must never happen is collected in `faults`. */
export async function openConsole(browser, address, faults, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(LIMIT);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`script: ${error.message}`));
  context.on('request', (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== 'data:' && hostname !== '127.0.0.1') faults.push(`a request to ${request.url()}`);
  });
  await page.goto(address);
  await page.locator('#live[data-state=live]').waitFor();
  return page;
}
