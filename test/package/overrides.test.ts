// The packed package in place of npm `socks`, below programs that were written for that one.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSocksServer, type ServerOptions, type SocksServer, userPass } from '../../src/server/index.js'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { codeBlocks } from '../docs/blocks.js'
import { plainEnvironment, run } from '../support/cli.js'
import { refusedPort } from '../support/targets.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MIGRATING = readFileSync(join(ROOT, 'docs', 'migrating.md'), 'utf8')
const INSTALL_TIMEOUT_MS = 300_000
const SECRET = 'pass/word@7'
const USERINFO = `alice:${encodeURIComponent(SECRET)}`

let project = ''
let tarball = ''
const closers: (() => unknown)[] = []
const pages = { http: 0, https: 0 }
const identities: unknown[] = []
let withPassword: SocksServer
const ports = { withPassword: 0, open: 0, second: 0 }

beforeAll(async () => {
  project = await installed()
  pages.http = await listening(createServer((_request, response) => response.end('a page')))
  const tls = { key: PRIVATE_KEY, cert: CERTIFICATE }
  pages.https = await listening(createTlsServer(tls, (_request, response) => response.end('a page over TLS')))
  const commands = ['connect', 'bind', 'udp-associate'] as const
  withPassword = await serve({ auth: userPass({ alice: SECRET }), commands })
  ports.withPassword = await withPassword.listen(0).then(({ port }) => port)
  withPassword.on('established', ({ identity }) => identities.push(identity))
  for (const name of ['open', 'second'] as const) {
    const server = await serve({ commands, socks4: true, bind: { peer: 'any' } })
    ports[name] = await server.listen(0).then(({ port }) => port)
  }
}, INSTALL_TIMEOUT_MS)

afterAll(async () => {
  for (const close of closers.reverse()) await close()
})

async function serve(options: ServerOptions): Promise<SocksServer> {
  const server = createSocksServer(options)
  server.on('error', () => {})
  closers.push(() => server.close({ graceMs: 0 }))
  return server
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** A project that has the dependents of npm `socks`, and the packed package in its place. */
async function installed(): Promise<string> {
  const scratch = mkdtempSync(join(tmpdir(), 'tubesock-overrides-'))
  closers.push(() => rmSync(scratch, { recursive: true, force: true }))
  const packing = ['pack', '--json', '--ignore-scripts', '--pack-destination', scratch]
  const packed = await run('npm', packing, { cwd: ROOT, env: process.env })
  expect(packed.code, packed.stderr).toBe(0)
  const [{ filename }] = JSON.parse(String(packed.stdout))
  tarball = join(scratch, filename)
  const folder = join(scratch, 'project')
  const dependencies = {
    'fetch-socks': '1.3.3',
    'proxy-chain': '3.0.1',
    'socks-proxy-agent': '10.1.0',
    undici: '7.30.2',
  }
  await npmInstall(folder, documented(0, dependencies))
  cpSync(join(ROOT, 'test', 'package', 'programs'), folder, { recursive: true })
  return folder
}

/** The lines of docs/migrating.md for package.json, with the packed package in place of the published one. */
function documented(index: number, dependencies: Readonly<Record<string, string>>): object {
  const lines = codeBlocks(MIGRATING).filter(({ language }) => language === 'json')[index]?.code ?? ''
  expect(lines).toContain('npm:tubesock@')
  const manifest = JSON.parse(lines.replaceAll(/npm:tubesock@[^"]+/g, `file:${tarball}`))
  return { name: 'project', private: true, ...manifest, dependencies: { ...dependencies, ...manifest.dependencies } }
}

async function npmInstall(folder: string, manifest: object, ...flags: string[]): Promise<void> {
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...flags]
  const { code, stdout, stderr } = await run('npm', args, { cwd: folder, env: process.env })
  expect(code, `${stdout}\n${stderr}`).toBe(0)
}

/** What a program in that project prints. */
async function printed(program: string, input: object): Promise<unknown> {
  const env = { ...plainEnvironment(), INPUT: JSON.stringify(input), NODE_EXTRA_CA_CERTS: '' }
  const { code, stdout, stderr } = await run(process.execPath, [program], { cwd: project, env })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return JSON.parse(String(stdout))
}

/** Folders of a package of this name, however deep. */
function foldersOf(name: string, below = join(project, 'node_modules')): string[] {
  return readdirSync(below, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name === name && entry.parentPath.endsWith('node_modules'))
    .map((entry) => join(entry.parentPath, entry.name))
}

it('A15: there is one package called socks, and it is this one, without dependencies', () => {
  const [folder = '', ...others] = foldersOf('socks')
  expect(others).toEqual([])
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  expect(manifest).toMatchObject({ name: 'tubesock' })
  expect(manifest.dependencies).toBe(undefined)
  for (const name of ['ip-address', 'smart-buffer']) expect(foldersOf(name)).toEqual([])
})

it('so it is where the project itself depends on socks', { timeout: INSTALL_TIMEOUT_MS }, async () => {
  const folder = join(project, '..', 'direct')
  await npmInstall(folder, documented(1, { 'socks-proxy-agent': '10.1.0' }), '--package-lock-only')
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'))
  const found = Object.entries<{ readonly name?: string }>(packages).filter(([path]) => path.endsWith('/socks'))
  expect(found.map(([path, { name }]) => [path, name])).toEqual([['node_modules/socks', 'tubesock']])
})

describe('socks-proxy-agent 10.1.0', () => {
  const twelve = ['http', 'https'].flatMap((scheme) => Array(2).fill(scheme === 'http' ? 'a page' : 'a page over TLS'))

  it('passes http and https pages, with passwords', async () => {
    identities.length = 0
    const proxies = ['socks5h', 'socks5', 'socks'].map(
      (scheme) => `${scheme}://${USERINFO}@127.0.0.1:${ports.withPassword}`,
    )
    const texts = await printed('agent.mjs', { proxies, pages: urls(), ca: CERTIFICATE })
    expect(texts).toEqual(Array(9).fill(twelve).flat())
    expect(new Set(identities.map((identity) => JSON.stringify(identity)))).toEqual(
      new Set([JSON.stringify({ username: 'alice' })]),
    )
  })

  it('passes them by SOCKS4a and SOCKS4', async () => {
    const proxies = ['socks4a', 'socks4'].map((scheme) => `${scheme}://alice@127.0.0.1:${ports.open}`)
    const texts = await printed('agent.mjs', { proxies, pages: urls('127.0.0.1'), ca: CERTIFICATE })
    expect(texts).toEqual(Array(6).fill(twelve).flat())
  })
})

it('fetch-socks 1.3.3 passes pages, through one proxy and through a chain', async () => {
  const first = { host: '127.0.0.1', port: ports.withPassword, type: 5, userId: 'alice', password: SECRET }
  const proxies = [first, { host: '127.0.0.1', port: ports.open, type: 4 }]
  const texts = await printed('fetch.mjs', { proxies, pages: urls(), ca: CERTIFICATE })
  expect(texts).toEqual(Array(4).fill(['a page', 'a page over TLS']).flat())
})

it('proxy-chain 3.0.1 passes pages, and knows why it cannot', async () => {
  const answers = await printed('proxy-chain.mjs', {
    target: `localhost:${pages.http}`,
    upstreams: [
      `socks5://${USERINFO}@127.0.0.1:${ports.withPassword}`,
      `socks4a://127.0.0.1:${ports.open}`,
      `socks5h://alice:wrong@127.0.0.1:${ports.withPassword}`,
      `socks5://127.0.0.1:${await refusedPort()}`,
    ],
  })
  expect(answers).toEqual([
    [200, 'a page'],
    [200, 'a page'],
    [597, 'Socks5 Authentication failed'],
    [599, expect.stringContaining('ECONNREFUSED')],
  ])
})

it('the examples of its README run', async () => {
  const echo = createSocket('udp4')
  closers.push(() => echo.close())
  echo.on('message', (data, { port, address }) => echo.send(data, port, address))
  echo.bind(0, '127.0.0.1')
  await once(echo, 'listening')
  const results = await printed('examples.mjs', {
    port: ports.open,
    port4: ports.second,
    page: { host: 'localhost', port: pages.http },
    echoPort: echo.address().port,
  })
  expect(results).toEqual({
    promise: 'a page',
    callback: 'a page',
    chain: 'a page',
    chainCallback: 'a page',
    firstProxy: `127.0.0.1:${ports.open}`,
    bind: ['from the peer', 'from the peer'],
    associate: [0, '127.0.0.1', true, 'hello'],
  })
})

it("CommonJS gets it by require('socks')", async () => {
  expect(await printed('require.cjs', { port: ports.withPassword })).toEqual([
    true,
    'SocksClientError',
    'SocksClient',
    'Socks5 Authentication failed',
    'ERR_SOCKS_AUTH_FAILED',
  ])
})

it.each([
  ['nodenext', 'types.mts'],
  ['node20', 'types.cts'],
])('TypeScript programs compile with module %s', async (module, file) => {
  const source = readFileSync(join(project, 'types.txt'), 'utf8')
  // socks-proxy-agent and fetch-socks are of one kind each; which one, the module option decides.
  writeFileSync(join(project, file), source)
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')
  const flags = ['--ignoreConfig', '--strict', '--noEmit', '--skipLibCheck', '--target', 'es2022', '--module', module]
  const typeRoots = ['--typeRoots', join(ROOT, 'node_modules', '@types'), '--types', 'node']
  const { code, stdout } = await run(process.execPath, [tsc, ...flags, ...typeRoots, file], { cwd: project })
  expect(code, String(stdout)).toBe(0)
})

function urls(host = 'localhost'): string[] {
  return [`http://${host}:${pages.http}/`, `https://${host}:${pages.https}/`]
}
