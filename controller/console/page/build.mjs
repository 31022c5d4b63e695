// Builds the page into dist (or the folder that is named): index.html, and the script, the style
// and the icon with a hash in their names, so that a browser may keep them for ever.
// It writes the same bytes for the same sources and the same lock file.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'dist');
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: { app: 'src/main.tsx' },
  entryNames: '[name]-[hash]',
  outdir: out,
  bundle: true,
  minify: true,
  metafile: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  charset: 'utf8',
  legalComments: 'none',
  define: { 'process.env.NODE_ENV': '"production"' },
  logLevel: 'warning',
});

const files = Object.keys(result.metafile.outputs).map((file) => relative(out, join(here, file)));
const script = files.find((file) => file.endsWith('.js'));
const style = files.find((file) => file.endsWith('.css'));
const svg = readFileSync(join(here, 'src/icon.svg'));
const icon = `icon-${createHash('sha256').update(svg).digest('hex').slice(0, 8)}.svg`;
writeFileSync(join(out, icon), svg);
const page = readFileSync(join(here, 'src/index.html'), 'utf8')
  .replaceAll('SCRIPT', script).replaceAll('STYLE', style).replaceAll('ICON', icon);
writeFileSync(join(out, 'index.html'), page);

// The licences of what is in the bundle ask to be passed on with it.
const notice = ['preact', 'uplot'].map((name) =>
  `${name}\n\n${readFileSync(join(here, 'node_modules', name, 'LICENSE'), 'utf8').trim()}\n`);
writeFileSync(join(out, 'LICENSES.txt'), notice.join('\n----\n\n'));
