import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { AddressInfo, LookupFunction, Server } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { codeBlocks } from '../docs/blocks.js'
import { isListening, Program, plainEnvironment, type Result, run } from '../support/cli.js'
import { requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'
import { startPostgres } from './postgres.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
// In the repository, so that `import 'tubesock'` finds the package by its own name.
const FOLDER = join(ROOT, '.vitest', 'recipes')

/** Blocks of `mjs` need a counterpart, or a package, that the tests of documents do not have. */
const recipes = codeBlocks(readFileSync(join(ROOT, 'docs', 'client.md'), 'utf8')).filter(
  ({ language }) => language === 'mjs',
)

/** Names of packages of which each recipe imports one beside ours. */
const packages = ['undici', 'ws', 'node:http2', 'pg', 'nodemailer']

/** Every name is this machine. */
const lookup: LookupFunction = (_host, _options, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }])

/** Runs the recipe that imports a package, with a proxy of its own and its target's port in place of the one it names. */
async function follow(name: string, written: number, port: number): Promise<Result & { readonly asked: string[] }> {
  const { code } = recipes.find((block) => block.code.includes(`from '${name}'`)) ?? missing(name)
  const asked: string[] = []
  const proxy = await startServer({ lookup })
  proxy.server.on('established', ({ destination }) => asked.push(`${destination.host}:${destination.port}`))
  expect(code).toContain(String(written))
  const adapted = code
    .replaceAll('1080', String(proxy.port))
    .replaceAll(String(written), String(port))
    // The one of Node's own fetch, whose name the package has here.
    .replace("from 'undici'", `from 'undici${process.versions.undici?.split('.')[0]}'`)
  mkdirSync(FOLDER, { recursive: true })
  const file = join(FOLDER, `${name.replaceAll(/\W/g, '-')}.mjs`)
  const ca = join(FOLDER, 'ca.pem')
  writeFileSync(file, adapted)
  writeFileSync(ca, CERTIFICATE)
  cleanup(() => rmSync(file))
  const env = { ...plainEnvironment(), NODE_EXTRA_CA_CERTS: ca }
  const result = await run(process.execPath, [file], { env })
  expect(result.code, `${result.stdout}\n${result.stderr}`).toBe(0)
  return { ...result, asked }
}

/** Listens on loopback until the test is over. */
async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  cleanup(() => server.close())
  const { port } = server.address() as AddressInfo // of TCP
  return port
}

const page: RequestListener = (request, response) => {
  response.setHeader('connection', 'close')
  response.end(`you asked for ${request.headers.host}${request.url}`)
}

describe('recipes of docs/client.md', () => {
  it('are all run here', () => {
    const imported = recipes.map(({ code }) => packages.find((name) => code.includes(`from '${name}'`)))
    expect(imported).toEqual(packages)
  })

  it('fetch', async () => {
    const port = await listen(createServer(page))
    const { stdout, asked } = await follow('undici', 8080, port)
    expect(String(stdout)).toBe(`you asked for target.example:${port}/fetched\n`)
    expect(asked).toEqual([`target.example:${port}`])
  })

  it('ws', async () => {
    const server = createServer()
    const port = await listen(server)
    new WebSocketServer({ server }).on('connection', (socket) => {
      socket.on('message', (data) => socket.send(`${data} from the other side`))
    })
    const { stdout, asked } = await follow('ws', 8080, port)
    expect(String(stdout)).toBe('hello from the other side\n')
    expect(asked).toEqual([`target.example:${port}`])
  })

  it('http2', async () => {
    const server = createSecureServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (request, response) => {
      response.end(`HTTP/${request.httpVersion} ${request.authority}`)
    })
    const port = await listen(server)
    const { stdout, asked } = await follow('node:http2', 8443, port)
    expect(String(stdout)).toBe(`HTTP/2.0 target.example:${port}`)
    expect(asked).toEqual([`target.example:${port}`])
  })
})

describe('the recipe for PostgreSQL', () => {
  requireProgram('pg_ctlcluster', 'postgresql')
  requireProgram('setpriv', 'util-linux')

  it('asks a real server', { timeout: 60_000 }, async () => {
    const postgres = await startPostgres('alice')
    const { stdout, asked } = await follow('pg', 5432, postgres.port)
    expect(String(stdout)).toBe('[ { answer: 42 } ]\n')
    expect(asked).toEqual([`db.example:${postgres.port}`])
  })
})

describe('the recipe for mail', () => {
  const program = requireProgram('aiosmtpd', 'python3-aiosmtpd')

  it('delivers to a real server, after STARTTLS with its name', async () => {
    mkdirSync(FOLDER, { recursive: true })
    const [cert, key] = [join(FOLDER, 'cert.pem'), join(FOLDER, 'key.pem')]
    writeFileSync(cert, CERTIFICATE)
    writeFileSync(key, PRIVATE_KEY)
    const port = await refusedPort()
    const options = ['--nosetuid', '--tlscert', cert, '--tlskey', key, '--listen', `127.0.0.1:${port}`]
    const env = { ...plainEnvironment(), PYTHONUNBUFFERED: '1' }
    const server = new Program(program, [...options, '--class', 'aiosmtpd.handlers.Debugging', 'stdout'], { env })
    while (!(await isListening(port))) await new Promise((resolve) => setTimeout(resolve, 50))
    const { stdout, asked } = await follow('nodemailer', 2525, port)
    expect(String(stdout)).toMatch(/^250 /)
    const [mail] = await server.output(/MESSAGE FOLLOWS(?:.|\n)*END MESSAGE/)
    expect(mail).toContain('Subject: hello')
    expect(mail).toContain('through a proxy')
    expect(asked).toEqual([`target.example:${port}`])
  })
})

function missing(name: string): never {
  throw new Error(`no recipe imports ${name}`)
}
