// What axe-core finds to be serious on a page.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function assertAccessible(page, what) {
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    const named = serious.map(({ id, nodes }) => [
        id, nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)}: ${failureSummary}`),
    ]);
    assert.deepEqual(named, [], what);
    const rest = violations.map(({ id, impact }) => `${id} (${impact})`).join(', ') || 'nothing else';
    console.log(`   axe, ${what}: nothing serious; ${rest}`);
}
