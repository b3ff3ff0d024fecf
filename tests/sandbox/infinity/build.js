// Bundles client.js, the parts of @pexip/infinity that the pages use, into one file, and the licences of all that is in it into another.
// With --check nothing is written: the exit code tells whether the committed files are what the locked packages give.
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildSync } from 'esbuild';

const { outputFiles: [bundle], metafile } = buildSync({
    absWorkingDir: import.meta.dirname,
    entryPoints: ['client.js'],
    banner: { js: '/* @pexip/infinity, bundled and minified by build.js. Licences: LICENSES.txt */' },
    bundle: true,
    format: 'esm',
    legalComments: 'none',
    metafile: true,
    minify: true,
    target: 'es2022',
    write: false,
});

const files = { 'infinity.js': bundle.text, 'LICENSES.txt': licences() };

function licences() {
    const inputs = Object.keys(metafile.inputs).map((path) => path.match(/^node_modules\/(?:@[^/]+\/)?[^/]+/)?.[0]);
    const folders = [...new Set(inputs.filter(Boolean))].sort();
    const texts = new Map();
    for (const folder of folders) {
        const { name, version } = JSON.parse(readFileSync(join(import.meta.dirname, folder, 'package.json')));
        const file = readdirSync(join(import.meta.dirname, folder)).find((file) => /^licen[cs]e/i.test(file));
        const text = readFileSync(join(import.meta.dirname, folder, file), 'utf8').trim();
        texts.set(text, [...(texts.get(text) ?? []), `${name} ${version}`]);
    }
    return [...texts].map(([text, names]) => `${names.join(', ')}\n\n${text}\n`).join(`\n${'-'.repeat(80)}\n\n`);
}

const isCheck = process.argv.includes('--check');
for (const [name, content] of Object.entries(files)) {
    const path = join(import.meta.dirname, name);
    if (!isCheck) {
        writeFileSync(path, content);
    } else if (!existsSync(path) || readFileSync(path, 'utf8') !== content) {
        console.error(`${name} is not what the locked packages give: npm ci && node build.js`);
        process.exitCode = 1;
    }
}
