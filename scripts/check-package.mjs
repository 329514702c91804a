// @ts-check
// `npm run check:package`: packs what would be published and uses it as a stranger would. Needs a build.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'node_modules', '.bin')
const scratch = mkdtempSync(join(tmpdir(), 'tubesock-package-'))
const project = join(scratch, 'project')
let passed = 0
let failed = 0

/**
 * Runs one check and prints one line.
 * @param {string} name
 * @param {() => string | void | Promise<string | void>} work returns what to add to the line; throws when the check fails
 */
async function check(name, work) {
  try {
    const note = await work()
    passed++
    console.log(`ok    ${name}${note ? `: ${note}` : ''}`)
  } catch (error) {
    failed++
    console.log(`FAIL  ${name}: ${problem(error)}`)
  }
}

/** @param {unknown} error */
function problem(error) {
  if (!(error instanceof Error)) return String(error)
  const output = ['stdout', 'stderr'].map((stream) => String(Reflect.get(error, stream) ?? '').trim())
  return [error.message.split('\n', 1)[0], ...output].filter(Boolean).join('\n')
}

/**
 * What a program prints on stdout; throws when it fails.
 * @param {string} command
 * @param {readonly string[]} args
 */
function run(command, args, cwd = project) {
  return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: 'pipe' }).trim()
}

/**
 * @param {string} name
 * @param {string} source
 */
function runFile(name, source) {
  writeFileSync(join(project, name), source)
  return run(process.execPath, [name])
}

/** @param {unknown} actual @param {unknown} expected */
function same(actual, expected) {
  if (actual !== expected) throw new Error(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
}

/** @typedef {{ readonly name: string, readonly version: string, readonly exports: object }} Manifest */

/** @param {Manifest} manifest */
async function main(manifest) {
  mkdirSync(project)
  const [pack] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch], root))
  const tarball = join(scratch, pack.filename)
  /** @type {string[]} */
  const files = pack.files.map((/** @type {{ path: string }} */ { path }) => path)

  await checkContents(files, manifest)
  await check('publint --strict', () => void run(join(bin, 'publint'), [tarball, '--strict'], root))
  await check('attw, profile esm-only', () => {
    run(join(bin, 'attw'), [tarball, '--profile', 'esm-only', '--no-emoji', '--no-color'], root)
  })
  await checkInstalled(tarball, manifest)
  await checkTypes()
  await checkBrowserBundle()
}

/** @param {readonly string[]} files @param {Manifest} manifest */
async function checkContents(files, manifest) {
  const has = (/** @type {RegExp} */ pattern) => files.some((file) => pattern.test(file))
  for (const [what, pattern] of /** @type {const} */ ([
    ['README.md', /^README\.md$/],
    ['LICENSE', /^LICENSE$/],
    ['CHANGELOG.md', /^CHANGELOG\.md$/],
    ['dist', /^dist\/index\.js$/],
    ['declarations', /^dist\/types\/index\.d\.ts$/],
    ['test/vectors', /^test\/vectors\/.+\.json$/],
  ])) {
    await check(`the tarball contains ${what}`, () => {
      if (!has(pattern)) throw new Error(`no file matches ${pattern}`)
    })
  }
  await check('the tarball contains nothing else', () => {
    const known =
      /^(?:README\.md|LICENSE|CHANGELOG\.md|package\.json|dist\/.+|docs\/.+\.(?:md|svg)|examples\/.+\.mjs|test\/vectors\/.+\.(?:json|md))$/
    const foreign = files.filter((file) => !known.test(file) || file.endsWith('.tsbuildinfo'))
    if (foreign.length > 0) throw new Error(foreign.join(', '))
    return `${files.length} files`
  })
  await check('no runtime dependencies', () => {
    for (const kind of ['dependencies', 'peerDependencies', 'optionalDependencies', 'bundleDependencies']) {
      same(Object.keys(Reflect.get(manifest, kind) ?? {}).join(), '')
    }
  })
  await check('nothing runs on install', () => {
    const scripts = Object.keys(Reflect.get(manifest, 'scripts'))
    same(scripts.filter((name) => /^(?:pre|post)?(?:install|prepare)$/.test(name)).join(), '')
  })
}

/** @param {string} tarball @param {Manifest} manifest */
async function checkInstalled(tarball, { name, version, exports }) {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'scratch', version: '1.0.0', private: true }))
  await check('npm install of the tarball, offline', () => {
    run('npm', ['install', '--offline', '--no-audit', '--no-fund', tarball])
    same(existsSync(join(project, 'node_modules', name, 'src')), false)
  })
  await check("require('tubesock') from CommonJS", () => {
    const source = `const { createSocksServer, SocksError } = require('tubesock')
      process.stdout.write([typeof createSocksServer, typeof SocksError].join())`
    same(runFile('require.cjs', source), 'function,function')
  })
  await check("import 'tubesock/codec'", () => {
    const source = `import { decodeGreeting } from 'tubesock/codec'
      process.stdout.write(JSON.stringify(decodeGreeting(Uint8Array.of(5, 1, 0))?.bytesRead))`
    same(runFile('codec.mjs', source), '3')
  })
  await check("import 'tubesock/server'", () => {
    const source = `import { createSocksServer } from 'tubesock/server'
      const server = createSocksServer()
      const { port } = await server.listen(0)
      await server.close()
      process.stdout.write(String(port > 0))`
    same(runFile('server.mjs', source), 'true')
  })
  await check('one SocksError through all doors', () => {
    const doors = Object.keys(exports).filter((door) => !door.endsWith('.json'))
    const source = `const doors = await Promise.all(${JSON.stringify(doors)}.map((door) => import('tubesock' + door.slice(1))))
      process.stdout.write(String(new Set(doors.map(({ SocksError }) => SocksError)).size))`
    same(runFile('doors.mjs', source), '1')
    return doors.join(' ')
  })
  await check("require('tubesock/package.json')", () => {
    same(runFile('manifest.cjs', `process.stdout.write(require('tubesock/package.json').version)`), version)
  })
  await check('npx tubesock --help', () => {
    if (!/^usage: tubesock serve/.test(run('npx', ['--offline', 'tubesock', '--help']))) throw new Error('no usage')
  })
}

async function checkTypes() {
  const source = (/** @type {string} */ load) => `${load}
    const server: tubesock.SocksServer = tubesock.createSocksServer({
      auth: tubesock.userPass((username, password, session) => session.id > 0 && username === password),
      authorize: ({ host, port, identity }) => host.endsWith('.example.com') || port === 443 || identity.plan === 'pro',
      egress: ({ kind }) => kind === 'public',
    })
    server.on('closed', ({ bytesUp, reason }) => reason === 'end' && bytesUp.toFixed(0))
    export const done: Promise<void> = server.listen({ port: 0 }).then(({ port }) => server.close({ graceMs: port }))
    // @ts-expect-error The types are there, and not any.
    tubesock.createSocksServer({ authorise: () => true })
    `
  const esm = source("import * as tubesock from 'tubesock'\nimport { decodeRequest } from 'tubesock/codec'")
  await checkTypesOf('nodenext', 'types.ts', `${esm}\ndecodeRequest(new Uint8Array())?.value.command.toFixed(0)\n`)
  await checkTypesOf('node20', 'types.cts', source("import tubesock = require('tubesock')"))
}

/** @param {string} module @param {string} file @param {string} source */
async function checkTypesOf(module, file, source) {
  await check(`${file} compiles with module ${module}`, () => {
    // Not skipLibCheck: the package's own declarations are what is checked.
    const compilerOptions = { module, target: 'es2022', lib: ['es2022'], strict: true, noEmit: true, types: ['node'] }
    const typeRoots = [join(root, 'node_modules', '@types')]
    const config = `tsconfig.${module}.json`
    writeFileSync(join(project, file), source)
    writeFileSync(
      join(project, config),
      JSON.stringify({ compilerOptions: { ...compilerOptions, typeRoots }, files: [file] }),
    )
    run(join(bin, 'tsc'), ['-p', config])
  })
}

async function checkBrowserBundle() {
  // esbuild comes with tsup.
  const { build } = createRequire(createRequire(import.meta.url).resolve('tsup'))('esbuild')
  await check('tubesock/codec bundles for browsers without a Node import', async () => {
    writeFileSync(join(project, 'browser.mjs'), "export * from 'tubesock/codec'\n")
    const { outputFiles, metafile } = await build({
      entryPoints: [join(project, 'browser.mjs')],
      absWorkingDir: project,
      bundle: true,
      minify: true,
      format: 'esm',
      platform: 'browser',
      metafile: true,
      write: false,
      logLevel: 'silent',
    })
    const [{ contents, text }] = outputFiles
    const [output] = Object.values(metafile.outputs)
    same(output.imports.length, 0)
    if (/\bnode:|\brequire\(|\bBuffer\b|\bprocess\b/.test(text)) throw new Error('the bundle speaks of Node')
    return `${contents.length} bytes minified, ${gzipSync(contents, { level: 9 }).length} gzipped`
  })
}

try {
  await main(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
// Not the plain form, which is for the last line of a whole build.
console.log(`package: ${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
