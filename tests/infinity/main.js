// Runs app.js. The client package's modules import directories, which Node does not do, so they are bundled first.
import { buildSync } from 'esbuild';

const { outputFiles: [bundle] } = buildSync({
    absWorkingDir: import.meta.dirname,
    entryPoints: ['app.js'],
    bundle: true,
    format: 'esm',
    platform: 'node',
    write: false,
});
await import(`data:text/javascript;base64,${Buffer.from(bundle.contents).toString('base64')}`);
