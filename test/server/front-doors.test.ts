import { once } from 'node:events'
import { closeSync, existsSync, openSync, renameSync, statSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import {
  createForwardServer,
  createOutbound,
  createSocksServer,
  type ListenOptions,
  type ServerOptions,
  type Session,
  type SocksServer,
} from '../../src/server/index.js'
import { hasReusePort } from '../../src/server/listen-options.js'
import { OwnAddresses } from '../../src/server/own-addresses.js'
import { CERTIFICATE, PRIVATE_KEY } from '../client/certificate.js'
import { testDirectory } from '../interop/peers.js'
import { Program } from '../support/cli.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup, codeOf, startServer } from '../support/servers.js'
import { startEcho, type Target } from '../support/targets.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MEGABYTE = Buffer.alloc(1_048_576, 'abcdefghijklmnop')

async function startEchoTarget(): Promise<Target> {
  const echo = await startEcho()
  cleanup(() => echo.close())
  return echo
}

function newServer(options: ServerOptions = {}): SocksServer {
  const server = createSocksServer(options)
  cleanup(() => server.close({ graceMs: 0 }))
  return server
}

/** The reply code of a CONNECT on a stream; and, where it is 0, whether a megabyte and both FINs get through. */
async function echoes(stream: Duplex, port: number, host = '127.0.0.1'): Promise<number> {
  cleanup(() => stream.destroy())
  const client = new RawClient(stream)
  client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest(host, port)]))
  const code = Number.parseInt((await client.read(12)).slice(6, 8), 16)
  if (code === 0) {
    stream.end(MEGABYTE)
    expect((await client.readToEnd()).equals(MEGABYTE)).toBe(true)
  }
  stream.destroy()
  return code
}

/** A connected socket that stays open for writing after the other side's FIN. */
async function dial(where: { path: string } | { port: number; host: string }): Promise<Socket> {
  const socket = connect({ ...where, allowHalfOpen: true })
  await once(socket, 'connect')
  return socket
}

describe('handle', () => {
  it('serves TLS, with its half-close, and knows the client by its address', async () => {
    const echo = await startEchoTarget()
    const server = newServer()
    const sessions: Session[] = []
    const door = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (socket) => {
      sessions.push(server.handle(socket, { clientAddress: socket.remoteAddress, clientPort: socket.remotePort }))
    }).listen(0, '127.0.0.1')
    cleanup(() => door.close())
    await once(door, 'listening')
    const { port } = door.address() as { port: number } // it listens
    const options = { port, host: '127.0.0.1', ca: CERTIFICATE, allowHalfOpen: true }
    const socket = tlsConnect(options)
    await once(socket, 'secureConnect')
    const { localPort } = socket
    expect(await echoes(socket, echo.port)).toBe(0)
    expect(sessions).toMatchObject([{ clientAddress: '127.0.0.1', clientPort: localPort, isLocal: true }])
  })

  it('serves a Unix socket that somebody else accepted: remote, unless its address says otherwise', async () => {
    const echo = await startEchoTarget()
    const server = newServer()
    const path = join(testDirectory(), 'door')
    const addresses = [undefined, '127.0.0.1']
    const door = createServer({ allowHalfOpen: true }, (socket) => {
      server.handle(socket, { clientAddress: addresses.shift() })
    }).listen(path)
    cleanup(() => door.close())
    await once(door, 'listening')
    expect(await echoes(await dial({ path }), echo.port)).toBe(2)
    expect(await echoes(await dial({ path }), echo.port)).toBe(0)
  })

  it('serves an in-memory pair with both FINs', async () => {
    const echo = await startEchoTarget()
    const [near, far] = duplexPair()
    newServer().handle(near, { clientAddress: '127.0.0.1' })
    expect(await echoes(far, echo.port)).toBe(0)
  })
})

describe('listen({ path })', () => {
  it('serves local users: no address, any target, no open proxy', async () => {
    const echo = await startEchoTarget()
    const server = newServer()
    const path = join(testDirectory(), 'socks')
    const told = new Promise<Session>((resolve) => server.once('session', resolve))
    expect(await server.listen({ path })).toEqual({ path })
    expect(server.addresses).toEqual([{ path }])
    expect(await echoes(await dial({ path }), echo.port)).toBe(0)
    expect(await told).toMatchObject({ clientAddress: undefined, clientPort: undefined, isLocal: true })
  })

  it('a path that is taken is an error that harms nobody; the file goes with its server', async () => {
    const echo = await startEchoTarget()
    const path = join(testDirectory(), 'socks')
    const server = newServer()
    await server.listen({ path })
    const second = newServer()
    await expect(second.listen({ path })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await expect(server.listen({ path })).rejects.toMatchObject({ code: 'EADDRINUSE' })
    await second.close()
    expect(server.addresses).toEqual([{ path }])
    expect(await echoes(await dial({ path }), echo.port)).toBe(0)
    await server.close()
    expect(existsSync(path)).toBe(false)
    // And may be had again.
    const third = newServer()
    await third.listen({ path })
    expect(statSync(path).isSocket()).toBe(true)
  })

  it.each([
    ['is too long for the system', 'x'.repeat(200)],
    ['is in no directory', 'missing/socks'],
  ])('a path that %s rejects, and leaves no file', async (_what, name) => {
    const path = join(testDirectory(), name)
    await expect(newServer().listen({ path })).rejects.toSatisfy((error) => codeOf(error) !== undefined)
    expect(existsSync(path)).toBe(false)
  })

  it('a path may be as long as systems take one, and is not cut off', async () => {
    const directory = `${testDirectory()}/`
    const path = directory.padEnd(process.platform === 'linux' ? 107 : 103, 'x')
    await newServer().listen({ path })
    expect(existsSync(path)).toBe(true)
    await expect(newServer().listen({ path: `${path}x` })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  })

  it('closed before it listens, it leaves no file', async () => {
    const path = join(testDirectory(), 'socks')
    const server = newServer()
    const listening = expect(server.listen({ path })).rejects.toMatchObject({ code: 'ERR_SOCKS_SERVER_CLOSED' })
    await server.close()
    await listening
    expect(existsSync(path)).toBe(false)
  })
})

describe('listen({ fd })', () => {
  /** A child that serves on descriptor 3 with what it finds there, and says where. */
  async function serveInChild(door: Server, options: string): Promise<Program> {
    const handle: unknown = Reflect.get(door, '_handle')
    const fd = Number(Reflect.get(Object(handle), 'fd'))
    const script = `
      import { createSocksServer } from 'tubesock/server'
      const server = createSocksServer(${options})
      const told = await server.listen({ fd: 3 }).catch((error) => ({ code: error.code, addresses: server.addresses }))
      console.log(JSON.stringify(told))
      process.stdin.resume().on('end', () => server.close())`
    return new Program(process.execPath, ['--input-type=module', '-e', script], {
      cwd: ROOT,
      keepStdinOpen: true,
      inherit: [fd],
    })
  }

  async function told(program: Program): Promise<unknown> {
    return JSON.parse((await program.output(/^(.*)\n/))[1] ?? '')
  }

  async function listening(where: { port: number; host: string } | { path: string }): Promise<Server> {
    const door = createServer().listen(where)
    await once(door, 'listening')
    cleanup(() => door.close())
    return door
  }

  it('serves what another process listens on, and ends with it', async () => {
    const echo = await startEchoTarget()
    const door = await listening({ port: 0, host: '127.0.0.1' })
    const { port } = door.address() as { port: number } // it listens
    const child = await serveInChild(door, '{}')
    // From here on the child alone accepts.
    door.close()
    expect(await told(child)).toEqual({ host: '127.0.0.1', port })
    expect(await echoes(await dial({ port, host: '127.0.0.1' }), echo.port)).toBe(0)
    // The loop guard knows it.
    expect(await echoes(await dial({ port, host: '127.0.0.1' }), port)).toBe(2)
    child.child.stdin.end()
    expect(await child.finished).toMatchObject({ code: 0 })
    await expect(dial({ port, host: '127.0.0.1' })).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('serves a Unix socket that another process listens on, for local users', async () => {
    const echo = await startEchoTarget()
    const path = join(testDirectory(), 'socks')
    const door = await listening({ path })
    const child = await serveInChild(door, '{}')
    // No system tells the name of a socket that somebody else made.
    expect(await told(child)).toEqual({ path: '' })
    // Closing removes the file by its name, which is another's by then.
    renameSync(path, `${path}-moved`)
    door.close()
    expect(await echoes(await dial({ path: `${path}-moved` }), echo.port)).toBe(0)
  })

  it('refuses to be an open proxy: what a descriptor is bound to is looked at', async () => {
    const door = await listening({ port: 0, host: '0.0.0.0' })
    expect(await told(await serveInChild(door, '{}'))).toEqual({ code: 'ERR_SOCKS_OPEN_PROXY', addresses: [] })
    const { port } = door.address() as { port: number } // it listens
    expect(await told(await serveInChild(door, '{ allowAnonymous: true }'))).toEqual({ host: '0.0.0.0', port })
  })

  it.each(['a descriptor that is not open', 'a file'])('%s is an error', async (what) => {
    const server = newServer()
    const file = what === 'a file' ? openSync(fileURLToPath(import.meta.url), 'r') : undefined
    const fd = file ?? 9_999
    cleanup(() => file !== undefined && closeSync(file))
    await expect(server.listen({ fd })).rejects.toSatisfy((error) => codeOf(error) !== undefined)
    expect(server.addresses).toEqual([])
    await server.listen(0)
  })
})

describe('listen and its options', () => {
  it.each([
    { port: 0, path: '/x' },
    { host: '127.0.0.1', path: '/x' },
    { port: 0, fd: 3 },
    { host: '127.0.0.1', fd: 3 },
    { path: '/x', fd: 3 },
    { path: '/x', reusePort: true },
    { fd: 3, reusePort: true },
    // Whoever made the descriptor has decided.
    { fd: 3, backlog: 5 },
    { fd: 3, exclusive: true },
    { path: '' },
    { path: 5 },
    { path: 'a\0b' },
    { fd: -1 },
    { fd: 1.5 },
    { fd: '3' },
    { port: 0, backlog: '5' },
    { port: 0, backlog: -1 },
    { port: 0, backlog: 0.5 },
    { port: 0, backlog: Number.NaN },
    { port: 0, exclusive: 'yes' },
    { port: 0, reusePort: 'yes' },
    { port: 0, reusePort: 1 },
  ])('refuses %j before anything is opened', async (where) => {
    const server = newServer()
    // `as`: wrong on purpose
    await expect(server.listen(where as ListenOptions & { path?: undefined; fd?: undefined })).rejects.toSatisfy(
      (error) => /^ERR_(INVALID_ARG_VALUE|OUT_OF_RANGE)$/.test(String(codeOf(error))),
    )
    expect(server.addresses).toEqual([])
  })

  it('takes what stands for the default', async () => {
    const server = newServer()
    await server.listen({ port: 0, host: undefined, path: undefined, fd: undefined, reusePort: false })
    await server.listen({ port: 0, backlog: 1, exclusive: true, reusePort: undefined })
    await server.listen({ path: join(testDirectory(), 'socks'), reusePort: false, port: undefined })
    expect(server.addresses).toHaveLength(3)
  })

  it('reusePort is taken where Node knows it, and an error where Node would ignore it', async () => {
    const first = newServer()
    const second = newServer()
    if (hasReusePort(process.versions.node)) {
      const { port } = await first.listen({ port: 0, reusePort: true })
      await second.listen({ port, reusePort: true })
    } else {
      const error = { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' }
      await expect(first.listen({ port: 0, reusePort: true })).rejects.toMatchObject(error)
      expect(first.addresses).toEqual([])
    }
  })

  it.each([
    ['20.20.2', false],
    ['22.11.0', false],
    ['22.12.0', true],
    ['23.0.0', false],
    ['23.1.0', true],
    ['24.0.0', true],
    ['100.0.0', true],
  ])('Node %s knows reusePort: %s', (version, isKnown) => {
    expect(hasReusePort(version)).toBe(isKnown)
  })
})

describe('the loop guard', () => {
  it('knows every listener, by any spelling, of all front doors that share a way out', async () => {
    const lookup: ServerOptions['lookup'] = (_host, _options, callback) =>
      callback(null, [{ address: '127.0.0.1', family: 4 }])
    const outbound = createOutbound({ lookup })
    const { server, port } = await startServer({ outbound })
    const six = await server.listen({ port: 0, host: '::1' })
    const wide = createSocksServer({ outbound, allowAnonymous: true })
    cleanup(() => wide.close({ graceMs: 0 }))
    const any = await wide.listen({ port: 0, host: '0.0.0.0' })
    const forward = createForwardServer({ outbound, target: { host: '127.0.0.1', port: 9 } })
    cleanup(() => forward.close({ graceMs: 0 }))
    const { port: forwarded } = await forward.listen(0)
    for (const [host, target] of [
      ['127.0.0.1', port],
      ['::ffff:127.0.0.1', port],
      ['name.example', port],
      ['::1', six.port],
      ['127.0.0.1', any.port],
      ['127.8.8.8', any.port],
      ['127.0.0.1', forwarded],
    ] as const) {
      await expect(outbound.connect({ host, port: target, clientAddress: '127.0.0.1' })).rejects.toMatchObject({
        code: 'ERR_SOCKS_LOOP',
        rule: 'loop guard',
        replyCode: 2,
      })
    }
    // Where another address is meant, it is no loop.
    const refused = { code: 'ERR_SOCKS_CONNECTION_REFUSED' }
    const other = { host: '127.0.0.2', port, clientAddress: '127.0.0.1' }
    await expect(outbound.connect(other)).rejects.toMatchObject(refused)
    // A listener that is closed is forgotten.
    await forward.close()
    const late = { host: '127.0.0.1', port: forwarded, clientAddress: '127.0.0.1' }
    await expect(outbound.connect(late)).rejects.toMatchObject(refused)
  })

  it('forgets one of two listeners that share an address (reusePort), not both', () => {
    const own = new OwnAddresses()
    own.add('127.0.0.1', 80)
    own.add('127.0.0.1', 80)
    own.remove('127.0.0.1', 80)
    expect(own.has('127.0.0.1', 80)).toBe(true)
    own.remove('127.0.0.1', 80)
    expect(own.has('127.0.0.1', 80)).toBe(false)
  })
})
